// NCCL behind dlopen. Its header is not needed: what is used is named here, and nccl_check.cc
// compares it with the header where there is one.

#include "runtime/parallel/nccl.h"

#if defined(ISOBIT_HAVE_CUDA)
#include <cuda_runtime_api.h>
#endif
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "runtime/backend.h"
#include "runtime/parallel/nccl_abi.h"

namespace isobit {

struct NcclLibrary {
  nccl::GetVersion* get_version = nullptr;
  nccl::GetUniqueId* get_unique_id = nullptr;
  nccl::CommInitRank* comm_init_rank = nullptr;
  nccl::CommAbort* comm_abort = nullptr;
  nccl::GetErrorString* get_error_string = nullptr;
  nccl::CommGetAsyncError* comm_get_async_error = nullptr;
  nccl::GroupStart* group_start = nullptr;
  nccl::GroupEnd* group_end = nullptr;
  nccl::AllGather* all_gather = nullptr;
  nccl::Broadcast* broadcast = nullptr;
  std::string label;  // "nccl 2.28.9, NVLS off"
};

namespace {

template <class F>
bool symbol(void* handle, const char* name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(handle, name));
  return out != nullptr;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Turns NVLink multicast off and says what NCCL was told by the environment.
std::string settings() {
  const std::string asked = variable("NCCL_NVLS_ENABLE");
  ::setenv("NCCL_NVLS_ENABLE", "0", 1);
  std::string text = ", NVLS off";
  if (!asked.empty() && asked != "0") text += " (NCCL_NVLS_ENABLE=" + asked + " overruled)";
  for (const char* name : {"NCCL_ALGO", "NCCL_PROTO", "NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE"}) {
    const std::string value = variable(name);
    if (!value.empty()) text += std::string(", ") + name + "=" + value;
  }
  return text;
}

/// The library of a file, loaded once and never unloaded.
Result<const NcclLibrary*> load(const std::string& file) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<NcclLibrary>> loaded;
  const std::lock_guard lock(mutex);
  if (const auto at = loaded.find(file); at != loaded.end()) return at->second.get();
  const std::string told = settings();
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Error{std::string("NCCL cannot be loaded: ") + dlerror(), ""};
  auto library = std::make_unique<NcclLibrary>();
  const bool complete = symbol(handle, "ncclGetVersion", library->get_version) &&
                        symbol(handle, "ncclGetUniqueId", library->get_unique_id) &&
                        symbol(handle, "ncclCommInitRank", library->comm_init_rank) &&
                        symbol(handle, "ncclCommAbort", library->comm_abort) &&
                        symbol(handle, "ncclGetErrorString", library->get_error_string) &&
                        symbol(handle, "ncclCommGetAsyncError", library->comm_get_async_error) &&
                        symbol(handle, "ncclGroupStart", library->group_start) &&
                        symbol(handle, "ncclGroupEnd", library->group_end) &&
                        symbol(handle, "ncclAllGather", library->all_gather) &&
                        symbol(handle, "ncclBroadcast", library->broadcast);
  if (!complete) return Error{"NCCL lacks a symbol that Isobit calls", file};
  int version = 0;
  library->get_version(&version);
  library->label = "nccl " + nccl_version_text(version) + told;
  return (loaded[file] = std::move(library)).get();
}

}  // namespace

#if defined(ISOBIT_HAVE_CUDA)
/// Events on a stream in pairs: before and after each collective.
class StreamTimer {
 public:
  explicit StreamTimer(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {}
  ~StreamTimer() {
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
  }
  StreamTimer(const StreamTimer&) = delete;
  StreamTimer& operator=(const StreamTimer&) = delete;
  void mark() {
    cudaEvent_t event = nullptr;
    if (cudaEventCreate(&event) != cudaSuccess) return;
    events_.push_back(event);
    cudaEventRecord(event, stream_);
  }
  /// Of every pair, in seconds; waits for the stream.
  [[nodiscard]] double between_marks() const {
    cudaStreamSynchronize(stream_);
    double sum = 0;
    for (std::size_t i = 0; i + 1 < events_.size(); i += 2) {
      float ms = 0;
      if (cudaEventElapsedTime(&ms, events_[i], events_[i + 1]) == cudaSuccess) sum += double(ms);
    }
    return sum / 1000;
  }

 private:
  cudaStream_t stream_;
  std::vector<cudaEvent_t> events_;
};
#else
class StreamTimer {
 public:
  explicit StreamTimer(void*) {}
  void mark() {}
  [[nodiscard]] double between_marks() const { return 0; }
};
#endif

/// Counts the ranks that may use the handles.
class Inside {
 public:
  explicit Inside(std::atomic<int>& count) : count_(count) { ++count_; }
  ~Inside() { --count_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  std::atomic<int>& count_;
};

/// One rank's view of a group, for one run.
class NcclRank final : public Communicator {
 public:
  NcclRank(NcclGroup& group, int rank, void* stream, std::string transport, bool timed)
      : group_(group), rank_(rank), stream_(stream), transport_(std::move(transport)) {
    if (timed) timer_ = std::make_unique<StreamTimer>(stream);
  }

  int rank() const override { return rank_; }
  int size() const override { return group_.size(); }
  bool is_virtual() const override { return false; }
  std::string transport() const override { return transport_; }
  Traffic traffic() const override { return traffic_; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    ISOBIT_CHECK(int(sizes.size()) == size());
    {
      const Inside inside(group_.inside_);
      meet(&Rendezvous::arrive);
      if (timer_ != nullptr) timer_->mark();
      group_.queue(rank_, stream_, mine, all, sizes);
      if (timer_ != nullptr) timer_->mark();
    }
    meet(&Rendezvous::depart);
    ++traffic_.collectives;
    traffic_.bytes_sent += std::int64_t(sizes[std::size_t(rank_)]) * (size() - 1);
  }

