// Implementation of runtime/tokenizer/tokenizer.h: added tokens, normalisation, pre-tokenizers and
// the model, one after the other; and the way back.
#include "runtime/tokenizer/tokenizer.h"

#include <deque>
#include <utility>

#include "runtime/base/interrupt.h"
#include "runtime/tokenizer/tables.h"

namespace isobit {
namespace {

constexpr std::string_view kMetaMark = "\xe2\x96\x81";  // ▁

/// What a token stands for when it is joined with others.
std::string decoded(const TokenizerSpec& spec, std::size_t id, bool added) {
  const std::string& token = spec.tokens[id];
  std::string bytes;
  if (spec.decode.byte_level) {
    return !added && bytes_of_printable(token, bytes) ? bytes : token;
  }
  bytes = token;
  for (const auto& [pattern, content] : spec.decode.replace) {
    NormalStep step;
    step.kind = NormalStep::Kind::replace;
    step.pattern = pattern;
    step.content = content;
    bytes = normalized(step, bytes);
  }
  const int byte = spec.decode.byte_fallback ? byte_of_fallback(bytes) : -1;
  return byte < 0 ? bytes : std::string(1, static_cast<char>(byte));
}

/// The vocabulary as the BPE model takes it.
std::vector<std::pair<std::string, std::int32_t>> pieces_of(const TokenizerSpec& spec) {
  std::vector<std::pair<std::string, std::int32_t>> pieces;
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    const std::string& token = spec.tokens[id];
    if (spec.in_vocabulary[id] == 0 || token.empty()) continue;
    std::string bytes = token;
    if (!spec.bpe.characters && !bytes_of_printable(token, bytes)) continue;
    pieces.emplace_back(std::move(bytes), static_cast<std::int32_t>(id));
  }
  return pieces;
}

/// The vocabulary as Unigram and SentencePiece take it.
std::vector<std::string> texts_of(const TokenizerSpec& spec) {
  std::vector<std::string> texts = spec.tokens;
  for (std::size_t id = 0; id < texts.size(); ++id) {
    if (spec.in_vocabulary[id] == 0) texts[id].clear();
  }
  return texts;
}

}  // namespace

void Tokenizer::Tables::encode_piece(std::string_view text, bool first,
                                     std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  std::deque<std::string> made;
  std::vector<Piece> pieces{{text, first}};
  for (const PreStep& step : spec.rules) apply_step(step, pieces, made);
  BpeScratch scratch;
  for (const Piece& piece : pieces) {
    if (interrupted != 0) return;
    switch (spec.model) {
      case TokenModel::byte_bpe:
      case TokenModel::char_bpe:
        bpe.encode(piece.text, scratch, ids);
        break;
      case TokenModel::unigram:
        unigram.encode(piece.text, ids);
        break;
      case TokenModel::sentencepiece:
        sentencepiece.encode(piece.text, ids);
        break;
    }
  }
}

std::string Tokenizer::Tables::normal(std::string_view text, bool& first) const {
  std::string out(text);
  for (const NormalStep& step : spec.normal) {
    using Kind = NormalStep::Kind;
    const bool strips = (step.kind == Kind::strip && step.left) || step.kind == Kind::strip_spaces;
    std::string next = normalized(step, out);
    if (strips && next.substr(0, 1) != out.substr(0, 1)) first = false;
    out = std::move(next);
  }
  return out;
}

