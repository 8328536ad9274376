// Implementation of runtime/checkpoint/fused.h.
#include "runtime/checkpoint/fused.h"

#include <cstring>

#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/load_check.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

const TensorRow& row_named(const Architecture& architecture, std::string_view name) {
  const auto& rows = architecture.layer;
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const TensorRow& r) { return r.name == name; });
  ISOBIT_CHECK(found != rows.end());
  return *found;
}

/// The same matrix with its rows as columns, in memory of its own.
Tensor transposed(const Tensor& tensor, Weights& weights) {
  const auto size = std::size_t(layout_of(tensor.type).bytes);
  const auto bytes = std::make_shared<std::vector<std::byte>>(tensor.bytes.size());
  for (std::int64_t r = 0; r < tensor.rows; ++r) {
    for (std::int64_t c = 0; c < tensor.cols; ++c) {
      std::memcpy(bytes->data() + std::size_t(c * tensor.rows + r) * size,
                  tensor.bytes.data() + std::size_t(r * tensor.cols + c) * size, size);
    }
  }
  Tensor out = tensor;
  std::swap(out.rows, out.cols);
  out.shape = {out.rows, out.cols};
  out.bytes = *bytes;
  weights.keep(std::shared_ptr<const void>(bytes));
  return out;
}

class Splitter {
 public:
  Splitter(const ModelConfig& config, FileForm form, const std::string& place, Weights& weights)
      : config_(config),
        architecture_(architecture_of(config)),
        form_(form),
        place_(place),
        weights_(weights) {}

  Result<void> split(const FusedRow& fused, const std::string& prefix) {
    for (const char* end : {".weight", ".bias"}) {
      const auto done = split(fused, prefix, end);
      ISOBIT_TRY(done);
    }
    return {};
  }

 private:
  Result<void> split(const FusedRow& fused, const std::string& prefix, const std::string& end) {
    const bool bias = end == ".bias";
    const bool turned = fused.transposed && form_ == FileForm::hugging_face && !bias;
    if (bias && row_named(architecture_, fused.parts[0]).bias == When::never) return {};
    std::int64_t outputs = 0;
    for (const char* part : fused.parts) outputs += outputs_of(part);
    const std::int64_t inputs = extent(row_named(architecture_, fused.parts[0]).inputs, config_);
    std::vector<std::int64_t> shape = {outputs};
    if (!bias) shape.insert(turned ? shape.begin() : shape.end(), inputs);
    const std::string name = prefix + fused.name + end;
    std::optional<Tensor> whole = weights_.take(name);
    if (!whole) return missing(name, shape, bias);
    if (whole->shape != shape) {
      return wrong_shape(*whole, shape, place_);
    }
    if (bias && layout_of(whole->type).elements > 1) {
      return Error{"tensor " + shown(name) + ": " + name_of(whole->type) +
                       " blocks of a bias of several matrices are not supported",
                   place_};
    }
    if (turned && whole->scales != nullptr) {
      return Error{"tensor " + shown(name) + ": scales of a transposed matrix are not supported",
                   place_};
    }
    if (turned && layout_of(whole->type).elements > 1) {
      return Error{"tensor " + shown(name) + ": " + name_of(whole->type) +
                       " blocks of a transposed matrix are not supported",
                   place_};
    }
    const Tensor rows = turned ? transposed(*whole, weights_) : std::move(*whole);
    std::int64_t begin = 0;
    for (const char* part : fused.parts) {
      const std::int64_t count = outputs_of(part);
      weights_.add(some_rows_of(rows, prefix + part + end, begin, count));
      begin += count;
    }
    return {};
  }

  [[nodiscard]] std::int64_t outputs_of(const char* part) const {
    return extent(row_named(architecture_, part).outputs, config_);
  }
  [[nodiscard]] Result<void> missing(const std::string& name,
                                     const std::vector<std::int64_t>& shape, bool bias) const {
    if (bias && form_ == FileForm::gguf) return {};  // a bias that the file does not hold is zero
    return missing_tensor(name, shape, place_);
  }

  const ModelConfig& config_;
  const Architecture& architecture_;
  FileForm form_;
  const std::string& place_;
  Weights& weights_;
};

}  // namespace

Tensor some_rows_of(const Tensor& tensor, std::string name, std::int64_t begin,
                    std::int64_t count) {
  ISOBIT_CHECK(tensor.row_order.empty());
  const bool vector = tensor.shape.size() == 1;
  const TypeLayout layout = layout_of(tensor.type);
  const std::int64_t row = (vector ? 1 : tensor.cols) / layout.elements * layout.bytes;
  Tensor out = tensor;
  out.name = std::move(name);
  out.first_scale_row += vector ? 0 : begin;
  (vector ? out.cols : out.rows) = count;
  out.shape = vector ? std::vector<std::int64_t>{count} : std::vector{count, tensor.cols};
  out.bytes = tensor.bytes.subspan(std::size_t(begin * row), std::size_t(count * row));
  return out;
}

Result<void> split_fused(const ModelConfig& config, FileForm form, const std::string& place,
                         Weights& weights) {
  const Architecture& architecture = architecture_of(config);
  Splitter splitter(config, form, place, weights);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    for (const FusedRow& fused : architecture.fused) {
      const auto done = splitter.split(fused, layer_prefix(architecture, layer));
      ISOBIT_TRY(done);
    }
  }
  return {};
}

}  // namespace isobit
