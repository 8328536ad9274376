// Reads the tokenizer in a GGUF file's metadata into a TokenizerSpec. The pre-tokenizers go by
// llama.cpp's names and mean what the model's own tokenizer.json means.
#include <cmath>
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
  byte = 6,
};

constexpr char kMetaMark[] = "\xe2\x96\x81";  // ▁

/// The rules of one named pre-tokenizer.
struct GgufPre {
  const char* name;
  std::vector<PreStep> rules;
  bool ignore_merges = false;
  bool nfc = false;
};

const std::vector<GgufPre>& known_pres() {
  using enum SplitRule;
  static const std::vector<PreStep> digits{digits_each, gpt2};
  static const std::vector<GgufPre> pres{
      {"gpt-2", {gpt2}},
      {"phi-2", {gpt2}},
      {"olmo", {gpt2}},
      {"jais", {gpt2}},
      {"mpt", {gpt2}},
      {"smollm", digits},
      {"starcoder", digits},
      {"refact", digits},
      {"codeshell", digits},
      {"llama-bpe", {llama3}, true},
      {"llama3", {llama3}, true},
      {"llama-v3", {llama3}, true},
      {"dbrx", {llama3}},
      {"smaug-bpe", {llama3}},
      {"tekken", {tekken}, true},
      {"gpt-4o", {gpt4o}},
      {"llama4", {gpt4o}},
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
      if (pre.nfc) spec.normal.emplace_back();
      return {};
    }
    if (*pre.name != '\0') names += (names.empty() ? "" : ", ") + std::string(pre.name);
  }
  return Error{"the pre-tokenizer " + shown(gguf.pre) + " is not supported; known are " + names,
               place + ": tokenizer.ggml.pre"};
}

/// llama.cpp's rule for Phi-3: its special tokens swallow the white space after them.
bool rstrip(const GgufTokenizer& gguf, GgufTokenType type, const std::string& token) {
  std::string name = gguf.name;
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const bool phi3 =
      name.find("phi-3") != std::string::npos || name.find("phi3") != std::string::npos;
  const bool plain = token == "<unk>" || token == "<s>" || token == "<|endoftext|>";
  return phi3 && !plain && type != GgufTokenType::unknown;
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
        spec.added.push_back({id, token, false, rstrip(gguf, type, token)});
        break;
      case GgufTokenType::unused:
        spec.in_vocabulary[at] = 0;
        break;
      case GgufTokenType::byte:
        if (spec.model == TokenModel::sentencepiece) break;
        [[fallthrough]];
      default:
        return Error{"the type " + std::to_string(gguf.token_types[at]) +
                         " has no meaning in this kind of vocabulary",
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

/// Byte-level BPE.
Result<void> read_gpt2(const GgufTokenizer& gguf, const std::string& place, TokenizerSpec& spec) {
  if (gguf.add_space_prefix) {
    return Error{"is not supported in a byte-level vocabulary",
                 place + ": tokenizer.ggml.add_space_prefix"};
  }
  VocabularyIndex index;
  auto done = read_pre(gguf, place, spec);
  ISOBIT_TRY(done);
  done = read_tokens(gguf, place, spec, index);
  ISOBIT_TRY(done);
  return read_merges(gguf, place, index, spec);
}

/// SentencePiece's merging by scores. Merges that a file holds besides are not used.
Result<void> read_llama(const GgufTokenizer& gguf, const std::string& place, TokenizerSpec& spec) {
  spec.model = TokenModel::sentencepiece;
  VocabularyIndex index;
  auto done = read_tokens(gguf, place, spec, index);
  ISOBIT_TRY(done);
  if (gguf.scores.size() != gguf.tokens.size()) {
    return Error{std::to_string(gguf.scores.size()) + " scores for " +
                     std::to_string(gguf.tokens.size()) + " tokens",
                 place + ": tokenizer.ggml.scores"};
  }
  for (std::size_t at = 0; at < gguf.scores.size(); ++at) {
    if (!std::isfinite(gguf.scores[at])) {
      return Error{"the score is not finite",
                   place + ": tokenizer.ggml.scores[" + std::to_string(at) + "]"};
    }
    spec.scores.push_back(static_cast<double>(gguf.scores[at]));
  }
  NormalStep step;
  if (gguf.add_space_prefix) {
    step.kind = NormalStep::Kind::prepend;
    step.content = " ";
    spec.normal.push_back(step);
  }
  step.kind = NormalStep::Kind::replace;
  step.pattern = " ";
  step.content = kMetaMark;
  spec.normal.push_back(step);
  spec.decode = {false, {{kMetaMark, " "}}, true, false, gguf.add_space_prefix ? 1 : 0, ""};
  std::string text;
  return read_id(gguf, gguf.unknown, place + ": tokenizer.ggml.unknown_token_id", spec.bpe.unknown,
                 text);
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_gguf(const GgufTokenizer& gguf, const std::string& place) {
  if (gguf.problem) return *gguf.problem;
  if (gguf.model.empty()) {
    return Error{"the file has no tokenizer; prompts must then be given as token ids",
                 place + ": tokenizer.ggml.model"};
  }
  TokenizerSpec spec;
  const bool known = gguf.model == "gpt2" || gguf.model == "llama";
  if (!known) {
    return Error{"a tokenizer of model " + shown(gguf.model) +
                     " is not supported; known are \"gpt2\" (byte-level BPE) and \"llama\" "
                     "(SentencePiece)",
                 place + ": tokenizer.ggml.model"};
  }
  auto done = gguf.model == "gpt2" ? read_gpt2(gguf, place, spec) : read_llama(gguf, place, spec);
  ISOBIT_TRY(done);
  const std::string ids = place + ": tokenizer.ggml.";
  done = read_id(gguf, gguf.bos, ids + "bos_token_id", spec.bos, spec.bos_text);
  ISOBIT_TRY(done);
  done = read_id(gguf, gguf.eos, ids + "eos_token_id", spec.eos, spec.eos_text);
  ISOBIT_TRY(done);
  if (gguf.add_bos && spec.bos >= 0) spec.prefix.push_back(spec.bos);
  if (gguf.add_eos && spec.eos >= 0) spec.suffix.push_back(spec.eos);
  if (spec.bos >= 0) spec.named.emplace_back("bos_token", spec.bos_text);
  if (spec.eos >= 0) spec.named.emplace_back("eos_token", spec.eos_text);
  spec.chat_template = gguf.chat_template;
  return spec;
}

}  // namespace isobit