void Tokenizer::Tables::encode_text(std::string_view text, bool first,
                                    std::vector<std::int32_t>& ids) const {
  std::string made;
  if (!spec.normal.empty()) {
    made = normal(text, first);
    text = made;
  }
  std::vector<Segment> segments;
  normalized_added.split(text, segments);
  for (const Segment& segment : segments) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
    } else {
      encode_piece(segment.text, first && segment.text.data() == text.data(), ids);
    }
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Tables> tables) : tables_(std::move(tables)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::from_spec(TokenizerSpec&& spec, const std::string& place) {
  auto tables = std::make_unique<Tables>();
  tables->spec = std::move(spec);
  TokenizerSpec& own = tables->spec;
  std::vector<char> is_added(own.tokens.size(), 0);
  std::vector<AddedToken> raw;
  std::vector<AddedToken> in_normal;
  for (AddedToken token : own.added) {
    is_added[static_cast<std::size_t>(token.id)] = 1;
    bool first = true;
    if (token.normalized) token.content = tables->normal(token.content, first);
    if (token.content.empty()) continue;  // nothing of it is left to be found
    (token.normalized ? in_normal : raw).push_back(std::move(token));
  }
  tables->raw_added = AddedTokens(std::move(raw));
  tables->normalized_added = AddedTokens(std::move(in_normal));
  tables->bytes.reserve(own.tokens.size());
  for (std::size_t id = 0; id < own.tokens.size(); ++id) {
    tables->bytes.push_back(decoded(own, id, is_added[id] != 0));
  }
  switch (own.model) {
    case TokenModel::byte_bpe:
    case TokenModel::char_bpe:
      own.bpe.characters = own.model == TokenModel::char_bpe;
      tables->bpe = Bpe(pieces_of(own), own.merges, own.bpe);
      break;
    case TokenModel::unigram:
      tables->unigram = Unigram(texts_of(own), own.scores, own.bpe.unknown, own.bpe.byte_fallback);
      break;
    case TokenModel::sentencepiece:
      tables->sentencepiece = SentencePiece(texts_of(own), own.scores, own.bpe.unknown);
      break;
  }
  if (own.model == TokenModel::byte_bpe && tables->bpe.missing_bytes() == 256) {
    return Error{"the vocabulary has no token for any single byte; it is not byte-level", place};
  }
  if (own.bos < 0 && !own.prefix.empty()) {
    own.bos = own.prefix.front();
    own.bos_text = own.tokens[static_cast<std::size_t>(own.bos)];
  }
  tables->chat = ChatTemplate(own.chat_template, own.named);
  return Tokenizer(std::move(tables));
}

Result<Tokenizer> Tokenizer::from_json(const std::string& tokenizer_json,
                                       const std::string& config_json, const std::string& place) {
  auto spec = read_tokenizer_json({tokenizer_json, config_json, nullptr}, place);
  ISOBIT_TRY(spec);
  return from_spec(std::move(*spec), place);
}

Result<Tokenizer> Tokenizer::from_gguf(const GgufTokenizer& gguf, const std::string& place) {
  auto spec = read_tokenizer_gguf(gguf, place);
  ISOBIT_TRY(spec);
  return from_spec(std::move(*spec), place);
}

bool has_tokenizer(const LoadedModel& model) {
  if (model.gguf_tokenizer != nullptr) return !model.gguf_tokenizer->model.empty();
  return !model.tokenizer_json.empty() || model.text_files.count("tokenizer.model") != 0;
}

Result<Tokenizer> Tokenizer::from_model(const LoadedModel& model) {
  if (!has_tokenizer(model)) {
    return Error{
        "the model has no tokenizer: no tokenizer.json, tokenizer.model or GGUF metadata; prompts "
        "must then be given as token ids",
        model.path};
  }
  Result<TokenizerSpec> spec = TokenizerSpec();
  std::string place = model.path;
  const TokenizerFiles files{model.tokenizer_json, model.tokenizer_config_json, &model.text_files};
  if (model.gguf_tokenizer != nullptr) {
    GgufTokenizer gguf = *model.gguf_tokenizer;
    const bool says = model.metadata.count("tokenizer.ggml.add_bos_token") != 0;
    const bool llama3 = gguf.pre == "llama-bpe" || gguf.pre == "llama3" || gguf.pre == "llama-v3";
    if (!says && llama3) gguf.add_bos = true;  // what Llama-3's own files mean when they are silent
    spec = read_tokenizer_gguf(gguf, place);
  } else if (!model.tokenizer_json.empty()) {
    place += "/tokenizer.json";
    spec = read_tokenizer_json(files, place);
  } else {
    place += "/tokenizer.model";
    spec = read_sentencepiece(*files.find("tokenizer.model"), files, place);
  }
  ISOBIT_TRY(spec);
  const auto size = static_cast<std::int64_t>(spec->tokens.size());
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
      tables_->encode_text(segment.text, segment.text.data() == text.data(), ids);
    }
  }
  const auto& suffix = tables_->spec.suffix;
  if (add_special) ids.insert(ids.end(), suffix.begin(), suffix.end());
  return ids;
}

std::string Tokenizer::token_bytes(std::int32_t id) const {
  return id >= 0 && id < size() ? tables_->bytes[static_cast<std::size_t>(id)] : std::string();
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  const DecodeSteps& steps = tables_->spec.decode;
  std::string out;
  bool first = true;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= size()) continue;
    if (!first) out += steps.between;
    if (first && steps.metaspace) {
      NormalStep drop;
      drop.kind = NormalStep::Kind::replace;
      drop.pattern = kMetaMark;
      out += normalized(drop, tables_->spec.tokens[static_cast<std::size_t>(id)]);
    } else {
      out += tables_->bytes[static_cast<std::size_t>(id)];
    }
    first = false;
  }
  std::size_t cut = 0;
  while (cut < static_cast<std::size_t>(steps.strip_start) && cut < out.size() && out[cut] == ' ') {
    ++cut;
  }
  return out.substr(cut);
}

Result<std::string> Tokenizer::apply_chat(std::span<const ChatMessage> messages) const {
  return tables_->chat.render(messages);
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

}  // namespace isobit
