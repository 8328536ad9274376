// The plan for ranks, and the communicators that follow from it.

#include "runtime/run/ranks.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>
#include <utility>

#include "runtime/backends/real_ranks.h"
#include "runtime/base/thread.h"
#include "runtime/parallel/staged.h"
#include "runtime/run/generate.h"
#include "runtime/trace.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif

namespace isobit {
namespace {

using Ranks = std::vector<std::unique_ptr<Communicator>>;

#if defined(ISOBIT_HAVE_CUDA)
using cuda::real_ranks;
#else
RealRanks real_ranks() {
  return {"this build has no CUDA", {}, "", 0, ""};
}
#endif

/// Hex digest of NCCL's file, read once.
const std::string& nccl_sha256() {
  static const std::string once = [] {
    Sha256 hash{};
    const std::string file = real_ranks().nccl;
    return !file.empty() && sha256_file(file, hash) ? to_hex(hash) : std::string();
  }();
  return once;
}

std::string count_of(std::size_t n, const std::string& thing) {
  return std::to_string(n) + " " + thing + (n == 1 ? "" : "s");
}

/// The run needs no message to be seen or delayed on its way: NCCL shows none.
bool wants_host_bytes(const GenerateRequest& request) {
  return request.wrap_communicator != nullptr || request.arrival_seed != 0 ||
         request.topology != Topology::direct;
}

std::unique_ptr<Communicator> staged(std::unique_ptr<Communicator> rank, Backend& memory) {
  Backend* const of = &memory;
  return stage_through_host(
      std::move(rank),
      {[of](void* to, const void* from, std::size_t n) { of->download(to, from, n); },
       [of](void* to, const void* from, std::size_t n) { of->upload(to, from, n); }});
}

}  // namespace

std::string why_virtual(const BackendOptions& options, int ranks) {
  if (options.device != "cuda") return "ranks on the CPU are threads of one process";
  const RealRanks real = real_ranks();
  if (!real.missing.empty()) return real.missing;
  if (real.nccl.empty()) return "NCCL (libnccl.so.2) cannot be loaded";
  // Under mpirun a process sees all GPUs of its host or, bound by the launcher, its own.
  const World* const all = world();
  if (all != nullptr && all->size() == ranks) {
    const bool enough = real.gpus.size() == 1 || int(real.gpus.size()) >= all->local_size();
    return enough ? "" : "processes share " + count_of(real.gpus.size(), "usable GPU");
  }
  if (int(real.gpus.size()) < ranks) {
    return std::to_string(ranks) + " ranks share " + count_of(real.gpus.size(), "usable GPU");
  }
  return "";
}

std::vector<std::string> gpus_of(const BackendOptions& options, int count) {
  if (options.device != "cuda") return {};
  std::vector<std::string> gpus = real_ranks().gpus;
  gpus.resize(std::min(gpus.size(), std::size_t(std::max(count, 0))));
  return gpus;
}

std::string transport_identity(const BackendOptions& options, int ranks) {
  if (ranks < 2) return "";
  const bool across = world() != nullptr && world()->size() == ranks;
  const std::string processes = across ? "processes=" + std::to_string(ranks) : "";
  return why_virtual(options, ranks).empty() ? processes + "nccl=" + nccl_sha256() : processes;
}

std::string rank_status() {
  const RealRanks real = real_ranks();
  if (!real.missing.empty()) return real.missing;
  std::string text = count_of(real.gpus.size(), "usable GPU");
  if (real.nccl.empty()) return text + ", NCCL (libnccl.so.2) cannot be loaded";
  text += ", nccl " + nccl_version_text(real.nccl_version) + " (" + real.nccl + "):";
  for (const int ranks : {2, 4, 8}) {
    const bool is_real = ranks <= int(real.gpus.size());
    text +=
        (ranks == 2 ? " gpus: " : ", ") + std::to_string(ranks) + (is_real ? " real" : " virtual");
  }
  return text;
}

std::map<std::string, std::string> rank_environment() {
  std::map<std::string, std::string> entries;
  if (world() != nullptr) {
    entries["mpi"] = world()->library() + ", " + std::to_string(world()->size()) + " processes";
  }
  const RealRanks real = real_ranks();
  if (!real.peers.empty()) entries["gpu.peers"] = real.peers;
  if (real.nccl.empty()) return entries;
  entries["nccl"] = nccl_version_text(real.nccl_version) + " " + real.nccl;
  entries["nccl.nvls"] = "off";
  const std::string name = std::filesystem::path(real.nccl).filename().string();
  entries["lib." + name] = nccl_sha256();
  return entries;
}

std::vector<int> ranks_here(const GenerateRequest& request) {
  if (request.world != nullptr) return {request.world->rank()};
  std::vector<int> all;
  for (int r = 0; r < request.ranks; ++r) all.push_back(r);
  return all;
}

int device_of_rank(const GenerateRequest& request, int rank) {
  return request.world != nullptr ? request.world->local_rank() : rank;
}

Result<void> agree(const GenerateRequest& request, const Result<void>& mine) {
  if (request.world == nullptr) return mine;
  World& all = *request.world;
  const std::string text = mine ? ""
                                : "rank " + std::to_string(all.rank()) + " on " + all.host() +
                                      ": " + mine.error().text();
  for (const std::string& line : all.exchange(text)) {
    if (!line.empty()) return Error{line, ""};
  }
  return {};
}

std::int64_t sum_over_processes(const GenerateRequest& request, std::int64_t mine) {
  if (request.world == nullptr) return mine;
  std::int64_t sum = 0;
  for (const std::string& part : request.world->exchange(std::to_string(mine))) {
    sum += std::strtoll(part.c_str(), nullptr, 10);
  }
  return sum;
}

Result<Ranks> RankGroups::join(const GenerateRequest& request, Backends backends) {
  Ranks ranks;
  const bool on_gpu = request.backend.device != "cpu";
  if (request.world != nullptr && on_gpu) return join_processes(request, *backends.front());
  if (request.world != nullptr) {
    ranks.push_back(request.world->communicator(false));
  } else if (request.ranks == 1) {
    ranks.push_back(make_single_rank());
  } else if (!wants_host_bytes(request) && why_virtual(request.backend, request.ranks).empty()) {
    return join_nccl(request, backends);
  } else {
    ranks = make_in_process_ranks(request.ranks, request.arrival_seed, request.topology);
  }
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (request.wrap_communicator) ranks[r] = request.wrap_communicator(std::move(ranks[r]));
    if (on_gpu) ranks[r] = staged(std::move(ranks[r]), *backends[r]);
  }
  return ranks;
}

