// Fuzzes chat templates: no crash, no work beyond the bounds; what is rendered is a pure function
// of its inputs, and a text without tags stays what it is.
//
// Input: template, BOS, EOS, then roles and contents in turns, separated by zero bytes.
#include <vector>

#include "runtime/tokenizer/chat.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
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
  const ChatTemplate chat(text, {{"bos_token", bos}, {"eos_token", eos}});
  ISOBIT_CHECK((chat.name() == "none") == text.empty());
  const auto once = chat.render(messages);
  const auto again = ChatTemplate(text, {{"bos_token", bos}, {"eos_token", eos}}).render(messages);
  ISOBIT_CHECK(once.has_value() == again.has_value());
  if (!fuzz::accepted(once)) return 0;
  ISOBIT_CHECK(*once == *again);
  if (text.find_first_of("{\r\n") == std::string::npos) ISOBIT_CHECK(*once == text);
  return 0;
}
