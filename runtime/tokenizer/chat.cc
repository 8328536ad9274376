// The chat formats that are known natively: their templates in canonical form, and their texts.
#include "runtime/tokenizer/chat.h"

#include <string_view>

#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr std::string_view kMessages = "{%for message in messages%}";
constexpr std::string_view kSystemOpen =
    "{%if loop.first and messages[0].role!='system'%}<|im_start|>system\n";
constexpr std::string_view kSystemClose = "<|im_end|>\n{%endif%}";
constexpr std::string_view kChatmlMessage =
    "<|im_start|>{{message.role}}\n{{message.content}}<|im_end|>\n{%endfor%}";
constexpr std::string_view kChatmlPrompt =
    "{%if add_generation_prompt%}<|im_start|>assistant\n{%endif%}";
constexpr std::string_view kPlain =
    "{%for m in messages%}<|{{m.role}}|>\n{{m.content}}\n{%endfor%}<|assistant|>\n";
constexpr std::string_view kLlama3Message =
    "{%set loop_messages=messages%}{%for message in loop_messages%}"
    "{%set content='<|start_header_id|>'+message.role+'<|end_header_id|>\n\n'"
    "+message.content|trim+'<|eot_id|>'%}"
    "{%if loop.index0==0%}{%set content=bos_token+content%}{%endif%}{{content}}{%endfor%}";
constexpr std::string_view kLlama3Open = "{%if add_generation_prompt%}";
constexpr std::string_view kLlama3Prompt = "<|start_header_id|>assistant<|end_header_id|>\n\n";
constexpr std::string_view kMistralOpen =
    "{{bos_token}}{%for message in messages%}"
    "{%if(message.role=='user')!=(loop.index0%2==0)%}"
    "{{raise_exception('Conversation roles must alternate user/assistant/user/assistant/...')}}"
    "{%endif%}{%if message.role=='user'%}[INST] {{message.content}} [/INST]"
    "{%elif message.role=='assistant'%}{{message.content}}{{eos_token}}";
constexpr std::string_view kMistralClose =
    "{%else%}{{raise_exception('Only user and assistant roles are supported!')}}"
    "{%endif%}{%endfor%}";

/// Removes `prefix` from the front of `text` when it is there.
bool take(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool is_chatml(std::string_view text, ChatFormat& format) {
  if (!take(text, kMessages)) return false;
  if (take(text, kSystemOpen)) {
    const std::size_t end = text.find(kSystemClose);
    if (end == std::string_view::npos) return false;
    format.default_system = std::string(text.substr(0, end));
    for (const char* tag : {"{%", "{{", "{#"}) {
      if (format.default_system.find(tag) != std::string::npos) return false;
    }
    format.has_default_system = true;
    text.remove_prefix(end + kSystemClose.size());
  }
  return take(text, kChatmlMessage) && text == kChatmlPrompt;
}

bool is_llama3(std::string_view text) {
  if (!take(text, kLlama3Message)) return false;
  if (text == kLlama3Prompt) return true;
  return take(text, kLlama3Open) && take(text, kLlama3Prompt) && text == "{%endif%}";
}

bool is_mistral(std::string_view text, ChatFormat& format) {
  if (!take(text, kMistralOpen)) return false;
  if (take(text, " ")) format.after_answer = " ";
  return text == kMistralClose;
}

/// Jinja's trim: Python's white space at both ends.
std::string_view trimmed(std::string_view text) {
  const auto space = [](const Char& c) {
    return c.is(kSpace) || (c.code >= 0x1c && c.code <= 0x1f);
  };
  while (!text.empty()) {
    const Char c = char_at(text, 0);
    if (!space(c)) break;
    text.remove_prefix(c.bytes);
  }
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) --start;
    const Char c = char_at(text, start);
    if (!space(c) || start + c.bytes != text.size()) break;
    text.remove_suffix(c.bytes);
  }
  return text;
}

