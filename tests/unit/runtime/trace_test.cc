// Names, levels, SHA-256 and Merkle roots against vectors made by another implementation.
#include "runtime/trace.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <set>

namespace isobit {
namespace {

Digest filled(std::uint8_t value) {
  Digest digest;
  digest.bytes.fill(value);
  return digest;
}

PromptTrace three_tokens() {
  PromptTrace prompt;
  for (int i = 0; i < 3; ++i) {
    TokenRecord token;
    token.position = 4 + i;
    token.id = 7 * i - 1;
    token.digest = filled(static_cast<std::uint8_t>(i + 1));
    prompt.tokens.push_back(token);
  }
  prompt.observations = {{4, -1, Site::embed, filled(1)},
                         {4, 0, Site::h2, filled(2)},
                         {5, 1, Site::final_norm, filled(3)}};
  return prompt;
}

TEST(Trace, Sha256EqualsPublishedVectors) {
  EXPECT_EQ(to_hex(sha256("", 0)),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc", 3)),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Trace, Sha256OfAFileIsThatOfItsBytes) {
  const std::string path = testing::TempDir() + "isobit_sha_" + std::to_string(getpid());
  std::string bytes(700'000, 'x');
  bytes[699'999] = '\0';
  std::ofstream(path, std::ios::binary) << bytes;
  Sha256 hash{};
  ASSERT_TRUE(sha256_file(path, hash));
  EXPECT_EQ(hash, sha256(bytes.data(), bytes.size()));
  std::remove(path.c_str());
  EXPECT_FALSE(sha256_file(path, hash));
  EXPECT_FALSE(sha256_file(testing::TempDir(), hash));
}

TEST(Trace, NamesAreDistinct) {
  std::set<std::string> names;
  for (int i = 0; i < kSites; ++i) names.insert(name_of(static_cast<Site>(i)));
  EXPECT_EQ(names.size(), std::size_t{kSites});
  EXPECT_STREQ(name_of(Site::embed), "embed");
  EXPECT_STREQ(name_of(Site::final_norm), "final_norm");
  EXPECT_STREQ(name_of(Site::logits), "logits");
  EXPECT_STREQ(name_of(TraceLevel::logits), "logits");
  EXPECT_STREQ(name_of(TraceLevel::ops), "ops");
}

TEST(Trace, LevelsRecordWhatTheyPromise) {
  int sites_at_layers = 0;
  for (int i = 0; i < kSites; ++i) {
    const auto site = static_cast<Site>(i);
    EXPECT_TRUE(records(TraceLevel::ops, site));
    EXPECT_EQ(records(TraceLevel::logits, site), site == Site::logits);
    sites_at_layers += records(TraceLevel::layers, site) ? 1 : 0;
  }
  EXPECT_EQ(sites_at_layers, 4);
  EXPECT_TRUE(records(TraceLevel::layers, Site::h2));
  EXPECT_FALSE(records(TraceLevel::layers, Site::attn));
}

TEST(Trace, RootsEqualVectors) {
  const PromptTrace prompt = three_tokens();
  EXPECT_EQ(to_hex(token_root(prompt)),
            "2d5ea20d76c547eff1de4c3f7f57cc5fe14b41fcc0a860182b4741e2a3d195d1");
}

TEST(Trace, CellRootIsInOrderOfPromptsNotOfRows) {
  CellTrace trace;
  trace.prompts = {three_tokens(), PromptTrace{}};
  trace.prompts[0].tokens_digest.fill(9);
  trace.prompts[1].tokens_digest.fill(3);
  const Sha256 root = cell_root(trace);
  EXPECT_EQ(to_hex(root), "e73a4de525e702428e33ba72e8fdeffdf2cfb64990b41cf8de6e81df8125fc84");
  std::swap(trace.prompts[0], trace.prompts[1]);
  EXPECT_EQ(cell_root(trace), root);
  trace.level = TraceLevel::ops;
  trace.prompts[1].observations.clear();
  EXPECT_EQ(cell_root(trace), root) << "recording more must not change the root";
}

TEST(Trace, RootsSeeEveryField) {
  const PromptTrace prompt = three_tokens();
  PromptTrace other = prompt;
  other.tokens[1].id += 1;
  EXPECT_NE(token_root(other), token_root(prompt));
  other = prompt;
  other.tokens[2].position += 1;
  EXPECT_NE(token_root(other), token_root(prompt));
  other = prompt;
  other.tokens[0].digest.bytes[15] ^= 1;
  EXPECT_NE(token_root(other), token_root(prompt));
  other = prompt;
  other.tokens.pop_back();
  EXPECT_NE(token_root(other), token_root(prompt));
}

}  // namespace
}  // namespace isobit
