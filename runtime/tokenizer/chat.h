// Chat formats: the text of a conversation, as the model's chat template would write it.
//
// Promise: a format is recognised only when its template means the same text as the template in
// hand (spacing, quotes and string concatenation aside); any other template is an error, never a
// guess. Special tokens are in the text by name, BOS too where the template puts it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "runtime/base/result.h"
#include "runtime/tokenizer/tokenizer.h"

namespace isobit {

struct ChatFormat {
  enum class Kind : std::uint8_t {
    none,     // the file has no template
    unknown,  // a template that is none of the others
    chatml,   // <|im_start|>role … <|im_end|>
    llama3,   // <|start_header_id|>role<|end_header_id|> … <|eot_id|>
    mistral,  // [INST] … [/INST]
    plain,    // <|role|> on one line, the content on the next
  };
  Kind kind = Kind::none;
  std::string bos;
  std::string eos;
  bool has_default_system = false;  // chatml: a system message that comes when there is none
  std::string default_system;
  std::string after_answer;  // mistral: what follows eos
};

const char* name_of(ChatFormat::Kind kind);

/// The template of the plain format, as the project's own models carry it.
inline constexpr char kPlainTemplate[] =
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}<|assistant|>\n";

/// Finds the format of a Jinja chat template. `bos` and `eos` are the texts of those tokens.
ChatFormat recognise_chat(const std::string& chat_template, const std::string& bos,
                          const std::string& eos);

/// The text up to where the assistant answers.
Result<std::string> render_chat(const ChatFormat& format, std::span<const ChatMessage> messages);

/// The template in the form in which it is compared: blocks without needless spaces, constant
/// strings as the text that they print. For tests.
std::string canonical_template(const std::string& chat_template);

}  // namespace isobit
