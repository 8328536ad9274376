// What the backends of a team say of themselves, as one record. Callers: generate.cc.
#pragma once

#include <memory>
#include <vector>

#include "runtime/backend.h"

namespace isobit {

/// The first rank's record, but the order of attention of the rank that saw most of it: a rank may
/// have no heads, or none where a mitigation acts. Texts differ by the options that a rank saw.
inline BackendInfo info_of(const std::vector<std::unique_ptr<Backend>>& backends) {
  BackendInfo info = backends.front()->describe();
  const std::string none = BackendInfo{}.attention;
  for (const auto& backend : backends) {
    const std::string ran = backend->describe().attention;
    const bool more = info.attention == none || ran.size() > info.attention.size();
    if (ran != none && more) info.attention = ran;
  }
  return info;
}

}  // namespace isobit