std::string render_chatml(const ChatFormat& format, std::span<const ChatMessage> messages) {
  std::string out;
  if (format.has_default_system && !messages.empty() && messages[0].role != "system") {
    out = "<|im_start|>system\n" + format.default_system + "<|im_end|>\n";
  }
  for (const ChatMessage& message : messages) {
    out += "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n";
  }
  return out + "<|im_start|>assistant\n";
}

std::string render_llama3(const ChatFormat& format, std::span<const ChatMessage> messages) {
  std::string out = messages.empty() ? "" : format.bos;
  for (const ChatMessage& message : messages) {
    out += "<|start_header_id|>" + message.role + "<|end_header_id|>\n\n";
    out += trimmed(message.content);
    out += "<|eot_id|>";
  }
  return out + std::string(kLlama3Prompt);
}

Result<std::string> render_mistral(const ChatFormat& format,
                                   std::span<const ChatMessage> messages) {
  std::string out = format.bos;
  for (std::size_t at = 0; at < messages.size(); ++at) {
    const ChatMessage& message = messages[at];
    if (message.role != (at % 2 == 0 ? "user" : "assistant")) {
      return Error{
          "the model's chat format takes user and assistant in turns, beginning with "
          "user, and no system message; message " +
              std::to_string(at + 1) + " is of role \"" + message.role + "\"",
          ""};
    }
    if (at % 2 == 0) {
      out += "[INST] " + message.content + " [/INST]";
    } else {
      out += message.content + format.eos + format.after_answer;
    }
  }
  return out;
}

std::string render_plain(std::span<const ChatMessage> messages) {
  std::string out;
  for (const ChatMessage& message : messages) {
    out += "<|" + message.role + "|>\n" + message.content + "\n";
  }
  return out + "<|assistant|>\n";
}

}  // namespace

const char* name_of(ChatFormat::Kind kind) {
  switch (kind) {
    case ChatFormat::Kind::none:
      return "none";
    case ChatFormat::Kind::unknown:
      return "unknown";
    case ChatFormat::Kind::chatml:
      return "chatml";
    case ChatFormat::Kind::llama3:
      return "llama3";
    case ChatFormat::Kind::mistral:
      return "mistral";
    case ChatFormat::Kind::plain:
      return "plain";
  }
  return "unknown";
}

ChatFormat recognise_chat(const std::string& chat_template, const std::string& bos,
                          const std::string& eos) {
  ChatFormat format;
  format.bos = bos;
  format.eos = eos;
  if (chat_template.empty()) return format;
  const std::string canonical = canonical_template(chat_template);
  if (chat_template == kPlainTemplate || canonical == kPlain) {
    format.kind = ChatFormat::Kind::plain;
  } else if (is_chatml(canonical, format)) {
    format.kind = ChatFormat::Kind::chatml;
  } else if (is_llama3(canonical)) {
    format.kind = ChatFormat::Kind::llama3;
  } else if (is_mistral(canonical, format)) {
    format.kind = ChatFormat::Kind::mistral;
  } else {
    format.kind = ChatFormat::Kind::unknown;
  }
  return format;
}

Result<std::string> render_chat(const ChatFormat& format, std::span<const ChatMessage> messages) {
  switch (format.kind) {
    case ChatFormat::Kind::chatml:
      return render_chatml(format, messages);
    case ChatFormat::Kind::llama3:
      return render_llama3(format, messages);
    case ChatFormat::Kind::mistral:
      return render_mistral(format, messages);
    case ChatFormat::Kind::plain:
      return render_plain(messages);
    case ChatFormat::Kind::none:
      return Error{"the model has no chat template; give the prompt as text instead", ""};
    case ChatFormat::Kind::unknown:
      break;
  }
  return Error{
      "the model's chat template is none of those known (ChatML, Llama-3, Mistral "
      "[INST], plain); give the prompt as text instead",
      ""};
}

}  // namespace isobit
