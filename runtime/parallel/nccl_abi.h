// The part of NCCL's interface that is used, without its header: constants and prototypes.
//
// nccl_check.cc proves it equal to nccl.h where that is installed. Callers: nccl.cc, nccl_check.cc,
// and the stand-in library of the tests.
#pragma once

#include <cstddef>

namespace isobit::nccl {

constexpr int kSuccess = 0, kInternalError = 3, kInvalidArgument = 4, kInProgress = 7;
constexpr int kBytes = 1;  // ncclUint8

struct UniqueId {
  char bytes[128];
};
using Comm = void*;
using Stream = void*;

using GetVersion = int(int* version);
using GetUniqueId = int(UniqueId* id);
using CommInitRank = int(Comm* comm, int ranks, UniqueId id, int rank);
using CommAbort = int(Comm comm);
using GetErrorString = const char*(int result);
using CommGetAsyncError = int(Comm comm, int* error);
using GroupStart = int();
using GroupEnd = int();
using AllGather = int(const void* from, void* to, std::size_t count, int type, Comm comm,
                      Stream stream);
using Broadcast = int(const void* from, void* to, std::size_t count, int type, int root, Comm comm,
                      Stream stream);

}  // namespace isobit::nccl
