// Implementation of runtime/tokenizer/chat.h on the interpreter of runtime/tokenizer/jinja.
#include "runtime/tokenizer/chat.h"

namespace isobit {
namespace {

constexpr std::pair<const char*, const char*> kMarks[] = {
    {"<|im_start|>", "chatml"},   {"<|start_header_id|>", "llama3"},
    {"<start_of_turn>", "gemma"}, {"[INST]", "mistral"},
    {"<|end|>", "phi3"},          {"<|user|>", "plain"},
    {"<|{{ m.role }}|>", "plain"}};

const char* name_by_marks(const std::string& source) {
  if (source.empty()) return "none";
  for (const auto& [mark, name] : kMarks) {
    if (source.find(mark) != std::string::npos) return name;
  }
  return "other";
}

Error as_error(const Error& error) {
  return Error{"the model's chat template, " + error.place + ": " + error.message +
                   "; give the prompt as text, or --raw",
               ""};
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source,
                           std::vector<std::pair<std::string, std::string>> variables)
    : variables_(std::move(variables)), name_(name_by_marks(source)) {
  if (source.empty()) return;
  auto parsed = jinja::Template::parse(source);
  if (parsed) {
    template_.emplace(std::move(*parsed));
  } else {
    problem_ = as_error(parsed.error());
  }
}

Result<std::string> ChatTemplate::render(std::span<const ChatMessage> messages) const {
  using jinja::Value;
  if (problem_) return *problem_;
  if (!template_) {
    return Error{"the model has no chat template; give the prompt as text, or --raw", ""};
  }
  Value::List list;
  for (const ChatMessage& message : messages) {
    list.push_back(Value::of(
        Value::Dict{{"role", Value::of(message.role)}, {"content", Value::of(message.content)}}));
  }
  Value::Dict variables{{"messages", Value::of(std::move(list))},
                        {"tools", Value::none()},
                        {"documents", Value::none()},
                        {"add_generation_prompt", Value::of_bool(true)}};
  for (const auto& [name, text] : variables_) jinja::put(variables, name, Value::of(text));
  auto text = template_->render(variables);
  if (!text) return as_error(text.error());
  return text;
}

std::string ChatTemplate::name() const {
  return problem_ ? "unknown (" + problem_->message + ")" : name_;
}

}  // namespace isobit
