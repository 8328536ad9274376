// Reads the files beside a tokenizer's own as transformers 5 does: which tokens are added and how
// they are found, which are BOS and EOS, and the chat template.
#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/from_json.h"
#include "runtime/tokenizer/json_node.h"

namespace isobit {
namespace {

using nlohmann::json;

/// In transformers' order, which decides ids of tokens that the vocabulary lacks.
constexpr std::array<const char*, 7> kNamed = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

/// A sibling of the file at `place`.
std::string beside(const std::string& place, const std::string& name) {
  const std::size_t slash = place.rfind('/');
  return (slash == std::string::npos ? "" : place.substr(0, slash + 1)) + name;
}

/// Collects what the files say, then adds it.
class Siblings {
 public:
  Siblings(const TokenizerFiles& files, const std::string& place, const SiblingDefaults& defaults,
           TokenizerSpec& spec)
      : files_(files), place_(place), defaults_(defaults), spec_(spec) {}

  Result<void> read() {
    auto done = config();
    ISOBIT_TRY(done);
    if (!has_decoder_) {
      done = special_tokens_map();
      ISOBIT_TRY(done);
      done = added_tokens();
      ISOBIT_TRY(done);
    }
    settle();
    add();
    return chat();
  }

 private:
  using Texts = std::vector<std::pair<std::string, AddedToken>>;

  Result<std::optional<json>> object_of(const std::string& name, const std::string& text);
  Result<void> config();
  Result<void> special_tokens_map();
  Result<void> added_tokens();
  Result<AddedToken> token(const JsonNode& node, bool special);
  Result<void> named(const JsonNode& file);
  Result<void> specific(const JsonNode& file, const std::string& text);
  Result<void> extra(const JsonNode& list, std::vector<AddedToken>& out);
  Result<void> extra_of_config(const JsonNode& file);
  Result<void> extra_by_name(const JsonNode& map, const std::string& text);
  void put_specific(const std::string& name, AddedToken token);
  void settle();
  void add();
  Result<void> chat();
  Result<void> chat_of_config();

