// `isobit probe gemm`: in which order do an engine's products add? Runs them, searches, writes a
// schedule book; or asks the library alone what it would start, and forecasts. The other probe is
// probe_attention.cc.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>
#include <sstream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/probe_shapes.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/environment/environment.h"
#include "harness/probe/forecast.h"
#include "harness/probe/products.h"
#include "harness/probe/reveal.h"
#include "harness/probe/search.h"
#include "runtime/backends/vendor_choice.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/words.h"
#include "runtime/numerics/tensorcore_text.h"

namespace isobit::commands {
namespace {

using Evidence = ProductLine::Evidence;

constexpr std::size_t kLargestCapture = std::size_t{1} << 30;

Result<std::vector<const Mode*>> modes_of(const Arguments& arguments) {
  std::vector<const Mode*> out;
  std::stringstream words(arguments.text("precision", "bf16"));
  for (std::string word; std::getline(words, word, ',');) {
    const Mode* mode = probe::operand_of(word);
    if (mode == nullptr) {
      return Error{"no products to probe in precision " + in_quotes(word) +
                       among_known(word, {"fp32", "tf32", "bf16", "fp16", "fp8-e4m3"}),
                   "--precision"};
    }
    if (std::find(out.begin(), out.end(), mode) == out.end()) out.push_back(mode);
  }
  return out;
}

Result<probe::ProductPlan> plan_of(const Arguments& arguments) {
  probe::ProductPlan plan;
  auto engine = parse_engine(arguments.text("engine", "cublas"));
  if (!engine) return Error{engine.error().message, "--engine"};
  const EngineEntry* row = find_engine(engine->name);
  if (row->make == nullptr) return Error{"engine " + engine->name + " is no backend", "--engine"};
  plan.backend.engine = std::move(*engine);
  const bool vendor = plan.backend.engine.name.starts_with("cublas");
  plan.backend.device = arguments.text("device", vendor ? "cuda" : "cpu");
  const auto threads = arguments.number("threads", 1, 1, 1024);
  ISOBIT_TRY(threads);
  plan.backend.threads = int(*threads);
  const auto most = arguments.number("most-rows", 4096, 1, 1 << 20);
  ISOBIT_TRY(most);
  plan.most_rows = *most;
  const auto draws = arguments.number("draws", 2, 1, 64);
  ISOBIT_TRY(draws);
  plan.draws = arguments.has("forecast") ? 0 : *draws;
  return plan;
}

/// What a book of these products is about: engine, device, variant, libraries, variables.
std::map<std::string, std::string> keys_of(const BackendOptions& options) {
  std::map<std::string, std::string> keys = {{"engine", options.engine.text()},
                                             {"device", options.device}};
  const EngineEntry* row = find_engine(options.engine.name);
  const std::string variant = row->variant == nullptr ? "" : row->variant(options);
  if (!variant.empty()) keys["variant"] = variant;
  for (const std::string& library : row->libraries(options.engine)) {
    keys["library." + library.substr(library.rfind('/') + 1)] = library_sha256(library);
  }
  if (options.device == "cpu") keys["threads"] = std::to_string(options.threads_asked());
  if (options.device == "cuda") {
    const Environment here = fingerprint();
    for (const std::string& variable : choosing_variables(here)) {
      const std::size_t equals = variable.find('=');
      keys["variable." + variable.substr(0, equals)] = variable.substr(equals + 1);
    }
    keys["driver"] = here.at("gpu.driver");
    constexpr std::string_view told = "driver ";  // "driver 580.159.04, CUDA 13.0 (driver), …"
    if (keys["driver"].starts_with(told)) {
      const std::size_t end = keys["driver"].find(',');
      keys["driver"] = keys["driver"].substr(told.size(), end - told.size());
    }
  }
  std::erase_if(keys, [](const auto& key) { return key.second.empty(); });
  return keys;
}

/// What a capture file holds already, so that an interrupted probe goes on: its whole matrices.
Result<probe::Capture> begun_capture(const std::string& file) {
  std::error_code problem;
  if (file.empty() || !std::filesystem::exists(file, problem)) return probe::Capture{};
  auto bytes = read_file(file, kLargestCapture, "a capture");
  ISOBIT_TRY(bytes);
  if (!bytes->empty() && !bytes->starts_with(probe::facts_text({}))) {
    return Error{"is no capture; give another file", file};
  }
  const std::string whole = probe::whole_part(*bytes);
  if (whole.empty()) return probe::Capture{};
  return probe::parse_capture(whole, file);
}

std::string capture_text(const probe::Capture& capture) {
  std::string out = probe::facts_text(capture.facts);
  for (const auto& matrix : capture.matrices) out += probe::text_of(matrix);
  return out;
}

/// The calls that a plan makes of a product, for messages.
std::string calls_text(const probe::ProductPlan& plan) {
  std::string out = plan.draws == 0 ? "forecasts of " : std::to_string(plan.draws) + " draws of ";
  if (plan.rows.empty()) return out + "1 to " + std::to_string(plan.most_rows) + " rows";
  for (const std::int64_t m : plan.rows) {
    out += (m == plan.rows.front() ? "" : ", ") + std::to_string(m);
  }
  return out + " rows";
}

/// Whether a capture holds a product's calls already; an error where it holds others of it.
Result<bool> holds(const probe::Capture& capture, const std::string& precision,
                   const probe::ProductPlan& plan) {
  for (const auto& matrix : capture.matrices) {
    if (matrix.precision != precision || matrix.outputs != plan.outputs ||
        matrix.inputs != plan.inputs) {
      continue;
    }
    std::set<std::int64_t> rows, draws;
    for (const auto& call : matrix.calls) {
      rows.insert(call.rows);
      draws.insert(call.draw);
    }
    if (matrix.calls.empty()) {
      for (const auto& choice : matrix.choices) rows.insert(choice.to);
    }
    const bool same = std::int64_t(draws.size()) == plan.draws &&
                      (plan.rows.empty() ? !rows.empty() && *rows.rbegin() == plan.most_rows
                                         : std::equal(rows.begin(), rows.end(), plan.rows.begin(),
                                                      plan.rows.end()));
    if (same) return true;
    return Error{"holds other calls of " + std::to_string(plan.outputs) + " x " +
                     std::to_string(plan.inputs) + " than " + calls_text(plan) +
                     "; give another file",
                 "--capture"};
  }
  return false;
}

/// What a backend gives, its exceptions as an Error.
template <class F>
auto caught(F&& f) -> Result<decltype(f())> {
  try {
    return f();
  } catch (const BackendError& error) {
    return Error{error.what(), "probe"};
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error), "probe"};
  }
}

