// Defects of an engine in another process: `isobit serve --fault NAME` is that engine. Each acts in
// requests of several sequences, that is in batches, unless its row says otherwise.
#include "harness/selftest/engines.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <thread>

#include "runtime/base/words.h"

namespace isobit::selftest {
namespace {

using exec::Ran;
using exec::Request;
using exec::ServedRow;
using exec::ServeHooks;

bool is_batch(const Request& request) {
  return request.sequences.size() > 1;
}

using ChangeRow = void (*)(ServedRow& row);
ServeHooks in_batches(ChangeRow change) {
  ServeHooks hooks;
  hooks.row = [change](const Request& request, ServedRow& row) {
    if (is_batch(request)) change(row);
    return true;
  };
  return hooks;
}

/// The second sequence gets the rows of the first, tokens and all.
ServeHooks swapped_rows() {
  ServeHooks hooks;
  hooks.row = [last = ServedRow()](const Request& request, ServedRow& row) mutable {
    if (!is_batch(request)) return true;
    if (row.row.sequence == 0) last = row;
    if (row.row.sequence == 1 && !last.values.empty()) {
      row.values = last.values;
      row.row.token = last.row.token;
    }
    return true;
  };
  return hooks;
}

/// Requests of one sequence all get the answer to the first.
ServeHooks cached_answer() {
  ServeHooks hooks;
  hooks.row = [first = std::int64_t{-1}, index = std::map<std::int64_t, std::size_t>(),
               rows = std::vector<ServedRow>()](const Request& request, ServedRow& row) mutable {
    if (is_batch(request)) return true;
    if (first < 0) first = request.id;
    const std::size_t at = index[request.id]++;
    if (request.id == first) rows.push_back(row);
    if (request.id != first && at < rows.size()) {
      row.values = rows[at].values;
      row.row.token = rows[at].row.token;
    }
    return true;
  };
  return hooks;
}

ServeHooks reordered_batch() {
  ServeHooks hooks;
  hooks.row = [](const Request& request, ServedRow& row) {
    row.row.sequence = (row.row.sequence + 1) % std::int64_t(request.sequences.size());
    return true;
  };
  return hooks;
}

ServeHooks missing_row() {
  ServeHooks hooks;
  hooks.row = [seen = 0](const Request& request, ServedRow& row) mutable {
    seen += is_batch(request) && row.row.sequence == 0 ? 1 : 0;
    return seen != 3 || row.row.sequence != 0;
  };
  return hooks;
}

ServeHooks stale_seed() {
  ServeHooks hooks;
  hooks.request = [first = std::optional<std::uint64_t>()](Request& request) mutable {
    if (!request.sampling) return;
    if (!first) first = request.sampling->seed;
    request.sampling->seed = *first;
  };
  return hooks;
}

ServeHooks late_teacher() {
  ServeHooks hooks;
  hooks.request = [](Request& request) {
    for (exec::Sequence& sequence : request.sequences) {
      std::vector<std::int32_t>& teacher = sequence.teacher;
      if (is_batch(request) && !teacher.empty()) {
        std::rotate(teacher.begin(), teacher.begin() + 1, teacher.end());
      }
    }
  };
  return hooks;
}

ServeHooks keeps_cache() {
  ServeHooks hooks;
  hooks.request = [](Request& request) {
    if (request.cache == "off") request.cache = "on";
  };
  return hooks;
}

ServeHooks one_by_one() {
  ServeHooks hooks;
  hooks.done = [](const Request&, Ran& ran) { ran.live_rows = 1; };
  return hooks;
}

ServeHooks never_done() {
  ServeHooks hooks;
  hooks.done = [](const Request& request, Ran&) {
    while (is_batch(request)) std::this_thread::sleep_for(std::chrono::seconds(1));
  };
  return hooks;
}

const std::map<std::string, ServeHooks>& faults() {
  static const std::map<std::string, ServeHooks> all = {
      {"none", {}},
      {"swapped-rows", swapped_rows()},
      {"cached-answer", cached_answer()},
      {"reordered-batch", reordered_batch()},
      {"missing-row", missing_row()},
      {"stale-seed", stale_seed()},
      {"late-teacher", late_teacher()},
      {"keeps-cache", keeps_cache()},
      {"one-by-one", one_by_one()},
      {"never-done", never_done()},
      {"truncated-row", in_batches([](ServedRow& row) { row.values.pop_back(); })},
      {"not-a-number",
       in_batches([](ServedRow& row) { row.values[5] = std::numeric_limits<float>::quiet_NaN(); })},
      {"last-bit", in_batches([](ServedRow& row) {
         row.values[5] = std::nextafterf(row.values[5], std::numeric_limits<float>::infinity());
       })},
      {"other-token", in_batches([](ServedRow& row) { row.row.token ^= 1; })},
      {"rounded-logprobs", in_batches([](ServedRow& row) {
         if (row.row.logprob) row.row.logprob = std::round(*row.row.logprob * 1000) / 1000;
       })},
      {"crash", in_batches([](ServedRow&) {
         std::fputs("out of memory\n", stderr);
         _exit(9);
       })},
      {"babble", in_batches([](ServedRow&) { std::puts("loading, please wait"); })},
  };
  return all;
}

}  // namespace

Result<exec::ServeHooks> served_fault(const std::string& name) {
  const auto at = faults().find(name);
  if (at != faults().end()) return at->second;
  std::vector<std::string> known;
  for (const auto& [fault, hooks] : faults()) known.push_back(fault);
  return Error{"unknown fault " + in_quotes(name) + did_you_mean(name, known), ""};
}

std::vector<Defect> engine_defects() {
  std::vector<Defect> all;
  const auto add = [&](const char* fault, const char* plan, const char* red, Verdict verdict,
                       const char* says, const char* options = "") {
    Defect& defect =
        add_defect(all, fault, "engine", "engine in another process", plan, red, verdict, says);
    defect.name = std::string("exec-") + fault;
    defect.fault = fault;
    defect.engine_options = options;
  };
  constexpr const char* kBatches = "engine=exec and batch>1";
  add("swapped-rows", "served", kBatches, Verdict::diff, "differs");
  add("cached-answer", "served", "engine=exec and batch=1", Verdict::diff, "differs");
  add("reordered-batch", "served", kBatches, Verdict::fail, "came instead");
  add("missing-row", "served", kBatches, Verdict::fail, "came instead");
  add("truncated-row", "served", kBatches, Verdict::fail, "bytes");
  add("not-a-number", "served", kBatches, Verdict::fail, "non-finite");
  add("last-bit", "served", kBatches, Verdict::diff, "differs");
  add("other-token", "served", kBatches, Verdict::fail, "largest logit");
  add("crash", "served", kBatches, Verdict::fail, "it last said: out of memory");
  add("babble", "served", kBatches, Verdict::fail, "loading, please wait");
  add("one-by-one", "served", kBatches, Verdict::mistrusted, "at most 1 rows were live");
  add("never-done", "served", kBatches, Verdict::fail, "no result within");
  add("late-teacher", "served-teacher", kBatches, Verdict::fail, "was not fed");
  add("keeps-cache", "served-cache", "engine=exec and cache=off", Verdict::fail, "was read");
  add("stale-seed", "served-seed", "engine=exec and seed=2", Verdict::fail,
      "decode seed:2+temperature:0.8 was asked, seed:1+temperature:0.8 ran");
  add("rounded-logprobs", "served-logprobs", kBatches, Verdict::diff, "differs",
      ", evidence: logprobs");
  return all;
}

}  // namespace isobit::selftest