  const TokenizerFiles& files_;
  const std::string& place_;
  const SiblingDefaults& defaults_;
  TokenizerSpec& spec_;
  json config_ = json::object();
  std::array<std::optional<AddedToken>, kNamed.size()> named_;
  Texts specific_;                      // "image_token" and the like
  std::vector<AddedToken> extra_;       // extra_special_tokens
  std::vector<AddedToken> additional_;  // additional_special_tokens where it is not the same
  std::set<std::string> plain_;  // texts that transformers knows as special in added_tokens.json
  bool has_extra_ = false;       // the key was there, empty or not
  std::map<std::int64_t, AddedToken> by_id_;  // added_tokens_decoder, added_tokens.json
  bool has_decoder_ = false;
};

Result<std::optional<json>> Siblings::object_of(const std::string& name, const std::string& text) {
  if (text.empty()) return std::optional<json>();
  const std::string here = beside(place_, name);
  auto file = parse_strict_json(text, JsonPlace{here, std::nullopt});
  ISOBIT_TRY(file);
  if (!file->is_object()) return Error{"expected an object", here};
  return std::optional<json>(std::move(*file));
}

/// A text, or an object with the text in "content" and flags.
Result<AddedToken> Siblings::token(const JsonNode& node, bool special) {
  AddedToken out;
  if (node.value->is_string()) {
    out.content = node.text();
    return out;
  }
  if (!node.value->is_object() || !node.at("content").value->is_string()) {
    return node.error("expected a token's text");
  }
  out.content = node.at("content").text();
  const auto is_special = json_flag(node.at("special"), special);
  ISOBIT_TRY(is_special);
  const std::pair<const char*, bool*> flags[] = {{"lstrip", &out.lstrip},
                                                 {"rstrip", &out.rstrip},
                                                 {"single_word", &out.single_word},
                                                 {"normalized", &out.normalized}};
  out.normalized = !*is_special;
  for (const auto& [key, target] : flags) {
    const auto value = json_flag(node.at(key), *target);
    ISOBIT_TRY(value);
    *target = *value;
  }
  return out;
}

Result<void> Siblings::named(const JsonNode& file) {
  for (std::size_t at = 0; at < kNamed.size(); ++at) {
    const JsonNode node = file.at(kNamed[at]);
    if (node.none()) continue;
    auto made = token(node, true);
    ISOBIT_TRY(made);
    if (node.value->is_string()) plain_.insert(made->content);
    named_[at] = std::move(*made);
  }
  return {};
}

void Siblings::put_specific(const std::string& name, AddedToken token) {
  for (auto& [known, value] : specific_) {
    if (known == name) {
      value = std::move(token);
      return;
    }
  }
  specific_.emplace_back(name, std::move(token));
}

/// Keys that name a token of this model alone, in the order in which the file writes them.
Result<void> Siblings::specific(const JsonNode& file, const std::string& text) {
  std::vector<std::pair<std::size_t, std::string>> keys;
  for (const auto& [key, value] : file.value->items()) {
    const bool known = std::find(kNamed.begin(), kNamed.end(), key) != kNamed.end();
    if (known || !key.ends_with("_token") || !value.is_string()) continue;
    keys.emplace_back(text.find('"' + key + '"'), key);
  }
  std::sort(keys.begin(), keys.end());
  for (const auto& [at, key] : keys) {
    auto made = token(file.at(key), true);
    ISOBIT_TRY(made);
    put_specific(key, std::move(*made));
  }
  return {};
}

Result<void> Siblings::extra(const JsonNode& list, std::vector<AddedToken>& out) {
  if (!list.value->is_array()) return list.error("expected a list of tokens");
  for (std::size_t at = 0; at < list.size(); ++at) {
    auto made = token(list.at(at), true);
    ISOBIT_TRY(made);
    if (&out == &extra_ && list.at(at).value->is_string()) plain_.insert(made->content);
    out.push_back(std::move(*made));
  }
  return {};
}

/// extra_special_tokens, a list or an object, and additional_special_tokens, its older name, which
/// counts unless there is a list of the newer one.
Result<void> Siblings::extra_of_config(const JsonNode& file) {
  const JsonNode more = file.at("extra_special_tokens");
  const JsonNode older = file.at("additional_special_tokens");
  if (more.none() || more.value->empty()) {
    has_extra_ = !older.none() || more.value->is_array();
    return older.none() ? Result<void>() : extra(older, extra_);
  }
  if (!more.value->is_object()) {
    has_extra_ = true;
    return extra(more, extra_);
  }
  auto done = extra_by_name(more, files_.config_json);
  ISOBIT_TRY(done);
  return older.none() ? Result<void>() : extra(older, additional_);
}

Result<void> Siblings::extra_by_name(const JsonNode& map, const std::string& text) {
  std::vector<std::pair<std::size_t, std::string>> keys;
  for (const auto& [key, value] : map.value->items()) {
    keys.emplace_back(text.find('"' + key + '"'), key);
  }
  std::sort(keys.begin(), keys.end());
  for (const auto& [at, key] : keys) {
    auto made = token(map.at(key), true);
    ISOBIT_TRY(made);
    put_specific(key, std::move(*made));
  }
  return {};
}

Result<void> Siblings::config() {
  auto file = object_of("tokenizer_config.json", files_.config_json);
  ISOBIT_TRY(file);
  if (!*file) return {};
  config_ = std::move(**file);
  const JsonNode node{&config_, beside(place_, "tokenizer_config.json")};
  const auto split = json_flag(node.at("split_special_tokens"), false);
  ISOBIT_TRY(split);
  if (*split) return node.at("split_special_tokens").error("true is not supported");
  auto done = named(node);
  ISOBIT_TRY(done);
  done = specific(node, files_.config_json);
  ISOBIT_TRY(done);
  done = extra_of_config(node);
  ISOBIT_TRY(done);
  const JsonNode decoder = node.at("added_tokens_decoder");
  if (decoder.none()) return {};
  has_decoder_ = true;
  if (!decoder.value->is_object()) return decoder.error("expected an object of ids and tokens");
  for (const auto& [key, value] : decoder.value->items()) {
    const JsonNode entry = decoder.at(key);
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos) {
      return entry.error("expected a token id for a key, found " + shown(key));
    }
    if (!value.is_object()) return entry.error("expected an object with \"content\"");
    auto made = token(entry, false);
    ISOBIT_TRY(made);
    by_id_[std::stoll(key)] = std::move(*made);
  }
  return {};
}

Result<void> Siblings::special_tokens_map() {
  const std::string* text = files_.find("special_tokens_map.json");
  if (text == nullptr) return {};
  auto file = object_of("special_tokens_map.json", *text);
  ISOBIT_TRY(file);
  if (!*file) return {};
  const JsonNode node{&**file, beside(place_, "special_tokens_map.json")};
  auto done = named(node);
  ISOBIT_TRY(done);
  for (std::size_t at = 0; at < kNamed.size(); ++at) {
    if (named_[at] && !node.at(kNamed[at]).none()) plain_.insert(named_[at]->content);
  }
  done = specific(node, *text);
  ISOBIT_TRY(done);
  const JsonNode more = node.at("extra_special_tokens");
  if (!more.none()) {
    has_extra_ = true;
    done = more.value->is_object() ? extra_by_name(more, *text) : extra(more, extra_);
    ISOBIT_TRY(done);
  }
  const JsonNode additional = node.at("additional_special_tokens");
  if (!additional.none() && !has_extra_) {
    additional_.clear();
    done = extra(additional, additional_);
    ISOBIT_TRY(done);
  }
  spec_.siblings.emplace_back("special_tokens_map.json");
  return {};
}

Result<void> Siblings::added_tokens() {
  const std::string* text = files_.find("added_tokens.json");
  if (text == nullptr) return {};
  auto file = object_of("added_tokens.json", *text);
  ISOBIT_TRY(file);
  if (!*file) return {};
  const JsonNode node{&**file, beside(place_, "added_tokens.json")};
  for (const auto& [key, value] : node.value->items()) {
    const JsonNode entry{&value, node.place + ": " + shown(key)};
    const auto id = json_token_id(entry);
    ISOBIT_TRY(id);
    AddedToken made;
    made.content = key;
    made.normalized = plain_.count(key) == 0;
    by_id_[*id] = std::move(made);
  }
  for (const AddedToken& token : spec_.added) by_id_[token.id] = token;  // these win at their ids
  spec_.siblings.emplace_back("added_tokens.json");
  return {};
}

/// Fills in what only the tokenizer's own file says.
void Siblings::settle() {
  const std::string* own[] = {&defaults_.bos, &defaults_.eos, &defaults_.unknown};
  for (std::size_t at = 0; at < std::size(own); ++at) {
    if (named_[at] || own[at]->empty() || config_.contains(kNamed[at])) continue;
    named_[at].emplace();
    named_[at]->content = *own[at];
  }
  if (!has_extra_) extra_ = defaults_.extra.empty() ? additional_ : defaults_.extra;
}

/// Adds in transformers' order: by id, then the named ones, then the others, each of these only
/// when no added token had its text before them; of two the later one's flags count.
void Siblings::add() {
  for (auto& [id, token] : by_id_) add_token(spec_, token);
  std::set<std::string> before;
  for (const AddedToken& token : spec_.added) before.insert(token.content);
  const auto add_new = [&](const AddedToken& token) {
    if (before.count(token.content) == 0) add_token(spec_, token);
  };
  for (std::size_t at = 0; at < kNamed.size(); ++at) {
    if (!named_[at]) continue;
    add_new(*named_[at]);
    spec_.named.emplace_back(kNamed[at], named_[at]->content);
  }
  for (const auto& [name, token] : specific_) {
    add_new(token);
    spec_.named.emplace_back(name, token.content);
  }
  for (const AddedToken& token : extra_) add_new(token);
  if (named_[0]) {
    spec_.bos_text = named_[0]->content;
    spec_.bos = id_of_token(spec_, spec_.bos_text);
  }
  if (named_[1]) {
    spec_.eos_text = named_[1]->content;
    spec_.eos = id_of_token(spec_, spec_.eos_text);
  }
}

/// A template file wins over tokenizer_config.json; chat_templates/ holds named ones.
Result<void> Siblings::chat() {
  bool other_names = false;
  if (files_.siblings != nullptr) {
    for (const auto& [name, text] : *files_.siblings) {
      if (name == "chat_template.jinja" && spec_.chat_origin.empty()) {
        spec_.chat_template = text;
        spec_.chat_origin = name;
      } else if (name == "chat_templates/default.jinja") {
        spec_.chat_template = text;
        spec_.chat_origin = name;
      } else if (name.rfind("chat_templates/", 0) == 0) {
        other_names = true;
      }
    }
  }
  // Named templates alone replace that of tokenizer_config.json, and none of them is the default.
  if (!spec_.chat_origin.empty() || other_names) return {};
  return chat_of_config();
}

/// The template itself, or the one called "default" of a list.
Result<void> Siblings::chat_of_config() {
  const JsonNode node =
      JsonNode{&config_, beside(place_, "tokenizer_config.json")}.at("chat_template");
  if (node.none()) return {};
  spec_.chat_origin = "tokenizer_config.json";
  if (node.value->is_string()) {
    spec_.chat_template = node.text();
    return {};
  }
  for (std::size_t at = 0; at < node.size(); ++at) {
    const JsonNode entry = node.at(at);
    if (entry.at("name").text() != "default" || !entry.at("template").value->is_string()) continue;
    spec_.chat_template = entry.at("template").text();
    return {};
  }
  // A text prompt needs no template: whether one is missing shows when a chat asks for it.
  spec_.chat_origin.clear();
  spec_.ignored.emplace_back("chat_template (no template named \"default\")");
  return {};
}

}  // namespace

Result<void> read_siblings(const TokenizerFiles& files, const std::string& place,
                           const SiblingDefaults& defaults, TokenizerSpec& spec) {
  return Siblings(files, place, defaults, spec).read();
}

}  // namespace isobit
