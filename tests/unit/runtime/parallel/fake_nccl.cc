// A stand-in for libnccl.so.2 on host memory: the functions that Isobit calls, between threads of
// one process. As on a GPU, a collective that some ranks have not begun does not end.
//
// FAKE_NCCL_FAIL names a call that fails ("init", "all_gather", "broadcast", "async"); it is read
// at every call. nccl_test.cc loads it by name.
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "runtime/parallel/nccl_abi.h"

namespace {

using namespace isobit::nccl;

/// One collective in the making: it moves when the last rank has come.
struct Meeting {
  std::vector<const void*> from;
  int came = 0, left = 0;
};

struct Group;

struct Rank {
  Group* group = nullptr;
  int rank = 0;
  long calls = 0;
};

/// Lives, with its ranks' handles, until the process ends: an aborted handle may still be in use.
struct Group {
  std::mutex mutex;
  std::condition_variable moved;
  int ranks = 0;
  bool aborted = false;
  std::map<long, Meeting> meetings;  // by number
  std::vector<std::unique_ptr<Rank>> handles;
};

std::mutex groups_mutex;
std::map<int, std::unique_ptr<Group>> groups;  // by the id's first bytes
int ids = 0;

bool fails(std::string_view call) {
  const char* wanted = std::getenv("FAKE_NCCL_FAIL");
  return wanted != nullptr && call == wanted;
}

/// Every rank's `from` once all have come, or nothing when the group was aborted.
template <class Move>
int meet(Rank& rank, const void* from, Move&& move) {
  Group& group = *rank.group;
  std::unique_lock lock(group.mutex);
  const long number = rank.calls++;
  Meeting& meeting = group.meetings[number];
  meeting.from.resize(std::size_t(group.ranks));
  meeting.from[std::size_t(rank.rank)] = from;
  ++meeting.came;
  group.moved.notify_all();
  group.moved.wait(lock, [&] { return group.aborted || meeting.came == group.ranks; });
  if (group.aborted) return kSuccess;  // the kernel ends, what it leaves is undefined
  move(meeting.from);
  if (++meeting.left == group.ranks) group.meetings.erase(number);
  group.moved.notify_all();
  // Nobody's buffer may change before all have read it.
  group.moved.wait(lock, [&] { return group.aborted || group.meetings.count(number) == 0; });
  return kSuccess;
}

}  // namespace

extern "C" {

int ncclGetVersion(int* version) {
  *version = 22809;
  return kSuccess;
}

int ncclGetUniqueId(UniqueId* id) {
  const std::lock_guard lock(groups_mutex);
  ++ids;
  std::memcpy(id->bytes, &ids, sizeof ids);
  return kSuccess;
}

int ncclCommInitRank(Comm* comm, int ranks, UniqueId id, int rank) {
  if (fails("init")) return kInternalError;
  const char* nvls = std::getenv("NCCL_NVLS_ENABLE");
  if (nvls == nullptr || std::string_view(nvls) != "0") return kInvalidArgument;
  const std::lock_guard lock(groups_mutex);
  int number = 0;
  std::memcpy(&number, id.bytes, sizeof number);
  auto& group = groups[number];
  if (group == nullptr) group = std::make_unique<Group>();
  group->ranks = ranks;
  group->handles.push_back(std::make_unique<Rank>(Rank{group.get(), rank}));
  *comm = group->handles.back().get();
  return kSuccess;
}

int ncclCommAbort(Comm comm) {
  Rank* rank = static_cast<Rank*>(comm);
  const std::lock_guard lock(rank->group->mutex);
  rank->group->aborted = true;
  rank->group->moved.notify_all();
  return kSuccess;
}

const char* ncclGetErrorString(int result) {
  return result == kInternalError ? "internal error" : "invalid argument";
}

int ncclCommGetAsyncError(Comm, int* error) {
  *error = fails("async") ? kInternalError : kSuccess;
  return kSuccess;
}

int ncclGroupStart() {
  return kSuccess;
}

int ncclGroupEnd() {
  return kSuccess;
}

int ncclAllGather(const void* from, void* to, std::size_t count, int type, Comm comm, Stream) {
  Rank& rank = *static_cast<Rank*>(comm);
  if (fails("all_gather") && rank.rank == 1) return kInternalError;
  if (type != kBytes) return kInvalidArgument;
  return meet(rank, from, [&](const std::vector<const void*>& all) {
    auto* place = static_cast<char*>(to);
    for (const void* one : all) {
      if (place != one) std::memcpy(place, one, count);
      place += count;
    }
  });
}

int ncclBroadcast(const void* from, void* to, std::size_t count, int type, int root, Comm comm,
                  Stream) {
  Rank& rank = *static_cast<Rank*>(comm);
  if (fails("broadcast") && rank.rank == 1) return kInternalError;
  if (type != kBytes || count == 0) return kInvalidArgument;
  return meet(rank, from, [&](const std::vector<const void*>& all) {
    if (to != all[std::size_t(root)]) std::memcpy(to, all[std::size_t(root)], count);
  });
}
}
