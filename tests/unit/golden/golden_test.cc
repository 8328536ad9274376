// Golden files: printing, strict reading with places, staleness, atomic writing, revisions.
#include "golden/golden.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "golden/text.h"
#include "runtime/base/process.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

Digest golden_digest(std::uint8_t seed) {
  Digest digest;
  for (std::size_t i = 0; i < digest.bytes.size(); ++i) {
    digest.bytes[i] = static_cast<std::uint8_t>(seed + 17 * i);
  }
  return digest;
}

GoldenBlock sample_block(char digit, const std::string& prompt_id) {
  GoldenBlock block;
  block.key = {std::string(64, digit), std::string(64, 'a')};
  block.prompt_id = prompt_id;
  block.class_recipe = "engine=reference\nmodel=m1\nnumerics=F0\n";
  for (int i = 0; i < 10; ++i) {
    block.rows.push_back({20 + i, golden_digest(static_cast<std::uint8_t>(i)), 1000 - i});
  }
  return block;
}

GoldenFile sample_file() {
  GoldenFile file;
  file.scenario = "kv-cache-equivalence";
  for (const char digit : {'2', '1'}) {
    GoldenBlock block = sample_block(digit, std::string("p\"\\\n\t\x01 ") + digit);
    file.ledger.push_back(
        {block.block_hash(), "-", block.prompt_id, "Ada <a@b>", "first", block.key});
    file.blocks.emplace(block.key, block);
  }
  file.ledger.push_back(
      {"0123456789abcdef", file.ledger[1].block_hash, "p", "Bob", "why\nnot", file.ledger[1].key});
  return file;
}

/// As `bless` leaves it.
GoldenFile blessed_file() {
  GoldenFile file;
  file.scenario = "kv-cache-equivalence";
  for (const char digit : {'2', '1'}) {
    GoldenBlock block = sample_block(digit, std::string("p") + digit);
    block.class_recipe += std::string("precision=") + digit + "\n";
    block.key.class_hash = to_hex(sha256(block.class_recipe.data(), block.class_recipe.size()));
    file.ledger.push_back({block.block_hash(), "-", block.prompt_id, "Ada", "first", block.key});
    file.blocks.emplace(block.key, block);
  }
  return file;
}

/// One scratch folder a test, removed afterwards.
class Golden : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const {
    return (folder_ / name).string();
  }
  bool git(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-C", folder_.string(), "-c", "user.name=t", "-c",
                                         "user.email=t@t", "-c", "commit.gpgsign=false"});
    const auto output = run_git(arguments);
    return output && output->status == 0;
  }
  fakes::Folder temporary_;
  fs::path folder_ = temporary_.path();
};

TEST_F(Golden, ParseOfPrintIsTheSame) {
  const GoldenFile file = sample_file();
  const std::string text = print_golden(file);
  const auto again = parse_golden(text, "g");
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(print_golden(*again), text);
  EXPECT_EQ(again->scenario, file.scenario);
  ASSERT_EQ(again->blocks.size(), file.blocks.size());
  for (const auto& [key, block] : file.blocks) {
    const GoldenBlock* other = again->find(key);
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->rows, block.rows);
    EXPECT_EQ(other->prompt_id, block.prompt_id);
    EXPECT_EQ(other->class_recipe, block.class_recipe);
  }
  ASSERT_EQ(again->ledger.size(), 3U);
  const LedgerEntry* last = again->last_entry(file.ledger[1].key);
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->by, "Bob");
  EXPECT_EQ(last->reason, "why\nnot");
  EXPECT_EQ(again->last_entry({"x", "y"}), nullptr);
}

TEST_F(Golden, TextIsSortedOneLineAToken) {
  const std::string text = print_golden(sample_file());
  EXPECT_LT(text.find("block 1111"), text.find("block 2222"));
  EXPECT_NE(text.find("\n20 00112233445566778899aabbccddeeff 1000\n"), std::string::npos);
  EXPECT_TRUE(text.starts_with("isobit-golden 1\n"));
}

