// Down, across, up.

#include "runtime/parallel/staged.h"

#include <chrono>
#include <numeric>
#include <utility>

namespace isobit {
namespace {

class StagedRank final : public Communicator {
 public:
  StagedRank(std::unique_ptr<Communicator> inner, DeviceAccess access)
      : inner_(std::move(inner)), access_(std::move(access)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  bool is_virtual() const override { return inner_->is_virtual(); }
  std::string transport() const override {
    return size() == 1 ? "" : inner_->transport() + ", through the host";
  }
  Traffic traffic() const override { return inner_->traffic(); }
  double seconds() const override { return seconds_; }
  void finish() override { inner_->finish(); }
  void abort() override { inner_->abort(); }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    const auto start = std::chrono::steady_clock::now();
    mine_.resize(sizes[std::size_t(rank())]);
    all_.resize(std::accumulate(sizes.begin(), sizes.end(), std::size_t(0)));
    if (!mine_.empty()) access_.download(mine_.data(), mine, mine_.size());
    inner_->all_gather(mine_.data(), all_.data(), sizes);
    if (!all_.empty()) access_.upload(all, all_.data(), all_.size());
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  std::unique_ptr<Communicator> inner_;
  DeviceAccess access_;
  std::vector<std::byte> mine_, all_;
  double seconds_ = 0;  // waiting for the rank's own device included
};

}  // namespace

std::unique_ptr<Communicator> stage_through_host(std::unique_ptr<Communicator> inner,
                                                 DeviceAccess access) {
  return std::make_unique<StagedRank>(std::move(inner), std::move(access));
}

}  // namespace isobit
