// Tests of the tokenizer against Hugging Face's ids (tokenizer_vectors.inc), of both readers'
// refusals, and of the chat formats.
#include "runtime/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/tokenizer/chat.h"
#include "runtime/tokenizer/spec.h"

namespace isobit {
namespace {

#include "tests/unit/runtime/tokenizer/tokenizer_vectors.inc"

using Ids = std::vector<std::int32_t>;

std::string file_of(const char* variant) {
  for (const Variant& known : kVariants) {
    if (std::string(known.name) == variant) {
      return std::string(known.before_model) + ",\"model\":" + kModel + "}";
    }
  }
  return "";
}

/// The file with the first `from` replaced.
std::string edited(const char* variant, const std::string& from, const std::string& to) {
  std::string text = file_of(variant);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

Tokenizer made(const std::string& json, const std::string& config = "") {
  auto tokenizer = Tokenizer::from_json(json, config, "t/tokenizer.json");
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().text();
    std::abort();
  }
  return std::move(*tokenizer);
}

std::string refusal_of(const std::string& json, const std::string& config = "") {
  const auto tokenizer = Tokenizer::from_json(json, config, "t/tokenizer.json");
  return tokenizer ? "accepted" : tokenizer.error().text();
}

std::uint32_t digest_of(const Ids& ids) {
  std::uint32_t digest = 0x811c9dc5;
  for (const std::int32_t id : ids) digest = (digest ^ static_cast<std::uint32_t>(id)) * 0x01000193;
  return digest;
}

/// The small model as GGUF metadata.
GgufTokenizer gguf_of_model() {
  const auto spec = read_tokenizer_json({file_of("smollm"), "", nullptr}, "t");
  GgufTokenizer gguf;
  gguf.model = "gpt2";
  gguf.pre = "smollm";
  gguf.tokens = spec->tokens;
  gguf.token_types.assign(gguf.tokens.size(), 1);
  for (const AddedToken& token : spec->added)
    gguf.token_types[static_cast<std::size_t>(token.id)] = 3;
  for (const BpeMerge& merge : spec->merges) {
    gguf.merges.push_back(gguf.tokens[static_cast<std::size_t>(merge.left)] + " " +
                          gguf.tokens[static_cast<std::size_t>(merge.right)]);
  }
  gguf.bos = 520;
  gguf.eos = 521;
  return gguf;
}

TEST(TokenizerTest, IdsAreHuggingFaces) {
  std::size_t variant = 0;
  for (const Variant& known : kVariants) {
    const Tokenizer tokenizer = made(file_of(known.name));
    for (const TextDigests& text : kTexts) {
      EXPECT_EQ(digest_of(tokenizer.encode(text.text, true)), text.digests[variant])
          << known.name << ": " << text.text;
    }
    ++variant;
  }
  EXPECT_GT(std::size(kTexts), 300U);
}

TEST(TokenizerTest, GgufGivesTheSameIds) {
  const Tokenizer json = made(file_of("smollm"));
  const auto gguf = Tokenizer::from_gguf(gguf_of_model(), "m.gguf");
  ASSERT_TRUE(gguf) << gguf.error().text();
  for (const TextDigests& text : kTexts) {
    EXPECT_EQ(gguf->encode(text.text, false), json.encode(text.text, false)) << text.text;
  }
  EXPECT_EQ(gguf->bos(), 520);
  EXPECT_EQ(gguf->eos(), 521);
  EXPECT_FALSE(gguf->adds_bos());
}

TEST(TokenizerTest, DecodeUndoesEncodeForAnyBytes) {
  const Tokenizer tokenizer = made(file_of("llama3"));
  for (const TextDigests& text : kTexts) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text.text, false)), text.text);
  }
  std::uint32_t state = 9;
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    for (int at = 0; at < 40; ++at) {
      state = state * 1664525 + 1013904223;
      bytes += static_cast<char>(state >> 24);
    }
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes, false)), bytes);
  }
}

TEST(TokenizerTest, DecodeShowsSpecialTokensAndSkipsUnknownIds) {
  const Tokenizer tokenizer = made(file_of("smollm"));
  EXPECT_EQ(tokenizer.decode(Ids{520, -1, 100000, 521}), "<|im_start|><|im_end|>");
  EXPECT_EQ(tokenizer.encode("<|im_start|><|im_end|", false).front(), 520);
  EXPECT_EQ(tokenizer.size(), 522);
}

