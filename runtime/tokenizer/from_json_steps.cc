// Reads the steps around the model of a tokenizer.json: normalizer, pre_tokenizer, post_processor
// and decoder. Whatever would change ids and is not implemented is refused by name.
#include <string>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/json_node.h"

namespace isobit {
namespace {

constexpr char kMetaMark[] = "\xe2\x96\x81";  // ▁

/// The bytes of a text in base 64; false when it is none.
bool from_base64(const std::string& text, std::string& out) {
  std::uint32_t bits = 0;
  int count = 0;
  std::size_t end = text.size();
  while (end > 0 && text[end - 1] == '=') --end;
  for (const char c : std::string_view(text).substr(0, end)) {
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (value < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return true;
}

class Steps {
 public:
  Steps(const JsonNode& file, TokenizerSpec& spec) : file_(file), spec_(spec) {}

  Result<void> read() {
    spec_.decode.byte_level = false;
    auto done = normalizer(file_.at("normalizer"));
    ISOBIT_TRY(done);
    done = pre_tokenizer(file_.at("pre_tokenizer"));
    ISOBIT_TRY(done);
    done = settle_model();
    ISOBIT_TRY(done);
    done = post_processor(file_.at("post_processor"));
    ISOBIT_TRY(done);
    done = decoder(file_.at("decoder"));
    ISOBIT_TRY(done);
    if (byte_level_ != spec_.decode.byte_level) {
      return json_refusal(file_.at("decoder"), "a decoder that does not undo the pre-tokenizer");
    }
    return {};
  }

 private:
  Result<void> settle_model();
  Result<void> normalizer(const JsonNode& node);
  Result<void> replace(const JsonNode& node);
  Result<void> charsmap(const JsonNode& node);
  Result<void> pre_tokenizer(const JsonNode& node);
  Result<PreStep> pre_step(const JsonNode& node);
  Result<PreStep> split(const JsonNode& node);
  Result<PreStep> metaspace(const JsonNode& node);
  Result<SplitBehavior> behavior(const JsonNode& node);
  Result<void> byte_level(const JsonNode& node);
  Result<void> post_processor(const JsonNode& node);
  Result<void> template_item(const JsonNode& item, const JsonNode& specials, bool& seen_text);
  Result<void> decoder(const JsonNode& node);
  Result<void> strip(const JsonNode& node);

  const JsonNode& file_;
  TokenizerSpec& spec_;
  bool byte_level_ = false;  // a ByteLevel step has been read: nothing may follow
  bool fused_ = false;       // the decoder has joined the tokens
};

/// Which of the two BPE models it is, by the pre-tokenizer.
Result<void> Steps::settle_model() {
  if (spec_.model == TokenModel::unigram) {
    if (!byte_level_) return {};
    return json_refusal(file_.at("pre_tokenizer"), "Unigram over bytes");
  }
  spec_.model = byte_level_ ? TokenModel::byte_bpe : TokenModel::char_bpe;
  if (byte_level_ && spec_.bpe.byte_fallback) {
    return json_refusal(file_.at("model").at("byte_fallback"), "byte_fallback after ByteLevel");
  }
  return {};
}

Result<void> Steps::replace(const JsonNode& node) {
  NormalStep step;
  step.kind = NormalStep::Kind::replace;
  step.pattern = node.at("pattern").at("String").text();
  step.content = node.at("content").text();
  const std::string regex = node.at("pattern").at("Regex").text();
  if (regex == " {2,}") {
    step.kind = NormalStep::Kind::space_runs;
  } else if (step.pattern.empty()) {
    return json_refusal(node.at("pattern"), "a Replace of the pattern " + shown(regex));
  }
  spec_.normal.push_back(std::move(step));
  return {};
}

Result<void> Steps::charsmap(const JsonNode& node) {
  const JsonNode text = node.at("precompiled_charsmap");
  std::string bytes;
  if (!from_base64(text.text(), bytes)) return text.error("expected a text in base 64");
  if (bytes.empty()) return {};
  auto map = Charsmap::read(bytes, text.place);
  ISOBIT_TRY(map);
  NormalStep step;
  step.kind = NormalStep::Kind::charsmap;
  step.charsmap = std::make_shared<const Charsmap>(std::move(*map));
  spec_.normal.push_back(std::move(step));
  return {};
}

Result<void> Steps::normalizer(const JsonNode& node) {
  if (node.none()) return {};
  const std::string type = node.at("type").text();
  if (spec_.normal.size() >= kMostSteps) {
    return json_refusal(node, "a normalizer of more than " + std::to_string(kMostSteps) + " steps");
  }
  if (type == "Replace") return replace(node);
  if (type == "Precompiled") return charsmap(node);
  NormalStep step;
  if (type == "NFC" || type == "NFD") {
    step.kind = type == "NFC" ? NormalStep::Kind::nfc : NormalStep::Kind::nfd;
  } else if (type == "Prepend") {
    step.kind = NormalStep::Kind::prepend;
    step.content = node.at("prepend").text();
  } else if (type == "Strip") {
    step.kind = NormalStep::Kind::strip;
    const auto left = json_flag(node.at("strip_left"), true);
    ISOBIT_TRY(left);
    const auto right = json_flag(node.at("strip_right"), true);
    ISOBIT_TRY(right);
    step.left = *left;
    step.right = *right;
  } else {
    const JsonNode list = node.at("normalizers");
    if (type != "Sequence" || !list.value->is_array()) {
      return json_refusal(node, "a normalizer of type " + shown(type));
    }
    for (std::size_t at = 0; at < list.size(); ++at) {
      auto done = normalizer(list.at(at));
      ISOBIT_TRY(done);
    }
    return {};
  }
  spec_.normal.push_back(std::move(step));
  return {};
}

Result<void> Steps::byte_level(const JsonNode& node) {
  const auto prefix = json_flag(node.at("add_prefix_space"), true);
  ISOBIT_TRY(prefix);
  const auto regex = json_flag(node.at("use_regex"), true);
  ISOBIT_TRY(regex);
  if (*prefix) spec_.rules.emplace_back(SplitRule::prefix_space);
  if (*regex) spec_.rules.emplace_back(SplitRule::gpt2);
  byte_level_ = true;
  return {};
}

Result<SplitBehavior> Steps::behavior(const JsonNode& node) {
  const std::string name = node.text();
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  return node.error("expected a behavior, found " + shown(name));
}

Result<PreStep> Steps::split(const JsonNode& node) {
  const auto invert = json_flag(node.at("invert"), false);
  ISOBIT_TRY(invert);
  const auto how = behavior(node.at("behavior"));
  ISOBIT_TRY(how);
  PreStep step(SplitRule::literal);
  step.text = node.at("pattern").at("String").text();
  if (step.text.empty()) {
    const std::string regex = node.at("pattern").at("Regex").text();
    const SplitRule* rule = split_rule_of_regex(regex);
    if (rule == nullptr) {
      return json_refusal(node.at("pattern"), "a Split by the pattern " + shown(regex));
    }
    step.rule = *rule;
  }
  step.behavior = *how;
  step.invert = *invert;
  return step;
}

Result<PreStep> Steps::metaspace(const JsonNode& node) {
  PreStep step(SplitRule::metaspace);
  step.text = node.at("replacement").text();
  if (step.text.empty()) return node.at("replacement").error("expected one character");
  const auto cut = json_flag(node.at("split"), true);
  ISOBIT_TRY(cut);
  step.cut = *cut;
  const auto old = json_flag(node.at("add_prefix_space"), true);
  ISOBIT_TRY(old);
  const std::string scheme = node.at("prepend_scheme").text();
  if (scheme == "never" || !*old) {
    step.prefix = PreStep::Prefix::never;
  } else if (scheme == "first") {
    step.prefix = PreStep::Prefix::first;
  } else if (!scheme.empty() && scheme != "always") {
    return node.at("prepend_scheme").error("expected always, never or first");
  }
  return step;
}

/// Every step but Sequence and ByteLevel.
Result<PreStep> Steps::pre_step(const JsonNode& node) {
  const std::string type = node.at("type").text();
  if (type == "Split") return split(node);
  if (type == "Metaspace") return metaspace(node);
  if (type == "Digits") {
    const auto each = json_flag(node.at("individual_digits"), false);
    ISOBIT_TRY(each);
    return PreStep(*each ? SplitRule::digits_each : SplitRule::digits_runs);
  }
  PreStep step(SplitRule::white_space);
  step.behavior = SplitBehavior::removed;
  if (type == "WhitespaceSplit") return step;
  if (type == "Whitespace") {
    step.rule = SplitRule::words;
    step.invert = true;
    return step;
  }
  if (type == "Punctuation") {
    step.rule = SplitRule::punctuation;
    step.behavior = SplitBehavior::isolated;
    if (node.at("behavior").none()) return step;
    const auto how = behavior(node.at("behavior"));
    ISOBIT_TRY(how);
    step.behavior = *how;
    return step;
  }
  return json_refusal(node, "a pre-tokenizer of type " + shown(type));
}

Result<void> Steps::pre_tokenizer(const JsonNode& node) {
  if (node.none()) return {};
  const std::string type = node.at("type").text();
  if (byte_level_) return json_refusal(node, "a step after ByteLevel");
  if (spec_.rules.size() >= kMostSteps) {
    return json_refusal(node,
                        "a pre-tokenizer of more than " + std::to_string(kMostSteps) + " steps");
  }
  if (type == "ByteLevel") return byte_level(node);
  const JsonNode list = node.at("pretokenizers");
  if (type == "Sequence" && list.value->is_array()) {
    for (std::size_t at = 0; at < list.size(); ++at) {
      auto done = pre_tokenizer(list.at(at));
      ISOBIT_TRY(done);
    }
    return {};
  }
  auto step = pre_step(node);
  ISOBIT_TRY(step);
  spec_.rules.push_back(std::move(*step));
  return {};
}

Result<void> Steps::template_item(const JsonNode& item, const JsonNode& specials, bool& seen_text) {
  if (item.at("Sequence").at("id").text() == "A") {
    if (seen_text) return item.error("the text comes twice");
    seen_text = true;
    return {};
  }
  const std::string name = item.at("SpecialToken").at("id").text();
  const JsonNode ids = specials.at(name).at("ids");
  if (name.empty() || !ids.value->is_array()) {
    return item.error(
        "expected {\"Sequence\": {\"id\": \"A\"}} or a SpecialToken that "
        "special_tokens defines");
  }
  for (std::size_t at = 0; at < ids.size(); ++at) {
    const auto id = json_token_id(ids.at(at));
    ISOBIT_TRY(id);
    if (static_cast<std::size_t>(*id) >= spec_.tokens.size()) {
      return ids.at(at).error("no token has the id " + std::to_string(*id));
    }
    (seen_text ? spec_.suffix : spec_.prefix).push_back(*id);
  }
  return {};
}

Result<void> Steps::post_processor(const JsonNode& node) {
  if (node.none()) return {};
  const std::string type = node.at("type").text();
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type == "Sequence" && node.at("processors").value->is_array()) {
    const JsonNode list = node.at("processors");
    for (std::size_t at = 0; at < list.size(); ++at) {
      auto done = post_processor(list.at(at));
      ISOBIT_TRY(done);
    }
    return {};
  }
  if (type != "TemplateProcessing") {
    return json_refusal(node, "a post-processor of type " + shown(type));
  }
  if (!spec_.prefix.empty() || !spec_.suffix.empty()) {
    return json_refusal(node, "a second TemplateProcessing");
  }
  const JsonNode single = node.at("single");
  if (!single.value->is_array()) return single.error("expected an array");
  bool seen_text = false;
  for (std::size_t at = 0; at < single.size(); ++at) {
    auto done = template_item(single.at(at), node.at("special_tokens"), seen_text);
    ISOBIT_TRY(done);
  }
  if (!seen_text) return single.error("the template leaves the text out");
  return {};
}

Result<void> Steps::strip(const JsonNode& node) {
  const auto start = json_token_id(node.at("start"));
  ISOBIT_TRY(start);
  const bool simple = fused_ && node.at("content").text() == " " &&
                      *node.at("stop").value == nlohmann::json(0) && *start <= 64;
  if (!simple) return json_refusal(node, "a Strip that is not of spaces at the text's begin");
  spec_.decode.strip_start = *start;
  return {};
}

Result<void> Steps::decoder(const JsonNode& node) {
  if (node.none()) {
    if (byte_level_) return json_refusal(node, "no decoder after ByteLevel");
    spec_.decode.between = " ";
    return {};
  }
  const std::string type = node.at("type").text();
  DecodeSteps& steps = spec_.decode;
  if (type == "ByteLevel") {
    steps.byte_level = true;
  } else if (type == "ByteFallback") {
    steps.byte_fallback = true;
  } else if (type == "Fuse") {
    fused_ = true;
  } else if (type == "Strip") {
    return strip(node);
  } else if (type == "Metaspace") {
    const auto step = metaspace(node);
    ISOBIT_TRY(step);
    if (step->text != kMetaMark) return json_refusal(node, "a Metaspace of " + shown(step->text));
    steps.replace.emplace_back(kMetaMark, " ");
    steps.metaspace = step->prefix != PreStep::Prefix::never;
  } else if (type == "Replace" && !fused_ && !node.at("pattern").at("String").text().empty() &&
             steps.replace.size() < kMostSteps) {
    steps.replace.emplace_back(node.at("pattern").at("String").text(), node.at("content").text());
  } else if (type == "Sequence" && node.at("decoders").value->is_array()) {
    const JsonNode list = node.at("decoders");
    for (std::size_t at = 0; at < list.size(); ++at) {
      auto done = decoder(list.at(at));
      ISOBIT_TRY(done);
    }
  } else {
    return json_refusal(node, "a decoder of type " + shown(type));
  }
  return {};
}

}  // namespace

Result<void> read_tokenizer_steps(const JsonNode& file, TokenizerSpec& spec) {
  return Steps(file, spec).read();
}

}  // namespace isobit
