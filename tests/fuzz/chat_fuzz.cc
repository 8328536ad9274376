// Fuzzes chat templates: no crash, no time beyond the length of the text; only templates of known
// formats are rendered, and they hold every message.
//
// Input: template, BOS, EOS, then roles and contents in turns, separated by zero bytes.
#include <vector>

#include "runtime/tokenizer/chat.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  using Kind = ChatFormat::Kind;
  const std::string input = fuzz::text_of(data, size);
  std::string_view rest = input;
  const std::string text = fuzz::take_part(rest, '\0');
  const std::string bos = fuzz::take_part(rest, '\0');
  const std::string eos = fuzz::take_part(rest, '\0');
  std::vector<ChatMessage> messages;
  while (!rest.empty()) {
    const std::string role = fuzz::take_part(rest, '\0');
    messages.push_back({role, fuzz::take_part(rest, '\0')});
  }
  // Nothing but the names of members and the marks of constants is added.
  ISOBIT_CHECK(canonical_template(text).size() <= 4 * text.size() + 4);
  const ChatFormat format = recognise_chat(text, bos, eos);
  ISOBIT_CHECK((format.kind == Kind::none) == text.empty());
  const auto chat = render_chat(format, messages);
  if (!fuzz::accepted(chat)) return 0;
  ISOBIT_CHECK(format.kind != Kind::none && format.kind != Kind::unknown);
  if (format.kind == Kind::llama3) return 0;  // trims contents
  std::size_t from = 0;
  for (const ChatMessage& message : messages) {
    from = chat->find(message.content, from);
    ISOBIT_CHECK(from != std::string::npos);
    from += message.content.size();
  }
  return 0;
}