/// Runs what the capture lacks; a matrix is in the file when it is done. Ends early when
/// interrupted.
Result<void> run_products(const Arguments& arguments, probe::Capture& capture) {
  auto shapes = shapes_of(arguments);
  if (!shapes) return shapes.error();
  auto modes = modes_of(arguments);
  if (!modes) return modes.error();
  auto plan = plan_of(arguments);
  if (!plan) return plan.error();
  const auto keys = keys_of(plan->backend);
  const std::string file = arguments.text("capture");
  if (!capture.facts.empty() && capture.facts != keys) {
    return Error{"is of another engine, library or machine; give another file", file};
  }
  capture.facts = keys;
  const EngineChoice& engine = plan->backend.engine;
  for (const Mode* mode : *modes) {
    if (mode->gemm_input == Format::e4m3 && engine.name.starts_with("cublas") &&
        !vendor_choice(engine).fp8) {
      return Error{engine.text() +
                       " multiplies 8-bit values as bf16; cublaslt:heuristic+operands:fp8 does "
                       "not",
                   "--precision"};
    }
    auto backend = make_backend(plan->backend, *mode);
    if (!backend) return Error{backend.error().text(), "--engine"};
    for (const Shape& shape : *shapes) {
      probe::ProductPlan mine = *plan;
      mine.outputs = shape.outputs;
      mine.inputs = shape.inputs;
      mine.rows = shape.rows;
      if (!mine.rows.empty()) mine.most_rows = mine.rows.back();
      const auto held = holds(capture, mode->name, mine);
      if (!held) return held.error();
      if (*held) continue;
      std::fprintf(stderr, "%s %s x %s\n", mode->name, std::to_string(mine.outputs).c_str(),
                   std::to_string(mine.inputs).c_str());
      auto matrix = caught([&] { return probe::capture_products(**backend, mine); });
      if (interrupted != 0) return {};
      if (!matrix) return matrix.error();
      capture.matrices.push_back(std::move(*matrix));
      if (file.empty()) continue;
      if (auto ok = write_file_atomically(file, capture_text(capture)); !ok) return ok.error();
    }
  }
  return {};
}

/// Captures that were made elsewhere, as one.
Result<void> read_captures(const std::vector<std::string>& files, probe::Capture& out) {
  for (const std::string& file : files) {
    auto bytes = read_file(file, kLargestCapture, "a capture");
    if (!bytes) return bytes.error();
    auto one = probe::parse_capture(*bytes, file);
    if (!one) return one.error();
    if (!out.facts.empty() && one->facts != out.facts) {
      return Error{"is of another engine, library or machine than " + files.front(), file};
    }
    out.facts = one->facts;
    for (auto& matrix : one->matrices) out.matrices.push_back(std::move(matrix));
  }
  return {};
}