TEST(TokenizerTest, SpecialTokensSurroundTheTextOnRequest) {
  const Tokenizer tokenizer = made(file_of("llama3"));
  EXPECT_EQ(tokenizer.encode("", true), (Ids{520, 521}));
  EXPECT_EQ(tokenizer.encode("", false), Ids{});
  EXPECT_EQ(tokenizer.bos(), 520);
  EXPECT_TRUE(tokenizer.adds_bos());
}

TEST(TokenizerTest, MergesMayBeStringsOrPairs) {
  const std::string file = R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
    "decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"aba":3},
    "merges":[MERGES]}})";
  for (const char* merges : {R"("a b", "ab a")", R"(["a","b"], ["ab","a"])"}) {
    std::string text = file;
    text.replace(text.find("MERGES"), 6, merges);
    EXPECT_EQ(made(text).encode("ababa", false), (Ids{2, 3})) << merges;  // ab ab a
    EXPECT_EQ(made(text).encode("xaxb", false), Ids{2});  // a byte without a token vanishes first
  }
}

/// A byte-level file of 256 bytes, three specials and `fillers` more tokens, whose added tokens
/// begin with one that the vocabulary lacks. The key that sorts first has the largest id, so the
/// list of tokens gets its size at once, and the added token makes it grow.
std::string file_that_grows(int fillers) {
  std::vector<std::string> tokens{"<|a|>", "<|b|>", "<|c|>"};
  for (int byte = 0; byte < 256; ++byte) {
    const std::uint32_t code = printable_of_byte(static_cast<std::uint8_t>(byte));
    std::string text;
    if (code >= 0x80) text += static_cast<char>(0xc0 | code >> 6);
    text += static_cast<char>(code >= 0x80 ? 0x80 | (code & 0x3f) : code);
    tokens.push_back(std::move(text));
  }
  for (int at = 0; at < fillers; ++at) tokens.push_back(std::to_string(at) + "~");
  const auto first = std::find(tokens.begin(), tokens.end(), "!");
  std::iter_swap(first, tokens.end() - 1);
  std::string vocabulary;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string quoted = tokens[id] == "\"" || tokens[id] == "\\" ? "\\" : "";
    vocabulary += (id == 0 ? "\"" : ",\"") + quoted + tokens[id] + "\":" + std::to_string(id);
  }
  std::string added =
      R"({"content":"<extra>","special":true,"id":)" + std::to_string(tokens.size()) + "}";
  for (int id = 0; id < 3; ++id) {
    added += R"(,{"content":")" + tokens[static_cast<std::size_t>(id)] +
             R"(","special":true,"id":)" + std::to_string(id) + "}";
  }
  return R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
    "decoder":{"type":"ByteLevel"},"added_tokens":[)" +
         added + R"(],"model":{"type":"BPE","merges":[],"vocab":{)" + vocabulary + "}}}";
}

TEST(TokenizerTest, AddedTokensThatMakeTheListGrowLeaveTheVocabularyFound) {
  for (const int fillers : {1, 10, 5000}) {
    const std::string file = file_that_grows(fillers);
    const auto tokenizer = Tokenizer::from_json(file, "", "t");
    ASSERT_TRUE(tokenizer) << fillers << " fillers: " << tokenizer.error().text();
    const std::int32_t extra = 3 + 256 + fillers;
    EXPECT_EQ(tokenizer->size(), extra + 1);
    EXPECT_EQ(tokenizer->encode("<|c|><extra>!<|a|><|b|>", false),
              (Ids{2, extra, extra - 1, 0, 1}));
  }
}

TEST(TokenizerTest, AnIdFarAboveTheVocabularyIsRefused) {
  const auto file = [](int id) {
    return R"({"decoder":{"type":"ByteLevel"},"pre_tokenizer":{"type":"ByteLevel"},)"
           R"("model":{"type":"BPE","merges":[],"vocab":{"a":0,"b":)" +
           std::to_string(id) + "}}}";
  };
  EXPECT_EQ(refusal_of(file(65537)), "accepted");
  EXPECT_NE(refusal_of(file(65538)).find("far above the 2 entries"), std::string::npos);
}

TEST(TokenizerTest, StepsWithoutEndAreRefused) {
  const auto file = [](int digits) {
    std::string steps;
    for (int i = 0; i < digits; ++i) steps += R"({"type":"Digits"},)";
    return R"({"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]},)"
           R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[)" +
           steps + R"({"type":"ByteLevel","add_prefix_space":false}]}})";
  };
  EXPECT_EQ(refusal_of(file(15)), "accepted");
  EXPECT_NE(refusal_of(file(16)).find("more than 16 steps"), std::string::npos);
}