TEST_F(Golden, BrokenLinesAreNamed) {
  const std::string good = print_golden(sample_file());
  struct Case {
    const char* from;
    const char* to;
    const char* message;
    int line;
  };
  const Case cases[] = {
      {"isobit-golden 1", "isobit-golden 2", "format '2'", 1},
      {"isobit-golden 1", "hello", "not a golden file", 1},
      {"scenario \"kv", "scenario kv", "quoted text", 2},
      {"block 1111", "block 11x1", "64 lower-case hex", 4},
      {"block 1111", "blick 1111", "expected 'block'", 4},
      {"20 0011", "20 0x11", "32 lower-case hex", 9},
      {"20 0011", "020 0011", "position", 9},
      {"20 0011", "-20 0011", "position", 9},
      {"20 0011", "40 0011", "ascend", 10},
      {"20 0011", "20 0021", "edited by hand", 19},
      {" 1000\n", " 1000000000000\n", "token id", 9},
      {" 1000\n", " 1001\n", "edited by hand", 19},
      {" 1000\n", " 1000 \n", "32 lower-case hex", 9},
      {" 1000\n", "\n", "POSITION", 9},
      {"20 0011", "<<<<<<< HEAD\n20 0011", "merge conflict", 9},
      {"recipe model=m1", "recipe model=\\q", "escape", 7},
      {"\nblock 2222", "block 2222", "empty line", 20},
      {"\"Bob\"", "\"Bob", "ledger CLASS", 39},
      {"ledger 2222", "ledger 0222", "not sorted", 40},
  };
  for (const Case& test : cases) {
    std::string text = good;
    const std::size_t at = text.find(test.from);
    ASSERT_NE(at, std::string::npos) << test.from;
    text.replace(at, std::string(test.from).size(), test.to);
    const auto file = parse_golden(text, "x.golden");
    ASSERT_FALSE(file) << test.to;
    EXPECT_NE(file.error().message.find(test.message), std::string::npos)
        << test.to << " gave: " << file.error().text();
    EXPECT_EQ(file.error().place, "x.golden:" + std::to_string(test.line)) << file.error().message;
  }
}

TEST_F(Golden, EveryTruncationIsAnErrorOrWhole) {
  const std::string good = print_golden(sample_file());
  int accepted = 0;
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto file = parse_golden(good.substr(0, size), "t");
    if (!file) continue;
    ++accepted;
    EXPECT_EQ(print_golden(*file), good.substr(0, size));
  }
  EXPECT_EQ(accepted, 5) << "after the head, each of two blocks and each of two ledger lines";
}

TEST_F(Golden, AcceptedDamageIsKeptToTheByte) {
  const std::string good = print_golden(sample_file());
  std::mt19937 random(20261122);
  for (int i = 0; i < 2000; ++i) {
    std::string text = good;
    text[random() % text.size()] = static_cast<char>(random() % 256);
    const auto file = parse_golden(text, "t");
    if (!file) continue;
    EXPECT_EQ(print_golden(*file), text);
  }
}

TEST_F(Golden, DuplicateBlocksAreRefused) {
  GoldenFile file = sample_file();
  file.ledger.clear();
  file.blocks.erase(file.blocks.begin());
  const std::string text = print_golden(file);
  const auto twice = parse_golden(text + text.substr(text.find("\nblock")), "t");
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("twice"), std::string::npos);
}

/// A block like one of the file, of another recipe and class.
GoldenBlock wanted_like(const GoldenBlock& block, const std::string& recipe) {
  GoldenBlock out = block;
  out.key.class_hash = std::string(64, 'f');
  out.class_recipe = recipe;
  return out;
}