  void abort() override { group_.abort(rank_); }
  void finish() override {
    meet(&Rendezvous::arrive);
    if (timer_ != nullptr) seconds_ = timer_->between_marks();
  }
  double seconds() const override { return seconds_; }

 private:
  void meet(void (Rendezvous::*step)(int)) {
    try {
      ((*group_.rendezvous_).*step)(rank_);
    } catch (const RankFailure&) {
      group_.broken_ = true;
      throw;
    }
  }

  NcclGroup& group_;
  int rank_;
  void* stream_;
  std::string transport_;
  Traffic traffic_;
  std::unique_ptr<StreamTimer> timer_;
  double seconds_ = 0;
};

std::string nccl_version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version % 10000 / 100) + "." +
         std::to_string(version % 100);
}

Result<NcclId> make_nccl_id(const std::string& file) {
  auto library = load(file);
  ISOBIT_TRY(library);
  nccl::UniqueId id{};
  if (const int result = (*library)->get_unique_id(&id); result != nccl::kSuccess) {
    return Error{std::string("NCCL: ncclGetUniqueId: ") + (*library)->get_error_string(result), ""};
  }
  NcclId out;
  std::copy(std::begin(id.bytes), std::end(id.bytes), out.bytes.begin());
  return out;
}

Result<std::shared_ptr<NcclGroup>> NcclGroup::make(const std::string& file, int ranks,
                                                   const NcclId& id, std::span<const Place> here,
                                                   std::shared_ptr<Rendezvous> rendezvous) {
  auto library = load(file);
  ISOBIT_TRY(library);
  std::shared_ptr<NcclGroup> group(new NcclGroup(**library, ranks, std::move(rendezvous)));
  nccl::UniqueId unique{};
  std::copy(id.bytes.begin(), id.bytes.end(), std::begin(unique.bytes));
  // All ranks of this process in one NCCL group: joining waits for the others.
  int result = (*library)->group_start();
  for (const Place& place : here) {
    place.enter();
    const int one =
        (*library)->comm_init_rank(&group->handles_[place.rank], ranks, unique, place.rank);
    if (result == nccl::kSuccess) result = one;
  }
  const int end = (*library)->group_end();
  if (result == nccl::kSuccess) result = end;
  if (result != nccl::kSuccess) {
    group->broken_ = true;
    for (const auto& [rank, handle] : group->handles_) {
      if (handle != nullptr) (*library)->comm_abort(handle);
    }
    group->handles_.clear();
    return Error{std::string("NCCL: ncclCommInitRank of ") + std::to_string(ranks) +
                     " ranks: " + (*library)->get_error_string(result),
                 ""};
  }
  return group;
}

NcclGroup::~NcclGroup() {
  // The streams are idle by now. Abort frees without waiting for ranks that may be gone.
  if (aborted_) return;
  for (const auto& [rank, handle] : handles_) library_.comm_abort(handle);
}

std::unique_ptr<Communicator> NcclGroup::communicator(int rank, void* stream,
                                                      const std::string& places, bool timed) {
  ISOBIT_CHECK(handles_.count(rank) == 1 && !broken_);
  return std::make_unique<NcclRank>(*this, rank, stream, library_.label + ", " + places, timed);
}

void NcclGroup::check(int result, const char* call) const {
  if (result == nccl::kSuccess) return;
  throw BackendError(std::string("NCCL: ") + call + ": " + library_.get_error_string(result));
}

void NcclGroup::queue(int rank, void* stream, const void* mine, void* all,
                      std::span<const std::size_t> sizes) {
  int error = nccl::kSuccess;
  check(library_.comm_get_async_error(handles_.at(rank), &error), "ncclCommGetAsyncError");
  if (error != nccl::kInProgress) check(error, "an earlier collective");
  const bool equal = std::all_of(sizes.begin(), sizes.end(),
                                 [&](std::size_t size) { return size == sizes.front(); });
  if (!equal) return broadcasts(rank, stream, mine, all, sizes);
  if (sizes.front() == 0) return;
  check(library_.all_gather(mine, all, sizes.front(), nccl::kBytes, handles_.at(rank), stream),
        "ncclAllGather");
}

/// Blocks of different sizes: each rank's is a broadcast, all of them one launch.
void NcclGroup::broadcasts(int rank, void* stream, const void* mine, void* all,
                           std::span<const std::size_t> sizes) {
  int result = library_.group_start();
  auto* place = static_cast<char*>(all);
  for (int root = 0; root < int(sizes.size()); ++root) {
    const std::size_t size = sizes[std::size_t(root)];
    const void* from = root == rank ? mine : place;
    if (size > 0 && result == nccl::kSuccess && !broken_) {
      result = library_.broadcast(from, place, size, nccl::kBytes, root, handles_.at(rank), stream);
    }
    place += size;
  }
  const int end = library_.group_end();
  check(result, "ncclBroadcast");
  check(end, "ncclGroupEnd");
}

/// A rank has failed. What the others have queued would wait for it on their devices.
void NcclGroup::abort(int rank) {
  rendezvous_->fail(rank);
  const std::lock_guard lock(aborting_);
  broken_ = true;
  if (aborted_) return;
  aborted_ = true;
  // A rank that is inside NCCL comes out by itself, unless it waits there for the failed one.
  constexpr int kPatienceMs = 1000;
  for (int i = 0; i < kPatienceMs && inside_ > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (const auto& [unused, handle] : handles_) library_.comm_abort(handle);
}

}  // namespace isobit
