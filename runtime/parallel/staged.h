// A communicator for ranks whose memory the host cannot read: every message goes through the host.
//
// Promise: the inner communicator sees host bytes only and moves them as it always does. Callers:
// generate.cc, for in-process ranks of a GPU backend.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "runtime/parallel/communicator.h"

namespace isobit {

/// How one rank's memory is read and written from the host; both wait until the bytes are there.
struct DeviceAccess {
  std::function<void(void* to, const void* from, std::size_t bytes)> download;  // to: host
  std::function<void(void* to, const void* from, std::size_t bytes)> upload;    // from: host
};

std::unique_ptr<Communicator> stage_through_host(std::unique_ptr<Communicator> inner,
                                                 DeviceAccess access);

}  // namespace isobit
