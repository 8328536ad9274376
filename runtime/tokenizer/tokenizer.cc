// Implementation of runtime/tokenizer/tokenizer.h: added tokens, normalisation, pre-tokenizers and
// byte-pair encoding, one after the other.
#include "runtime/tokenizer/tokenizer.h"

#include <deque>
#include <utility>

#include "runtime/base/interrupt.h"
#include "runtime/tokenizer/chat.h"
#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {

struct Tokenizer::Tables {
  TokenizerSpec spec;
  std::vector<std::string> bytes;  // by id: what decode gives; empty: no such id
  AddedTokens raw_added;           // found in the text as it is
  AddedTokens normalized_added;    // found in the normalised text
  Bpe bpe;
  ChatFormat chat;

  void encode_text(std::string_view text, std::vector<std::int32_t>& ids) const;
  void encode_piece(std::string_view text, std::vector<std::int32_t>& ids) const;
};

namespace {

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

/// Cuts every piece by one rule. Pieces that the rule makes new live in `made`.
std::vector<std::string_view> apply_rule(SplitRule rule, std::vector<std::string_view> pieces,
                                         std::deque<std::string>& made) {
  std::vector<std::string_view> cut;
  cut.reserve(pieces.size());
  for (const std::string_view piece : pieces) {
    if (rule != SplitRule::prefix_space) {
      split(rule, piece, cut);
    } else if (piece.front() == ' ') {
      cut.push_back(piece);
    } else {
      cut.push_back(made.emplace_back(" " + std::string(piece)));
    }
  }
  return cut;
}

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
  for (const SplitRule rule : spec.rules)
    out += (out.empty() ? "" : "+") + std::string(name_of(rule));
  return out;
}

}  // namespace

/// Text without added tokens, already normalised.
void Tokenizer::Tables::encode_piece(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  std::deque<std::string> made;
  std::vector<std::string_view> pieces{text};
  for (const SplitRule rule : spec.rules) pieces = apply_rule(rule, std::move(pieces), made);
  BpeScratch scratch;
  for (const std::string_view piece : pieces) {
    if (interrupted != 0) return;
    bpe.encode(piece, scratch, ids);
  }
}

/// Text without the added tokens that are found before normalisation.
void Tokenizer::Tables::encode_text(std::string_view text, std::vector<std::int32_t>& ids) const {
  std::string normal;
  if (spec.nfc && !is_ascii(text)) {
    normal = normalize_nfc(text);
    text = normal;
  }
  std::vector<Segment> segments;
  normalized_added.split(text, segments);
  for (const Segment& segment : segments) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      encode_piece(segment.text, ids);
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Tables> tables) : tables_(std::move(tables)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_spec(TokenizerSpec&& spec, const std::string& place) {
  auto tables = std::make_unique<Tables>();
  std::vector<char> is_added(spec.tokens.size(), 0);
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (AddedToken token : spec.added) {
    is_added[static_cast<std::size_t>(token.id)] = 1;
    if (token.normalized && spec.nfc) token.content = normalize_nfc(token.content);
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  std::vector<std::pair<std::string, std::int32_t>> pieces;
  tables->bytes.reserve(spec.tokens.size());
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    std::string bytes;
    const bool printable = bytes_of_printable(token, bytes);
    if (printable && spec.in_vocabulary[id] != 0 && !token.empty()) {
      pieces.emplace_back(bytes, static_cast<std::int32_t>(id));
    }
    tables->bytes.push_back(printable && is_added[id] == 0 ? bytes : token);
  }
  tables->bpe = Bpe(std::move(pieces), spec.merges, spec.bpe);
  if (tables->bpe.missing_bytes() == 256) {
    return Error{"the vocabulary has no token for any single byte; it is not byte-level", place};
  }
  tables->raw_added = AddedTokens(std::move(raw));
  tables->normalized_added = AddedTokens(std::move(normalized));
  if (spec.bos < 0 && !spec.prefix.empty()) {
    spec.bos = spec.prefix.front();
    spec.bos_text = spec.tokens[static_cast<std::size_t>(spec.bos)];
  }
  tables->chat = recognise_chat(spec.chat_template, spec.bos_text, spec.eos_text);
  tables->spec = std::move(spec);
  return Tokenizer(std::move(tables));
}

Result<Tokenizer> Tokenizer::from_json(const std::string& tokenizer_json,
                                       const std::string& config_json, const std::string& place) {
  auto spec = read_tokenizer_json(tokenizer_json, config_json, place);
  ISOBIT_TRY(spec);
  return from_spec(std::move(*spec), place);
}

Result<Tokenizer> Tokenizer::from_gguf(const GgufTokenizer& gguf, const std::string& place) {
  auto spec = read_tokenizer_gguf(gguf, place);
  ISOBIT_TRY(spec);
  return from_spec(std::move(*spec), place);
}

Result<Tokenizer> Tokenizer::from_model(const LoadedModel& model) {
  Result<TokenizerSpec> spec = Error{
      "the model has no tokenizer: neither a tokenizer.json nor GGUF metadata; prompts must then "
      "be given as token ids",
      model.path};
  std::string place = model.path;
  if (model.gguf_tokenizer != nullptr) {
    GgufTokenizer gguf = *model.gguf_tokenizer;
    const bool says = model.metadata.count("tokenizer.ggml.add_bos_token") != 0;
    const bool llama3 = gguf.pre == "llama-bpe" || gguf.pre == "llama3" || gguf.pre == "llama-v3";
    if (!says && llama3) gguf.add_bos = true;  // what Llama-3's own files mean when they are silent
    spec = read_tokenizer_gguf(gguf, place);
  } else if (!model.tokenizer_json.empty()) {
    place += "/tokenizer.json";
    spec = read_tokenizer_json(model.tokenizer_json, model.tokenizer_config_json, place);
  }
  ISOBIT_TRY(spec);
  const auto size = static_cast<std::int64_t>(spec->tokens.size());
  if (size > model.config.vocab_size) {
    return Error{"the tokenizer has " + std::to_string(size) +
                     " ids but the model's vocab_size is " +
                     std::to_string(model.config.vocab_size) + "; it belongs to another model",
                 place};
  }
  const auto fits = [&](std::int32_t id) { return id >= 0 && id < size; };
  const auto& eos = model.config.eos_tokens;
  if (spec->bos < 0 && fits(model.config.bos_token)) spec->bos = model.config.bos_token;
  if (spec->eos < 0 && !eos.empty() && fits(eos.front())) spec->eos = eos.front();
  return from_spec(std::move(*spec), place);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<std::int32_t> ids;
  if (add_special) ids = tables_->spec.prefix;
  std::vector<Segment> segments;
  tables_->raw_added.split(text, segments);
  for (const Segment& segment : segments) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      tables_->encode_text(segment.text, ids);
    }
  }
  const auto& suffix = tables_->spec.suffix;
  if (add_special) ids.insert(ids.end(), suffix.begin(), suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string out;
  for (const std::int32_t id : ids) {
    if (id >= 0 && id < size()) out += tables_->bytes[static_cast<std::size_t>(id)];
  }
  return out;
}

