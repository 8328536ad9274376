// Engine twin: products by a schedule book (twin.h).
#include "runtime/backends/twin.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "runtime/backends/cpu/ordered.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"
#include "runtime/numerics/product_book.h"

namespace isobit {
namespace {

using Book = std::shared_ptr<const ProductBook>;

struct TwinSettings : EngineSettings {
  std::string file;
  bool forecast = false;
};

const TwinSettings& settings_of(const EngineChoice& choice) {
  static const TwinSettings none;
  const auto* settings = static_cast<const TwinSettings*>(choice.settings.get());
  return settings == nullptr ? none : *settings;
}

Result<Book> book_of(const EngineChoice& choice) {
  const std::string& file = settings_of(choice).file;
  if (file.empty()) {
    return Error{"engine twin needs a schedule book, e.g. {twin: ../golden/schedules/h200.book}",
                 ""};
  }
  auto book = read_product_book(file, choice.folder);
  if (!book) return Error{"twin: " + book.error().text(), ""};
  if ((*book)->keys.count("engine") == 0 || (*book)->keys.count("device") == 0) {
    return Error{"twin: " + file + ": the book does not say whose it is: key engine, key device",
                 ""};
  }
  return book;
}

/// Beside a matrix, the same with operands as a tensor core takes them.
struct TwinMatrix final : cpu::CpuMatrix {
  explicit TwinMatrix(cpu::CpuMatrix&& plain) : CpuMatrix(std::move(plain)) {}
  std::map<ProductOrder::Operands, std::shared_ptr<WeightMatrix>> rounded;
};

class TwinBackend final : public cpu::OrderedBackend {
 public:
  TwinBackend(const Mode& mode, const cpu::Kernels& kernels, int threads,
              const FlashSchedule& attention, Book book, bool forecast)
      : OrderedBackend(mode, kernels, threads, attention),
        book_(std::move(book)),
        forecast_(forecast),
        operand_(operand_of(*book_, mode, false)),
        scaled_operand_(operand_of(*book_, mode, true)) {
    for (const ProductLine& line : book_->lines) {
      const bool mine = line.operand == operand_ && line.order.operands != Operands::exact;
      if (mine) rounded_.insert(line.order.operands);
    }
  }

  BackendInfo describe() const override {
    BackendInfo info = OrderedBackend::describe();
    info.engine = "twin:" + book_->name + "@" + book_->digest;
    info.kernels += " products of " + book_->keys.at("engine") + " by " + book_->name + ": " +
                    std::to_string(used_.size()) + " shapes proved, " + std::to_string(forecasts_) +
                    " forecast";
    return info;
  }

  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    const cpu::PackedMatrix& w = packed_of(matrix);
    if (x.rows == 0 || w.n == 0) return;
    if (w.segments() == 0) return OrderedBackend::gemm(x, matrix, out);
    const Steps& steps = steps_of(matrix.scaled ? scaled_operand_ : operand_, w.n, w.k, x.rows);
    const TensorUnit* unit = steps.unit ? &*steps.unit : nullptr;
    if (steps.operands == Operands::exact) return ordered(steps.steps, unit, x, w, out);
    const auto& held = static_cast<const TwinMatrix&>(matrix).rounded;
    ordered(steps.steps, unit, taken_rows(steps.operands, x), packed_of(*held.at(steps.operands)),
            out);
  }

  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override {
    auto plain = OrderedBackend::load_matrix(source);
    if (rounded_.empty()) return plain;
    auto out = std::make_shared<TwinMatrix>(std::move(static_cast<cpu::CpuMatrix&>(*plain)));
    for (const Operands how : rounded_) {
      MatrixSource of = source;
      of.read = [read = source.read, how, format = source.format](std::int64_t row,
                                                                  std::span<float> to) {
        read(row, to);
        for (float& value : to) value = taken(how, round_to(format, value));
      };
      out->rounded[how] = OrderedBackend::load_matrix(of);
    }
    return out;
  }

 private:
  using Operands = ProductOrder::Operands;
  struct Steps {
    ProductSteps steps;
    std::optional<TensorUnit> unit;
    Operands operands = Operands::exact;
  };

  static const cpu::PackedMatrix& packed_of(const WeightMatrix& matrix) {
    return static_cast<const cpu::CpuMatrix&>(matrix).packed;
  }
  /// Rows as the tensor core takes them, in memory that the next call overwrites.
  Rows taken_rows(Operands how, Rows x) {
    rows_.resize(std::size_t(x.rows * x.cols));
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const float* from = static_cast<const float*>(x.data) + r * x.stride;
      std::transform(from, from + x.cols, rows_.begin() + r * x.cols,
                     [how](float value) { return taken(how, value); });
    }
    return {rows_.data(), x.rows, x.cols, x.cols};
  }

