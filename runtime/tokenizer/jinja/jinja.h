// Chat templates: a small, exact interpreter of the part of Jinja that they use.
//
// Promise: the text that jinja2 gives in the environment of transformers (trim_blocks,
// lstrip_blocks, loop controls, an immutable sandbox), or an error that names what is not supported
// and its line; it never guesses. Work, output and nesting are bounded. What is not supported is an
// error only where it is reached. Called by tokenizer/chat.cc only.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/result.h"
#include "runtime/tokenizer/jinja/value.h"

namespace isobit::jinja {

class Template {
 public:
  /// Errors are those of the syntax. The error's place is "line 3".
  static Result<Template> parse(const std::string& source);
  /// `variables`: a dict's members by name.
  [[nodiscard]] Result<std::string> render(const Value::Dict& variables) const;

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

 private:
  struct Tree;
  explicit Template(std::unique_ptr<Tree> tree);
  std::unique_ptr<Tree> tree_;
};

}  // namespace isobit::jinja
