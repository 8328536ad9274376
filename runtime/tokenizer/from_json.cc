// Reads tokenizer.json (Hugging Face tokenizers) into a TokenizerSpec. Whatever would change ids
// and is not implemented is refused by name, with the path of the value inside the file.
#include "runtime/tokenizer/from_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/spec.h"

namespace isobit {
namespace {

using nlohmann::json;

/// Every rule walks over every text: far more than published files have would only cost time.
constexpr std::size_t kMostRules = 16;
/// Ids of a vocabulary without a token: a few lines must not ask for millions of places.
constexpr std::size_t kMostHoles = std::size_t{1} << 16;

/// A value of the file with its path, which is what errors name.
struct Node {
  const json* value;
  std::string place;  // "tokenizer.json: model.merges[3]"

  /// The member `key`; null when this is no object or has no such member.
  [[nodiscard]] Node at(const std::string& key) const {
    static const json kNull;
    const bool has = value->is_object() && value->contains(key);
    const bool top = place.find(": ") == std::string::npos;
    return {has ? &(*value)[key] : &kNull, place + (top ? ": " : ".") + key};
  }
  [[nodiscard]] Node at(std::size_t index) const {
    return {&(*value)[index], place + "[" + std::to_string(index) + "]"};
  }
  [[nodiscard]] bool none() const { return value->is_null(); }
  [[nodiscard]] std::string text() const {
    return value->is_string() ? value->get<std::string>() : std::string();
  }
  [[nodiscard]] Error error(std::string message) const { return {std::move(message), place}; }
};

/// A flag that may be absent. Anything but a boolean or null is an error.
Result<bool> flag(const Node& node, bool otherwise) {
  if (node.none()) return otherwise;
  if (!node.value->is_boolean()) return node.error("expected true or false");
  return node.value->get<bool>();
}

/// An id: a whole number in [0, kMaxTokenIds).
Result<std::int32_t> id_of(const Node& node) {
  const bool whole = node.value->is_number_unsigned();
  if (!whole || node.value->get<std::uint64_t>() >= std::uint64_t{kMaxTokenIds}) {
    return node.error("expected a token id from 0 to " + std::to_string(kMaxTokenIds - 1));
  }
  return node.value->get<std::int32_t>();
}

Error refusal(const Node& node, const std::string& what) {
  return node.error(what +
                    " is not supported; this reader knows byte-level BPE as GPT-2, SmolLM, "
                    "StarCoder, Llama-3 and Qwen2 use it");
}

/// Refuses an object's members that are not in `known`.
Result<void> only(const Node& node, const std::set<std::string>& known) {
  if (!node.value->is_object()) return node.error("expected an object");
  for (const auto& [key, value] : node.value->items()) {
    if (known.count(key) == 0) return refusal(node.at(key), "the key " + shown(key));
  }
  return {};
}

class Reader {
 public:
  explicit Reader(TokenizerSpec& spec) : spec_(spec) {}

  Result<void> read(const Node& file) {
    if (!file.value->is_object()) return file.error("expected an object");
    for (const char* key : {"truncation", "padding"}) {
      if (!file.at(key).none()) {
        return file.at(key).error("must be null: it would change what a text's tokens are");
      }
    }
    auto done = model(file.at("model"));
    ISOBIT_TRY(done);
    done = added_tokens(file.at("added_tokens"));
    ISOBIT_TRY(done);
    done = normalizer(file.at("normalizer"));
    ISOBIT_TRY(done);
    done = pre_tokenizer(file.at("pre_tokenizer"));
    ISOBIT_TRY(done);
    if (!byte_level_) {
      return refusal(file.at("pre_tokenizer"), "a pre-tokenizer that does not end with ByteLevel");
    }
    done = post_processor(file.at("post_processor"));
    ISOBIT_TRY(done);
    return decoder(file.at("decoder"));
  }

 private:
  Result<void> model(const Node& node);
  Result<void> model_options(const Node& node);
  Result<void> vocabulary(const Node& node);
  Result<void> merges(const Node& node);
  Result<void> added_tokens(const Node& node);
  Result<AddedToken> added_token(const Node& node);
  Result<void> normalizer(const Node& node);
  Result<void> pre_tokenizer(const Node& node);
  Result<void> split_step(const Node& node);
  Result<void> byte_level(const Node& node);
  Result<void> post_processor(const Node& node);
  Result<void> template_item(const Node& item, const Node& specials, bool& seen_text);
  Result<void> decoder(const Node& node);
  void put_token(std::int32_t id, const std::string& token, bool in_vocabulary);

