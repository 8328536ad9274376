// Reads tokenizer.json (Hugging Face tokenizers) into a TokenizerSpec. Whatever would change ids
// and is not implemented is refused by name, with the path of the value inside the file.
#include "runtime/tokenizer/from_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/json_node.h"

namespace isobit {
namespace {

using nlohmann::json;

/// Ids of a vocabulary without a token: a few lines must not ask for millions of places.
constexpr std::size_t kMostHoles = std::size_t{1} << 16;
/// Of Unigram, which looks for every token at every place of a text.
constexpr std::size_t kLongestToken = 4096;

/// Reads the model and the added tokens.
class Reader {
 public:
  explicit Reader(TokenizerSpec& spec) : spec_(spec) {}

  Result<void> read(const JsonNode& file) {
    if (!file.value->is_object()) return file.error("expected an object");
    for (const char* key : {"truncation", "padding"}) {
      if (!file.at(key).none()) spec_.ignored.push_back(std::string(key) + " (prompts are whole)");
    }
    auto done = model(file.at("model"));
    ISOBIT_TRY(done);
    return added_tokens(file.at("added_tokens"));
  }

 private:
  Result<void> model(const JsonNode& node);
  Result<void> bpe(const JsonNode& node);
  Result<void> unigram(const JsonNode& node);
  Result<void> unigram_entry(const JsonNode& entry);
  Result<void> model_options(const JsonNode& node);
  Result<void> vocabulary(const JsonNode& node);
  Result<void> merges(const JsonNode& node);
  Result<void> added_tokens(const JsonNode& node);
  Result<AddedToken> added_token(const JsonNode& node);
  void put_token(std::int32_t id, const std::string& token, bool in_vocabulary);

