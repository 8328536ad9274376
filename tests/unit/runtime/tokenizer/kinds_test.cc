// Tests of every kind of tokenizer beside byte-level BPE against the ids of Hugging Face tokenizers
// (kinds_vectors.inc), transformers and SentencePiece (spm_vectors.inc), and of their refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/tokenizer/protobuf.h"
#include "runtime/tokenizer/spec.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/unicode_tables.h"

namespace isobit {
namespace {

#include "tests/unit/runtime/tokenizer/kinds_vectors.inc"
#include "tests/unit/runtime/tokenizer/spm_vectors.inc"
#include "tests/unit/runtime/tokenizer/tokenizer_vectors.inc"

using Ids = std::vector<std::int32_t>;

std::uint32_t digest_of(const Ids& ids) {
  std::uint32_t digest = 0x811c9dc5;
  for (const std::int32_t id : ids) digest = (digest ^ static_cast<std::uint32_t>(id)) * 0x01000193;
  return digest;
}

std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(kDigits.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xff);
  }
  return out;
}

std::string file_of(const std::string& kind) {
  for (const Kind& known : kKinds) {
    if (known.name != kind) continue;
    std::string model = known.model;
    if (model == "b") {
      model = kModel;
    } else if (model == "c") {
      model = kCharacterModel;
    } else if (model == "u") {
      model = kCharacterModel;
      const std::string flag = "\"byte_fallback\":true";
      model.replace(model.find(flag), flag.size(), "\"byte_fallback\":false");
    }
    return std::string(known.before_model) + ",\"model\":" + model + "}";
  }
  return "";
}

