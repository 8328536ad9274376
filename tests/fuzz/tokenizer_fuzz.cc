// Fuzzes the tokenizer: arbitrary bytes as tokenizer.json, and small well-formed files whose
// vocabulary, rules and texts the input chooses.
//
// Input: the first byte decides. 'J': the rest is a tokenizer.json up to the first NUL, then
// tokenizer_config.json, then a text. 'F': special_tokens_map.json and added_tokens.json come
// between these two. 'S': two bytes of
// length, a tokenizer.model of this length, then a text. Anything else: it selects options of a
// generated GGUF vocabulary; the rest is tokens, merges and a text, separated by 0xff. Whatever is
// accepted must encode and decode without loss, unless bytes lack tokens.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/tokenizer.h"

namespace {

std::string_view next_part(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

std::string printable(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) {
    append_utf8(out, isobit::printable_of_byte(static_cast<std::uint8_t>(byte)));
  }
  return out;
}

void exercise(const isobit::Tokenizer& tokenizer, std::string_view text, bool lossless) {
  const std::vector<std::int32_t> ids = tokenizer.encode(text, false);
  for (const std::int32_t id : ids) ISOBIT_CHECK(id >= 0 && id < tokenizer.size());
  const std::string back = tokenizer.decode(ids);
  if (lossless) ISOBIT_CHECK(back == text);
  ISOBIT_CHECK(tokenizer.encode(text, true).size() >= ids.size());
  constexpr std::int64_t kFew = 4096;  // ids: the text of many would take all the time
  if (tokenizer.size() <= kFew) ISOBIT_CHECK(!tokenizer.fingerprint_text().empty());
  ISOBIT_CHECK(!tokenizer.describe().empty());
  const std::vector<isobit::ChatMessage> messages{{"user", std::string(text)}};
  const auto chat = tokenizer.apply_chat(messages);
  ISOBIT_CHECK(chat.has_value() || !chat.error().message.empty());
}

void fuzz_json(std::string_view rest, bool siblings) {
  const std::string file(next_part(rest, '\0'));
  const std::string config(next_part(rest, '\0'));
  isobit::LoadedModel model;
  model.path = "m";
  model.tokenizer_json = file.empty() ? "{" : file;
  model.tokenizer_config_json = config;
  for (const char* name : {"special_tokens_map.json", "added_tokens.json"}) {
    const std::string text(siblings ? next_part(rest, '\0') : std::string_view());
    if (!text.empty()) model.text_files[name] = text;
  }
  const auto tokenizer = isobit::Tokenizer::from_model(model);
  if (tokenizer) {
    exercise(*tokenizer, rest, false);
  } else {
    ISOBIT_CHECK(!tokenizer.error().place.empty());
  }
}

void fuzz_sentencepiece(std::string_view rest) {
  if (rest.size() < 2) return;
  const std::size_t size =
      static_cast<unsigned char>(rest[0]) * std::size_t{256} + static_cast<unsigned char>(rest[1]);
  rest.remove_prefix(2);
  isobit::LoadedModel model;
  model.path = "m";
  model.text_files["tokenizer.model"] = std::string(rest.substr(0, size));
  const auto tokenizer = isobit::Tokenizer::from_model(model);
  if (tokenizer) {
    exercise(*tokenizer, rest.substr(std::min(size, rest.size())), false);
  } else {
    ISOBIT_CHECK(!tokenizer.error().place.empty());
  }
}

/// A vocabulary of SentencePiece's kind: all bytes, then the tokens of the list, the best first.
void fuzz_llama(std::uint8_t options, std::string_view rest) {
  isobit::GgufTokenizer gguf;
  gguf.model = "llama";
  gguf.tokens = {"<unk>", "<s>"};
  gguf.token_types = {2, 3};
  constexpr char kDigits[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    gguf.tokens.push_back(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">");
    gguf.token_types.push_back(6);
  }
  gguf.tokens.emplace_back("\xe2\x96\x81");  // without it a space would come back as ▁
  gguf.token_types.push_back(1);
  for (std::string_view list = next_part(rest, '\xff'); !list.empty();) {
    gguf.tokens.emplace_back(next_part(list, ','));
    gguf.token_types.push_back(1);
  }
  for (std::size_t at = 0; at < gguf.tokens.size(); ++at) {
    gguf.scores.push_back(-static_cast<float>(at));
  }
  gguf.add_space_prefix = (options & 32) != 0;
  gguf.unknown = 0;
  const auto tokenizer = isobit::Tokenizer::from_gguf(gguf, "fuzz.gguf");
  // A prefix is put behind every added token, ▁ comes back as a space, <0xNN> as its byte.
  const bool plain = rest.find('<') == std::string_view::npos &&
                     rest.find("\xe2\x96\x81") == std::string_view::npos;
  if (tokenizer) exercise(*tokenizer, rest, plain);
}

void fuzz_vocabulary(std::uint8_t options, std::string_view rest) {
  constexpr const char* kPres[] = {"smollm", "gpt-2", "llama-bpe", "default"};
  isobit::GgufTokenizer gguf;
  gguf.model = "gpt2";
  gguf.pre = kPres[options & 3];
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    gguf.tokens.push_back(printable({&c, 1}));
  }
  gguf.token_types.assign(256, 1);
  const char separator = '\xff';
  for (std::string_view list = next_part(rest, separator); !list.empty();) {  // "a b,ab c,..."
    const std::string_view merge = next_part(list, ',');
    const std::size_t space = merge.find(' ');
    if (space == std::string_view::npos) {
      gguf.tokens.emplace_back(merge);
      gguf.token_types.push_back(3);
      continue;
    }
    const std::string left = printable(merge.substr(0, space));
    const std::string right = printable(merge.substr(space + 1));
    gguf.tokens.push_back(left + right);
    gguf.token_types.push_back(1);
    gguf.merges.push_back(left + " " + right);
  }
  gguf.add_bos = (options & 4) != 0;
  gguf.bos = (options & 8) != 0 ? 0 : -1;
  gguf.chat_template = std::string(next_part(rest, separator));
  const auto tokenizer = isobit::Tokenizer::from_gguf(gguf, "fuzz.gguf");
  if (tokenizer) exercise(*tokenizer, rest, true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'J' || data[0] == 'F') {
    fuzz_json(rest, data[0] == 'F');
  } else if (data[0] == 'S') {
    fuzz_sentencepiece(rest);
  } else if ((data[0] & 16) != 0) {
    fuzz_llama(data[0], rest);
  } else {
    fuzz_vocabulary(data[0], rest);
  }
  return 0;
}
