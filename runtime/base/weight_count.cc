#include "runtime/base/weight_count.h"

namespace isobit {
namespace {

thread_local std::int64_t counted = 0;

}  // namespace

void count_weight_bytes(std::size_t bytes) {
  counted += std::int64_t(bytes);
}

std::int64_t counted_weight_bytes() {
  return counted;
}

}  // namespace isobit