std::string edited(const std::string& kind, const std::string& from, const std::string& to) {
  std::string text = file_of(kind);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string refusal_of(const std::string& json) {
  const auto tokenizer = Tokenizer::from_json(json, "", "t/tokenizer.json");
  return tokenizer ? "accepted" : tokenizer.error().text();
}

Tokenizer made(const std::string& kind) {
  auto tokenizer = Tokenizer::from_json(file_of(kind), "", "t/tokenizer.json");
  ISOBIT_CHECK(tokenizer.has_value());
  return std::move(*tokenizer);
}

LoadedModel folder_of(const SpmModel& spm) {
  LoadedModel model;
  model.path = "m";
  model.tokenizer_config_json = spm.config;
  model.text_files["tokenizer.model"] = from_base64(spm.file);
  return model;
}

TEST(TokenizerKindsTest, IdsAreHuggingFaces) {
  std::size_t column = 0;
  for (const Kind& kind : kKinds) {
    const auto tokenizer = Tokenizer::from_json(file_of(kind.name), "", "t");
    ASSERT_TRUE(tokenizer) << kind.name << ": " << tokenizer.error().text();
    for (const KindText& text : kKindTexts) {
      EXPECT_EQ(digest_of(tokenizer->encode(text.text, true)), text.ids[column])
          << kind.name << ": " << text.text;
    }
    ++column;
  }
  EXPECT_GT(std::size(kKindTexts), 100U);
}

TEST(TokenizerKindsTest, SentencePieceFilesGiveTransformersIds) {
  std::size_t column = 0;
  for (const SpmModel& spm : kSpmModels) {
    const auto tokenizer = Tokenizer::from_model(folder_of(spm));
    ASSERT_TRUE(tokenizer) << spm.name << ": " << tokenizer.error().text();
    for (const SpmText& text : kSpmTexts) {
      EXPECT_EQ(digest_of(tokenizer->encode(text.text, true)), text.ids[column])
          << spm.name << ": " << text.text;
    }
    ++column;
  }
}

GgufTokenizer gguf_of_spm() {
  const std::string bytes = from_base64(kSpmModels[0].file);
  const auto spec = read_sentencepiece(bytes, {}, "m/tokenizer.model");
  GgufTokenizer gguf;
  gguf.model = "llama";
  gguf.tokens = spec->tokens;
  for (const char type : std::string_view(kSpmTypes)) gguf.token_types.push_back(type - '0');
  gguf.scores.assign(std::begin(kSpmScores), std::end(kSpmScores));
  gguf.bos = 1;
  gguf.eos = 2;
  gguf.unknown = 0;
  gguf.add_space_prefix = true;
  return gguf;
}

TEST(TokenizerKindsTest, GgufMergesAsSentencePieceDoes) {
  const auto tokenizer = Tokenizer::from_gguf(gguf_of_spm(), "m.gguf");
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  const std::size_t column = std::size(kSpmModels);
  for (const SpmText& text : kSpmTexts) {
    const bool special = text.text.find("<s>") != std::string_view::npos ||
                         text.text.find("<unk>") != std::string_view::npos;
    if (special) continue;  // SentencePiece itself does not look for them
    EXPECT_EQ(digest_of(tokenizer->encode(text.text, false)), text.ids[column]) << text.text;
  }
  EXPECT_EQ(tokenizer->encode("<s>a", false).front(), 1);
  EXPECT_EQ(tokenizer->family(), "SentencePiece BPE by scores");
}

TEST(TokenizerKindsTest, DecodeUndoesEncodeAndStreamsGoOn) {
  for (const char* kind : {"llama2", "mistral", "gemma"}) {
    const Tokenizer tokenizer = made(kind);
    for (const KindText& text : kKindTexts) {
      const bool changes = text.text.find("\xe2\x96\x81") != std::string_view::npos ||
                           text.text.find('<') != std::string_view::npos ||
                           text.text.substr(0, 1) == " ";
      if (changes) continue;  // ▁ comes back as a space
      const Ids ids = tokenizer.encode(text.text, false);
      EXPECT_EQ(tokenizer.decode(ids), text.text) << kind;
    }
  }
  const Tokenizer tokenizer = made("llama2");
  const Ids ids = tokenizer.encode("a \xf0\x9f\x98\x80", false);
  std::string streamed;
  for (const std::int32_t id : ids) streamed += tokenizer.token_bytes(id);
  EXPECT_EQ(streamed, " a \xf0\x9f\x98\x80");  // byte by byte, the prefix not stripped
  EXPECT_EQ(tokenizer.decode(ids), "a \xf0\x9f\x98\x80");
  EXPECT_EQ(tokenizer.token_bytes(-1) + tokenizer.token_bytes(1 << 20), "");
}

TEST(TokenizerKindsTest, AnyBytesAreTakenByEveryKind) {
  std::uint32_t state = 5;
  for (const Kind& kind : kKinds) {
    const Tokenizer tokenizer = made(kind.name);
    for (int round = 0; round < 100; ++round) {
      std::string bytes;
      for (int at = 0; at < 30; ++at) {
        state = state * 1664525 + 1013904223;
        bytes += static_cast<char>(state >> 24);
      }
      for (const std::int32_t id : tokenizer.encode(bytes, true)) {
        ASSERT_TRUE(id >= 0 && id < tokenizer.size());
      }
    }
  }
}

TEST(TokenizerKindsTestWide, EveryCodePointIsCutAsHuggingFaceCuts) {
  for (const MoreDigest& want : kMoreDigests) {
    SplitRule rule = SplitRule::punctuation;
    if (std::string(want.rule) == "gpt4o") rule = SplitRule::gpt4o;
    if (std::string(want.rule) == "tekken") rule = SplitRule::tekken;
    std::uint64_t digest = 0xcbf29ce484222325;
    for (std::uint32_t code = 0; code < 0x110000; ++code) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      std::string c;
      if (code < 0x80) {
        c = static_cast<char>(code);
      } else {
        const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        constexpr std::uint32_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
        c += static_cast<char>(kLead[more] | code >> 6 * more);
        for (int at = more - 1; at >= 0; --at) {
          c += static_cast<char>(0x80 | (code >> 6 * at & 0x3f));
        }
      }
      const std::string text = "a" + c + "b 1" + c + "2 " + c + " " + c + c + "\n";
      std::vector<std::string_view> pieces;
      split(rule, text, pieces);
      std::size_t end = 0;
      for (const std::string_view piece : pieces) {
        end += piece.size();
        digest = (digest ^ end) * 0x100000001b3;
      }
    }
    EXPECT_EQ(digest, want.digest) << want.rule;
  }
}

