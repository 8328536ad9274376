// Follows the batcher's demand, the pools of runtime/cache/store.cc and the scratch arrays of
// runtime/model/forward.cc.
#include "runtime/run/memory.h"

#include <algorithm>

#include "runtime/base/memory.h"
#include "runtime/kv_layout.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/kv/fields.h"

namespace isobit {
namespace {

using Lengths = std::vector<KvDemand::Length>;

/// The lengths of the sequences that may be live together.
Lengths live_of(const KvDemand& demand) {
  Lengths live = demand.passing;
  std::sort(live.begin(), live.end(),
            [](const auto& a, const auto& b) { return a.total > b.total; });
  live.resize(std::min(live.size(), std::size_t(std::max<std::int64_t>(1, demand.at_once))));
  return live;
}

/// Bytes of one position's codes in all layers, rounded up; none for a policy that codes at the
/// write, whose codes are fewer bytes than the exact pools that it does not have.
std::int64_t code_bytes(const ModelConfig& config, const GenerateRequest& request) {
  if (request.kv.policy == nullptr) return 0;
  KvModel model = kv_model(config);
  model.stored = mode_of(request.precision).cache;
  const CodedView written = request.kv.policy->coded(1, 0);
  if (written == CodedView{CodedView::kAll, CodedView::kAll}) return 0;
  std::int64_t bytes = 0;
  for (const KvCodec& codec :
       {request.kv.policy->key_codec(model), request.kv.policy->value_codec(model)}) {
    const std::int64_t tile = std::int64_t(codec.tokens) * codec.channels;
    bytes += (config.kv_heads * config.head_dim * codec.bytes + tile - 1) / tile;
  }
  return bytes * config.layers;
}

std::int64_t cache_bytes(const ModelConfig& config, const GenerateRequest& request,
                         const Lengths& all) {
  const CacheMode& mode = request.cache;
  const std::int64_t page = mode.page_size;
  const std::int64_t key_page = (page + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
  const ResidualSpec residual = request.kv.residual.value_or(ResidualSpec{});
  std::int64_t pages = 1, kept = 1;  // of a layer, and those that a residual policy keeps of it
  for (const auto& each : all) {
    pages += (each.total + page - 1) / page;
    kept += LayeredPages::most_kept(each.total, mode.page_size, residual.budget);
  }
  const std::int64_t bytes = field_bytes(mode_of(request.precision).cache);
  const std::int64_t values = (page + key_page) * config.kv_heads * config.head_dim * bytes;
  const std::int64_t rows = page * config.hidden_size * bytes;
  if (request.kv.residual && mode.keeps) {  // all layers share pages for what is rebuilt
    const std::int64_t layers = residual.checkpoints(config.layers);
    return saturating_sum(saturating_product(kept * config.layers + pages, values),
                          saturating_product(pages, rows * layers));
  }
  const std::int64_t each = values + (mode.recomputes ? rows : 0);
  return saturating_sum(saturating_product(pages, each * config.layers),
                        saturating_product(pages * page, code_bytes(config, request)));
}

/// Rows of a step in which every live sequence brings its prompt, or all of itself where nothing is
/// kept or much is rebuilt, or its drafts where those are more.
std::int64_t rows_of_step(const GenerateRequest& request, const Lengths& all) {
  const CacheMode& mode = request.cache;
  const bool whole = !mode.keeps || mode.recomputes || request.kv.residual;
  std::int64_t rows = 0;
  for (const auto& each : all) {
    const std::int64_t chunk = mode.chunk > 0 ? std::min(mode.chunk, each.prompt) : each.prompt;
    rows += std::max(whole ? each.total : chunk, mode.drafts + 1);
  }
  return rows;
}

/// Of the largest shape: operands and results as they lie, dense results, what is copied to look at
/// their surroundings, and sequences of which neighbours have half as many as watched rows.
MemoryEstimate estimate_operation(const GenerateRequest& request) {
  const OperationRequest& asked = request.operation;
  const Mode& mode = mode_of(request.precision);
  const std::int64_t real = mode.wide() ? 8 : 4;
  MemoryEstimate out;
  for (const OperationShape& shape : asked.shapes) {
    const std::int64_t heads = shape.heads * shape.head_dim;
    const std::int64_t in = std::max({shape.k, shape.width, heads}),
                       results = std::max({shape.n, shape.width, heads});
    const std::int64_t row = 3 * (in + results + 2 * asked.stride) * real;
    out.activations = std::max(out.activations, saturating_product(asked.rows, row));
    out.weights = std::max(out.weights, saturating_product(shape.n, shape.k * real));
    const bool softmax = asked.kind == OperationKind::softmax;
    const std::int64_t keys = softmax ? shape.width : shape.keys,
                       width = softmax ? 8 : shape.kv_heads * shape.head_dim;
    const std::int64_t sequences = kWatchedRows * 3 / 2;
    out.cache = std::max(out.cache,
                         saturating_product(sequences * keys, 2 * width * field_bytes(mode.cache)));
  }
  return out;
}

/// The donor runs before the recipient; its rows stay, and so may its weights.
void add_donor(const LoadedModel& model, const GenerateRequest& request, MemoryEstimate& out) {
  const GenerateRequest& donor = *request.patch.donor;
  out.cache = saturating_sum(out.cache, PatchBank::bytes(request, model.config));
  if (donor.backend.device != "cpu") return;
  const MemoryEstimate theirs = estimate_memory(model, donor);
  out.cache = std::max(out.cache, theirs.cache);
  out.activations = std::max(out.activations, theirs.activations);
  const bool shared = donor.precision == request.precision && donor.ranks == request.ranks &&
                      donor.replicas == request.replicas &&
                      donor.backend.engine.text() == request.backend.engine.text() &&
                      donor.weights.text == request.weights.text;
  if (!shared) out.weights = saturating_sum(out.weights, theirs.weights);
}

}  // namespace

MemoryEstimate estimate_memory(const LoadedModel& model, const GenerateRequest& request) {
  if (request.operation.kind != OperationKind::none) return estimate_operation(request);
  const ModelConfig& config = model.config;
  const Batcher batcher(request.prompts, request.max_new_tokens, request.batch, request.cache);
  const KvDemand demand = batcher.demand();
  Lengths all = live_of(demand);
  all.insert(all.end(), demand.staying.begin(), demand.staying.end());
  const std::int64_t real = mode_of(request.precision).wide() ? 8 : 4;
  const std::int64_t ranks = std::max(1, request.ranks);
  // Of forward.h's Buffer: whole rows of each rank (h, its norm, y, a gathered one), and slices
  // which add up over the ranks (q and what attention makes of it, k, v, gate, up, act and the
  // rounded input of a product).
  // Normalised outputs, an expert's input, the sum of experts and what is rebuilt are whole rows
  // too.
  const LayerPlan first = architecture_of(config).plan(config, 0);
  const bool rebuilds = request.cache.recomputes || request.kv.residual;
  const std::int64_t more =
      (first.normalises_output() ? 1 : 0) + (config.experts > 0 ? 2 : 0) + (rebuilds ? 1 : 0);
  const std::int64_t whole = (3 + more + (ranks > 1 ? 1 : 0)) * config.hidden_size;
  const std::int64_t inner = std::max(config.intermediate_size, config.expert_size);
  const std::int64_t sliced =
      2 * config.heads * config.head_dim + 2 * config.kv_heads * config.head_dim + 4 * inner;
  MemoryEstimate out;
  PackedRequest packed;
  packed.precision = request.precision;
  packed.backend = request.backend;
  const std::int64_t replicas = std::max(1, request.replicas);
  packed.here.resize(std::size_t(replicas));
  packed.weights = request.weights;
  out.weights = std::int64_t(packed_bytes(model, packed));
  out.cache = saturating_product(replicas, cache_bytes(config, request, all));
  const std::int64_t rows = rows_of_step(request, all);
  const std::int64_t wanted = std::int64_t(all.size()) * (request.cache.drafts + 1);
  const std::int64_t logits =
      saturating_product(wanted, config.vocab_size * real * (ranks > 1 ? 2 : 1));
  out.activations = saturating_product(
      replicas, saturating_sum(logits, saturating_product(rows, (whole * ranks + sliced) * real)));
  if (request.patch.donor != nullptr) add_donor(model, request, out);
  return out;
}

}  // namespace isobit
