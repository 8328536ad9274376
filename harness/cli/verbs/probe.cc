// `isobit probe gemm`: in which order do an engine's products add? Runs them, searches, writes a
// schedule book.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <set>
#include <sstream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/environment/environment.h"
#include "harness/models/models.h"
#include "harness/probe/products.h"
#include "harness/probe/reveal.h"
#include "harness/probe/search.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/words.h"
#include "runtime/numerics/tensorcore_text.h"

namespace isobit::commands {
namespace {

using Evidence = ProductLine::Evidence;

constexpr std::size_t kLargestCapture = std::size_t{1} << 30;
constexpr std::int64_t kMostColumns = std::int64_t{1} << 24;

struct Shape {
  std::int64_t outputs = 0, inputs = 0;
  std::vector<std::int64_t> rows;  // these alone
};

Result<Shape> shape_of(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::int64_t> numbers;
  for (std::string word; words >> word;) {
    numbers.push_back(0);
    if (!parse_integer(word, 1, kMostColumns, numbers.back())) {
      return Error{"a shape is N K, then numbers of rows; " + in_quotes(word) + " is none", ""};
    }
  }
  if (numbers.size() < 2) return Error{"a shape is N K, then numbers of rows", ""};
  std::sort(numbers.begin() + 2, numbers.end());
  numbers.erase(std::unique(numbers.begin() + 2, numbers.end()), numbers.end());
  return Shape{numbers[0], numbers[1], {numbers.begin() + 2, numbers.end()}};
}

/// Each product once; one that is there twice has the rows of both, or all.
void add_shape(Shape shape, std::vector<Shape>& out) {
  const auto same = std::find_if(out.begin(), out.end(), [&](const Shape& known) {
    return known.outputs == shape.outputs && known.inputs == shape.inputs;
  });
  if (same == out.end()) return out.push_back(std::move(shape));
  if (same->rows.empty()) return;
  if (shape.rows.empty()) return same->rows.clear();
  std::vector<std::int64_t> both;
  std::set_union(same->rows.begin(), same->rows.end(), shape.rows.begin(), shape.rows.end(),
                 std::back_inserter(both));
  same->rows = std::move(both);
}

/// The products of a model on one rank.
Result<std::vector<Shape>> shapes_of_model(const std::string& name) {
  auto model = open_model(name, "");
  ISOBIT_TRY(model);
  std::vector<Shape> out;
  const ModelConfig& c = model->config;
  for (const auto& [n, k] :
       {std::pair{c.heads * c.head_dim, c.hidden_size},
        std::pair{c.kv_heads * c.head_dim, c.hidden_size},
        std::pair{c.hidden_size, c.heads * c.head_dim},
        std::pair{c.intermediate_size, c.hidden_size},
        std::pair{c.hidden_size, c.intermediate_size}, std::pair{c.vocab_size, c.hidden_size}}) {
    add_shape({n, k, {}}, out);
  }
  return out;
}

Result<void> read_shapes(const std::string& file, std::vector<Shape>& out) {
  auto bytes = read_file(file, kLargestCapture, "a list of shapes");
  if (!bytes) return bytes.error();
  std::istringstream text(*bytes);
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    auto shape = shape_of(line);
    if (!shape) return Error{shape.error().message, file + ":" + std::to_string(number)};
    add_shape(std::move(*shape), out);
  }
  return {};
}

Result<std::vector<Shape>> shapes_of(const Arguments& arguments) {
  std::vector<Shape> out;
  if (arguments.has("model")) {
    auto of_model = shapes_of_model(arguments.text("model"));
    if (!of_model) return Error{of_model.error().text(), "--model"};
    out = std::move(*of_model);
  }
  for (std::string text : arguments.all("shape")) {
    std::replace(text.begin(), text.end(), ',', ' ');
    auto shape = shape_of(text);
    if (!shape) return Error{shape.error().message, "--shape"};
    add_shape(std::move(*shape), out);
  }
  if (arguments.has("shapes")) {
    if (auto ok = read_shapes(arguments.text("shapes"), out); !ok) return ok.error();
  }
  if (out.empty()) {
    return Error{"which products: --model MODEL, --shape N,K[,M] or --shapes FILE", "--shape"};
  }
  return out;
}

Result<std::vector<const Mode*>> modes_of(const Arguments& arguments) {
  std::vector<const Mode*> out;
  std::stringstream words(arguments.text("precision", "bf16"));
  for (std::string word; std::getline(words, word, ',');) {
    const Mode* mode = probe::operand_of(word);
    if (mode == nullptr) {
      return Error{"no products to probe in precision " + in_quotes(word) +
                       among_known(word, {"fp32", "tf32", "bf16", "fp16"}),
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
  plan.draws = *draws;
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
  std::string out = std::to_string(plan.draws) + " draws of ";
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
  for (const Mode* mode : *modes) {
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

/// The chip whose groups are tried: given, that of engine model, or sm90 for what ran on a GPU.
Result<std::optional<TensorCore>> chip_of(const Arguments& arguments,
                                          const probe::Capture& capture) {
  if (arguments.has("chip")) {
    auto chip = parse_tensor_core(arguments.text("chip"));
    if (!chip) return Error{chip.error().message, "--chip"};
    return std::optional(*chip);
  }
  const auto fact = [&](const char* name) {
    const auto found = capture.facts.find(name);
    return found == capture.facts.end() ? std::string() : found->second;
  };
  for (const TensorCore chip : tensor_cores()) {
    if (fact("engine") == "model:" + text_of(chip)) return std::optional(chip);
  }
  return fact("device") == "cuda" ? std::optional(TensorCore::sm90) : std::nullopt;
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
  std::int64_t proved = 0, calls = 0, results = 0;
  for (const ProductLine& line : lines) {
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
        std::to_string(results) + " results bit for bit\n");
}

/// What the masks say of products whose order is of no kind that the search knows.
Result<void> reveal_open(const Arguments& arguments, const std::vector<ProductLine>& lines) {
  constexpr int kMost = 8;
  auto plan = plan_of(arguments);
  if (!plan) return plan.error();
  int shown = 0;
  for (const ProductLine& line : lines) {
    if (line.evidence != Evidence::open || shown++ >= kMost) continue;
    if (line.operand == Format::fp16) {
      print("fp16 has no masks: its largest number is too small\n");
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

}  // namespace

Result<int> probe(const Arguments& arguments) {
  const std::vector<std::string> from = arguments.all("from");
  for (const char* option : {"engine", "device", "precision", "model", "shape", "shapes",
                             "most-rows", "draws", "threads", "capture"}) {
    if (!from.empty() && arguments.has(option)) {
      return Error{"nothing runs when captures are searched: --from", std::string("--") + option};
    }
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
  const auto chip = chip_of(arguments, capture);
  ISOBIT_TRY(chip);
  ProductBook book;
  book.keys = capture.facts;
  book.lines = probe::search_orders(capture, {*chip, [](const std::string& line) {
                                                std::fprintf(stderr, "%s\n", line.c_str());
                                              }});
  if (interrupted != 0) return stopped();
  print_lines(book.lines);
  if (arguments.has("book")) {
    const std::string text = text_of(book), file = arguments.text("book");
    if (auto whole = parse_product_book(text, file); !whole) return whole.error();
    if (auto written = write_file_atomically(file, text); !written) return written.error();
  }
  if (from.empty()) {
    if (auto ok = reveal_open(arguments, book.lines); !ok) return ok.error();
  }
  return interrupted != 0 ? stopped() : int(kExitOk);
}

}  // namespace isobit::commands
