// What a seeded defect is, and the lists of them. Callers: selftest*.cc.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/run.h"
#include "harness/selftest/wrap.h"

namespace isobit::selftest {

struct Defect {
  std::string name;
  std::string axis;  // whose cells it reddens
  std::string site;  // where it sits
  std::string plan;  // scenario it runs in (selftest/plans.cc)
  Verdict verdict = Verdict::diff;
  std::string red;   // filter: the cells that must get `verdict`; every other must PASS
  std::string says;  // must be in the reason, or in the place of the first difference, of each
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>, const Setup&)> backend;
  std::function<std::unique_ptr<Communicator>(std::unique_ptr<Communicator>, const Setup&)>
      communicator;
  std::function<void(const Cell&, GenerateRequest&)>
      request;  // also installs policies and the hook
  std::function<void(const Cell&, CellTrace&)> trace;
  std::function<void(RunOptions&)> run;       // the defect is in how the run is asked for
  std::function<void(RunOptions&)> settings;  // with and without the defect
  std::string fault;            // of an engine in another process (selftest/engines.h), or empty
  std::string engine_options;   // of that engine, as a scenario has them: ", evidence: tokens"
  bool against_golden = false;  // compared with a golden made without the defect
};

/// Appends a defect; what it does is set in what comes back.
inline Defect& add_defect(std::vector<Defect>& all, const char* name, const char* axis,
                          const char* site, const char* plan, const char* red,
                          Verdict verdict = Verdict::diff, const char* says = "") {
  Defect& defect = all.emplace_back();
  defect.name = name, defect.axis = axis, defect.site = site;
  defect.plan = plan, defect.red = red, defect.verdict = verdict, defect.says = says;
  return defect;
}

std::vector<Defect> order_defects();      // right numbers summed in another order
std::vector<Defect> flash_defects();      // in attention over key blocks
std::vector<Defect> value_defects();      // wrong numbers in one place
std::vector<Defect> rank_defects();       // between ranks
std::vector<Defect> cache_defects();      // in what the cache holds, or where attention cuts it
std::vector<Defect> policy_defects();     // in what a cache policy codes, shows or evicts
std::vector<Defect> lossy_defects();      // the same, of policies that change, turn, hide and score
std::vector<Defect> patch_defects();      // rows of a donor in the wrong place
std::vector<Defect> draw_defects();       // in what tokens are drawn with, and by
std::vector<Defect> asked_defects();      // something else ran than was asked
std::vector<Defect> measured_defects();   // in rows by value, on their way to the metrics of pairs
std::vector<Defect> operation_defects();  // in one operation, launched by itself
std::vector<Defect> score_defects();      // in what a score reads
std::vector<Defect> trace_defects();      // in the record, the process, or the comparison itself

/// YAML of a named scenario; `model` and `prompts` are relative to it. REQUIRES: a known name.
std::string plan_text(const std::string& name);

/// Changes what rows see before attention begins, exact or over codes.
class OtherRows : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    ForwardingBackend::attention(q, changed(args), k_pool, v_pool, out);
  }
  void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools, Rows out) override {
    ForwardingBackend::attention_coded(q, changed(args), pools, out);
  }

 protected:
  virtual void look(AttentionRows::Row& row, const AttentionRows& args) = 0;
  /// A mask that lasts as long as the call.
  std::vector<std::uint8_t>& new_mask() { return masks_.emplace_back(); }

 private:
  AttentionRows changed(const AttentionRows& args) {
    masks_.clear();
    rows_.assign(args.rows.begin(), args.rows.end());
    for (AttentionRows::Row& row : rows_) look(row, args);
    AttentionRows other = args;
    other.rows = rows_;
    return other;
  }
  std::vector<AttentionRows::Row> rows_;
  std::deque<std::vector<std::uint8_t>> masks_;
};

/// A defect's `backend` made of a class derived from ForwardingBackend.
template <class M>
auto backend_of() {
  return [](std::unique_ptr<Backend> inner, const Setup& setup) -> std::unique_ptr<Backend> {
    return std::make_unique<M>(std::move(inner), setup);
  };
}
template <class M>
auto communicator_of() {
  return
      [](std::unique_ptr<Communicator> inner, const Setup& setup) -> std::unique_ptr<Communicator> {
        return std::make_unique<M>(std::move(inner), setup);
      };
}

}  // namespace isobit::selftest
