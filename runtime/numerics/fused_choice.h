// Which of a library's fused attention kernels computes: its name (fused.h has what each does).
#pragma once

#include <cstdint>

namespace isobit {

enum class FusedKernel : std::uint8_t { none, fa2, cudnn_sm90, cudnn_sm80, efficient };

/// `block` is cudnn_sm80's: 32 or 64 keys.
struct FusedChoice {
  FusedKernel kernel = FusedKernel::none;
  std::int32_t block = 0;
  bool operator==(const FusedChoice&) const = default;
};

}  // namespace isobit
