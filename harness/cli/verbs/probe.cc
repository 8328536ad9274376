// `isobit probe gemm`: what order do an engine's products add in?
#include <algorithm>
#include <cstdio>
#include <sstream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/models/models.h"
#include "harness/probe/products.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

struct Shape {
  std::int64_t outputs = 0, inputs = 0;
  std::vector<std::int64_t> rows;  // these alone
};

Result<Shape> shape_of(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::int64_t> numbers;
  for (std::string word; words >> word;) {
    numbers.push_back(0);
    if (!parse_integer(word, 1, std::int64_t{1} << 24, numbers.back())) {
      return Error{"a shape is N K, then numbers of rows; " + in_quotes(word) + " is none", ""};
    }
  }
  if (numbers.size() < 2) return Error{"a shape is N K, then numbers of rows", ""};
  return Shape{numbers[0], numbers[1], {numbers.begin() + 2, numbers.end()}};
}

/// The products of one rank of a model.
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
    const auto same = [&, n = n, k = k](const Shape& s) { return s.outputs == n && s.inputs == k; };
    if (std::none_of(out.begin(), out.end(), same)) out.push_back({n, k, {}});
  }
  return out;
}

Result<std::vector<Shape>> shapes_of(const Arguments& arguments) {
  std::vector<Shape> out;
  if (arguments.has("model")) {
    auto of_model = shapes_of_model(arguments.text("model"));
    if (!of_model) return Error{of_model.error().text(), "--model"};
    out = *of_model;
  }
  for (std::string text : arguments.all("shape")) {
    std::replace(text.begin(), text.end(), ',', ' ');
    auto shape = shape_of(text);
    if (!shape) return Error{shape.error().message, "--shape"};
    out.push_back(*shape);
  }
  if (arguments.has("shapes")) {
    const std::string file = arguments.text("shapes");
    auto bytes = read_file(file, std::size_t{64} << 20, "a list of shapes");
    ISOBIT_TRY(bytes);
    std::istringstream text(*bytes);
    std::string line;
    for (int number = 1; std::getline(text, line); ++number) {
      if (line.empty() || line[0] == '#') continue;
      auto shape = shape_of(line);
      if (!shape) return Error{shape.error().message, file + ":" + std::to_string(number)};
      out.push_back(*shape);
    }
  }
  if (out.empty()) return Error{"which products: --model, --shape or --shapes", "--shape"};
  return out;
}

Result<probe::ProductPlan> plan_of(const Arguments& arguments, const std::string& precision) {
  probe::ProductPlan plan;
  bool known = false;
  for (const Mode& mode : kModes) {
    if (precision != mode.name) continue;
    plan.precision = mode.precision;
    known = true;
  }
  if (!known) return Error{"unknown precision " + in_quotes(precision), "--precision"};
  auto engine = parse_engine(arguments.text("engine", "cublas"));
  if (!engine) return Error{engine.error().message, "--engine"};
  plan.backend.engine = *engine;
  plan.backend.device =
      arguments.text("device", engine->name.starts_with("cublas") ? "cuda" : "cpu");
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

}  // namespace

Result<int> probe(const Arguments& arguments) {
  auto shapes = shapes_of(arguments);
  ISOBIT_TRY(shapes);
  std::FILE* out = std::fopen(arguments.text("capture").c_str(), "w");
  if (out == nullptr) return Error{"cannot be written", arguments.text("capture")};
  std::stringstream precisions(arguments.text("precision", "bf16"));
  bool begun = false;
  for (std::string precision; std::getline(precisions, precision, ',');) {
    auto plan = plan_of(arguments, precision);
    ISOBIT_TRY(plan);
    auto backend = make_backend(plan->backend, mode_of(plan->precision));
    ISOBIT_TRY(backend);
    if (!begun) std::fputs(probe::facts_text(probe::facts_of(**backend)).c_str(), out);
    begun = true;
    for (const Shape& shape : *shapes) {
      plan->outputs = shape.outputs;
      plan->inputs = shape.inputs;
      plan->rows = shape.rows;
      probe::ProductPlan mine = *plan;
      if (!shape.rows.empty()) {
        mine.most_rows = *std::max_element(shape.rows.begin(), shape.rows.end());
      }
      try {
        std::fputs(probe::text_of(probe::capture_products(**backend, mine)).c_str(), out);
      } catch (const BackendError& error) {
        std::fprintf(stderr, "%s %lld x %lld: %s\n", precision.c_str(), (long long)shape.outputs,
                     (long long)shape.inputs, error.what());
      } catch (const std::bad_alloc& error) {
        std::fprintf(stderr, "%s: %s\n", precision.c_str(), memory_text(error).c_str());
      }
      std::fflush(out);
    }
  }
  std::fclose(out);
  return int(kExitOk);
}

}  // namespace isobit::commands