  TokenizerSpec& spec_;
  VocabularyIndex index_;
  bool byte_level_ = false;       // a ByteLevel step has been read: nothing may follow
  std::int32_t last_added_ = -1;  // the largest id of an added token so far
};

void Reader::put_token(std::int32_t id, const std::string& token, bool in_vocabulary) {
  const auto at = static_cast<std::size_t>(id);
  if (at >= spec_.tokens.size()) {
    spec_.tokens.resize(at + 1);
    spec_.in_vocabulary.resize(at + 1, 0);
  }
  spec_.tokens[at] = token;
  spec_.in_vocabulary[at] = in_vocabulary ? 1 : 0;
}

Result<void> Reader::model(const Node& node) {
  if (!node.value->is_object()) return node.error("expected an object: this is no tokenizer.json");
  const std::string type = node.at("type").text();
  if (type != "BPE") return refusal(node.at("type"), "a model of type " + shown(type));
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

Result<void> Reader::model_options(const Node& node) {
  auto done =
      only(node, {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  ISOBIT_TRY(done);
  const Node dropout = node.at("dropout");
  if (!dropout.none() && *dropout.value != json(0.0)) return refusal(dropout, "dropout");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Node affix = node.at(key);
    if (!affix.none() && *affix.value != json("")) return refusal(affix, key);
  }
  const auto fallback = flag(node.at("byte_fallback"), false);
  ISOBIT_TRY(fallback);
  if (*fallback) return refusal(node.at("byte_fallback"), "byte_fallback (SentencePiece)");
  const auto ignore = flag(node.at("ignore_merges"), false);
  ISOBIT_TRY(ignore);
  const auto fuse = flag(node.at("fuse_unk"), false);
  ISOBIT_TRY(fuse);
  spec_.bpe.ignore_merges = *ignore;
  spec_.bpe.fuse_unknown = *fuse;
  const Node unknown = node.at("unk_token");
  if (!unknown.none() && !unknown.value->is_string()) return unknown.error("expected a string");
  return {};
}

Result<void> Reader::vocabulary(const Node& node) {
  if (!node.value->is_object() || node.value->empty()) {
    return node.error("expected an object of tokens and their ids");
  }
  for (const auto& [token, value] : node.value->items()) {
    const Node entry{&value, node.place + "[" + shown(token) + "]"};
    if (token.empty()) return entry.error("an empty token");
    const auto id = id_of(entry);
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

Result<void> Reader::merges(const Node& node) {
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

Result<AddedToken> Reader::added_token(const Node& node) {
  auto done =
      only(node, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  ISOBIT_TRY(done);
  AddedToken token;
  token.content = node.at("content").text();
  if (token.content.empty()) return node.at("content").error("expected a string, not empty");
  const auto id = id_of(node.at("id"));
  ISOBIT_TRY(id);
  token.id = *id;
  const auto special = flag(node.at("special"), false);
  ISOBIT_TRY(special);
  const auto single_word = flag(node.at("single_word"), false);
  ISOBIT_TRY(single_word);
  if (*single_word) return refusal(node.at("single_word"), "an added token with single_word");
  const std::pair<const char*, bool*> flags[] = {{"lstrip", &token.lstrip},
                                                 {"rstrip", &token.rstrip}};
  for (const auto& [key, target] : flags) {
    const auto value = flag(node.at(key), false);
    ISOBIT_TRY(value);
    *target = *value;
  }
  const auto normalized = flag(node.at("normalized"), !*special);
  ISOBIT_TRY(normalized);
  token.normalized = *normalized;
  return token;
}

Result<void> Reader::added_tokens(const Node& node) {
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

Result<void> Reader::normalizer(const Node& node) {
  if (node.none()) return {};
  const std::string type = node.at("type").text();
  if (type == "NFC") {
    spec_.nfc = true;
    return {};
  }
  const Node list = node.at("normalizers");
  if (type != "Sequence" || !list.value->is_array()) {
    return refusal(node, "a normalizer of type " + shown(type));
  }
  for (std::size_t at = 0; at < list.value->size(); ++at) {
    if (list.at(at).at("type").text() != "NFC") {
      return refusal(list.at(at), "a normalizer of type " + shown(list.at(at).at("type").text()));
    }
    spec_.nfc = true;
  }
  return {};
}

Result<void> Reader::byte_level(const Node& node) {
  const auto prefix = flag(node.at("add_prefix_space"), true);
  ISOBIT_TRY(prefix);
  const auto regex = flag(node.at("use_regex"), true);
  ISOBIT_TRY(regex);
  if (*prefix) spec_.rules.push_back(SplitRule::prefix_space);
  if (*regex) spec_.rules.push_back(SplitRule::gpt2);
  byte_level_ = true;
  return {};
}

Result<void> Reader::split_step(const Node& node) {
  const std::string behavior = node.at("behavior").text();
  const auto invert = flag(node.at("invert"), false);
  ISOBIT_TRY(invert);
  const std::string regex = node.at("pattern").at("Regex").text();
  const SplitRule* rule = split_rule_of_regex(regex);
  if (rule == nullptr) {
    return refusal(node.at("pattern"), "a Split by the pattern " + shown(regex));
  }
  const bool covers_all =
      *rule == SplitRule::gpt2 || *rule == SplitRule::llama3 || *rule == SplitRule::qwen2;
  const bool isolates = behavior == "Isolated" && !*invert;
  const bool keeps_matches = behavior == "Removed" && *invert && covers_all;
  if (!isolates && !keeps_matches) {
    return refusal(node.at("behavior"),
                   "a Split with behavior " + shown(behavior) + (*invert ? ", inverted," : ""));
  }
  spec_.rules.push_back(*rule);
  return {};
}

Result<void> Reader::pre_tokenizer(const Node& node) {
  const std::string type = node.at("type").text();
  if (byte_level_) return refusal(node, "a step after ByteLevel");
  if (spec_.rules.size() >= kMostRules) {
    return refusal(node, "a pre-tokenizer of more than " + std::to_string(kMostRules) + " steps");
  }
  if (type == "ByteLevel") return byte_level(node);
  if (type == "Split") return split_step(node);
  if (type == "Digits") {
    const auto each = flag(node.at("individual_digits"), false);
    ISOBIT_TRY(each);
    spec_.rules.push_back(*each ? SplitRule::digits_each : SplitRule::digits_runs);
    return {};
  }
  const Node list = node.at("pretokenizers");
  if (type != "Sequence" || !list.value->is_array()) {
    return refusal(node,
                   node.none() ? "no pre-tokenizer" : "a pre-tokenizer of type " + shown(type));
  }
  for (std::size_t at = 0; at < list.value->size(); ++at) {
    const auto done = pre_tokenizer(list.at(at));
    ISOBIT_TRY(done);
  }
  return {};
}

Result<void> Reader::template_item(const Node& item, const Node& specials, bool& seen_text) {
  if (item.at("Sequence").at("id").text() == "A") {
    if (seen_text) return item.error("the text comes twice");
    seen_text = true;
    return {};
  }
  const std::string name = item.at("SpecialToken").at("id").text();
  const Node special = specials.at(name);
  const Node ids = special.at("ids");
  if (name.empty() || !ids.value->is_array()) {
    return item.error(
        "expected {\"Sequence\": {\"id\": \"A\"}} or a SpecialToken that "
        "special_tokens defines");
  }
  for (std::size_t at = 0; at < ids.value->size(); ++at) {
    const auto id = id_of(ids.at(at));
    ISOBIT_TRY(id);
    if (static_cast<std::size_t>(*id) >= spec_.tokens.size()) {
      return ids.at(at).error("no token has the id " + std::to_string(*id));
    }
    (seen_text ? spec_.suffix : spec_.prefix).push_back(*id);
  }
  return {};
}

Result<void> Reader::post_processor(const Node& node) {
  if (node.none()) return {};
  const std::string type = node.at("type").text();
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type == "Sequence" && node.at("processors").value->is_array()) {
    const Node list = node.at("processors");
    for (std::size_t at = 0; at < list.value->size(); ++at) {
      const auto done = post_processor(list.at(at));
      ISOBIT_TRY(done);
    }
    return {};
  }
  if (type != "TemplateProcessing") return refusal(node, "a post-processor of type " + shown(type));
  if (!spec_.prefix.empty() || !spec_.suffix.empty()) {
    return refusal(node, "a second TemplateProcessing");
  }
  const Node single = node.at("single");
  if (!single.value->is_array()) return single.error("expected an array");
  bool seen_text = false;
  for (std::size_t at = 0; at < single.value->size(); ++at) {
    const auto done = template_item(single.at(at), node.at("special_tokens"), seen_text);
    ISOBIT_TRY(done);
  }
  if (!seen_text) return single.error("the template leaves the text out");
  return {};
}

Result<void> Reader::decoder(const Node& node) {
  if (node.at("type").text() == "ByteLevel") return {};
  return refusal(node,
                 node.none() ? "no decoder" : "a decoder of type " + shown(node.at("type").text()));
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_json(const std::string& tokenizer_json,
                                          const std::string& config_json,
                                          const std::string& place) {
  TokenizerSpec spec;
  const auto file = parse_strict_json(tokenizer_json, JsonPlace{place, std::nullopt});
  ISOBIT_TRY(file);
  auto done = Reader(spec).read(Node{&*file, place});
  ISOBIT_TRY(done);
  done = read_tokenizer_config(config_json, place, spec);
  ISOBIT_TRY(done);
  return spec;
}

}  // namespace isobit
