// Least recently used sets go first; a device's memory holds one set only.

#include "runtime/run/weight_cache.h"

#include <algorithm>
#include <bit>
#include <new>

#include "runtime/backends/cpu/packed_blocks.h"
#include "runtime/base/weight_count.h"

namespace isobit {
namespace {

/// Of all sets kept in host memory; a single larger set is kept all the same.
constexpr std::size_t kMostBytes = std::size_t{2} << 30;
constexpr std::int64_t kLeastPositions = 1024;  // of the RoPE tables

std::size_t element_bytes(Format format) {
  switch (format) {
    case Format::f64:
      return 8;
    case Format::f32:
    case Format::tf32:
      return 4;
    default:
      return 2;
  }
}

std::string key_of(const PackedRequest& request) {
  std::string key = std::string(mode_of(request.precision).name) + "/" +
                    request.backend.engine.text() + "/" + request.backend.device + "/" +
                    std::to_string(request.ranks) + "/" + request.weights.text;
  for (const PackedRequest::Place& place : request.here) {
    key += "/" + std::to_string(place.rank) + "@" + std::to_string(place.device);
  }
  return key;
}

}  // namespace

std::int64_t PackedSet::changed_weights() const {
  std::int64_t sum = 0;
  for (const auto& rank : ranks) sum += rank->changed_weights;
  return sum;
}

/// The reference on a CPU keeps the checkpoint's blocks where it can
/// (backends/cpu/packed_blocks.h); vendor libraries get Reals.
std::size_t packed_bytes(const LoadedModel& model, const PackedRequest& request) {
  const Mode& mode = mode_of(request.precision);
  const bool reference = request.backend.engine.name == "reference";
  const bool blocks = reference && !request.weights.changes() && request.backend.device == "cpu" &&
                      cpu::keeps_blocks(mode.matrix);
  const std::size_t element = reference     ? element_bytes(mode.matrix)
                              : mode.wide() ? sizeof(double)
                                            : sizeof(float);
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : model.weights.all()) {
    const bool kept = blocks && layout_of(tensor.type).elements > 1;
    bytes +=
        kept ? tensor.bytes.size() : std::size_t(tensor.rows) * std::size_t(tensor.cols) * element;
  }
  const std::size_t copies = request.here.size() / std::size_t(std::max(1, request.ranks));
  return bytes * std::max<std::size_t>(1, copies);
}

Result<const PackedSet*> PackedCache::get(const PackedRequest& request) {
  const std::string key = key_of(request);
  SequenceLengths lengths = request.lengths;
  lengths.positions = std::min(model_.config.context,
                               std::int64_t(std::bit_ceil(std::uint64_t(
                                   std::max<std::int64_t>(lengths.positions, kLeastPositions)))));
  const auto found =
      std::find_if(sets_.begin(), sets_.end(), [&](const auto& set) { return set->key == key; });
  if (found != sets_.end()) {
    std::rotate(found, found + 1, sets_.end());
    PackedSet& set = *sets_.back();
    for (std::size_t i = 0; i < set.ranks.size(); ++i) {
      extend_positions(*set.ranks[i], *set.holders[i], lengths);
    }
    return &set;
  }
  const std::size_t bytes = packed_bytes(model_, request);
  make_room(request, bytes);
  auto fresh = pack(request, lengths);
  ISOBIT_TRY(fresh);
  (*fresh)->key = key;
  (*fresh)->bytes = bytes;
  ++packings_;
  sets_.push_back(std::move(*fresh));
  return sets_.back().get();
}

/// The old weights go before the new ones come.
void PackedCache::make_room(const PackedRequest& request, std::size_t bytes) {
  std::size_t kept = 0;
  for (const auto& set : sets_) kept += set->bytes;
  const bool on_host = request.backend.device == "cpu";
  while (!sets_.empty() && (!on_host || kept + bytes > kMostBytes)) {
    kept -= sets_.front()->bytes;
    sets_.erase(sets_.begin());
  }
}

Result<std::unique_ptr<PackedSet>> PackedCache::pack(const PackedRequest& request,
                                                     const SequenceLengths& lengths) {
  const Mode& mode = mode_of(request.precision);
  auto set = std::make_unique<PackedSet>();
  const std::int64_t before = counted_weight_bytes();
  try {
    std::unique_ptr<Backend> loader;  // its threads end with it: what stays has none
    if (request.backend.device == "cpu") {
      auto made = make_backend(request.backend, mode);
      ISOBIT_TRY(made);
      loader = std::move(*made);
    }
    for (const PackedRequest::Place& place : request.here) {
      BackendOptions options = request.backend;
      options.threads = 1;
      options.rank = place.device;
      auto holder = make_backend(options, mode);
      ISOBIT_TRY(holder);
      set->holders.push_back(std::move(*holder));
      Backend& backend = *set->holders.back();
      set->ranks.push_back(build_rank_model(model_, backend, loader ? *loader : backend, place.rank,
                                            request.ranks, lengths, request.weights));
    }
  } catch (const std::bad_alloc& error) {
    return Error{memory_text(error) + " while the weights were loaded", ""};
  } catch (const BackendError& error) {
    return Error{error.what(), ""};
  }
  set->weight_bytes = counted_weight_bytes() - before;
  return set;
}

}  // namespace isobit
