// What ranks on GPUs of their own need of the machine; compiles without CUDA.
#pragma once

#include <string>
#include <vector>

namespace isobit {

struct RealRanks {
  std::string missing;            // why there is no GPU, in one line, or empty
  std::vector<std::string> gpus;  // "GPU-<uuid>" by rank
  std::string nccl;               // file of libnccl as the loader finds it, empty: none
  int nccl_version = 0;           // 22809 for 2.28.9
  std::string peers;              // pairs of GPUs that read each other's memory: "0-1 0-2"
};

}  // namespace isobit
