// One visit function a struct, shared by writer and reader, so that they cannot drift.

#include "harness/execute/wire.h"

namespace isobit::wire {
namespace {

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
  visit_fields(observed, [this](const char*, const auto& field) { put(field); });
}
void Reader::get(Observed& observed) {
  visit_fields(observed, [this](const char*, auto& field) { get(field); });
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
  put(job.id), put(job.attempt), put(job.teacher), put(job.spill), put(job.values);
  put(std::uint64_t(job.capture.size()));
  for (const auto& [prompt, position] : job.capture) put(prompt), put(position);
}
void Reader::get(Job& job) {
  get(job.id), get(job.attempt), get(job.teacher), get(job.spill), get(job.values);
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
    const bool sorted = result.captured.empty() || result.captured.rbegin()->first < key;
    failed_ = failed_ || !sorted;
    if (!failed_) result.captured[key] = std::move(row);
  }
}

}  // namespace isobit::wire
