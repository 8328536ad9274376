// What a tokenizer says of itself: a line for people, and the text that decides its fingerprint.
#include <algorithm>

#include "runtime/tokenizer/tables.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

void put(std::string& out, const char* key, std::string_view value) {
  out += key;
  out += ' ' + std::to_string(value.size()) + ' ';
  out += value;
  out += '\n';
}

std::string joined(const std::vector<std::int32_t>& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += (out.empty() ? "" : " ") + std::to_string(id);
  return out;
}

std::string rules_text(const TokenizerSpec& spec) {
  std::string out;
  for (const PreStep& step : spec.rules) out += (out.empty() ? "" : "+") + text_of(step);
  return out;
}

bool is_nfc_alone(const TokenizerSpec& spec) {
  return !spec.normal.empty() &&
         std::all_of(spec.normal.begin(), spec.normal.end(),
                     [](const NormalStep& step) { return step.kind == NormalStep::Kind::nfc; });
}

const char* name_of(TokenModel model) {
  switch (model) {
    case TokenModel::byte_bpe:
      return "byte-level BPE";
    case TokenModel::char_bpe:
      return "SentencePiece BPE";
    case TokenModel::unigram:
      return "Unigram";
    case TokenModel::sentencepiece:
      return "SentencePiece BPE by scores";
  }
  return "";
}

std::string listed(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

/// The family by the pre-tokenizer, where it is one family's own.
std::string family_of(const TokenizerSpec& spec) {
  if (!spec.family.empty()) return spec.family;
  std::string out;
  for (const PreStep& step : spec.rules) {
    switch (step.rule) {
      case SplitRule::gpt2:
        out = out == "digits" ? "smollm" : "gpt-2";
        break;
      case SplitRule::llama3:
        out = "llama-3";
        break;
      case SplitRule::qwen2:
        out = "qwen-2";
        break;
      case SplitRule::gpt4o:
        out = "gpt-4o";
        break;
      case SplitRule::tekken:
        out = "tekken";
        break;
      case SplitRule::digits_each:
        out = "digits";
        break;
      default:
        break;
    }
  }
  return out == "digits" ? "" : out;
}

/// What decides ids beyond what every byte-level BPE file says.
void put_more(const TokenizerSpec& spec, std::string& out) {
  if (!spec.normal.empty() && !is_nfc_alone(spec)) {
    for (const NormalStep& step : spec.normal) put(out, "normal", text_of(step));
    put(out, "normal-unicode", kNfcUnicodeVersion);
  }
  if (spec.model == TokenModel::byte_bpe) return;
  put(out, "model", name_of(spec.model));
  put(out, "fallback", spec.bpe.byte_fallback ? "bytes" : "");
  for (const double score : spec.scores) {
    char text[40];
    std::snprintf(text, sizeof text, "%a", score);
    put(out, "score", text);
  }
}

}  // namespace

std::string Tokenizer::family() const {
  const std::string family = family_of(tables_->spec);
  return name_of(tables_->spec.model) + (family.empty() ? "" : " (" + family + ")");
}

std::string Tokenizer::describe() const {
  const TokenizerSpec& spec = tables_->spec;
  std::string out = family() + ", " + std::to_string(size()) + " ids (" +
                    std::to_string(spec.added.size()) + " added)";
  if (!spec.merges.empty()) out += ", " + std::to_string(spec.merges.size()) + " merges";
  if (!spec.rules.empty()) out += ", pre-tokenizer " + rules_text(spec);
  out += std::string(", Unicode ") + kUnicodeVersion + ", bos " + std::to_string(bos()) +
         (adds_bos() ? " (added)" : "") + ", eos " + std::to_string(eos()) + ", chat " +
         tables_->chat.name();
  if (!spec.chat_origin.empty()) out += " of " + spec.chat_origin;
  if (is_nfc_alone(spec)) out += std::string(", NFC of Unicode ") + kNfcUnicodeVersion;
  const int missing = spec.model == TokenModel::byte_bpe ? tables_->bpe.missing_bytes() : 0;
  if (missing > 0) out += ", no token for " + std::to_string(missing) + " of the 256 bytes";
  if (!spec.siblings.empty()) out += ", also from " + listed(spec.siblings);
  if (!spec.ignored.empty()) out += ", not used: " + listed(spec.ignored);
  return out;
}

std::string Tokenizer::fingerprint_text() const {
  const TokenizerSpec& spec = tables_->spec;
  std::string out = "isobit tokenizer 1\n";
  put(out, "unicode", kUnicodeVersion);
  put(out, "nfc", is_nfc_alone(spec) ? kNfcUnicodeVersion : "");
  put(out, "rules", rules_text(spec));
  put(out, "bpe",
      joined({spec.bpe.ignore_merges ? 1 : 0, spec.bpe.fuse_unknown ? 1 : 0, spec.bpe.unknown}));
  put(out, "ends", joined({spec.bos, spec.eos}));
  put(out, "prefix", joined(spec.prefix));
  put(out, "suffix", joined(spec.suffix));
  for (const AddedToken& token : spec.added) {
    std::vector<std::int32_t> facts{token.id, token.lstrip ? 1 : 0, token.rstrip ? 1 : 0,
                                    token.normalized ? 1 : 0};
    if (token.single_word) facts.push_back(1);
    put(out, "added", joined(facts));
  }
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    put(out, spec.in_vocabulary[id] != 0 ? "token" : "outside", spec.tokens[id]);
  }
  for (const BpeMerge& merge : spec.merges) put(out, "merge", joined({merge.left, merge.right}));
  put_more(spec, out);
  return out;
}

}  // namespace isobit