Result<std::string> Tokenizer::apply_chat(std::span<const ChatMessage> messages) const {
  return render_chat(tables_->chat, messages);
}

std::int64_t Tokenizer::size() const {
  return static_cast<std::int64_t>(tables_->bytes.size());
}
std::int32_t Tokenizer::bos() const {
  return tables_->spec.bos;
}
std::int32_t Tokenizer::eos() const {
  return tables_->spec.eos;
}

bool Tokenizer::adds_bos() const {
  const auto& prefix = tables_->spec.prefix;
  return !prefix.empty() && prefix.front() == bos();
}

std::string Tokenizer::describe() const {
  const TokenizerSpec& spec = tables_->spec;
  const int missing = tables_->bpe.missing_bytes();
  std::string out = "byte-level BPE, " + std::to_string(size()) + " ids (" +
                    std::to_string(spec.added.size()) + " added), " +
                    std::to_string(spec.merges.size()) + " merges, pre-tokenizer " +
                    rules_text(spec) + ", Unicode " + kUnicodeVersion + ", bos " +
                    std::to_string(bos()) + (adds_bos() ? " (added)" : "") + ", eos " +
                    std::to_string(eos()) + ", chat " + name_of(tables_->chat.kind);
  if (spec.nfc) out += std::string(", NFC of Unicode ") + kNfcUnicodeVersion;
  if (missing > 0) out += ", no token for " + std::to_string(missing) + " of the 256 bytes";
  return out;
}

std::string Tokenizer::fingerprint_text() const {
  const TokenizerSpec& spec = tables_->spec;
  std::string out = "isobit tokenizer 1\n";
  put(out, "unicode", kUnicodeVersion);
  put(out, "nfc", spec.nfc ? kNfcUnicodeVersion : "");
  put(out, "rules", rules_text(spec));
  put(out, "bpe",
      joined({spec.bpe.ignore_merges ? 1 : 0, spec.bpe.fuse_unknown ? 1 : 0, spec.bpe.unknown}));
  put(out, "ends", joined({spec.bos, spec.eos}));
  put(out, "prefix", joined(spec.prefix));
  put(out, "suffix", joined(spec.suffix));
  for (const AddedToken& token : spec.added) {
    put(out, "added",
        joined({token.id, token.lstrip ? 1 : 0, token.rstrip ? 1 : 0, token.normalized ? 1 : 0}));
  }
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    put(out, spec.in_vocabulary[id] != 0 ? "token" : "outside", spec.tokens[id]);
  }
  for (const BpeMerge& merge : spec.merges) put(out, "merge", joined({merge.left, merge.right}));
  return out;
}

}  // namespace isobit
