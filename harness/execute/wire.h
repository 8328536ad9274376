// Bytes between a worker and its parent on one machine: a flat, length-prefixed form of plain
// values. Not a file format; both ends are the same program, but a worker may have gone wrong:
// no bytes make the reader do worse than fail. Callers: pool.cc, distributed.cc.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "harness/execute/executor.h"

namespace isobit::wire {

/// How many values an enumeration that travels has, counted from 0.
template <class Enum>
constexpr int kEnumerators = 0;
template <>
inline constexpr int kEnumerators<CellStatus> = kCellStatuses;
template <>
inline constexpr int kEnumerators<TraceLevel> = 3;
template <>
inline constexpr int kEnumerators<Site> = kSites;

template <class T>
constexpr bool kIsBytes = std::is_arithmetic_v<T>;
template <std::size_t N>
inline constexpr bool kIsBytes<std::array<std::uint8_t, N>> = true;

/// Whether the bytes of a T hold one. A bool, an enumeration and a count of an array have bytes
/// that are none, and to read those is undefined.
template <class T>
bool is_value(const char* bytes) {
  const auto field = [bytes]<class F>(std::size_t at, F high) {
    F value{};
    std::memcpy(&value, bytes + at, sizeof value);
    return std::int64_t{value} >= 0 && value <= high;
  };
  if constexpr (std::is_same_v<T, bool>) {
    return field(0, std::uint8_t{1});
  } else if constexpr (std::is_enum_v<T>) {
    static_assert(kEnumerators<T> > 0 && sizeof(T) == 1);
    return field(0, std::uint8_t(kEnumerators<T> - 1));
  } else if constexpr (std::is_same_v<T, Observation>) {
    return field(offsetof(Observation, site), std::uint8_t(kSites - 1));
  } else if constexpr (std::is_same_v<T, TokenRecord>) {
    return field(offsetof(TokenRecord, non_finite), std::uint8_t{1}) &&
           field(offsetof(TokenRecord, top_count), std::int32_t{kTopK});
  } else {
    static_assert(kIsBytes<T>, "say above which bytes are one");
    return true;
  }
}

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

/// Reads what a Writer wrote. A short or impossible message sets failed() and gives zeros. It asks
/// for no more memory than the message could fill.
class Reader {
 public:
  explicit Reader(const std::string& bytes) : in_(bytes) {}
  template <class T>
  void get(T& value) requires std::is_trivially_copyable_v<T> {
    if (const char* bytes = take_values<T>(1)) std::memcpy(&value, bytes, sizeof(T));
  }
  void get(std::string& text) {
    std::uint64_t size = 0;
    get(size);
    if (const char* bytes = take(size)) text.assign(bytes, size);
  }
  template <class T>
  void get(std::vector<T>& values) {
    std::uint64_t size = 0;
    get(size);
    values.clear();
    if constexpr (std::is_trivially_copyable_v<T>) {
      const char* bytes = take_values<T>(size);
      if (bytes == nullptr || size == 0) return;
      values.resize(size);
      std::memcpy(static_cast<void*>(values.data()), bytes, size * sizeof(T));
    } else {
      for (std::uint64_t i = 0; i < size && !failed_; ++i) get(values.emplace_back());
      if (failed_) values.clear();
    }
  }
  void get(Observed& observed);
  void get(PromptTrace& prompt);
  void get(CellTrace& trace);
  void get(Job& job);
  void get(JobResult& result);
  [[nodiscard]] bool failed() const { return failed_; }
  /// Everything was read and nothing is left over.
  [[nodiscard]] bool done() const { return !failed_ && at_ == in_.size(); }

 private:
  /// The next bytes; nullptr, and failed(), when there are fewer.
  const char* take(std::uint64_t size) {
    failed_ = failed_ || size > in_.size() - at_;
    if (failed_) return nullptr;
    at_ += size;
    return in_.data() + at_ - size;
  }
  /// The bytes of so many values; nullptr, and failed(), when they are none.
  template <class T>
  const char* take_values(std::uint64_t count) {
    failed_ = failed_ || count > (in_.size() - at_) / sizeof(T);
    const char* const bytes = failed_ ? nullptr : take(count * sizeof(T));
    for (std::uint64_t i = 0; i < count && !failed_; ++i) {
      failed_ = !is_value<T>(bytes + i * sizeof(T));
    }
    return failed_ ? nullptr : bytes;
  }

  const std::string& in_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

}  // namespace isobit::wire
