// Where rows lie, and the words around them.
#include "runtime/run/operand.h"

#include <cstring>
#include <vector>

namespace isobit {
namespace {

constexpr std::int64_t kBehind = 64;            // elements that are watched behind the last row
constexpr std::uint32_t kPoison = 0x7ff47ff4U;  // a NaN as fp32 and, doubled, as fp64

}  // namespace

Operand::Operand(Backend& backend, std::int64_t rows, std::int64_t cols, std::int64_t align,
                 std::int64_t gap)
    : backend_(backend), align_(align), rows_{nullptr, rows, cols, cols + gap} {
  memory_ = DeviceMemory(backend, elements() * backend.real_size());
  const std::vector<std::uint32_t> poison(elements() * backend.real_size() / sizeof kPoison,
                                          kPoison);
  backend.upload(memory_.get(), poison.data(), poison.size() * sizeof kPoison);
  rows_.data = static_cast<char*>(memory_.get()) + std::size_t(align) * backend.real_size();
}

std::size_t Operand::elements() const {
  return std::size_t(align_ + rows_.rows * rows_.stride + kBehind);
}

Rows Operand::some(std::int64_t first, std::int64_t count) const {
  Rows out = rows_;
  out.rows = count;
  out.data =
      static_cast<char*>(rows_.data) + std::size_t(first * rows_.stride) * backend_.real_size();
  return out;
}

void Operand::set(std::int64_t row, std::span<const double> values) {
  backend_.set_reals(values, this->row(row));
}

bool Operand::intact() const {
  const std::size_t real = backend_.real_size();
  std::vector<char> all(elements() * real);
  backend_.download(all.data(), memory_.get(), all.size());
  const auto untouched = [&](std::int64_t begin, std::int64_t end) {
    for (std::size_t at = std::size_t(begin) * real; at < std::size_t(end) * real; at += 4) {
      if (std::memcmp(all.data() + at, &kPoison, sizeof kPoison) != 0) return false;
    }
    return true;
  };
  if (!untouched(0, align_)) return false;
  for (std::int64_t r = 0; r < rows_.rows; ++r) {
    const std::int64_t end = align_ + r * rows_.stride + rows_.cols;
    const bool last = r + 1 == rows_.rows;
    if (!untouched(end, last ? std::int64_t(elements()) : end + gap())) return false;
  }
  return true;
}

std::int64_t Operand::offset() const {
  const auto bytes = static_cast<char*>(rows_.data) - static_cast<char*>(memory_.get());
  return std::int64_t(bytes) / std::int64_t(backend_.real_size());
}

}  // namespace isobit
