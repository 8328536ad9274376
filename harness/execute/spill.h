// Rows by value on disk: of logits, for rules and metrics that need every one of them (`within`,
// `ensemble`, metrics of pairs), and the inner rows that `observe: {values: …}` names.
//
// One file of rows and one of their places a cell, in a folder beside the database that goes with
// the run. Rows are Reals of the cell's precision.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/judge/ensemble.h"
#include "harness/judge/judge.h"
#include "runtime/base/file.h"

namespace isobit {

class SpillWriter {
 public:
  explicit SpillWriter(const std::string& path) : path_(path), rows_(path, std::ios::binary) {}
  /// A row of logits.
  void add(int prompt, std::int64_t position, std::span<const std::byte> row);
  void add(const ValueKey& key, std::span<const std::byte> row);
  /// False when something could not be written; problem() says what.
  bool finish();
  [[nodiscard]] std::string problem() const;

 private:
  std::string path_, index_;
  std::ofstream rows_;
  std::int64_t offset_ = 0;
  int error_ = 0;  // errno of the first write that failed
};

/// Where a row lies in a spill file.
struct SpillRow {
  ValueKey key;
  std::int64_t offset = 0, bytes = 0;
};
/// The places of all rows of a spill file, by key.
Result<std::vector<SpillRow>> read_spill_index(const std::string& path);

/// Rows of a spill file, read one at a time; empty where the file does not reach.
class SpillReader {
 public:
  explicit SpillReader(const std::string& path);
  std::vector<char> row(const SpillRow& place);

 private:
  std::ifstream file_;
  std::int64_t size_ = 0;
};

/// Distances over rows that both cells have, up to each prompt's first flip. `wide`: rows of fp64.
Result<WithinResult> compare_spills(const std::string& a, const std::string& b, bool wide);

/// A cell of an ensemble, and where its rows are.
struct SpilledMember {
  EnsembleCell cell;
  std::string rows;   // its spill file
  bool wide = false;  // rows of fp64
};
/// A token that a prompt's row is held against.
struct SpillTarget {
  int prompt = 0;
  std::int64_t position = 0;  // of the row
  std::int32_t token = -1;
  bool operator==(const SpillTarget&) const = default;
};
/// What an ensemble measures at targets that ascend by prompt. A row that a cell lacks is an error.
Result<EnsembleResult> measure_spills(const std::vector<SpilledMember>& members,
                                      const std::vector<SpillTarget>& targets, std::int64_t bins);

/// The folder of one run's spill files, removed with it; when the run was killed, by a later one as
/// it begins. It is locked as long as its process lives, which no number of a process could tell
/// where containers share a folder.
class SpillFolder {
 public:
  /// `database`: the folder lies beside it.
  explicit SpillFolder(std::string database);
  ~SpillFolder();
  SpillFolder(const SpillFolder&) = delete;
  SpillFolder& operator=(const SpillFolder&) = delete;
  /// File of a cell; makes the folder.
  Result<std::string> path(int cell);

 private:
  std::string database_;
  std::optional<TemporaryFolder> folder_;
  int lock_ = -1;  // descriptor
};

}  // namespace isobit
