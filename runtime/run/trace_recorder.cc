#include "runtime/run/trace_recorder.h"

#include <chrono>

#include "runtime/run/company.h"

namespace isobit {

std::string name_of_prompt(const GenerateRequest& request, std::size_t prompt) {
  const std::string& id = request.prompts[prompt].id;
  return "prompt " + (id.empty() ? std::to_string(prompt) : id);
}

void TraceRecorder::record(Site site, int layer, std::span<const StepRow> rows,
                           std::span<const Digest> digests) {
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const int prompt = prompt_of_slot[std::size_t(rows[r].sequence)];
    const Record record{prompt, {rows[r].position, layer, site}, digests[r]};
    if (rows[r].draft) {
      drafted_[{rows[r].sequence, rows[r].position}].push_back(record);
    } else {
      keep(record);
    }
  }
  seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void TraceRecorder::keep_draft(int sequence, std::int64_t position) {
  for (const Record& record : drafted_[{sequence, position}]) keep(record);
  for (const auto& [key, row] : drafted_values_[{sequence, position}]) give(key, row);
}

void TraceRecorder::give_values(Site site, int layer, std::span<const StepRow> rows, Rows x,
                                Backend& backend) {
  if (!gives || !request_.value_row) return;
  const auto start = std::chrono::steady_clock::now();
  Bytes row(std::size_t(x.cols) * backend.real_size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const int prompt = prompt_of_slot[std::size_t(rows[r].sequence)];
    const ValueKey key{prompt, rows[r].position, layer, site};
    if (!request_.values.wants_prompt(prompt) || given_.count(key) != 0) continue;
    const auto offset = r * std::size_t(x.stride) * backend.real_size();
    backend.download(row.data(), static_cast<const char*>(x.data) + offset, row.size());
    if (rows[r].draft) {
      drafted_values_[{rows[r].sequence, rows[r].position}].emplace_back(key, row);
    } else {
      give(key, row);
    }
  }
  seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void TraceRecorder::give(const ValueKey& key, const Bytes& row) {
  if (given_.insert(key).second) request_.value_row(key, row);
}

std::vector<Observation> TraceRecorder::observations(int prompt) const {
  std::vector<Observation> out;
  for (const auto& [key, digest] : seen_[std::size_t(prompt)]) {
    out.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), digest});
  }
  return out;
}

void TraceRecorder::keep(const Record& record) {
  const auto [at, fresh] = seen_[std::size_t(record.prompt)].emplace(record.key, record.digest);
  if (fresh || at->second == record.digest || !conflict.empty() || depends_on_steps(request_))
    return;
  const auto& [position, layer, site] = record.key;
  conflict = name_of_prompt(request_, std::size_t(record.prompt)) + ", position " +
             std::to_string(position) + ", layer " + std::to_string(layer) + ", " + name_of(site) +
             " computed again differs";
}

}  // namespace isobit
