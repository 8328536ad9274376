// A step is the concatenation of every live sequence's rows, in slot order.

#include "runtime/schedule/batcher.h"

#include <algorithm>
#include <numeric>

#include "runtime/base/words.h"
#include "runtime/schedule/draft.h"

namespace isobit {
std::vector<int> joining_order(std::size_t n, BatchShape::Order order) {
  std::vector<int> out(n);
  std::iota(out.begin(), out.end(), 0);
  if (order == BatchShape::Order::reversed) std::reverse(out.begin(), out.end());
  if (order == BatchShape::Order::shuffled) {
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    for (std::size_t i = n; i > 1; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(out[i - 1], out[std::size_t(state >> 33) % i]);
    }
  }
  return out;
}

Batcher::Batcher(const std::vector<PromptTokens>& prompts, std::int64_t max_new,
                 const BatchShape& shape, const CacheMode& mode)
    : max_new_(max_new), shape_(shape), mode_(mode) {
  ISOBIT_CHECK(!prompts.empty() && max_new >= 1 && shape.size >= 1);
  const std::size_t count = std::max(prompts.size(), std::size_t(shape.size));
  for (const PromptTokens& prompt : prompts) teachers_.push_back(prompt.teacher);
  for (std::size_t i = 0; i < count; ++i) {
    Sequence s;
    s.prompt = int(i % prompts.size());
    s.tokens = prompts[std::size_t(s.prompt)].tokens;
    s.prompt_length = std::int64_t(s.tokens.size());
    ISOBIT_CHECK(s.prompt_length > 0);
    sequences_.push_back(std::move(s));
  }
  queue_ = joining_order(count, shape.order);
  donor_of_prompt_.assign(prompts.size(), -1);
  if (!mode.shares_prefix) return;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const std::int64_t n = mode.shared_positions(std::int64_t(prompts[p].tokens.size()));
    if (n == 0) continue;
    Sequence donor;
    donor.prompt = int(p);
    donor.donor = true;
    donor.tokens.assign(prompts[p].tokens.begin(), prompts[p].tokens.begin() + n);
    donor.prompt_length = n;
    donor_of_prompt_[p] = int(sequences_.size());
    sequences_.push_back(std::move(donor));
  }
}

std::int64_t Batcher::longest() const {
  std::int64_t longest = 0;
  for (const Sequence& s : sequences_) longest = std::max(longest, s.prompt_length + max_new_);
  return longest;
}

KvDemand Batcher::demand() const {
  KvDemand demand;
  demand.at_once = shape_.size;
  for (const Sequence& s : sequences_) {
    if (s.donor) {
      demand.staying.push_back({s.prompt_length, s.prompt_length});
    } else {
      demand.passing.push_back({s.prompt_length, s.prompt_length + max_new_});
    }
  }
  return demand;
}

void Batcher::join(KvCache& cache) {
  if (stats_.steps == 0) {  // prefix donors run ahead of everybody
    for (std::size_t p = 0; p < donor_of_prompt_.size(); ++p) {
      if (donor_of_prompt_[p] < 0) continue;
      Sequence& s = sequences_[std::size_t(donor_of_prompt_[p])];
      s.slot = cache.open(sequences_[p].prompt_length);  // its rows are those of the whole prompt
      live_.push_back(donor_of_prompt_[p]);
    }
  }
  const auto is_donor = [&](int index) { return sequences_[std::size_t(index)].donor; };
  if (std::any_of(live_.begin(), live_.end(), is_donor)) return;  // of several chunks, perhaps
  std::int64_t room = shape_.size - std::int64_t(live_.size());
  if (shape_.staggered) room = std::min<std::int64_t>(room, 1);
  for (; room > 0 && joined_ < queue_.size(); --room, ++joined_) {
    Sequence& s = sequences_[std::size_t(queue_[joined_])];
    s.slot = cache.open(s.prompt_length);
    const int donor = donor_of_prompt_[std::size_t(s.prompt)];
    if (donor >= 0) {
      const std::int64_t wanted = mode_.shared_positions(s.prompt_length);
      s.done = cache.share_prefix(s.slot, sequences_[std::size_t(donor)].slot, wanted);
      stats_.prefix_hits += s.done;
    }
    if (joined_ > 0 && stats_.steps > 0) ++stats_.joined_late;
    if (joined_ > 0 && queue_[joined_] < queue_[joined_ - 1]) ++stats_.out_of_order;
    live_.push_back(queue_[joined_]);
  }
}

Batcher::Step Batcher::next(KvCache& cache) {
  // Donors leave the steps after their prefill, but keep their pages to the end.
  std::erase_if(live_, [&](int i) {
    const Sequence& s = sequences_[std::size_t(i)];
    return s.donor && s.done == s.prompt_length;
  });
  join(cache);
  Step step;
  for (const int index : live_) add_rows(index, cache, step);
  if (!step.rows.empty()) {
    ++stats_.steps;
    stats_.live_rows = std::max(stats_.live_rows, std::int64_t(live_.size()));
    if (mode_.recomputes) stats_.recomputed += std::int64_t(step.past.size());
  }
  return step;
}

