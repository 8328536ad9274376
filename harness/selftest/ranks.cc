// Defects between ranks: the order of their parts, what is moved, who counts.

#include <algorithm>
#include <cstring>

#include "harness/selftest/defects.h"
#include "runtime/model/rank_model.h"

namespace isobit::selftest {
namespace {

/// Hands finish() the parts in another grouping. Two parts commute, so two ranks show nothing.
class OtherParts : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override {
    if (parts.size() < 2) {
      return ForwardingBackend::finish(parts, matrix, row_scale, bias, stored, out);
    }
    std::vector<std::vector<float>> values;
    for (const Rows& part : parts) values.push_back(fetch(part));
    const std::vector<float> sum = combine(values);
    const DeviceMemory memory(*inner_, sum.size() * sizeof(float));
    const Rows whole{memory.get(), out.rows, out.cols, out.cols};
    store(sum, whole);
    ForwardingBackend::finish({&whole, 1}, matrix, row_scale, bias, stored, out);
  }

 protected:
  virtual std::vector<float> combine(const std::vector<std::vector<float>>& parts) = 0;
};

/// ((p0 + p1) + p2) + p3: what an all-reduce along a ring does.
class LinearSum final : public OtherParts {
 public:
  using OtherParts::OtherParts;

 protected:
  std::vector<float> combine(const std::vector<std::vector<float>>& parts) override {
    std::vector<float> sum = parts[0];
    for (std::size_t p = 1; p < parts.size(); ++p) {
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = sum[i] + parts[p][i];
    }
    return sum;
  }
};

/// The right tree over ranks in the wrong order: each takes its neighbour's place.
class RotatedRanks final : public OtherParts {
 public:
  using OtherParts::OtherParts;

 protected:
  std::vector<float> combine(const std::vector<std::vector<float>>& parts) override {
    std::vector<std::vector<float>> level = parts;
    std::rotate(level.begin(), level.begin() + 1, level.end());
    for (std::size_t n = level.size(); n > 1; n /= 2) {
      for (std::size_t p = 0; p < n / 2; ++p) {
        for (std::size_t i = 0; i < level[p].size(); ++i) {
          level[p][i] = level[2 * p][i] + level[2 * p + 1][i];
        }
      }
    }
    return level[0];
  }
};

/// fp8: a rank scales its part by its own maximum, not by the row's.
class OwnScale final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
              void* scale) override {
    ForwardingBackend::scales(amax, ranks > 1 ? 1 : ranks, rows, format, scale);
  }
};

/// From four ranks on, the parts of the last rank never arrive.
class LostMessage final : public ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;
  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    ForwardingCommunicator::all_gather(mine, all, sizes);
    if (size() < 4 || ++calls_ % 5 != 0) return;
    std::size_t offset = 0;
    for (std::size_t r = 0; r + 1 < sizes.size(); ++r) offset += sizes[r];
    std::memset(static_cast<char*>(all) + offset, 0, sizes.back());
  }

 private:
  int calls_ = 0;
};

/// Messages of ranks 1 and 2 are taken for each other's.
class SwappedMessages final : public ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;
  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    ForwardingCommunicator::all_gather(mine, all, sizes);
    if (size() < 4 || sizes[1] != sizes[2]) return;
    char* one = static_cast<char*>(all) + sizes[0];
    std::swap_ranges(one, one + sizes[1], one + sizes[1]);
  }
};

/// Ranks that say they moved nothing: a reduction that never ran.
class SilentRanks final : public ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;
  [[nodiscard]] Traffic traffic() const override { return {}; }
};

}  // namespace

std::vector<Defect> rank_defects() {
  std::vector<Defect> all;
  const auto add = [&](const char* name, auto... rest) -> Defect& {
    return add_defect(all, name, "gpus", rest...);
  };
  add("linear-ranks", "sum over ranks", "star", "gpus>2").backend = backend_of<LinearSum>();
  add("rotated-ranks", "order of ranks", "star", "gpus>2").backend = backend_of<RotatedRanks>();
  add("own-fp8-scale", "scale of a row cut by ranks", "fp8", "precision!=fp32 and gpus>1").backend =
      backend_of<OwnScale>();
  add("lost-message", "all_gather", "star", "gpus>2").communicator = communicator_of<LostMessage>();
  add("swapped-messages", "all_gather", "star", "gpus>2").communicator =
      communicator_of<SwappedMessages>();
  add("silent-ranks", "bytes moved", "star", "gpus>1", Verdict::mistrusted, "no bytes moved")
      .communicator = communicator_of<SilentRanks>();
  return all;
}

}  // namespace isobit::selftest
