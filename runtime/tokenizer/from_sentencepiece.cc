// Reads tokenizer.model, SentencePiece's protobuf, into what transformers 5 converts it to: BPE
// with the merges that the scores rank, or Unigram, and the steps of the model's own settings.
#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "runtime/checkpoint/json.h"
#include "runtime/tokenizer/from_json.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/protobuf.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

constexpr char kMetaMark[] = "\xe2\x96\x81";  // ▁
/// Of BPE, whose every way to cut a token in two is looked at.
constexpr std::size_t kLongestPiece = 1024;

enum class PieceType : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };

struct ModelPiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

/// The fields of ModelProto that matter, with the defaults of sentencepiece_model.proto.
struct Model {
  std::vector<ModelPiece> pieces;
  std::uint64_t type = 1;  // 1 Unigram, 2 BPE
  bool byte_fallback = false;
  std::int64_t unknown = 0, bos = 1, eos = 2;
  std::string unknown_text = "<unk>", bos_text = "<s>", eos_text = "</s>";
  std::string charsmap;
  bool dummy_prefix = true, remove_spaces = true, escape_spaces = true;
};

/// A signed 32-bit field.
std::int64_t int32_of(const ProtobufField& field) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(field.value));
}

bool read_piece(std::string_view message, ModelPiece& piece) {
  ProtobufReader reader(message);
  for (ProtobufField field; reader.next(field);) {
    if (field.number == 1 && field.is_bytes) piece.text = std::string(field.bytes);
    if (field.number == 2) {
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    }
    if (field.number == 3) piece.type = static_cast<PieceType>(field.value & 0xff);
  }
  return !reader.broken();
}

bool read_trainer(std::string_view message, Model& model) {
  ProtobufReader reader(message);
  for (ProtobufField field; reader.next(field);) {
    switch (field.number) {
      case 3:
        model.type = field.value;
        break;
      case 35:
        model.byte_fallback = field.value != 0;
        break;
      case 40:
        model.unknown = int32_of(field);
        break;
      case 41:
        model.bos = int32_of(field);
        break;
      case 42:
        model.eos = int32_of(field);
        break;
      case 45:
        model.unknown_text = std::string(field.bytes);
        break;
      case 46:
        model.bos_text = std::string(field.bytes);
        break;
      case 47:
        model.eos_text = std::string(field.bytes);
        break;
      default:
        break;
    }
  }
  return !reader.broken();
}

bool read_normalizer(std::string_view message, Model& model) {
  ProtobufReader reader(message);
  for (ProtobufField field; reader.next(field);) {
    if (field.number == 2) model.charsmap = std::string(field.bytes);
    if (field.number == 3) model.dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_spaces = field.value != 0;
    if (field.number == 5) model.escape_spaces = field.value != 0;
  }
  return !reader.broken();
}

Result<Model> read_model(const std::string& file, const std::string& place) {
  Model model;
  bool whole = true;
  ProtobufReader reader(file);
  for (ProtobufField field; whole && reader.next(field);) {
    if (field.number == 1 && field.is_bytes) {
      if (model.pieces.size() >= std::size_t{kMaxTokenIds}) return Error{"too many pieces", place};
      whole = read_piece(field.bytes, model.pieces.emplace_back());
    }
    if (field.number == 2) whole = read_trainer(field.bytes, model);
    if (field.number == 3) whole = read_normalizer(field.bytes, model);
  }
  if (!whole || reader.broken() || model.pieces.empty()) {
    return Error{"is no SentencePiece model: expected a protobuf message with pieces", place};
  }
  return model;
}

class Converter {
 public:
  Converter(Model model, const TokenizerFiles& files, std::string place, TokenizerSpec& spec)
      : model_(std::move(model)), files_(files), place_(std::move(place)), spec_(spec) {}

