// A block's bytes: canaries, and values that nobody has written.
#include "runtime/backends/plugin/guard.h"

#include <algorithm>
#include <cstring>

namespace isobit {
namespace {

constexpr std::size_t kMargin = 256;  // keeps the alignment of the memory
constexpr unsigned char kCanary = 0xa5;
/// A NaN as fp32 and, twice, as fp64; its payload is no arithmetic's.
constexpr std::uint32_t kUnwritten = 0x7ff47ff4u;

bool is_unwritten(const unsigned char* value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += sizeof kUnwritten) {
    if (std::memcmp(value + i, &kUnwritten, sizeof kUnwritten) != 0) return false;
  }
  return true;
}

bool holds_nan(const unsigned char* value, std::size_t bytes) {
  float narrow = 0;
  double wide = 0;
  if (bytes == sizeof wide) {
    std::memcpy(&wide, value, sizeof wide);
    return is_nan(wide);
  }
  std::memcpy(&narrow, value, sizeof narrow);
  return is_nan(narrow);
}

std::string bytes_text(std::size_t n) {
  return std::to_string(n) + (n == 1 ? " byte" : " bytes");
}

}  // namespace

std::size_t GuardedBlock::begin() const {
  return kMargin + shift_;
}

std::size_t GuardedBlock::span() const {
  return rows_ == 0 ? 0 : std::size_t(rows_ - 1) * stride_bytes_ + row_bytes_;
}

void GuardedBlock::prepare(Backend& memory, std::int64_t rows, std::size_t row_bytes,
                           std::size_t stride_bytes, std::size_t shift) {
  rows_ = rows, row_bytes_ = row_bytes, stride_bytes_ = stride_bytes, shift_ = shift;
  const std::size_t size = begin() + span() + kMargin;
  if (memory_.get() == nullptr || reserved_ < size) {
    memory_ = DeviceMemory();  // the old one goes before the new one comes
    memory_ = DeviceMemory(memory, size);
    reserved_ = size;
  }
  bytes_.assign(size, kCanary);
  for (std::int64_t r = 0; r < rows_; ++r) {
    unsigned char* const row = bytes_.data() + begin() + std::size_t(r) * stride_bytes_;
    for (std::size_t i = 0; i < row_bytes_; i += sizeof kUnwritten) {
      std::memcpy(row + i, &kUnwritten, std::min(sizeof kUnwritten, row_bytes_ - i));
    }
  }
  memory.upload(memory_.get(), bytes_.data(), bytes_.size());
}

void GuardedBlock::fill(Backend& memory, const void* rows) {
  for (std::int64_t r = 0; r < rows_; ++r) {
    std::memcpy(bytes_.data() + begin() + std::size_t(r) * stride_bytes_,
                static_cast<const char*>(rows) + std::size_t(r) * row_bytes_, row_bytes_);
  }
  memory.upload(memory_.get(), bytes_.data(), bytes_.size());
}

bool GuardedBlock::holds(const void* rows) const {
  for (std::int64_t r = 0; r < rows_; ++r) {
    if (std::memcmp(bytes_.data() + begin() + std::size_t(r) * stride_bytes_,
                    static_cast<const char*>(rows) + std::size_t(r) * row_bytes_, row_bytes_) != 0)
      return false;
  }
  return true;
}

void* GuardedBlock::data() const {
  return static_cast<char*>(memory_.get()) + begin();
}

void GuardedBlock::fetch(Backend& memory) {
  memory.download(bytes_.data(), memory_.get(), bytes_.size());
}

std::string GuardedBlock::damage() const {
  const auto changed = [this](std::size_t from, std::size_t end) {
    const auto at =
        std::find_if(bytes_.begin() + std::ptrdiff_t(from), bytes_.begin() + std::ptrdiff_t(end),
                     [](unsigned char byte) { return byte != kCanary; });
    return std::size_t(at - bytes_.begin());
  };
  if (const std::size_t at = changed(0, begin()); at < begin()) {
    return bytes_text(begin() - at) + " before its begin";
  }
  for (std::int64_t r = 0; r < rows_; ++r) {
    const std::size_t end_of_row = begin() + std::size_t(r) * stride_bytes_ + row_bytes_;
    const bool last = r + 1 == rows_;
    const std::size_t end = last ? bytes_.size() : end_of_row + stride_bytes_ - row_bytes_;
    const std::size_t at = changed(end_of_row, end);
    if (at == end) continue;
    const std::string behind = bytes_text(at - end_of_row + 1) + " behind ";
    return behind + (last ? "its end" : "the end of row " + std::to_string(r));
  }
  return "";
}

template <class Is>
GuardedBlock::Count GuardedBlock::count(std::size_t value_bytes, const Is& is,
                                        const std::function<bool(std::int64_t)>& counts) const {
  Count found;
  for (std::int64_t r = 0; r < rows_; ++r) {
    const unsigned char* const row = bytes_.data() + begin() + std::size_t(r) * stride_bytes_;
    Count here;
    for (std::size_t i = 0; i < row_bytes_; i += value_bytes) {
      if (!is(row + i, value_bytes)) continue;
      if (here.number++ == 0) here.row = r, here.col = std::int64_t(i / value_bytes);
    }
    if (here.number == 0 || !counts(r)) continue;
    if (found.number == 0) found.row = here.row, found.col = here.col;
    found.number += here.number;
  }
  return found;
}

GuardedBlock::Count GuardedBlock::unwritten(std::size_t value_bytes) const {
  return count(value_bytes, is_unwritten, [](std::int64_t) { return true; });
}
GuardedBlock::Count GuardedBlock::not_a_number(
    std::size_t value_bytes, const std::function<bool(std::int64_t)>& counts) const {
  return count(value_bytes, holds_nan, counts);
}

}  // namespace isobit