/// How many calls of a capture the rules foretell.
void print_judged(const probe::Capture& capture, TensorCore chip) {
  std::vector<std::vector<std::string>> rows = {
      {"precision", "kernels", "calls", "right", "wrong", "no forecast", "right %"}};
  const auto add = [&rows](const std::string& precision, const std::string& kind,
                           const probe::ForecastCount& count) {
    const std::int64_t calls = count.right + count.wrong + count.none;
    if (calls == 0) return;
    char share[16];
    std::snprintf(share, sizeof share, "%.3f", 100.0 * double(count.right) / double(calls));
    rows.push_back({precision, kind, std::to_string(calls), std::to_string(count.right),
                    std::to_string(count.wrong), std::to_string(count.none), share});
  };
  std::map<std::string, probe::ForecastCount> sums;
  for (const auto& [of, count] : probe::judge_forecasts(capture, chip)) {
    add(of.first, of.second, count);
    probe::ForecastCount& sum = sums[of.first];
    sum.right += count.right;
    sum.wrong += count.wrong;
    sum.none += count.none;
  }
  for (const auto& [precision, sum] : sums) add(precision, "all", sum);
  print(table(rows));
}

/// The chip whose groups are tried: given, that of engine model, or sm90 for what ran on a GPU.
Result<std::optional<TensorCore>> chip_of(const Arguments& arguments,
                                          const probe::Capture& capture) {
  if (arguments.has("chip")) {
    auto chip = parse_tensor_core(arguments.text("chip"));
    if (!chip) return Error{chip.error().message, "--chip"};
    return std::optional(*chip);
  }
  for (const TensorCore chip : tensor_cores()) {
    if (text_at(capture.facts, "engine") == "model:" + text_of(chip)) return std::optional(chip);
  }
  return text_at(capture.facts, "device") == "cuda" ? std::optional(TensorCore::sm90)
                                                    : std::nullopt;
}

std::string evidence_text(const ProductLine& line) {
  switch (line.evidence) {
    case Evidence::proved:
      return "proved, " + std::to_string(line.calls) + " calls, " + std::to_string(line.results) +
             " results";
    case Evidence::forecast:
      return "forecast";
    default:
      return "open: " + std::to_string(line.calls) + " of " + std::to_string(line.results) +
             " results fit";
  }
}

void print_lines(const std::vector<ProductLine>& lines) {
  std::vector<std::vector<std::string>> rows = {
      {"precision", "outputs", "inputs", "rows", "order", "evidence"}};
  std::int64_t proved = 0, forecast = 0, calls = 0, results = 0;
  for (const ProductLine& line : lines) {
    forecast += line.evidence == Evidence::forecast ? 1 : 0;
    if (line.evidence == Evidence::proved) {
      proved += 1;
      calls += line.calls;
      results += line.results;
    }
    const std::string to = line.to_rows > line.from_rows ? ".." + std::to_string(line.to_rows) : "";
    rows.push_back({name_of_operand(line.operand), std::to_string(line.outputs),
                    std::to_string(line.inputs), std::to_string(line.from_rows) + to,
                    line.evidence == Evidence::open ? "-" : text_of(line.order),
                    evidence_text(line)});
  }
  print(table(rows));
  print(std::to_string(proved) + " of " + std::to_string(lines.size()) +
        " lines proved: " + std::to_string(calls) + " calls reproduced, " +
        std::to_string(results) + " results bit for bit" +
        (forecast > 0 ? "; " + std::to_string(forecast) + " forecast" : std::string()) + "\n");
}

/// Whether the engine was told to take fp32 operands as tf32.
bool rounds_operands(const probe::Capture& capture) {
  const auto engine = parse_engine(text_at(capture.facts, "engine"));
  return engine && vendor_choice(*engine).math == VendorChoice::Math::tf32;
}

/// Searched where a matrix has calls; forecast where it has none, and everywhere with --forecast.
/// Takes the capture's matrices.
Result<std::vector<ProductLine>> lines_of(const Arguments& arguments, probe::Capture& capture,
                                          std::optional<TensorCore> chip) {
  const bool foretell = arguments.has("forecast");
  probe::Capture called, asked;
  for (auto& matrix : capture.matrices) {
    (matrix.calls.empty() || foretell ? asked : called).matrices.push_back(std::move(matrix));
  }
  std::vector<ProductLine> out = probe::search_orders(
      called, {chip, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); },
               rounds_operands(capture)});
  if (asked.matrices.empty()) return out;
  const auto tells = [](const auto& matrix) {
    return std::any_of(matrix.choices.begin(), matrix.choices.end(),
                       [](const probe::Choice& choice) { return !choice.text.empty(); });
  };
  if (std::none_of(asked.matrices.begin(), asked.matrices.end(), tells)) {
    return Error{"this engine does not say what it would start: there is nothing to tell from",
                 "--forecast"};
  }
  if (!chip || !(arguments.has("chip") || probe::is_hopper(capture.facts))) {
    return Error{"whose tensor core: this GPU's is not known here, and a forecast is not checked",
                 "--chip"};
  }
  if (foretell && arguments.has("from")) print_judged(asked, *chip);
  std::int64_t silent = 0;
  for (const auto& matrix : asked.matrices) {
    const auto lines = probe::forecast_lines(matrix, *chip);
    out.insert(out.end(), lines.begin(), lines.end());
    std::int64_t rows = 0, told = 0;
    for (const auto& choice : matrix.choices) rows += choice.to - choice.from + 1;
    for (const auto& line : lines) told += line.to_rows - line.from_rows + 1;
    silent += rows - told;
  }
  if (silent > 0) {
    complain(std::to_string(silent) + " products have no forecast, of kernels that no rule knows");
  }
  return out;
}

