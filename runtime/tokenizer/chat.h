// The chat template of a model: from a conversation to the text that the model continues.
//
// Promise: the text that transformers' apply_chat_template gives for the same template, with
// add_generation_prompt, or an error that names what the template uses and this interpreter lacks.
// Special tokens are in the text by name, BOS too where the template puts it. Called by the
// tokenizer.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/tokenizer/jinja/jinja.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

class ChatTemplate {
 public:
  ChatTemplate() = default;
  /// `variables`: "bos_token" and its text, and others that the template may name. A template that
  /// cannot be read is an error of render() alone: prompts that are texts need none.
  ChatTemplate(const std::string& source,
               std::vector<std::pair<std::string, std::string>> variables);

  /// The text up to where the assistant answers.
  [[nodiscard]] Result<std::string> render(std::span<const ChatMessage> messages) const;
  /// For people: "chatml", "llama3", … by the marks in it, "other", or "none".
  [[nodiscard]] std::string name() const;

 private:
  std::vector<std::pair<std::string, std::string>> variables_;
  std::optional<jinja::Template> template_;
  std::optional<Error> problem_;
  const char* name_ = "none";
};

}  // namespace isobit
