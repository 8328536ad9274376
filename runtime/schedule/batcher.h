// Which row is where, in which chunk: sequences join slots, prefill in chunks, decode, leave.
//
// Pure bookkeeping, no numbers: every rank runs its own Batcher and gets the same steps. Prompts
// repeat until a batch of `size` can be live at once; longer lists queue for free slots.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/cache/store.h"
#include "runtime/model/forward.h"

namespace isobit {

constexpr std::int64_t kLargestBatch = 4096;  // sequences live at once

struct BatchShape {
  enum class Order { given, reversed, shuffled };
  std::int64_t size = 1;
  Order order = Order::given;  // in which prompts take their slots and places in a step
  bool staggered = false;      // one sequence joins a step, so that rows prefill beside decoding
};

/// The order in which n sequences join, as their places.
std::vector<int> joining_order(std::size_t n, BatchShape::Order order);

/// A prompt as the schedule sees it.
struct PromptTokens {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> teacher;  // tokens fed instead of those drawn; empty: free-running
  std::string id{};                   // for messages; empty: its number stands there
};

struct ScheduleStats {
  std::int64_t live_rows = 0, joined_late = 0, left_early = 0, steps = 0, chunks = 0, pages = 0,
               prefix_hits = 0, recomputed = 0, cached_reads = 0, max_position = 0,
               out_of_order = 0, drafted = 0, draft_hits = 0, rolled_back = 0;
};

class Batcher {
 public:
  /// `max_new`: tokens drawn a prompt. REQUIRES: prompts not empty, none of them empty.
  Batcher(const std::vector<PromptTokens>& prompts, std::int64_t max_new, const BatchShape& shape,
          const CacheMode& mode);

  /// What a cache must have room for in this schedule.
  [[nodiscard]] KvDemand demand() const;
  [[nodiscard]] std::int64_t longest() const;  // positions of the longest sequence

  struct Step {
    std::vector<StepRow> rows;
    std::vector<int> owners;    // of each row: index into sequences
    std::vector<StepRow> past;  // positions whose K and V are rebuilt first
    std::vector<int> past_owners;
  };
  /// Rows of the next step; empty when everything is done. Opens and closes cache sequences.
  Step next(KvCache& cache);
  /// Whether a wanted row of the step counts: the tokens that were fed up to its position are those
  /// that it was computed from. False for what follows a wrong draft or the end.
  [[nodiscard]] bool counts(int index, std::int64_t position) const;
  /// The token drawn from a wanted row of sequence `index` that counts; `stop`: it ended (EOS).
  /// Rows drafted otherwise than is fed now are forgotten.
  void accept(int index, std::int32_t drawn, bool stop, KvCache& cache);

  /// Prompt of a sequence; several sequences may repeat one prompt. -1: unknown index.
  [[nodiscard]] int prompt_of(int index) const { return sequences_[std::size_t(index)].prompt; }
  /// The token that accept() would feed after `drawn` at this moment: drawn, or the teacher's.
  [[nodiscard]] std::int32_t fed(int index, std::int32_t drawn) const;
  [[nodiscard]] const ScheduleStats& stats() const { return stats_; }
  [[nodiscard]] std::int64_t sequences() const { return std::int64_t(sequences_.size()); }

 private:
  struct Sequence {
    int prompt = 0;
    bool donor = false;
    std::vector<std::int32_t> tokens;  // prompt and what was fed
    std::vector<std::int32_t> drafts;  // of the latest step, behind the tokens of then
    std::int64_t prompt_length = 0;
    std::int64_t done = 0;  // positions in the cache, drafted ones included
    std::int64_t drawn = 0;
    std::int64_t chunks = 0;
    int slot = -1;  // cache sequence, -1: waiting or finished
    bool finished = false;
  };
  void join(KvCache& cache);
  [[nodiscard]] std::int64_t draws(const Sequence& s) const;  // in all, unless it ends early
  void verify(Sequence& s, KvCache& cache);
  void add_rows(int index, KvCache& cache, Step& step);
  void finish(int index, KvCache& cache);

  std::int64_t max_new_;
  BatchShape shape_;
  CacheMode mode_;
  std::vector<std::vector<std::int32_t>> teachers_;
  std::vector<Sequence> sequences_;
  std::vector<int> queue_;  // sequences in joining order
  std::size_t joined_ = 0;
  std::vector<int> live_;
  std::vector<int> donor_of_prompt_;
  ScheduleStats stats_;
};

/// "3", "size:3", "order:reversed+size:3", "join:staggered+order:shuffled+size:8".
Result<BatchShape> parse_batch_shape(const std::string& text);

}  // namespace isobit
