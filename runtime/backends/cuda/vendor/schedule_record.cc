// Runs of numbers of rows with one schedule; the rest is counted, and all of it is hashed.

#include "runtime/backends/cuda/vendor/schedule_record.h"

#include <span>
#include <vector>

#include "runtime/numerics/digest.h"

namespace isobit::cuda {
namespace {

constexpr std::size_t kMostSchedules = 12, kMostRuns = 48;  // in the text

struct Run {
  std::int64_t first, last;
  std::string schedules;  // "[1]", or "[1][3]" where addresses decided too
};

std::string short_digest(const std::string& text) {
  return to_hex(digest_bytes(std::as_bytes(std::span(text.data(), text.size())))).substr(0, 16);
}

}  // namespace

void ScheduleRecord::note(std::int64_t outputs, std::int64_t inputs, std::int64_t rows,
                          const std::string& configuration) {
  shapes_[{outputs, inputs}][rows].insert(configuration);
}

std::string ScheduleRecord::text() const {
  std::map<std::string, std::size_t> number;
  std::vector<std::string> names;
  std::string all, runs_text;
  std::size_t count = 0, runs_shown = 0, runs_left = 0;
  for (const auto& [shape, rows] : shapes_) {
    const std::string name = std::to_string(shape.first) + "x" + std::to_string(shape.second);
    std::vector<Run> runs;
    for (const auto& [m, configurations] : rows) {
      ++count;
      std::string schedules;
      all += name + " " + std::to_string(m);
      for (const std::string& configuration : configurations) {
        const auto at = number.emplace(configuration, number.size() + 1);
        if (at.second) names.push_back(configuration);
        schedules += "[" + std::to_string(at.first->second) + "]";
        all += " " + configuration;
      }
      all += "\n";
      if (runs.empty() || runs.back().schedules != schedules) runs.push_back({m, m, schedules});
      runs.back().last = m;
    }
    bool named = false;
    for (const Run& run : runs) {
      if (runs_shown == kMostRuns) {
        ++runs_left;
        continue;
      }
      ++runs_shown;
      runs_text += named ? ", " : "; " + name + " rows ";
      named = true;
      runs_text += std::to_string(run.first);
      if (run.last != run.first) runs_text += "-" + std::to_string(run.last);
      runs_text += " " + run.schedules;
    }
  }
  if (count == 0) return "no product";
  std::string out = std::to_string(count) + (count == 1 ? " shape, " : " shapes, ") +
                    std::to_string(names.size()) +
                    (names.size() == 1 ? " schedule:" : " schedules:");
  for (std::size_t i = 0; i < names.size() && i < kMostSchedules; ++i) {
    out += (i == 0 ? " [" : "; [") + std::to_string(i + 1) + "] " + names[i];
  }
  if (names.size() > kMostSchedules) {
    out += "; and " + std::to_string(names.size() - kMostSchedules) + " more schedules";
  }
  out += runs_text;
  if (runs_left > 0) out += "; and " + std::to_string(runs_left) + " more runs";
  return out + " (" + short_digest(all) + ")";
}

}  // namespace isobit::cuda
