// A backend that counts the memory which is taken and not given back. Callers: unit tests.
#pragma once

#include <algorithm>
#include <map>
#include <memory>

#include "harness/selftest/wrap.h"

namespace isobit::fakes {

class CountingBackend final : public selftest::ForwardingBackend {
 public:
  /// `most`: the most bytes held at once, so far. It outlives the object.
  CountingBackend(std::unique_ptr<Backend> inner, std::int64_t& most)
      : ForwardingBackend(std::move(inner), {}), most_(most) {}
  void* allocate(std::size_t bytes) override {
    void* memory = ForwardingBackend::allocate(bytes);
    sizes_[memory] = std::int64_t(bytes);
    live_ += std::int64_t(bytes);
    most_ = std::max(most_, live_);
    return memory;
  }
  void release(void* memory) override {
    live_ -= sizes_[memory];
    ForwardingBackend::release(memory);
  }

 private:
  std::map<void*, std::int64_t> sizes_;
  std::int64_t live_ = 0;
  std::int64_t& most_;
};

}  // namespace isobit::fakes
