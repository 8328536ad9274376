// Bytes between a worker and its parent on one machine: a flat, length-prefixed form of plain
// values. Not a file format; both ends are the same program. Callers: executor.cc.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "harness/execute/executor.h"

namespace isobit::wire {

class Writer {
 public:
  template <class T>
  void put(const T& value) requires std::is_trivially_copyable_v<T> {
    const char* bytes = reinterpret_cast<const char*>(&value);
    out_.append(bytes, sizeof(T));
  }
  void put(const std::string& text) {
    put(std::uint64_t(text.size()));
    out_ += text;
  }
  template <class T>
  void put(const std::vector<T>& values) {
    put(std::uint64_t(values.size()));
    if constexpr (std::is_trivially_copyable_v<T>) {
      out_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    } else {
      for (const T& value : values) put(value);
    }
  }
  void put(const Observed& observed);
  void put(const PromptTrace& prompt);
  void put(const CellTrace& trace);
  void put(const Job& job);
  void put(const JobResult& result);
  [[nodiscard]] const std::string& bytes() const { return out_; }

 private:
  std::string out_;
};

/// Reads what a Writer wrote. A short or impossible message sets failed() and gives zeros.
class Reader {
 public:
  explicit Reader(const std::string& bytes) : in_(bytes) {}
  template <class T>
  void get(T& value) requires std::is_trivially_copyable_v<T> {
    if (!take(sizeof(T))) return;
    std::memcpy(&value, in_.data() + at_ - sizeof(T), sizeof(T));
  }
  void get(std::string& text) {
    std::uint64_t size = 0;
    get(size);
    if (!take(size)) return;
    text.assign(in_, at_ - size, size);
  }
  template <class T>
  void get(std::vector<T>& values) {
    std::uint64_t size = 0;
    get(size);
    if (size > in_.size() - at_) {
      failed_ = true;
      return;
    }
    values.resize(size);
    if constexpr (std::is_trivially_copyable_v<T>) {
      if (take(size * sizeof(T)) && size > 0) {
        std::memcpy(values.data(), in_.data() + at_ - size * sizeof(T), size * sizeof(T));
      }
    } else {
      for (T& value : values) get(value);
    }
  }
  void get(Observed& observed);
  void get(PromptTrace& prompt);
  void get(CellTrace& trace);
  void get(Job& job);
  void get(JobResult& result);
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  bool take(std::uint64_t size) {
    if (failed_ || size > in_.size() - at_) {
      failed_ = true;
      return false;
    }
    at_ += size;
    return true;
  }

  const std::string& in_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

}  // namespace isobit::wire