  const Steps& steps_of(Format operand, std::int64_t outputs, std::int64_t inputs,
                        std::int64_t rows) {
    const ProductLine* line = book_->find(operand, outputs, inputs, rows);
    const auto refuse = [&](const std::string& why) {
      throw BackendError("book " + book_->name + " " + why + " for " + name_of_operand(operand) +
                         ", outputs " + std::to_string(outputs) + ", inputs " +
                         std::to_string(inputs) + ", rows " + std::to_string(rows));
    };
    if (line == nullptr) refuse("has no line");
    if (line->evidence == ProductLine::Evidence::open) refuse("knows no order that fits");
    const bool forecast = line->evidence == ProductLine::Evidence::forecast;
    if (forecast && !forecast_) refuse("has only a forecast");
    const auto [at, fresh] = used_.try_emplace(line);
    if (fresh) {
      at->second = {product_steps(line->order, inputs), unit_of(line->order, operand),
                    line->order.operands};
      forecasts_ += forecast ? 1 : 0;
    }
    return at->second;
  }

  Book book_;
  bool forecast_;
  Format operand_, scaled_operand_;  // of matrices without and with scales
  std::set<Operands> rounded_;       // how the book's tensor cores take fp32 operands
  std::vector<float> rows_;
  std::map<const ProductLine*, Steps> used_;
  std::int64_t forecasts_ = 0;
};

}  // namespace

Result<EngineChoice> parse_twin(const EnginePairs& pairs) {
  EngineChoice engine;
  engine.name = "twin";
  auto settings = std::make_shared<TwinSettings>();
  std::set<std::string> seen;
  for (const auto& [key, text] : pairs) {
    const std::string word = unescaped(text);
    if (!seen.insert(key).second) {
      return Error{"option " + in_quotes(key) + " of twin is given twice", ""};
    }
    if (key == "twin" && !word.empty()) {
      settings->file = std::filesystem::path(word).lexically_normal().string();
    } else if (key == "forecast") {
      if (!parse_boolean(word, settings->forecast)) {
        return Error{"forecast of engine twin is true or false, not " + in_quotes(word), ""};
      }
    } else if (key != "twin") {
      return Error{"unknown option " + in_quotes(key) + " of engine twin" +
                       did_you_mean(key, {"twin", "forecast"}),
                   ""};
    }
  }
  if (!settings->file.empty()) engine.pairs.emplace_back("twin", escaped(settings->file));
  if (settings->forecast) engine.pairs.emplace_back("forecast", "true");
  engine.settings = std::move(settings);
  return engine;
}

std::string twin_unsupported(const BackendOptions& options, const Mode& mode) {
  if (options.device != "cpu") return "engine twin runs on the CPU";
  if (cpu::kernels_named(options.isa) == nullptr) return "this CPU or build has no " + options.isa;
  if (mode.wide()) return "engine twin has no products in fp64";
  const auto book = book_of(options.engine);  // a broken one is told when the cell is made
  if (book && mode.gemm_input == Format::e5m2 && keeps_fp8(**book)) {
    return "cublasLt, whose book " + (*book)->name + " is, multiplies no two e5m2 matrices";
  }
  return "";
}

Result<void> check_twin(const EngineChoice& choice) {
  const auto book = book_of(choice);
  ISOBIT_TRY(book);
  return {};
}

Result<std::unique_ptr<Backend>> make_twin(const BackendOptions& options, const Mode& mode) {
  auto book = book_of(options.engine);
  ISOBIT_TRY(book);
  return std::unique_ptr<Backend>(std::make_unique<TwinBackend>(
      mode, *cpu::kernels_named(options.isa), options.threads_asked(), options.attention, *book,
      settings_of(options.engine).forecast));
}

std::vector<std::string> twin_libraries(const EngineChoice& choice) {
  const std::string& file = settings_of(choice).file;
  const std::filesystem::path path = std::filesystem::path(choice.folder) / file;
  std::error_code problem;
  if (file.empty() || !std::filesystem::is_regular_file(path, problem)) return {};
  return {path.string()};
}

std::vector<EngineStatus> twin_status() {
  return {{"twin", "ready", {}}};
}

std::optional<OriginalEngine> twin_original(const EngineChoice& choice) {
  const auto book = book_of(choice);
  if (!book) return std::nullopt;
  OriginalEngine out{(*book)->keys.at("engine"), (*book)->keys.at("device"), {}};
  for (const auto& [name, value] : (*book)->keys) {
    // Of a library whose order depends on its threads they are an axis of the class.
    const bool threads = name == "threads" && value != "1";
    if (threads || name == "variant" || name.starts_with("library.") ||
        name.starts_with("variable.")) {
      out.machine.push_back(name + "=" + value);
    }
  }
  return out;
}

}  // namespace isobit
