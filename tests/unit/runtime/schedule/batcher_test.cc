// The schedule: what joined cache modes do together, and what becomes of drafted rows.
#include "runtime/schedule/batcher.h"

#include <gtest/gtest.h>

#include "runtime/backends/registry.h"

namespace isobit {
namespace {

using Tokens = std::vector<std::int32_t>;

class Schedule : public ::testing::Test {
 protected:
  Schedule() {
    auto made = make_backend({}, mode_of(Precision::fp32));
    backend_ = std::move(*made);
  }
  void begin(const std::vector<PromptTokens>& prompts, std::int64_t max_new,
             const std::string& mode, std::int64_t size = 1) {
    const CacheMode cache = *parse_cache_mode(mode);
    BatchShape shape;
    shape.size = size;
    batcher_.emplace(prompts, max_new, shape, cache);
    cache_.emplace(*backend_, KvShape{1, 1, 8, 8, 1}, cache, exact_, batcher_->demand());
  }
  Batcher::Step next() { return batcher_->next(*cache_); }
  /// Draws the tokens that `text` has, row by row that counts, until the step is done.
  void draw(const Batcher::Step& step, const Tokens& text) {
    for (std::size_t i = 0; i < step.rows.size(); ++i) {
      const StepRow& row = step.rows[i];
      if (!row.wants_logits || !batcher_->counts(step.owners[i], row.position)) continue;
      batcher_->accept(step.owners[i], text.at(std::size_t(row.position) + 1), false, *cache_);
    }
  }
  static Tokens tokens_of(const Batcher::Step& step) {
    Tokens out;
    for (const StepRow& row : step.rows) out.push_back(row.token);
    return out;
  }

  std::unique_ptr<Backend> backend_;
  KvPolicySpec exact_;
  std::optional<Batcher> batcher_;
  std::optional<KvCache> cache_;
};

TEST_F(Schedule, SequencesWaitForAPrefixOfSeveralChunks) {
  const Tokens long_one(50, 1), short_one(11, 2);
  begin({{long_one, {}}, {short_one, {}}}, 2, "chunked:9+paged:5+prefix:true", 2);
  std::vector<std::size_t> rows;
  for (int i = 0; i < 5; ++i) rows.push_back(next().rows.size());
  // Prefixes of 45 and 10 tokens, nine a step; then the rest of both prompts.
  EXPECT_EQ(rows, (std::vector<std::size_t>{18, 10, 9, 9, 9}));
  const Batcher::Step step = next();
  EXPECT_EQ(step.rows.size(), 5u + 1u);
  EXPECT_EQ(batcher_->stats().prefix_hits, 55);
  EXPECT_EQ(batcher_->stats().chunks, 5);
  EXPECT_EQ(cache_->table(step.rows[0].sequence)[2], cache_->table(0)[2]);
}

TEST_F(Schedule, DraftedRowsThatAreFedCountAndTheOthersAreForgotten) {
  const Tokens text{1, 2, 3, 4, 1, 2, 3, 4, 5, 9, 9, 9, 9};
  begin({{{text.begin(), text.begin() + 5}, {}}}, 8, "paged:2+speculative:3");
  Batcher::Step step = next();
  EXPECT_EQ(step.rows.size(), 5u) << "no draft behind the prompt";
  draw(step, text);
  step = next();  // ends in 1 2, drafted from the beginning
  EXPECT_EQ(tokens_of(step), (Tokens{2, 3, 4, 1}));
  EXPECT_FALSE(step.rows[0].draft);
  EXPECT_TRUE(step.rows[1].draft && step.rows[3].draft && step.rows[3].wants_logits);
  EXPECT_EQ(cache_->pages(0), 5);
  draw(step, text);
  EXPECT_EQ(batcher_->stats().drafted, 3);
  EXPECT_EQ(batcher_->stats().draft_hits, 2) << "5 came instead of 1";
  EXPECT_EQ(batcher_->stats().rolled_back, 1);
  EXPECT_EQ(cache_->pages(0), 4) << "the page of position 8 went back";
  step = next();
  EXPECT_EQ(tokens_of(step), Tokens{5}) << "5 is new: nothing to draft";
  EXPECT_EQ(step.rows[0].position, 8);
  draw(step, text);
  EXPECT_EQ(tokens_of(step = next()), Tokens{9});
  draw(step, text);
  step = next();  // 9 9, and one more may be drawn after its row
  EXPECT_EQ(tokens_of(step), (Tokens{9, 9}));
  draw(step, text);
  EXPECT_TRUE(next().rows.empty());
  EXPECT_EQ(batcher_->stats().drafted, 4);
  EXPECT_EQ(batcher_->stats().draft_hits, 3);
  EXPECT_EQ(batcher_->stats().steps, 5);
  EXPECT_EQ(batcher_->stats().max_position, 11);
}

TEST_F(Schedule, DraftsAreComparedWithWhatATeacherFeeds) {
  const Tokens prompt{1, 2, 1};
  begin({{prompt, {2, 1, 7, 7, 7}}}, 8, "speculative:2");
  Batcher::Step step = next();
  draw(step, Tokens(20, 5));  // the model says 5 everywhere
  step = next();
  EXPECT_EQ(tokens_of(step), (Tokens{2, 1, 2}));
  draw(step, Tokens(20, 5));
  EXPECT_EQ(batcher_->stats().draft_hits, 1);
  EXPECT_EQ(batcher_->stats().rolled_back, 1);
  step = next();
  EXPECT_EQ(tokens_of(step), Tokens{7});
}

TEST_F(Schedule, NothingCountsBehindTheEnd) {
  begin({{{3, 3, 3, 3}, {}}}, 9, "speculative:4");
  draw(next(), Tokens(20, 3));
  const Batcher::Step step = next();
  ASSERT_EQ(step.rows.size(), 5u);
  batcher_->accept(0, 3, false, *cache_);
  batcher_->accept(0, 3, true, *cache_);  // the model ended it
  EXPECT_FALSE(batcher_->counts(0, step.rows[2].position));
  EXPECT_TRUE(next().rows.empty());
  EXPECT_EQ(batcher_->stats().rolled_back, 0) << "the sequence is closed as it is";
}

}  // namespace
}  // namespace isobit