/// GPUs over processes: NCCL when each has its own, else bytes through the hosts.
Result<Ranks> RankGroups::join_processes(const GenerateRequest& request, Backend& backend) {
  World& all = *request.world;
  const RealRanks real = real_ranks();
  const std::size_t device = std::size_t(device_of_rank(request, all.rank())) % real.gpus.size();
  const std::string gpu = real.gpus[device];
  std::vector<std::string> gpus = all.exchange(real.nccl.empty() ? "" : all.host() + " " + gpu);
  const std::set<std::string> distinct(gpus.begin(), gpus.end());
  const bool own = distinct.size() == gpus.size() && distinct.count("") == 0;
  Ranks ranks;
  if (!own || request.wrap_communicator) {
    ranks.push_back(all.communicator(!own));
    if (request.wrap_communicator) ranks[0] = request.wrap_communicator(std::move(ranks[0]));
    ranks[0] = staged(std::move(ranks[0]), backend);
    return ranks;
  }
  std::shared_ptr<NcclGroup>& group = groups_[-request.ranks];
  const bool stale = group == nullptr || group->broken();
  bool any_stale = false;
  for (const std::string& text : all.exchange(stale ? "new" : "")) any_stale |= !text.empty();
  if (any_stale) {
    auto id = all.rank() == 0 ? make_nccl_id(real.nccl) : Result<NcclId>(NcclId{});
    if (auto ok = agree(request, id ? Result<void>() : Result<void>(id.error())); !ok) {
      return ok.error();
    }
    const std::string bytes = all.exchange(std::string(id->bytes.begin(), id->bytes.end())).front();
    std::copy(bytes.begin(), bytes.end(), id->bytes.begin());
    const NcclGroup::Place place{all.rank(),
                                 [&backend] { static_cast<void>(backend.native_stream()); }};
    auto made = NcclGroup::make(real.nccl, request.ranks, *id, {&place, 1}, all.rendezvous());
    if (auto ok = agree(request, made ? Result<void>() : Result<void>(made.error())); !ok) {
      return ok.error();
    }
    group = *made;
  }
  std::string places = "over " + all.library() + ", GPUs";
  for (const std::string& text : gpus) places += " " + text.substr(text.find(' ') + 1);
  ranks.push_back(
      group->communicator(all.rank(), backend.native_stream(), places, request.time_communication));
  return ranks;
}

Result<Ranks> RankGroups::join_nccl(const GenerateRequest& request, Backends backends) {
  const RealRanks real = real_ranks();
  std::shared_ptr<NcclGroup>& group = groups_[request.ranks];
  if (group != nullptr && group->broken()) group = nullptr;
  if (group == nullptr) {
    auto id = make_nccl_id(real.nccl);
    ISOBIT_TRY(id);
    std::vector<NcclGroup::Place> places;
    for (int r = 0; r < request.ranks; ++r) {
      Backend* const backend = backends[std::size_t(r)].get();
      places.push_back({r, [backend] { static_cast<void>(backend->native_stream()); }});
    }
    auto made = NcclGroup::make(real.nccl, request.ranks, *id, places,
                                make_thread_rendezvous(request.ranks));
    ISOBIT_TRY(made);
    group = *made;
  }
  std::string gpus = "GPUs";
  for (int r = 0; r < request.ranks; ++r) gpus += " " + real.gpus[std::size_t(r)];
  Ranks ranks;
  for (int r = 0; r < request.ranks; ++r) {
    ranks.push_back(group->communicator(r, backends[std::size_t(r)]->native_stream(), gpus,
                                        request.time_communication));
  }
  return ranks;
}

Result<void> run_on_threads(std::span<const std::unique_ptr<Communicator>> ranks,
                            const std::function<void(std::size_t)>& body) {
  std::vector<std::jthread> threads;  // waited for on every way out
  try {
    threads.reserve(ranks.size());
    for (std::size_t r = 1; r < ranks.size(); ++r) {
      const std::string what = "thread of rank " + std::to_string(r);
      auto started = start_thread(what, [&body, r] { body(r); });
      if (!started) {
        ranks.front()->abort();
        return started.error();
      }
      threads.push_back(std::move(*started));
    }
    body(0);
  } catch (...) {
    ranks.front()->abort();
    throw;
  }
  return {};
}

}  // namespace isobit