void Batcher::add_rows(int index, KvCache& cache, Step& step) {
  Sequence& s = sequences_[std::size_t(index)];
  if (!mode_.keeps) {
    cache.clear(s.slot);
    s.done = 0;
  }
  const std::int64_t have = std::int64_t(s.tokens.size());
  std::int64_t end = have;
  const bool prefill = s.done < s.prompt_length;
  if (prefill && mode_.chunk > 0) {
    end = std::min(s.done + mode_.chunk, s.prompt_length);
  }
  if (prefill && mode_.keeps) stats_.chunks = std::max(stats_.chunks, ++s.chunks);
  s.drafts.clear();
  if (!prefill && mode_.drafts > 0) {  // no draft of what nobody will draw
    s.drafts = drafted_tokens(s.tokens, std::min(mode_.drafts, draws(s) - s.drawn - 1));
  }
  const std::int64_t drafted = std::int64_t(s.drafts.size());
  stats_.drafted += drafted;
  cache.reserve(s.slot, end + drafted);
  stats_.pages = std::max(stats_.pages, cache.pages(s.slot));
  stats_.max_position = std::max(stats_.max_position, end - 1);
  stats_.cached_reads += s.done;
  const std::int64_t rebuilt = mode_.recomputes ? s.done : cache.evicted(s.slot);
  for (std::int64_t p = 0; p < rebuilt; ++p) {
    step.past.push_back({s.slot, p, s.tokens[std::size_t(p)]});
    step.past_owners.push_back(index);
  }
  for (std::int64_t p = s.done; p < end + drafted; ++p) {
    const bool draft = p >= have;
    const std::int32_t token = draft ? s.drafts[std::size_t(p - have)] : s.tokens[std::size_t(p)];
    step.rows.push_back({s.slot, p, token, p >= have - 1 && !s.donor, draft});
    step.owners.push_back(index);
  }
  s.done = end + drafted;
}

std::int64_t Batcher::draws(const Sequence& s) const {
  const std::int64_t taught = std::int64_t(teachers_[std::size_t(s.prompt)].size());
  return taught == 0 ? max_new_ : std::min(max_new_, taught);
}

std::int32_t Batcher::fed(int index, std::int32_t drawn) const {
  const Sequence& s = sequences_[std::size_t(index)];
  const auto& teacher = teachers_[std::size_t(s.prompt)];
  return std::size_t(s.drawn) < teacher.size() ? teacher[std::size_t(s.drawn)] : drawn;
}

bool Batcher::counts(int index, std::int64_t position) const {
  const Sequence& s = sequences_[std::size_t(index)];
  return !s.finished && position < s.done && position + 1 == std::int64_t(s.tokens.size());
}

void Batcher::accept(int index, std::int32_t drawn, bool stop, KvCache& cache) {
  Sequence& s = sequences_[std::size_t(index)];
  stats_.max_position = std::max(stats_.max_position, std::int64_t(s.tokens.size()) - 1);
  const std::int32_t token = fed(index, drawn);
  ++s.drawn;
  if (stop || s.drawn >= draws(s)) return finish(index, cache);
  s.tokens.push_back(token);
  verify(s, cache);
}

/// Of the rows behind the token that was fed last: the first one was drafted right, or all of them
/// go.
void Batcher::verify(Sequence& s, KvCache& cache) {
  const std::int64_t position = std::int64_t(s.tokens.size()) - 1;
  const std::int64_t left = s.done - position;  // drafts not verified yet
  if (left <= 0) return;
  if (s.drafts[s.drafts.size() - std::size_t(left)] == s.tokens.back()) {
    ++stats_.draft_hits;
    return;
  }
  stats_.rolled_back += left;
  s.done = position;
  cache.truncate(s.slot, position);
}

void Batcher::finish(int index, KvCache& cache) {
  Sequence& s = sequences_[std::size_t(index)];
  s.finished = true;
  cache.close(s.slot);
  s.slot = -1;
  std::erase(live_, index);
  if (!live_.empty()) ++stats_.left_early;
}

Result<BatchShape> parse_batch_shape(const std::string& text) {
  BatchShape shape;
  const auto bad = [&](const std::string& why) {
    return Error{"bad batch '" + text + "': " + why, ""};
  };
  bool sized = false;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('+', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t colon = part.find(':');
    const std::string key = colon == std::string::npos ? "size" : part.substr(0, colon);
    const std::string value = colon == std::string::npos ? part : part.substr(colon + 1);
    if (key == "size") {
      if (!parse_integer(value, 1, kLargestBatch, shape.size)) {
        return bad("the size is a number from 1 to " + std::to_string(kLargestBatch));
      }
      sized = true;
    } else if (key == "order" && (value == "given" || value == "reversed" || value == "shuffled")) {
      shape.order = value == "given"      ? BatchShape::Order::given
                    : value == "reversed" ? BatchShape::Order::reversed
                                          : BatchShape::Order::shuffled;
    } else if (key == "join" && (value == "together" || value == "staggered")) {
      shape.staggered = value == "staggered";
    } else {
      return bad("known: size: n, order: given|reversed|shuffled, join: together|staggered");
    }
    begin = end + 1;
  }
  if (!sized) return bad("it has no size");
  return shape;
}

}  // namespace isobit