TEST(TokenizerKindsTest, RefusesByNameAndPlace) {
  const struct {
    const char *kind, *from, *to, *says;
  } refusals[] = {
      {"unigram", "\"unk_id\":0", "\"unk_id\":9999", "model.unk_id: is outside the vocabulary"},
      {"unigram", "[\"<s>\",0.0]", "[\"<unk>\",0.0]", "model.vocab[1]: repeats"},
      {"unigram", "[\"<s>\",0.0]", "[\"\",0.0]", "model.vocab[1]: an empty token"},
      {"unigram", "[\"<s>\",0.0]", "[\"<s>\"]", "model.vocab[1]: expected [token, score]"},
      {"unigram", "\"type\":\"NFC\"", "\"type\":\"Lowercase\"", "a normalizer of type"},
      {"unigram", " {2,}", " {3,}", "a Replace of the pattern"},
      {"mistral", "\"prepend_scheme\":\"first\"", "\"prepend_scheme\":\"last\"", "always, never"},
      {"gemma", "MergedWithPrevious", "Merged", "pre_tokenizer.behavior: expected a behavior"},
      {"llama2", "\"start\":1", "\"start\":100", "a Strip that is not"},
      {"llama2", "\"type\":\"Fuse\"", "\"type\":\"WordPiece\"", "a decoder of type"},
  };
  for (const auto& refusal : refusals) {
    const std::string text = refusal_of(edited(refusal.kind, refusal.from, refusal.to));
    EXPECT_NE(text.find(refusal.says), std::string::npos) << refusal.to << " gave " << text;
  }
}

TEST(TokenizerKindsTest, BrokenSentencePieceFilesAreErrors) {
  LoadedModel model = folder_of(kSpmModels[0]);
  const std::string whole = model.text_files["tokenizer.model"];
  std::string& file = model.text_files["tokenizer.model"];
  for (const std::size_t size : {std::size_t{1}, whole.size() / 2}) {
    file = whole.substr(0, size);
    const auto tokenizer = Tokenizer::from_model(model);
    ASSERT_FALSE(tokenizer) << size;
    EXPECT_EQ(tokenizer.error().place, "m/tokenizer.model");
  }
  file = whole.substr(0, whole.size() - 1);
  EXPECT_NE(Tokenizer::from_model(model).error().text().find("is no SentencePiece model"),
            std::string::npos);
  file = whole + "\x0a\x03\x0a\x01" + "a";  // one more piece, of a text that is there already
  EXPECT_NE(Tokenizer::from_model(model).error().text().find("repeats the piece \"a\""),
            std::string::npos);
}

TEST(TokenizerKindsTest, ProtobufReaderStaysInsideItsBytes) {
  ProtobufField field;
  ProtobufReader whole(std::string_view("\x08\x96\x01\x12\x02hi", 7));
  EXPECT_TRUE(whole.next(field));
  EXPECT_EQ(field.value, 150U);
  EXPECT_TRUE(whole.next(field));
  EXPECT_EQ(field.bytes, "hi");
  EXPECT_FALSE(whole.next(field));
  EXPECT_FALSE(whole.broken());
  for (const std::string_view bad :
       {std::string_view("\x12\x05hi"), std::string_view("\x08"), std::string_view("\x0d\x01"),
        std::string_view("\x0b"), std::string_view("\x00\x01", 2)}) {
    ProtobufReader reader(bad);
    EXPECT_FALSE(reader.next(field));
    EXPECT_TRUE(reader.broken());
  }
}

}  // namespace
}  // namespace isobit
