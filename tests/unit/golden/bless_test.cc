// What a blessing adds, changes and retires, and what the ledger keeps of it.
#include "golden/bless.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

GoldenBlock block_of(char class_digit, char prompt_digit, const std::string& id, int token = 1) {
  GoldenBlock block;
  block.key = {std::string(64, class_digit), std::string(64, prompt_digit)};
  block.prompt_id = id;
  block.class_recipe = "engine=reference\n";
  block.rows = {{5, digest_bytes(std::as_bytes(std::span(&token, 1))), token}};
  return block;
}

GoldenFile file_of(const std::vector<GoldenBlock>& blocks) {
  GoldenFile file;
  file.scenario = "s";
  bless_blocks(file, golden_changes(file, blocks), "ada", "first");
  return file;
}

TEST(Bless, RetiresWhatNobodyAsksFor) {
  GoldenFile file = file_of({block_of('a', '1', "p"), block_of('a', '2', "q")});
  const std::set<GoldenKey> asked = {block_of('a', '2', "q").key};
  const auto gone = unasked_blocks(file, asked);
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone[0].prompt_id, "p");
  retire_blocks(file, gone, "ada", "the prompt went");
  EXPECT_EQ(file.blocks.size(), 1U);
  const LedgerEntry* last = file.last_entry(gone[0].key);
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(last->block_hash, kRetired);
  EXPECT_EQ(last->parent_hash, gone[0].block_hash());
  EXPECT_EQ(last->reason, "the prompt went");
  const auto again = parse_golden(print_golden(file), "s.golden");
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(print_golden(*again), print_golden(file));
}

TEST(Bless, ARetiredBlockCanBeBlessedAgain) {
  GoldenFile file = file_of({block_of('a', '1', "p")});
  retire_blocks(file, unasked_blocks(file, {}), "ada", "gone");
  bless_blocks(file, golden_changes(file, {block_of('a', '1', "p", 2)}), "ada", "back");
  EXPECT_EQ(file.ledger.size(), 3U);
  EXPECT_EQ(file.last_entry(block_of('a', '1', "p").key)->reason, "back");
}

TEST(Bless, AFilteredOneRetiresOnlyNewTokensOfItsOwnClasses) {
  const GoldenFile file =
      file_of({block_of('a', '1', "p"), block_of('a', '2', "q"), block_of('b', '1', "p")});
  // Prompt p has other tokens now; class b and prompt q were not looked at.
  const std::vector<GoldenBlock> produced = {block_of('a', '3', "p")};
  const auto gone = outdated_blocks(file, produced, {produced[0].key});
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone[0].key, block_of('a', '1', "p").key);
}

TEST(Bless, APendingFileIsNoLink) {
  const fakes::Folder folder;
  namespace fs = std::filesystem;
  const std::string path = pending_path(folder.file("isobit.db"), "s");
  ASSERT_TRUE(lock_pending(path));
  fs::create_symlink(folder.file("precious"), path);
  EXPECT_FALSE(lock_pending(path));
  fs::remove_all(fs::path(path).parent_path());
  fs::create_directory(folder.file("elsewhere"));
  fs::create_directory_symlink(folder.file("elsewhere"), fs::path(path).parent_path());
  EXPECT_FALSE(lock_pending(path));
}

}  // namespace
}  // namespace isobit
