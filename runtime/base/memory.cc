// /proc/meminfo, the control groups of version 1 and 2, and the process's own limit.
#include "runtime/base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace isobit {
namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

/// The number after `key` in a file of lines "key: number kB"; -1: it is not there.
std::int64_t kibibytes_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key + ":", 0) != 0) continue;
    std::int64_t number = -1;
    std::istringstream(line.substr(key.size() + 1)) >> number;
    return number;
  }
  return -1;
}

/// A file that holds one number; "max", or no such file: -1.
std::int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t number = -1;
  return file >> number ? number : -1;
}

/// What a group and those above it leave. `folder`: "/a/b", below `root`.
std::int64_t left_in_groups(const std::string& root, std::string folder, const char* limit,
                            const char* used) {
  std::int64_t left = kNoLimit;
  while (true) {
    const std::int64_t most = number_in(root + folder + "/" + limit);
    const std::int64_t taken = number_in(root + folder + "/" + used);
    if (most >= 0 && taken >= 0) left = std::min(left, std::max<std::int64_t>(0, most - taken));
    if (folder.empty()) return left;
    folder.resize(folder.rfind('/'));
  }
}

std::int64_t left_in_control_groups() {
  std::int64_t left = kNoLimit;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "0::/user.slice", "5:memory:/docker/…"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string kinds = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string folder = line.substr(second + 1);
    if (folder == "/") folder.clear();
    if (!folder.empty() && folder.front() != '/') continue;
    if (kinds == ",,") {
      left =
          std::min(left, left_in_groups("/sys/fs/cgroup", folder, "memory.max", "memory.current"));
    } else if (kinds.find(",memory,") != std::string::npos) {
      left = std::min(left, left_in_groups("/sys/fs/cgroup/memory", folder, "memory.limit_in_bytes",
                                           "memory.usage_in_bytes"));
    }
  }
  return left;
}

std::int64_t left_in_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  const std::int64_t used = std::max<std::int64_t>(0, kibibytes_of("/proc/self/status", "VmSize"));
  if (limit.rlim_cur > rlim_t(kNoLimit)) return kNoLimit;
  return std::max<std::int64_t>(0, std::int64_t(limit.rlim_cur) - used * 1024);
}

}  // namespace

std::int64_t available_memory() {
  const std::int64_t machine = kibibytes_of("/proc/meminfo", "MemAvailable");
  return std::min(
      {machine < 0 ? kNoLimit : machine * 1024, left_in_control_groups(), left_in_address_space()});
}

std::int64_t saturating_product(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_mul_overflow(a, b, &out) ? kNoLimit : out;
}

std::int64_t saturating_sum(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  return __builtin_add_overflow(a, b, &out) ? kNoLimit : out;
}

}  // namespace isobit
