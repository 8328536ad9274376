// Implementation of runtime/tokenizer/jinja/jinja.h: tokens, then statements, then their
// evaluation.
#include "runtime/tokenizer/jinja/jinja.h"

#include <utility>

#include "runtime/tokenizer/jinja/eval.h"

namespace isobit::jinja {

struct Template::Tree {
  Nodes nodes;
};

Template::Template(std::unique_ptr<Tree> tree) : tree_(std::move(tree)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::parse(const std::string& source) {
  constexpr std::size_t kLongest = std::size_t{1} << 20;
  if (source.size() > kLongest) return Error{"the template is larger than 1 MiB", "line 1"};
  const auto tokens = tokens_of(source);
  ISOBIT_TRY(tokens);
  auto nodes = jinja::parse(*tokens);
  ISOBIT_TRY(nodes);
  auto tree = std::make_unique<Tree>();
  tree->nodes = std::move(*nodes);
  return Template(std::move(tree));
}

Result<std::string> Template::render(const Value::Dict& variables) const {
  return Evaluator(variables).run(tree_->nodes);
}

}  // namespace isobit::jinja
