// Rank 0's memory of the inner rows that a cell records (TraceLevel). Caller: generate.cc.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/model/forward.h"
#include "runtime/run/generate.h"

namespace isobit {

/// What messages call a prompt: its id, or its number where the caller gave none.
std::string name_of_prompt(const GenerateRequest& request, std::size_t prompt);

/// What was computed: the same key again must give the same digest.
class TraceRecorder final : public Recorder {
 public:
  /// REQUIRES: the request outlives it.
  explicit TraceRecorder(const GenerateRequest& request)
      : request_(request), level_(request.level), seen_(request.prompts.size()) {}

  bool wants(Site site) const override { return site != Site::logits && records(level_, site); }
  void record(Site site, int layer, std::span<const StepRow> rows,
              std::span<const Digest> digests) override;
  bool wants_values(Site site, int layer) const override {
    return request_.values.wants(site, layer);
  }
  /// A row that is computed again is given once.
  void give_values(Site site, int layer, std::span<const StepRow> rows, Rows x,
                   Backend& backend) override;
  /// A drafted row was fed: what was recorded of it counts.
  void keep_draft(int sequence, std::int64_t position);
  /// Forgets the step's other drafts.
  void drop_drafts() { drafted_.clear(), drafted_values_.clear(); }
  [[nodiscard]] std::vector<Observation> observations(int prompt) const;

  std::vector<int> prompt_of_slot;  // by cache sequence, of the current step
  std::string conflict;             // first key that was computed twice with different bits
  bool gives = false;               // values, to the request's value_row
  double seconds = 0;

 private:
  using Key = std::tuple<std::int64_t, int, Site>;
  struct Record {
    int prompt;
    Key key;
    Digest digest;
  };
  void keep(const Record& record);
  using Bytes = std::vector<std::byte>;
  void give(const ValueKey& key, const Bytes& row);

  const GenerateRequest& request_;
  TraceLevel level_;
  std::vector<std::map<Key, Digest>> seen_;                              // by prompt
  std::map<std::pair<int, std::int64_t>, std::vector<Record>> drafted_;  // by sequence, position
  std::map<std::pair<int, std::int64_t>, std::vector<std::pair<ValueKey, Bytes>>> drafted_values_;
  std::set<ValueKey> given_;
};

}  // namespace isobit
