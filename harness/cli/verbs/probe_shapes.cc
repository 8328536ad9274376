// Shapes from the command line, a file, a model (probe_shapes.h).
#include "harness/cli/verbs/probe_shapes.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include "harness/models/models.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

constexpr std::size_t kLargestList = std::size_t{1} << 30;
constexpr std::int64_t kMostColumns = std::int64_t{1} << 24;

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

Result<std::vector<Shape>> shapes_of_model(const std::string& name) {
  auto model = open_model(name, "");
  ISOBIT_TRY(model);
  std::vector<Shape> out;
  for (const ModelProduct& product : products_of(model->config)) {
    add_shape({product.outputs, product.inputs, {}}, out);
  }
  return out;
}

Result<void> read_shapes(const std::string& file, std::vector<Shape>& out) {
  auto bytes = read_file(file, kLargestList, "a list of shapes");
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

}  // namespace

std::vector<ModelProduct> products_of(const ModelConfig& c) {
  return {{"q", c.heads * c.head_dim, c.hidden_size},
          {"k, v", c.kv_heads * c.head_dim, c.hidden_size},
          {"o", c.hidden_size, c.heads * c.head_dim},
          {"gate, up", c.intermediate_size, c.hidden_size},
          {"down", c.hidden_size, c.intermediate_size},
          {"lm_head", c.vocab_size, c.hidden_size, true}};
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

}  // namespace isobit::commands
