// What a vendor library chose, shape by shape, as one bounded line for the observed record.
//
// Promise: pure; the text depends on what was noted, not on its order, and ends with a digest of
// all of it, so that two records with the same text are the same. Callers: the vendor engines.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace isobit::cuda {

class ScheduleRecord {
 public:
  /// `configuration`: the library's choice for (rows, inputs) x (outputs, inputs)^T, in words.
  void note(std::int64_t outputs, std::int64_t inputs, std::int64_t rows,
            const std::string& configuration);
  /// "3 shapes, 2 schedules: [1] 66 tile 20 …; [2] 67 tile 18 …; 1024x4096 rows 1-32 [1], 48-128
  /// [2] (1a2b3c4d5e6f7081)". A range holds the numbers of rows that occurred between its ends.
  [[nodiscard]] std::string text() const;

 private:
  using Rows = std::map<std::int64_t, std::set<std::string>>;
  std::map<std::pair<std::int64_t, std::int64_t>, Rows> shapes_;
};

}  // namespace isobit::cuda
