// Memory of a backend that goes back with its owner, also when a later allocation throws.
#pragma once

#include <utility>

#include "runtime/backend.h"

namespace isobit {

/// Memory of a backend, released with its owner. Move-only.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(Backend& backend, std::size_t bytes)
      : backend_(&backend), data_(backend.allocate(bytes)) {}
  ~DeviceMemory() {
    if (backend_ != nullptr) backend_->release(data_);
  }
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  [[nodiscard]] void* get() const { return data_; }

 private:
  void swap(DeviceMemory& other) {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
  }
  Backend* backend_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace isobit