/// What the masks say of products whose order is of no kind that the search knows.
Result<void> reveal_open(const Arguments& arguments, const std::vector<ProductLine>& lines) {
  constexpr int kMost = 8;
  auto plan = plan_of(arguments);
  if (!plan) return plan.error();
  int shown = 0;
  for (const ProductLine& line : lines) {
    if (line.evidence != Evidence::open || shown++ >= kMost) continue;
    if (line.operand == Format::fp16 || line.operand == Format::e4m3) {
      print(name_of_operand(line.operand) + " has no masks: its largest number is too small\n");
      continue;
    }
    const Mode* mode = probe::operand_of(name_of_operand(line.operand));
    auto backend = make_backend(plan->backend, *mode);
    if (!backend) return Error{backend.error().text(), "--engine"};
    plan->outputs = line.outputs;
    plan->inputs = line.inputs;
    const auto asked =
        caught([&] { return probe::reveal_product(**backend, *plan, line.from_rows); });
    if (interrupted != 0) return {};
    const Result<probe::SumTree> tree = asked ? *asked : asked.error();
    print("masks: " + name_of_operand(line.operand) + " " + std::to_string(line.outputs) + " x " +
          std::to_string(line.inputs) + ", " + std::to_string(line.from_rows) +
          " rows: " + (tree ? probe::text_of(*tree) : tree.error().message) + "\n");
  }
  return {};
}

Result<int> probe_gemm(const Arguments& arguments) {
  const std::vector<std::string> from = arguments.all("from");
  for (const char* option : {"engine", "device", "precision", "model", "shape", "shapes",
                             "most-rows", "draws", "threads", "capture"}) {
    if (!from.empty() && arguments.has(option)) {
      return Error{"nothing runs when captures are searched: --from", std::string("--") + option};
    }
  }
  if (arguments.has("forecast") && arguments.has("draws")) {
    return Error{"a forecast compares no results", "--draws"};
  }
  install_interrupt_handler();
  const auto stopped = [&] {
    complain(arguments.has("capture") ? "interrupted; the same command goes on" : "interrupted");
    return int(kExitInterrupted);
  };
  probe::Capture capture;
  if (!from.empty()) {
    if (auto ok = read_captures(from, capture); !ok) return ok.error();
  } else {
    auto begun = begun_capture(arguments.text("capture"));
    ISOBIT_TRY(begun);
    capture = std::move(*begun);
    if (auto ok = run_products(arguments, capture); !ok) return ok.error();
  }
  if (interrupted != 0) return stopped();
  const auto chip = chip_of(arguments, capture);
  ISOBIT_TRY(chip);
  auto lines = lines_of(arguments, capture, *chip);
  ISOBIT_TRY(lines);
  if (interrupted != 0) return stopped();
  ProductBook book;
  book.keys = capture.facts;
  book.lines = std::move(*lines);
  print_lines(book.lines);
  if (arguments.has("book")) {
    const std::string text = text_of(book), file = arguments.text("book");
    if (auto whole = parse_product_book(text, file); !whole) return whole.error();
    if (auto written = write_file_atomically(file, text); !written) return written.error();
  }
  if (from.empty() && !arguments.has("forecast")) {
    if (auto ok = reveal_open(arguments, book.lines); !ok) return ok.error();
  }
  return interrupted != 0 ? stopped() : int(kExitOk);
}

}  // namespace

Result<int> probe(const Arguments& arguments) {
  const bool attention = arguments.words[0] == "attention";
  const std::vector<const char*> of_gemm = {"engine", "device",  "precision", "model",
                                            "shape",  "shapes",  "most-rows", "draws",
                                            "chip",   "forecast"};
  const std::vector<const char*> of_attention = {"python", "calls", "kernels", "seed", "json"};
  for (const char* option : attention ? of_gemm : of_attention) {
    if (!arguments.has(option)) continue;
    return Error{std::string("is of isobit probe ") + (attention ? "gemm" : "attention"),
                 std::string("--") + option};
  }
  return attention ? probe_attention(arguments) : probe_gemm(arguments);
}

}  // namespace isobit::commands
