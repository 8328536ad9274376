// Reads the tokenizer in a GGUF file's metadata into a TokenizerSpec. The pre-tokenizers go by
// llama.cpp's names and mean what the model's own tokenizer.json means.
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/spec.h"

namespace isobit {
namespace {

/// token_type of GGUF.
enum class GgufTokenType : std::int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
};

/// The rules of one named pre-tokenizer.
struct GgufPre {
  const char* name;
  std::vector<SplitRule> rules;
  bool ignore_merges = false;
  bool nfc = false;
};

const std::vector<GgufPre>& known_pres() {
  using enum SplitRule;
  static const std::vector<SplitRule> digits{digits_each, gpt2};
  static const std::vector<GgufPre> pres{
      {"gpt-2", {gpt2}},
      {"phi-2", {gpt2}},
      {"olmo", {gpt2}},
      {"smollm", digits},
      {"starcoder", digits},
      {"refact", digits},
      {"codeshell", digits},
      {"llama-bpe", {llama3}, true},
      {"llama3", {llama3}, true},
      {"llama-v3", {llama3}, true},
      {"qwen2", {qwen2}, false, true},
      {"deepseek-r1-qwen", {qwen2}, false, true},
      {"default", {punctuation_runs, gpt2, number_runs, digit_triples}},
      {"", {punctuation_runs, gpt2, number_runs, digit_triples}},  // llama.cpp's fallback
  };
  return pres;
}

Result<void> read_pre(const GgufTokenizer& gguf, const std::string& place, TokenizerSpec& spec) {
  std::string names;
  for (const GgufPre& pre : known_pres()) {
    if (gguf.pre == pre.name) {
      spec.rules = pre.rules;
      spec.bpe.ignore_merges = pre.ignore_merges;
      spec.nfc = pre.nfc;
      return {};
    }
    if (*pre.name != '\0') names += (names.empty() ? "" : ", ") + std::string(pre.name);
  }
  return Error{"the pre-tokenizer " + shown(gguf.pre) + " is not supported; known are " + names,
               place + ": tokenizer.ggml.pre"};
}

Result<void> read_tokens(const GgufTokenizer& gguf, const std::string& place, TokenizerSpec& spec,
                         VocabularyIndex& index) {
  const std::string key = place + ": tokenizer.ggml.tokens";
  if (gguf.tokens.empty()) return Error{"the vocabulary is empty", key};
  if (gguf.tokens.size() > std::size_t{kMaxTokenIds}) return Error{"too many tokens", key};
  if (!gguf.token_types.empty() && gguf.token_types.size() != gguf.tokens.size()) {
    return Error{std::to_string(gguf.token_types.size()) + " types for " +
                     std::to_string(gguf.tokens.size()) + " tokens",
                 place + ": tokenizer.ggml.token_type"};
  }
  spec.tokens = gguf.tokens;
  spec.in_vocabulary.assign(gguf.tokens.size(), 1);
  index.reserve(gguf.tokens.size());
  for (std::size_t at = 0; at < gguf.tokens.size(); ++at) {
    const auto here = [at] { return "[" + std::to_string(at) + "]"; };
    const std::string& token = spec.tokens[at];
    if (token.empty()) return Error{"an empty token", key + here()};
    const auto id = static_cast<std::int32_t>(at);
    if (!index.emplace(token, id).second) {
      return Error{"repeats the token " + shown(token), key + here()};
    }
    const auto type = gguf.token_types.empty() ? GgufTokenType::normal
                                               : static_cast<GgufTokenType>(gguf.token_types[at]);
    switch (type) {
      case GgufTokenType::normal:
        break;
      case GgufTokenType::unknown:
      case GgufTokenType::control:
      case GgufTokenType::user_defined:
        spec.added.push_back({id, token});
        break;
      case GgufTokenType::unused:
        spec.in_vocabulary[at] = 0;
        break;
      default:
        return Error{"the type " + std::to_string(gguf.token_types[at]) +
                         " has no meaning in a byte-level vocabulary",
                     place + ": tokenizer.ggml.token_type" + here()};
    }
  }
  return {};
}

Result<void> read_merges(const GgufTokenizer& gguf, const std::string& place,
                         const VocabularyIndex& index, TokenizerSpec& spec) {
  spec.merges.reserve(gguf.merges.size());
  for (std::size_t rank = 0; rank < gguf.merges.size(); ++rank) {
    const auto here = [&] {  // said for a wrong one only: there are many
      return place + ": tokenizer.ggml.merges[" + std::to_string(rank) + "]";
    };
    const std::string_view pair = gguf.merges[rank];
    const std::size_t space = pair.find(' ', 1);  // as llama.cpp: the left token is not empty
    if (space == std::string_view::npos) return Error{"expected \"left right\"", here()};
    const auto merge = resolve_merge(index, pair.substr(0, space), pair.substr(space + 1), "");
    if (!merge) return Error{merge.error().message, here()};
    spec.merges.push_back(*merge);
  }
  return {};
}

/// Takes an id that must name a token, or -1 for none.
Result<void> read_id(const GgufTokenizer& gguf, std::int32_t id, const std::string& place,
                     std::int32_t& target, std::string& text) {
  if (id == -1) return {};
  if (id < 0 || static_cast<std::size_t>(id) >= gguf.tokens.size()) {
    return Error{"the id " + std::to_string(id) + " is outside the vocabulary of " +
                     std::to_string(gguf.tokens.size()) + " tokens",
                 place};
  }
  target = id;
  text = gguf.tokens[static_cast<std::size_t>(id)];
  return {};
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_gguf(const GgufTokenizer& gguf, const std::string& place) {
  if (gguf.model != "gpt2") {
    return Error{"a tokenizer of model " + shown(gguf.model) +
                     " is not supported; known is \"gpt2\" (byte-level BPE)",
                 place + ": tokenizer.ggml.model"};
  }
  if (gguf.add_space_prefix) {
    return Error{"is not supported in a byte-level vocabulary",
                 place + ": tokenizer.ggml.add_space_prefix"};
  }
  TokenizerSpec spec;
  VocabularyIndex index;
  auto done = read_pre(gguf, place, spec);
  ISOBIT_TRY(done);
  done = read_tokens(gguf, place, spec, index);
  ISOBIT_TRY(done);
  done = read_merges(gguf, place, index, spec);
  ISOBIT_TRY(done);
  const std::string ids = place + ": tokenizer.ggml.";
  done = read_id(gguf, gguf.bos, ids + "bos_token_id", spec.bos, spec.bos_text);
  ISOBIT_TRY(done);
  done = read_id(gguf, gguf.eos, ids + "eos_token_id", spec.eos, spec.eos_text);
  ISOBIT_TRY(done);
  if (gguf.add_bos && spec.bos >= 0) spec.prefix.push_back(spec.bos);
  if (gguf.add_eos && spec.eos >= 0) spec.suffix.push_back(spec.eos);
  spec.chat_template = gguf.chat_template;
  return spec;
}

}  // namespace isobit