  Result<void> convert() {
    auto done = settings();
    ISOBIT_TRY(done);
    done = vocabulary();
    ISOBIT_TRY(done);
    if (model_.type == 2) {
      merges();
    } else if (model_.type != 1) {
      return Error{"a model of type " + std::to_string(model_.type) +
                       " is not supported; known are 1 (Unigram) and 2 (BPE)",
                   place_ + ": trainer_spec.model_type"};
    }
    done = normalizer();
    ISOBIT_TRY(done);
    pre_tokenizer();
    decoder();
    done = read_siblings(files_, place_, defaults(), spec_);
    ISOBIT_TRY(done);
    if (add_bos_ && spec_.bos >= 0) spec_.prefix.push_back(spec_.bos);
    if (add_eos_ && spec_.eos >= 0) spec_.suffix.push_back(spec_.eos);
    return {};
  }

 private:
  Result<void> settings();
  Result<void> vocabulary();
  void merges();
  Result<void> normalizer();
  void pre_tokenizer();
  void decoder();
  [[nodiscard]] SiblingDefaults defaults() const;

  Model model_;
  const TokenizerFiles& files_;
  std::string place_;
  TokenizerSpec& spec_;
  std::vector<AddedToken> control_;
  std::vector<std::string> user_defined_;
  bool legacy_ = true, add_bos_ = false, add_eos_ = false;
};

/// What tokenizer_config.json says of the conversion itself.
Result<void> Converter::settings() {
  if (files_.config_json.empty()) return {};
  const auto file = parse_strict_json(files_.config_json, JsonPlace{place_, std::nullopt});
  if (!file) return {};  // read_siblings tells
  const JsonNode node{&*file, place_};
  const std::pair<const char*, bool*> flags[] = {
      {"legacy", &legacy_}, {"add_bos_token", &add_bos_}, {"add_eos_token", &add_eos_}};
  for (const auto& [key, target] : flags) {
    const auto value = json_flag(node.at(key), *target);
    ISOBIT_TRY(value);
    *target = *value;
  }
  return {};
}

Result<void> Converter::vocabulary() {
  VocabularyIndex index;
  const bool unigram = model_.type == 1;
  spec_.model = unigram ? TokenModel::unigram : TokenModel::char_bpe;
  for (std::size_t at = 0; at < model_.pieces.size(); ++at) {
    const ModelPiece& piece = model_.pieces[at];
    const std::string here = place_ + ": piece " + std::to_string(at);
    if (piece.text.empty()) return Error{"an empty piece", here};
    if (piece.text.size() > kLongestPiece) {
      return Error{"a piece of " + std::to_string(piece.text.size()) + " bytes; at most " +
                       std::to_string(kLongestPiece) + " are read",
                   here};
    }
    if (!std::isfinite(piece.score)) return Error{"the score is not finite", here};
    const auto id = static_cast<std::int32_t>(at);
    if (!index.emplace(piece.text, id).second) {
      return Error{"repeats the piece " + shown(piece.text), here};
    }
    spec_.tokens.push_back(piece.text);
    if (unigram) spec_.scores.push_back(static_cast<double>(piece.score));
    if (piece.type == PieceType::user_defined) user_defined_.push_back(piece.text);
    if (piece.type == PieceType::control) control_.push_back({id, piece.text});
  }
  spec_.in_vocabulary.assign(spec_.tokens.size(), 1);
  spec_.bpe.byte_fallback = model_.byte_fallback;
  spec_.bpe.fuse_unknown = true;
  spec_.bpe.ignore_merges = !user_defined_.empty();
  if (unigram) {
    if (model_.unknown < 0 || model_.unknown >= static_cast<std::int64_t>(spec_.tokens.size())) {
      return Error{"the id " + std::to_string(model_.unknown) + " is no piece",
                   place_ + ": trainer_spec.unk_id"};
    }
    spec_.bpe.unknown = static_cast<std::int32_t>(model_.unknown);
  } else {
    const auto found = index.find(model_.unknown_text);
    if (found != index.end()) spec_.bpe.unknown = found->second;
  }
  return {};
}

