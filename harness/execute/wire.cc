// One visit function a struct, shared by writer and reader, so that they cannot drift.

#include "harness/execute/wire.h"

namespace isobit::wire {
namespace {

template <class Stream, class O>
void visit_observed(Stream&& f, O& o) {
  f(o.engine), f(o.device), f(o.isa), f(o.precision), f(o.kernels), f(o.library);
  f(o.library_sha256), f(o.threads), f(o.ranks), f(o.virtual_ranks), f(o.collectives);
  f(o.bytes_moved), f(o.live_rows), f(o.joined_late), f(o.left_early), f(o.steps), f(o.chunks);
  f(o.page_size), f(o.pages), f(o.prefix_hits), f(o.recomputed), f(o.cached_reads);
  f(o.max_position), f(o.out_of_order), f(o.transport), f(o.kv), f(o.kv_bytes);
  f(o.kv_exact_bytes), f(o.kv_evicted), f(o.kv_coded), f(o.kv_rebuilt), f(o.kv_identity);
}

template <class Stream, class P>
void visit_prompt(Stream&& f, P& p) {
  f(p.id), f(p.tokens_digest), f(p.prompt_tokens), f(p.answer), f(p.text), f(p.ended);
  f(p.tokens), f(p.observations);
}

template <class Stream, class T>
void visit_trace(Stream&& f, T& t) {
  f(t.status), f(t.reason), f(t.observed), f(t.level), f(t.prompts), f(t.seconds);
  f(t.record_seconds), f(t.communication_seconds);
}

}  // namespace

void Writer::put(const Observed& observed) {
  visit_observed([this](const auto& field) { put(field); }, observed);
}
void Reader::get(Observed& observed) {
  visit_observed([this](auto& field) { get(field); }, observed);
}
void Writer::put(const PromptTrace& prompt) {
  visit_prompt([this](const auto& field) { put(field); }, prompt);
}
void Reader::get(PromptTrace& prompt) {
  visit_prompt([this](auto& field) { get(field); }, prompt);
}
void Writer::put(const CellTrace& trace) {
  visit_trace([this](const auto& field) { put(field); }, trace);
}
void Reader::get(CellTrace& trace) {
  visit_trace([this](auto& field) { get(field); }, trace);
}

void Writer::put(const Job& job) {
  put(job.id), put(job.attempt), put(job.teacher), put(job.spill);
  put(std::uint64_t(job.capture.size()));
  for (const auto& [prompt, position] : job.capture) put(prompt), put(position);
}
void Reader::get(Job& job) {
  get(job.id), get(job.attempt), get(job.teacher), get(job.spill);
  std::uint64_t count = 0;
  get(count);
  for (std::uint64_t i = 0; i < count && !failed_; ++i) {
    std::pair<int, std::int64_t> key;
    get(key.first), get(key.second);
    job.capture.push_back(key);
  }
}

void Writer::put(const JobResult& result) {
  put(result.id), put(result.attempt), put(result.trace);
  put(std::uint64_t(result.captured.size()));
  for (const auto& [key, row] : result.captured) put(key.first), put(key.second), put(row);
}
void Reader::get(JobResult& result) {
  get(result.id), get(result.attempt), get(result.trace);
  std::uint64_t count = 0;
  get(count);
  for (std::uint64_t i = 0; i < count && !failed_; ++i) {
    std::pair<int, std::int64_t> key;
    RowValues row;
    get(key.first), get(key.second), get(row);
    result.captured[key] = std::move(row);
  }
}

}  // namespace isobit::wire