  TokenizerSpec& spec_;
  VocabularyIndex index_;
  std::int32_t last_added_ = -1;  // the largest id of an added token so far
};

void Reader::put_token(std::int32_t id, const std::string& token, bool in_vocabulary) {
  const auto at = static_cast<std::size_t>(id);
  if (at >= spec_.tokens.size()) {
    spec_.tokens.resize(at + 1);
    spec_.in_vocabulary.resize(at + 1, 0);
  }
  if (spec_.model == TokenModel::unigram && !in_vocabulary) spec_.scores.resize(at + 1, 0);
  spec_.tokens[at] = token;
  spec_.in_vocabulary[at] = in_vocabulary ? 1 : 0;
}

Result<void> Reader::model(const JsonNode& node) {
  if (!node.value->is_object()) return node.error("expected an object: this is no tokenizer.json");
  const std::string type = node.at("type").text();
  if (type == "BPE") return bpe(node);
  if (type == "Unigram") return unigram(node);
  return json_refusal(node.at("type"), "a model of type " + shown(type));
}

Result<void> Reader::bpe(const JsonNode& node) {
  auto done = model_options(node);
  ISOBIT_TRY(done);
  done = vocabulary(node.at("vocab"));
  ISOBIT_TRY(done);
  done = merges(node.at("merges"));
  ISOBIT_TRY(done);
  const std::string unknown = node.at("unk_token").text();
  if (const auto found = index_.find(unknown); found != index_.end()) {
    spec_.bpe.unknown = found->second;
  } else if (!unknown.empty()) {
    return node.at("unk_token").error("the vocabulary has no token " + shown(unknown));
  }
  return {};
}

Result<void> Reader::unigram(const JsonNode& node) {
  auto done = json_only(node, {"type", "unk_id", "vocab", "byte_fallback"});
  ISOBIT_TRY(done);
  spec_.model = TokenModel::unigram;
  const JsonNode vocab = node.at("vocab");
  if (vocab.size() == 0) return vocab.error("expected an array of [token, score]");
  if (vocab.size() > std::size_t{kMaxTokenIds}) return vocab.error("too many tokens");
  for (std::size_t at = 0; at < vocab.size(); ++at) {
    done = unigram_entry(vocab.at(at));
    ISOBIT_TRY(done);
  }
  const auto fallback = json_flag(node.at("byte_fallback"), false);
  ISOBIT_TRY(fallback);
  spec_.bpe.byte_fallback = *fallback;
  if (node.at("unk_id").none()) return {};
  const auto unknown = json_token_id(node.at("unk_id"));
  ISOBIT_TRY(unknown);
  if (static_cast<std::size_t>(*unknown) >= spec_.tokens.size()) {
    return node.at("unk_id").error("is outside the vocabulary of " +
                                   std::to_string(spec_.tokens.size()) + " tokens");
  }
  spec_.bpe.unknown = *unknown;
  return {};
}

Result<void> Reader::unigram_entry(const JsonNode& entry) {
  const bool pair = entry.size() == 2 && entry.at(std::size_t{0}).value->is_string() &&
                    entry.at(1).value->is_number();
  if (!pair) return entry.error("expected [token, score]");
  const std::string token = entry.at(std::size_t{0}).text();
  if (token.empty()) return entry.error("an empty token");
  if (token.size() > kLongestToken) {
    return entry.error("a token of " + std::to_string(token.size()) + " bytes; at most " +
                       std::to_string(kLongestToken) + " are read");
  }
  const double score = entry.at(1).value->get<double>();
  if (!std::isfinite(score)) return entry.error("the score is not finite");
  const auto id = static_cast<std::int32_t>(spec_.tokens.size());
  if (!index_.emplace(token, id).second) return entry.error("repeats the token " + shown(token));
  put_token(id, token, true);
  spec_.scores.push_back(score);
  return {};
}

Result<void> Reader::model_options(const JsonNode& node) {
  auto done = json_only(
      node, {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
             "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  ISOBIT_TRY(done);
  const JsonNode dropout = node.at("dropout");
  if (!dropout.none() && *dropout.value != json(0.0)) return json_refusal(dropout, "dropout");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const JsonNode affix = node.at(key);
    if (!affix.none() && *affix.value != json("")) return json_refusal(affix, key);
  }
  const auto fallback = json_flag(node.at("byte_fallback"), false);
  ISOBIT_TRY(fallback);
  spec_.bpe.byte_fallback = *fallback;
  const auto ignore = json_flag(node.at("ignore_merges"), false);
  ISOBIT_TRY(ignore);
  const auto fuse = json_flag(node.at("fuse_unk"), false);
  ISOBIT_TRY(fuse);
  spec_.bpe.ignore_merges = *ignore;
  spec_.bpe.fuse_unknown = *fuse;
  const JsonNode unknown = node.at("unk_token");
  if (!unknown.none() && !unknown.value->is_string()) return unknown.error("expected a string");
  return {};
}

Result<void> Reader::vocabulary(const JsonNode& node) {
  if (!node.value->is_object() || node.value->empty()) {
    return node.error("expected an object of tokens and their ids");
  }
  for (const auto& [token, value] : node.value->items()) {
    const JsonNode entry{&value, node.place + "[" + shown(token) + "]"};
    if (token.empty()) return entry.error("an empty token");
    const auto id = json_token_id(entry);
    ISOBIT_TRY(id);
    if (static_cast<std::size_t>(*id) >= node.value->size() + kMostHoles) {
      return entry.error("the id " + std::to_string(*id) + " is far above the " +
                         std::to_string(node.value->size()) +
                         " entries of the vocabulary; is the file damaged?");
    }
    if (static_cast<std::size_t>(*id) < spec_.tokens.size() &&
        !spec_.tokens[static_cast<std::size_t>(*id)].empty()) {
      return entry.error("the id " + std::to_string(*id) + " already belongs to " +
                         shown(spec_.tokens[static_cast<std::size_t>(*id)]));
    }
    put_token(*id, token, true);
  }
  for (std::size_t id = 0; id < spec_.tokens.size(); ++id) {
    if (!spec_.tokens[id].empty()) index_.emplace(spec_.tokens[id], static_cast<std::int32_t>(id));
  }
  return {};
}

Result<void> Reader::merges(const JsonNode& node) {
  if (!node.value->is_array()) return node.error("expected an array of merges");
  if (node.value->size() >= std::size_t{kMaxTokenIds} * 2) return node.error("too many merges");
  spec_.merges.reserve(node.value->size());
  for (std::size_t rank = 0; rank < node.value->size(); ++rank) {
    const json& entry = (*node.value)[rank];
    std::string left;
    std::string right;
    bool good = false;
    if (entry.is_string()) {
      const std::string& pair = entry.get_ref<const std::string&>();
      const std::size_t space = pair.find(' ');
      good = space != std::string::npos && pair.find(' ', space + 1) == std::string::npos;
      left = pair.substr(0, space);
      right = good ? pair.substr(space + 1) : "";
    } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
               entry[1].is_string()) {
      good = true;
      left = entry[0].get<std::string>();
      right = entry[1].get<std::string>();
    }
    if (!good) return node.at(rank).error("expected \"left right\" or [\"left\", \"right\"]");
    const auto merge = resolve_merge(index_, left, right, node.at(rank).place);
    ISOBIT_TRY(merge);
    spec_.merges.push_back(*merge);
  }
  return {};
}

Result<AddedToken> Reader::added_token(const JsonNode& node) {
  auto done = json_only(
      node, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  ISOBIT_TRY(done);
  AddedToken token;
  token.content = node.at("content").text();
  if (token.content.empty()) return node.at("content").error("expected a string, not empty");
  const auto id = json_token_id(node.at("id"));
  ISOBIT_TRY(id);
  token.id = *id;
  const auto special = json_flag(node.at("special"), false);
  ISOBIT_TRY(special);
  const auto single_word = json_flag(node.at("single_word"), false);
  ISOBIT_TRY(single_word);
  token.single_word = *single_word;
  const std::pair<const char*, bool*> flags[] = {{"lstrip", &token.lstrip},
                                                 {"rstrip", &token.rstrip}};
  for (const auto& [key, target] : flags) {
    const auto value = json_flag(node.at(key), false);
    ISOBIT_TRY(value);
    *target = *value;
  }
  const auto normalized = json_flag(node.at("normalized"), !*special);
  ISOBIT_TRY(normalized);
  token.normalized = *normalized;
  return token;
}

Result<void> Reader::added_tokens(const JsonNode& node) {
  if (node.none()) return {};
  if (!node.value->is_array()) return node.error("expected an array");
  std::set<std::string> contents;
  const auto vocabulary_size = static_cast<std::int32_t>(index_.size());
  for (std::size_t at = 0; at < node.value->size(); ++at) {
    auto token = added_token(node.at(at));
    ISOBIT_TRY(token);
    if (!contents.insert(token->content).second)
      return node.at(at).error("repeats the token " + shown(token->content));
    const auto found = index_.find(token->content);
    const std::int32_t expected = found != index_.end()            ? found->second
                                  : last_added_ >= vocabulary_size ? last_added_ + 1
                                                                   : vocabulary_size;
    if (token->id != expected) {
      return node.at(at).at("id").error(
          "the token " + shown(token->content) + " has id " + std::to_string(token->id) + " but " +
          (found != index_.end() ? "the vocabulary says " : "the next free id is ") +
          std::to_string(expected));
    }
    last_added_ = std::max(last_added_, token->id);
    if (found == index_.end()) put_token(token->id, token->content, false);
    spec_.added.push_back(std::move(*token));
  }
  return {};
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_json(const TokenizerFiles& files, const std::string& place) {
  TokenizerSpec spec;
  const auto file = parse_strict_json(files.tokenizer_json, JsonPlace{place, std::nullopt});
  ISOBIT_TRY(file);
  const JsonNode node{&*file, place};
  auto done = Reader(spec).read(node);
  ISOBIT_TRY(done);
  done = read_tokenizer_steps(node, spec);
  ISOBIT_TRY(done);
  done = read_siblings(files, place, {}, spec);
  ISOBIT_TRY(done);
  return spec;
}

}  // namespace isobit