TEST_F(Golden, APredecessorNamesWhatChanged) {
  const GoldenFile file = sample_file();
  const Predecessors older(file);
  const GoldenBlock& old = file.blocks.begin()->second;
  const auto newer = older.of(wanted_like(old, "engine=reference\nmodel=m1\nnumerics=F1\n"));
  ASSERT_TRUE(newer);
  EXPECT_EQ(text_of(newer->changed), "numerics F0 -> F1");
  EXPECT_EQ(newer->block, &old);
  EXPECT_TRUE(newer->same_tokens);
  const auto both = older.of(wanted_like(old, "engine=reference\nmodel=m2\nnumerics=F1"));
  ASSERT_TRUE(both);
  EXPECT_EQ(text_of(both->changed), "model m1 -> m2; numerics F0 -> F1");
  EXPECT_FALSE(older.of(wanted_like(old, "engine=openblas\nmodel=m2\nnumerics=F1\n")))
      << "another class";
  EXPECT_FALSE(older.of(old)) << "itself";
  GoldenBlock other = wanted_like(old, "engine=reference\nmodel=m2\nnumerics=F0\n");
  other.prompt_id = "other prompt";
  EXPECT_FALSE(older.of(other));
}

TEST_F(Golden, APromptWithOtherTokensHasAPredecessorOfTheSameRecipe) {
  const GoldenFile file = sample_file();
  const GoldenBlock& old = file.blocks.begin()->second;
  GoldenBlock wanted = old;
  wanted.key.prompt_digest = std::string(64, 'b');
  const auto found = Predecessors(file).of(wanted);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->block, &old);
  EXPECT_TRUE(found->changed.empty());
  EXPECT_FALSE(found->same_tokens);
}

TEST_F(Golden, OfAllPredecessorsTheNearest) {
  GoldenFile file;
  const auto add = [&](char digit, const std::string& machine) -> GoldenBlock& {
    GoldenBlock block = sample_block(digit, "p");
    block.class_recipe = "engine=openblas\n" + machine;
    return file.blocks.emplace(block.key, block).first->second;
  };
  add('1', "library.l=1\nvariant=Zen\n").rows.pop_back();
  add('2', "library.l=2\nvariant=Haswell\n").rows.pop_back();
  GoldenBlock wanted = sample_block('f', "p");
  wanted.class_recipe = "engine=openblas\nlibrary.l=3\nvariant=Haswell\n";
  EXPECT_EQ(text_of(Predecessors(file).of(wanted)->changed), "library l 2 -> 3") << "least changed";
  add('3', "library.l=4\nvariant=Zen\n");
  EXPECT_EQ(text_of(Predecessors(file).of(wanted)->changed),
            "library l 4 -> 3; variant Zen -> Haswell")
      << "equal rows come first";
  GoldenBlock other = sample_block('4', "p");
  other.key.prompt_digest = std::string(64, 'c');
  other.class_recipe = wanted.class_recipe;
  file.blocks.emplace(other.key, other);
  EXPECT_TRUE(Predecessors(file).of(wanted)->same_tokens) << "its own tokens come first";
}

TEST_F(Golden, BlockOfATraceHoldsItsTokens) {
  PromptTrace prompt;
  prompt.id = "p1";
  prompt.tokens_digest.fill(0xAB);
  prompt.tokens.resize(2);
  prompt.tokens[0].position = 5;
  prompt.tokens[0].id = 42;
  prompt.tokens[0].digest = golden_digest(1);
  prompt.tokens[1].position = 6;
  const GoldenBlock block = make_block(std::string(64, '0'), "a=1", prompt);
  EXPECT_EQ(block.class_recipe, "a=1\n");
  EXPECT_EQ(block.key.prompt_digest.substr(0, 4), "abab");
  EXPECT_EQ(block.rows, (std::vector<GoldenRow>{{5, golden_digest(1), 42}, {6, Digest{}, -1}}));
  GoldenBlock other = block;
  other.rows[1].id = 0;
  EXPECT_NE(other.block_hash(), block.block_hash());
  EXPECT_EQ(block.block_hash().size(), 16U);
}

TEST_F(Golden, WritesAtomicallyAndReadsBack) {
  const GoldenFile file = blessed_file();
  const std::string name = path("deep/er/x.golden");
  ASSERT_TRUE(write_golden_file(name, file));
  const auto again = read_golden_file(name, file.scenario);
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(print_golden(*again), print_golden(file));
  EXPECT_EQ(std::distance(fs::directory_iterator(path("deep/er")), {}), 1) << "no leftover file";
  const auto wrong = read_golden_file(name, "other");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("not of 'other'"), std::string::npos);
}