TEST(TokenizerTest, DigestedTextTellsEverythingThatDecidesIds) {
  const std::string plain = made(file_of("smollm")).fingerprint_text();
  EXPECT_EQ(plain, made(file_of("smollm")).fingerprint_text());
  EXPECT_NE(plain.find(kUnicodeVersion), std::string::npos);
  for (const char* other : {"gpt2_prefix", "llama3", "qwen2", "odd"}) {
    EXPECT_NE(plain, made(file_of(other)).fingerprint_text()) << other;
  }
  EXPECT_NE(plain,
            made(edited("smollm", "\"lstrip\":false", "\"lstrip\":true")).fingerprint_text());
  EXPECT_NE(plain, made(file_of("smollm"), R"({"eos_token":"<|im_end|>"})").fingerprint_text());
}

struct Refusal {
  const char* from;
  const char* to;
  const char* says;  // place and message contain this
};

TEST(TokenizerTest, RefusesByNameAndPlace) {
  const Refusal refusals[] = {
      {"\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "model.type: a model of type \"WordPiece\""},
      {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model.continuing_subword_prefix"},
      {"\"dropout\":null", "\"dropout\":0.1", "model.dropout: dropout"},
      {"\"byte_fallback\":false", "\"byte_fallback\":true", "model.byte_fallback"},
      {"\"byte_fallback\":false", "\"byte_fallback\":1", "expected true or false"},
      {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix"},
      {"\"unk_token\":null", "\"unk_token\":\"nothere\"", "no token \"nothere\""},
      {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFKC\"}", "type \"NFKC\""},
      {"\"type\":\"Digits\"", "\"type\":\"BertPreTokenizer\"", "pretokenizers[0]"},
      {"\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"CTC\"", "CTC"},
      {"\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"Fuse\"", "does not undo"},
      {"\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}", "Bert"},
      {"\"id\":520", "\"id\":7", "the next free id is 520"},
      {"\"id\":520", "\"id\":-1", "added_tokens[0].id: expected a token id"},
      {"\"id\":521", "\"id\":4000000000", "added_tokens[1].id: expected a token id"},
      {"\"content\":\"<|im_end|>\"", "\"content\":\"<|im_start|>\"", "repeats the token"},
      {"\"content\":\"<|im_end|>\"", "\"content\":\"\"", "added_tokens[1].content"},
      {"\"vocab\":{\"!\":0,", "\"vocab\":{\"!\":0,\"!\":0,", "duplicate key \"!\""},
      {"\"vocab\":{\"!\":0,", "\"vocab\":{\"!\":1,", "the id 1 already belongs to"},
      {"\"vocab\":{\"!\":0,", "\"vocab\":{\"!\":2097152,", "expected a token id"},
      {"\"vocab\":{\"!\":0,", "\"vocab\":{\"!\":1.5,", "expected a token id"},
      {"\"merges\":[", "\"merges\":[\"x\",", "model.merges[0]: expected"},
      {"\"merges\":[", "\"merges\":[\"a b c\",", "model.merges[0]: expected"},
      {"\"merges\":[", "\"merges\":[[\"zzq\",\"a\"],", "names the token \"zzq\""},
      {"\"merges\":[", "\"merges\":[\"z !\",", "gives the token \"z!\""},
  };
  for (const Refusal& refusal : refusals) {
    const std::string text = refusal_of(edited("smollm", refusal.from, refusal.to));
    EXPECT_NE(text.find("t/tokenizer.json"), std::string::npos) << text;
    EXPECT_NE(text.find(refusal.says), std::string::npos) << refusal.to << " gave " << text;
  }
  const std::string pattern = refusal_of(edited("llama3", "{1,3}", "{1,4}"));
  EXPECT_NE(pattern.find("pretokenizers[0].pattern: a Split by"), std::string::npos) << pattern;
  EXPECT_EQ(refusal_of("[]"), "t/tokenizer.json: expected an object");
  EXPECT_EQ(refusal_of("{\"model\":").substr(0, 17), "t/tokenizer.json:");
}

TEST(TokenizerTest, ReadsTheConfigBesideIt) {
  const std::string file = file_of("smollm");
  const Tokenizer tokenizer =
      made(file, R"({"bos_token":{"content":"<|im_start|>"},"eos_token":"<|im_end|>",
                     "chat_template":[{"name":"default","template":"x"}]})");
  EXPECT_EQ(tokenizer.bos(), 520);
  EXPECT_EQ(tokenizer.eos(), 521);
  EXPECT_NE(tokenizer.describe().find("chat other of tokenizer_config.json"), std::string::npos);
  EXPECT_EQ(made(file, R"({"eos_token":"</s>"})").eos(), 522);  // added, as transformers does
  EXPECT_EQ(refusal_of(file, R"({"eos_token":3})"),
            "t/tokenizer_config.json: eos_token: expected a token's text");
  const std::string described = made(file, R"({"chat_template":3})").describe();
  EXPECT_NE(described.find("not used: chat_template"), std::string::npos) << described;
}

TEST(TokenizerTest, TruncationAndPaddingAreNotAppliedAndTold) {
  const std::string text = edited("smollm", "\"truncation\":null", "\"truncation\":{}");
  EXPECT_NE(made(text).describe().find("not used: truncation (prompts are whole)"),
            std::string::npos);
  EXPECT_EQ(made(text).fingerprint_text(), made(file_of("smollm")).fingerprint_text());
}

TEST(TokenizerTest, RefusesGgufMetadataByKey) {
  const auto refused = [](const GgufTokenizer& gguf) {
    const auto tokenizer = Tokenizer::from_gguf(gguf, "m.gguf");
    return tokenizer ? std::string("accepted") : tokenizer.error().text();
  };
  EXPECT_EQ(refused(gguf_of_model()), "accepted");
  GgufTokenizer bad = gguf_of_model();
  bad.model = "t5";
  EXPECT_EQ(refused(bad).find("m.gguf: tokenizer.ggml.model: a tokenizer of model \"t5\""), 0U);
  bad.model = "llama";
  EXPECT_EQ(refused(bad), "m.gguf: tokenizer.ggml.scores: 0 scores for 522 tokens");
  bad.model = "";
  EXPECT_NE(refused(bad).find("must then be given as token ids"), std::string::npos);
  bad = gguf_of_model();
  bad.pre = "bloom";
  EXPECT_EQ(refused(bad).find("m.gguf: tokenizer.ggml.pre: the pre-tokenizer \"bloom\""), 0U);
  bad = gguf_of_model();
  bad.tokens[5] = bad.tokens[4];
  EXPECT_EQ(refused(bad).find("m.gguf: tokenizer.ggml.tokens[5]: repeats"), 0U);
  bad = gguf_of_model();
  bad.token_types.pop_back();
  EXPECT_NE(refused(bad).find("521 types for 522 tokens"), std::string::npos);
  bad = gguf_of_model();
  bad.token_types[3] = 6;
  EXPECT_NE(refused(bad).find("token_type[3]"), std::string::npos);
  bad = gguf_of_model();
  bad.merges[2] = "ab";
  EXPECT_NE(refused(bad).find("merges[2]: expected"), std::string::npos);
  bad = gguf_of_model();
  bad.eos = 522;
  EXPECT_NE(refused(bad).find("eos_token_id: the id 522 is outside"), std::string::npos);
  bad = gguf_of_model();
  bad.tokens.clear();
  EXPECT_NE(refused(bad).find("the vocabulary is empty"), std::string::npos);
}

TEST(TokenizerTest, FromModelTakesTheModelsOwnEnds) {
  LoadedModel model;
  model.path = "m";
  EXPECT_NE(Tokenizer::from_model(model).error().text().find("no tokenizer"), std::string::npos);
  model.tokenizer_json = file_of("smollm");
  model.config.vocab_size = 521;  // fewer than the tokenizer has ids
  EXPECT_EQ(Tokenizer::from_model(model)->size(), 522);
  model.config.bos_token = 520;
  model.config.eos_tokens = {521};
  const auto tokenizer = Tokenizer::from_model(model);
  ASSERT_TRUE(tokenizer) << tokenizer.error().text();
  EXPECT_EQ(tokenizer->bos(), 520);
  EXPECT_EQ(tokenizer->eos(), 521);
  model.gguf_tokenizer = std::make_unique<GgufTokenizer>(gguf_of_model());
  model.gguf_tokenizer->pre = "llama-bpe";
  EXPECT_TRUE(Tokenizer::from_model(model)->adds_bos());
  model.metadata["tokenizer.ggml.add_bos_token"] = "false";
  EXPECT_FALSE(Tokenizer::from_model(model)->adds_bos());
}

}  // namespace
}  // namespace isobit