/// Every way to cut a normal piece into two of them, by the score of the whole.
void Converter::merges() {
  VocabularyIndex normal;
  for (std::size_t at = 0; at < model_.pieces.size(); ++at) {
    if (model_.pieces[at].type != PieceType::normal) continue;
    normal.emplace(model_.pieces[at].text, static_cast<std::int32_t>(at));
  }
  std::vector<std::tuple<float, std::int32_t, std::string, std::string>> ranked;
  for (const auto& [text, id] : normal) {
    for (std::size_t cut = char_at(text, 0).bytes; cut < text.size();
         cut += char_at(text, cut).bytes) {
      const bool both =
          normal.count(text.substr(0, cut)) != 0 && normal.count(text.substr(cut)) != 0;
      if (!both) continue;
      ranked.emplace_back(-model_.pieces[static_cast<std::size_t>(id)].score, id,
                          text.substr(0, cut), text.substr(cut));
    }
  }
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [score, id, left, right] : ranked) {
    spec_.merges.push_back({normal[left], normal[right], id});
  }
}

Result<void> Converter::normalizer() {
  using Kind = NormalStep::Kind;
  const auto put = [&](Kind kind, const std::string& pattern, const std::string& content) {
    NormalStep step;
    step.kind = kind;
    step.pattern = pattern;
    step.content = content;
    spec_.normal.push_back(std::move(step));
  };
  if (!model_.charsmap.empty()) {
    auto map = Charsmap::read(model_.charsmap, place_ + ": normalizer_spec.precompiled_charsmap");
    ISOBIT_TRY(map);
    put(Kind::charsmap, "", "");
    spec_.normal.back().charsmap = std::make_shared<const Charsmap>(std::move(*map));
  }
  if (model_.remove_spaces) {
    put(Kind::strip_spaces, "", "");
    put(Kind::space_runs, "", " ");
  }
  if (model_.escape_spaces) put(Kind::replace, " ", kMetaMark);
  if (model_.dummy_prefix && legacy_) put(Kind::double_prefix, "", "");
  return {};
}

void Converter::pre_tokenizer() {
  if (model_.dummy_prefix) {
    PreStep step(SplitRule::metaspace);
    step.text = kMetaMark;
    step.prefix = legacy_ ? PreStep::Prefix::always : PreStep::Prefix::first;
    step.cut = false;
    spec_.rules.push_back(std::move(step));
  }
  if (user_defined_.empty()) return;
  PreStep step(SplitRule::any_of);
  std::vector<AddedToken> list;
  for (const std::string& text : user_defined_) {
    list.push_back({static_cast<std::int32_t>(list.size()), text});
    step.list_text += std::to_string(text.size()) + " " + text + " ";
  }
  step.list = std::make_shared<const AddedTokens>(std::move(list));
  spec_.rules.push_back(std::move(step));
}

void Converter::decoder() {
  spec_.decode = {false, {{kMetaMark, " "}},          model_.byte_fallback,
                  false, model_.dummy_prefix ? 1 : 0, ""};
}

SiblingDefaults Converter::defaults() const {
  SiblingDefaults out;
  if (model_.bos >= 0) out.bos = model_.bos_text;
  if (model_.eos >= 0) out.eos = model_.eos_text;
  if (model_.unknown >= 0) out.unknown = model_.unknown_text;
  out.extra = control_;
  return out;
}

}  // namespace

Result<TokenizerSpec> read_sentencepiece(const std::string& file, const TokenizerFiles& files,
                                         const std::string& place) {
  auto model = read_model(file, place);
  ISOBIT_TRY(model);
  TokenizerSpec spec;
  const auto done = Converter(std::move(*model), files, place, spec).convert();
  ISOBIT_TRY(done);
  return spec;
}

}  // namespace isobit
