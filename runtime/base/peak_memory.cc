// VmHWM of proc(5).
#include "runtime/base/peak_memory.h"

#include <fstream>
#include <sstream>
#include <utility>

namespace isobit {

PeakMemory::PeakMemory(std::string folder) : folder_(std::move(folder)) {
  std::ofstream file(folder_ + "/clear_refs");
  constexpr const char* kSetPeakBack = "5";
  file << kSetPeakBack << std::flush;
  set_back_ = file.good();
  before_ = high_water();
}

std::int64_t PeakMemory::bytes() const {
  const std::int64_t now = high_water();
  return set_back_ || now > before_ ? now : 0;
}

std::int64_t PeakMemory::high_water() const {
  std::ifstream file(folder_ + "/status");
  for (std::string line; std::getline(file, line);) {  // "VmHWM:	    1234 kB"
    if (line.rfind("VmHWM:", 0) != 0) continue;
    std::int64_t kibibytes = 0;
    std::istringstream(line.substr(6)) >> kibibytes;
    return kibibytes * 1024;
  }
  return 0;
}

}  // namespace isobit
