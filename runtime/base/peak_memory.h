// The most memory that this process has held resident since a moment. Linux.
#pragma once

#include <cstdint>
#include <string>

namespace isobit {

/// Begins when it is made. One at a time: the system keeps one mark a process.
class PeakMemory {
 public:
  /// `folder`: another than /proc/self in tests.
  explicit PeakMemory(std::string folder = "/proc/self");
  /// Bytes. Where the mark cannot be set back (proc(5), clear_refs), the process's own peak when
  /// it has risen since; 0: not known, it was higher before.
  [[nodiscard]] std::int64_t bytes() const;

 private:
  [[nodiscard]] std::int64_t high_water() const;

  std::string folder_;
  bool set_back_ = false;
  std::int64_t before_ = 0;
};

}  // namespace isobit