TEST_F(Golden, AMissingFileIsEmptyAFolderIsAnError) {
  const auto missing = read_golden_file(path("none.golden"), "s");
  ASSERT_TRUE(missing);
  EXPECT_TRUE(missing->blocks.empty());
  EXPECT_EQ(missing->scenario, "s");
  EXPECT_FALSE(read_golden_file(folder_.string(), "s"));
}

TEST_F(Golden, TheLedgerAndTheBlocksFit) {
  const GoldenFile good = blessed_file();
  ASSERT_TRUE(check_ledger(good, "g"));
  const auto refused = [](GoldenFile file) {
    const auto ok = check_ledger(file, "g");
    return ok ? std::string("accepted") : ok.error().message;
  };
  GoldenFile file = good;
  file.ledger.pop_back();
  EXPECT_NE(refused(file).find("is not in the ledger"), std::string::npos);
  file = good;
  file.blocks.begin()->second.rows[0].id = 7;
  EXPECT_NE(refused(file).find("is not what the ledger ends with"), std::string::npos);
  file = good;
  file.blocks.erase(file.blocks.begin());
  EXPECT_NE(refused(file).find("which is not there"), std::string::npos);
  file.ledger.push_back({kRetired, "-", "p", "Ada", "gone", good.blocks.begin()->first});
  EXPECT_EQ(refused(file), "accepted");
  file = good;
  file.blocks.begin()->second.class_recipe += "numerics=F9\n";
  EXPECT_NE(refused(file).find("another recipe than its class"), std::string::npos);
}

TEST_F(Golden, AFailedWriteLeavesTheOldFile) {
  std::ofstream(path("file")) << "not a folder";
  EXPECT_FALSE(write_golden_file(path("file/x.golden"), sample_file()));
  fs::create_directories(path("taken.golden/inside"));
  EXPECT_FALSE(write_golden_file(path("taken.golden"), sample_file()));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 2) << "no leftover file";
}

TEST_F(Golden, ReadsARevision) {
  if (!git({"init", "-q"})) GTEST_SKIP() << "git is not there";
  GoldenFile file = blessed_file();
  const std::string name = path("golden/x y.golden");
  ASSERT_TRUE(write_golden_file(name, file));
  ASSERT_TRUE(git({"add", "."}));
  ASSERT_TRUE(git({"commit", "-qm", "one"}));
  const std::string first = print_golden(file);
  file.blocks.clear();
  file.ledger.clear();
  ASSERT_TRUE(write_golden_file(name, file));
  const auto base = read_golden_revision(name, "HEAD", file.scenario);
  ASSERT_TRUE(base) << base.error().text();
  EXPECT_EQ(print_golden(*base), first);

  fs::remove_all(path("golden"));
  const auto gone = read_golden_revision(name, "HEAD", file.scenario);
  ASSERT_TRUE(gone) << "the folder may be deleted: " << gone.error().text();
  EXPECT_EQ(print_golden(*gone), first);
  const auto absent = read_golden_revision(path("golden/new.golden"), "HEAD", "s");
  ASSERT_TRUE(absent) << absent.error().text();
  EXPECT_TRUE(absent->blocks.empty());
  for (const char* bad : {"nosuch", "", "--help", "HEAD:x", "^HEAD", "HEAD..HEAD"}) {
    EXPECT_FALSE(read_golden_revision(name, bad, file.scenario)) << bad;
  }
}

TEST_F(Golden, EscapesAreExact) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::string text = golden_text::escape(all);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_EQ(golden_text::unescape(text), all);
  for (const char* bad : {"\\", "\\x1", "\\x41", "\\a", "\n", "\""}) {
    EXPECT_FALSE(golden_text::unescape(bad)) << bad;
  }
}

}  // namespace
}  // namespace isobit
