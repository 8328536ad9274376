// The row of engine twin in the table: its options, its book, and which backend computes by it.
#include "runtime/backends/twin/engine.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "runtime/backends/twin/transformers.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"
#include "runtime/run/generate.h"

namespace isobit {
namespace {

using twin::Book;

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
  const bool halves = mode.precision == Precision::bf16 || mode.precision == Precision::fp16;
  if (book && twin::is_of_transformers(**book) && !halves) {
    return "book " + (*book)->name + " is of transformers in bf16 and fp16";
  }
  if (book && mode.gemm_input == Format::e5m2 && keeps_fp8(**book)) {
    return "cublasLt, whose book " + (*book)->name + " is, multiplies no two e5m2 matrices";
  }
  return "";
}

Result<void> check_twin(const EngineChoice& choice) {
  const auto book = book_of(choice);
  ISOBIT_TRY(book);
  const std::string& of = (*book)->keys.at("engine");
  if (of.starts_with("exec:") && !twin::is_of_transformers(**book)) {
    return Error{"twin: book " + (*book)->name + " is of " + of +
                     ", of which there is no twin; there is one of exec:transformers",
                 ""};
  }
  return {};
}

Result<std::unique_ptr<Backend>> make_twin(const BackendOptions& options, const Mode& mode) {
  auto book = book_of(options.engine);
  ISOBIT_TRY(book);
  const cpu::Kernels& kernels = *cpu::kernels_named(options.isa);
  const bool forecast = settings_of(options.engine).forecast;
  if (twin::is_of_transformers(**book)) {
    return std::unique_ptr<Backend>(std::make_unique<twin::TransformersTwin>(
        mode, kernels, options.threads_asked(), *book, forecast));
  }
  return std::unique_ptr<Backend>(std::make_unique<twin::ProductTwin>(
      mode, kernels, options.threads_asked(), options.attention, *book, forecast));
}

/// transformers computes one static batch whose cache is on or off: what a request must be.
std::string twin_refuse(const GenerateRequest& request) {
  const auto book = book_of(request.backend.engine);
  if (!book || !twin::is_of_transformers(**book)) return "";
  const std::string whose = "a twin of transformers ";
  const CacheMode& cache = request.cache;
  if (cache.chunk != 0 || cache.shares_prefix || cache.recomputes || cache.drafts != 0) {
    return whose + "has the cache on or off, not " + cache.name;
  }
  if (!request.kv.exact()) return whose + "keeps exact keys and values";
  if (request.ranks > 1 || request.replicas > 1) return whose + "has one rank";
  if (!request.backend.attention.usual()) return whose + "has the attention of its book";
  const std::int64_t size = request.batch.size;
  const bool given = request.batch.order == BatchShape::Order::given && !request.batch.staggered;
  const auto taught = [](const PromptTokens& prompt) { return !prompt.teacher.empty(); };
  if (size > 1 && std::any_of(request.prompts.begin(), request.prompts.end(), taught)) {
    return whose + "is fed taught sequences one at a time";
  }
  if (size > 1 &&
      (!given || !request.eos.empty() || std::int64_t(request.prompts.size()) % size != 0)) {
    return whose + "needs full batches whose sequences end together (ignore_eos: true)";
  }
  return "";
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
