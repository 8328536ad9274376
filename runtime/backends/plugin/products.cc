// Weights and products of engine plugin.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/backends/plugin/backend.h"
#include "runtime/backends/plugin/matrix.h"
#include "runtime/base/text.h"
#include "runtime/base/weight_count.h"
#include "runtime/numerics/formats.h"

namespace isobit {
namespace {

constexpr std::size_t kAlignment = 64;

std::uint16_t half_of(Format format, float x) {
  return format == Format::fp16 ? fp16_from_float(x) : bf16_from_float(x);
}

/// Appends a rounded weight as an element of the matrix.
void put(std::int32_t element, float value, std::byte* to) {
  if (element == ISOBIT_BF16 || element == ISOBIT_FP16) {
    const std::uint16_t half = half_of(Format(element), value);
    std::memcpy(to, &half, sizeof half);
  } else if (element == ISOBIT_F64) {
    const auto wide = double(value);
    std::memcpy(to, &wide, sizeof wide);
  } else {
    std::memcpy(to, &value, sizeof value);
  }
}

std::size_t size_of(std::int32_t element) {
  return element == ISOBIT_F64 ? 8 : element == ISOBIT_F32 ? 4 : 2;
}

/// The outputs and scales of a matrix without its columns.
MatrixSource without_columns(MatrixSource source) {
  source.inputs = 0;
  source.bounds = {0};
  source.blocks = {};
  source.read = [](std::int64_t, std::span<float>) {};
  return source;
}

}  // namespace

bool PluginBackend::stored_operands(Format format) const {
  return table_.operands == ISOBIT_OPERANDS_STORED &&
         (format == Format::bf16 || format == Format::fp16);
}

std::shared_ptr<WeightMatrix> PluginBackend::load_matrix(const MatrixSource& source) {
  auto matrix = std::make_shared<PluginMatrix>();
  matrix->outputs = source.outputs;
  matrix->inputs = source.inputs;
  matrix->segments = int(source.bounds.size()) - 1;
  matrix->name = source.name;
  const bool replaced = table_.gemm != nullptr;
  matrix->inner = inner_->load_matrix(replaced ? without_columns(source) : source);
  matrix->scaled = matrix->inner->scaled;
  if (!replaced) return matrix;
  matrix->input = source.format == mode_.matrix ? mode_.gemm_input : mode_.head_input;
  matrix->bounds = source.bounds;
  const std::int32_t element = stored_operands(source.format) ? int(source.format) : host_.real;
  const std::size_t size = size_of(element);
  const std::size_t bytes = std::size_t(source.outputs * source.inputs) * size;
  const std::size_t room =
      (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  matrix->host.reset(std::aligned_alloc(kAlignment, room));
  if (matrix->host == nullptr) {
    throw OutOfMemory("out of memory: " + text::mebibytes(room) + " MiB for " + source.name);
  }
  auto* to = static_cast<std::byte*>(matrix->host.get());
  std::vector<float> row(std::size_t(source.inputs));
  for (std::int64_t r = 0; r < source.outputs; ++r) {
    source.read(r, row);
    const float scale = matrix->scaled ? power_of_two_scale(source.format, source.amax(r)) : 1.0f;
    for (const float x : row) {
      const float value = round_to(source.format, x / scale);
      matrix->largest = std::isfinite(value) ? std::max(matrix->largest, double(std::abs(value)))
                                             : std::numeric_limits<double>::infinity();
      put(element, value, to);
      to += size;
    }
  }
  const void* data = matrix->host.get();
  if (!on_host()) {
    matrix->device = DeviceMemory(*inner_, room);
    inner_->upload(matrix->device.get(), data, bytes);
    data = matrix->device.get();
    matrix->host.reset();
  }
  matrix->w = {data, source.outputs, source.inputs, source.inputs, element, int(source.format)};
  count_weight_bytes(room);
  return matrix;
}

/// x as the plugin wants the operands of a product: itself, or narrowed, which is exact, with as
/// many elements before and between the rows.
isobit_rows PluginBackend::operand(Rows x, Format format) {
  if (!stored_operands(format)) return rows_of(x, format);
  constexpr std::size_t kHalf = sizeof(std::uint16_t);
  const std::vector<double> values = inner_->reals(x);
  halves_.resize(values.size());
  std::transform(values.begin(), values.end(), halves_.begin(),
                 [&](double value) { return half_of(format, float(value)); });
  narrowed_.prepare(*inner_, x.rows, std::size_t(x.cols) * kHalf, std::size_t(x.stride) * kHalf,
                    shift_of(x.data) / real_size() * kHalf);
  narrowed_.fill(*inner_, halves_.data());
  return {narrowed_.data(), x.rows, x.cols, x.stride, int(format), int(format)};
}

void PluginBackend::gemm(Rows x, const WeightMatrix& matrix, Rows out) {
  const auto& w = static_cast<const PluginMatrix&>(matrix);
  last_matrix_ = w.name;
  if (table_.gemm == nullptr) return inner_->gemm(x, *w.inner, out);
  if (x.rows == 0 || w.outputs == 0 || w.segments == 0) return;
  isobit_gemm args{};
  args.size = sizeof args;
  args.x = operand(x, w.input);
  args.w = w.w;
  args.out = output(out, mode_.wide() ? Format::f64 : Format::f32);
  args.bounds = w.bounds.data();
  args.segments = w.segments;
  args.matrix = w.name.c_str();
  const auto bound = [&](std::int64_t row) { return largest(x, row) * w.largest * double(x.cols); };
  perform("gemm", table_.gemm, args, {{x}, bound, args.x.data != x.data});
  inner_->copy(written_, out);
}

void PluginBackend::finish(std::span<const Rows> parts, const WeightMatrix& matrix,
                           const void* row_scale, const void* bias, Format stored, Rows out) {
  inner_->finish(parts, *static_cast<const PluginMatrix&>(matrix).inner, row_scale, bias, stored,
                 out);
}

}  // namespace isobit
