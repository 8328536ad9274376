// What a cell gave: plain values, the only thing that travels up from the runtime.
//
// The executor fills a CellTrace from the runtime's observations; store, compare, golden and
// reports read it. No pointer into the runtime, no behaviour. Merkle roots are SHA-256 over the
// canonical bytes written at the fields (runtime/trace.cc).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/sha256.h"
#include "runtime/numerics/digest.h"

namespace isobit {

/// Places in the forward pass whose rows a trace can record; order is the order of computation.
/// Row shapes: NUMERICS.md, "Sites".
enum class Site : std::uint8_t {
  embed,
  norm1,
  q,
  k,
  v,
  attn,
  o,
  h1,
  norm2,
  act,
  down,
  h2,
  final_norm,
  logits,
  // Of values only, never of digests: K and V of a prompt's positions as the query after its last
  // row would read them, (KV heads of the model * head_dim); a head that does not see it is NaN.
  k_seen,
  v_seen
};
constexpr int kSites = 14;       // that have digests
constexpr int kValueSites = 16;  // that have values
const char* name_of(Site site);
/// Whether every layer has one.
bool in_layers(Site site);
/// Layer of a site outside the layers: embed -1, final_norm and logits = number of layers.

/// How much a cell records.
enum class TraceLevel : std::uint8_t { logits, layers, ops };
const char* name_of(TraceLevel level);
/// layers: embed, h2 of every layer, final_norm. ops: every site. Logits are always there.
bool records(TraceLevel level, Site site);

/// Rows that a cell gives by value, beside what it records.
struct ValueChoice {
  std::vector<Site> sites;           // of which rows are wanted; empty: nothing is
  std::vector<std::int32_t> layers;  // empty: all
  std::int64_t prompts = -1;         // the first so many; -1: all
  [[nodiscard]] bool any() const { return !sites.empty(); }
  /// Sites outside the layers are of every choice of layers.
  [[nodiscard]] bool wants(Site site, std::int32_t layer) const;
  [[nodiscard]] bool wants_prompt(int prompt) const { return prompts < 0 || prompt < prompts; }
  bool operator==(const ValueChoice&) const = default;
};

/// Names a row that was given by value.
struct ValueKey {
  int prompt = 0;
  std::int64_t position = 0;
  std::int32_t layer = 0;  // of sites outside the layers as with digests
  Site site = Site::logits;
  auto operator<=>(const ValueKey&) const = default;
};

/// The digest of one recorded row.
struct Observation {
  std::int64_t position = 0;
  std::int32_t layer = 0;
  Site site = Site::logits;
  Digest digest;
  bool operator==(const Observation&) const = default;
};

/// What an engine gave of a row, from the least: the token alone, log-probabilities as returned to
/// users, the whole row. Digests of different evidence are never equal (numerics/evidence.h).
enum class Evidence : std::uint8_t { tokens, logprobs, logits };
/// "tokens", "logprobs", "logits"; and back, tokens for another word.
const char* name_of(Evidence evidence);
Evidence evidence_named(const std::string& name);

constexpr int kTopK = 8;
/// Of a value that was not asked for; a row that is not finite ends its cell.
constexpr double kNotRecorded = std::numeric_limits<double>::quiet_NaN();

/// One position whose logits were wanted: the last prompt token and every later one.
struct TokenRecord {
  std::int64_t position = 0;  // of the row: the token it predicts is at position + 1
  std::int32_t id = -1;       // token drawn from this row (greedy: argmax)
  std::int32_t fed = -1;      // token given to the next step: id, or the teacher's; -1: none
  Digest digest;              // of the full logits row
  float margin = 0;           // top-1 minus top-2 logit
  std::int32_t top_count = 0;
  std::array<std::int32_t, kTopK> top_ids{};  // logit descending, id ascending
  std::array<float, kTopK> top_logits{};
  bool non_finite = false;          // some logit is NaN or infinite
  double log_sum = 0;               // log-sum-exp of the row; 0 when it was not asked for
  double fed_logit = kNotRecorded;  // of token `fed`; log_sum more than its log-probability
};

/// Names a prompt by its tokens: SHA-256 over their ids as int32, little-endian.
Sha256 tokens_digest(std::span<const std::int32_t> tokens);

struct PromptTrace {
  std::string id;
  Sha256 tokens_digest{};  // SHA-256 of the prompt's token ids, int32 little-endian
  std::int64_t prompt_tokens = 0;
  std::string answer;                     // expected answer of the prompt file, may be empty
  std::string text;                       // decoded continuation, empty without a tokenizer
  bool ended = false;                     // stopped by an end-of-sequence token, not by the limit
  std::vector<TokenRecord> tokens;        // by position
  std::vector<Observation> observations;  // sorted by (position, layer, site); without logits
};

/// What really ran. Compared with what was asked: requested and observed differing is FAIL, a
/// trivial value where the axis wants more is MISTRUSTED.
struct Observed {
  std::string engine;  // "reference", "openblas:HASWELL 0.3.21 …"
  std::string device;  // "cpu"
  std::string isa;     // of the kernels that ran: "scalar", "avx2", "avx512", "neon"
  std::string precision;
  std::string evidence = "logits";  // of a row: "logits", "logprobs", "tokens"
  std::string kernels;              // short list of kernel names that ran
  std::string library;              // vendor library path, empty for the reference
  std::string library_sha256;
  std::int64_t threads = 0;  // most threads that took work in one operation
  std::int64_t ranks = 0;
  std::int64_t replicas = 1;      // shares of the prompts that ran, each on weights of its own
  bool virtual_ranks = false;     // in-process ranks instead of devices
  std::string transport;          // between ranks: "threads, direct", "nccl 2.28.9, NVLS off, …"
  std::int64_t collectives = 0;   // a rank's collectives, summed over steps, least rank
  std::int64_t bytes_moved = 0;   // a rank's bytes sent, least rank
  std::int64_t live_rows = 0;     // most sequences live in one step
  std::int64_t joined_late = 0;   // sequences that joined after the first step
  std::int64_t left_early = 0;    // sequences that left while others went on
  std::int64_t out_of_order = 0;  // sequences that joined right after one of a later place
  std::int64_t steps = 0;
  std::int64_t chunks = 0;  // most prefill chunks of one sequence
  std::int64_t page_size = 0;
  std::int64_t pages = 0;         // most pages of one sequence
  std::int64_t prefix_hits = 0;   // positions served from a shared prefix
  std::int64_t recomputed = 0;    // positions whose K/V were computed again
  std::int64_t cached_reads = 0;  // positions read that an earlier step wrote
  std::int64_t drafted = 0;       // tokens drafted
  std::int64_t draft_hits = 0;    // of them, those that were fed
  std::int64_t rolled_back = 0;   // of them, those whose rows were forgotten
  std::int64_t max_position = 0;
  // What ran of the axes that change the computation, canonical; of schedules those alone that
  // some product or row had.
  std::string decode;  // what tokens were drawn with, as of the axis; empty: nobody said
  std::string gemm = "reference";
  std::string attention = "reference";
  std::string weights = "stored";
  std::int64_t weight_bytes = 0;    // of the packed weights of all ranks and replicas
  std::int64_t peak_bytes = 0;      // most memory while the cell ran (run/cost.h); 0: not measured
  std::int64_t energy_mj = 0;       // millijoules of whole packages or GPUs (run/energy.h)
  std::string energy_source;        // "nvml", "rapl", empty: not measured
  std::string kv = "exact";         // the cache policy that ran, canonical
  std::int64_t kv_bytes = 0;        // most bytes of K and V kept between two steps, heads once
  std::int64_t kv_exact_bytes = 0;  // what exact values of the same positions would take then
  std::int64_t kv_evicted = 0;      // positions evicted, summed over layers
  std::int64_t kv_coded = 0;        // positions whose K or V were coded
  std::int64_t kv_rebuilt = 0;      // positions rebuilt from checkpoints, or coded again
  bool kv_identity = false;  // no query could see anything but exact values of every position
  // Rows of a donor that were put in (run/patch.h); each counts once, however often it was
  // computed.
  std::string patch = "none";      // canonical
  std::int64_t patch_rows = 0;     // rows put in
  std::int64_t patch_changed = 0;  // of them, those whose bits differed from what was computed
  std::string patch_sites;         // the same by site: "k: 12 rows, 3 changed"
  bool patch_identity = false;     // every row put in had the very bits
  std::string patch_doubt;  // why the donor may not be what was asked for, empty: nothing doubtful
  // A trace that was recorded elsewhere: the name of its file, and the hex SHA-256 of the bytes.
  std::string imported;  // empty: it was executed
  std::string imported_sha256;
  // Of a cell that is one operation (run/operation.h); live_rows and steps are those of its
  // launches.
  std::string operation;            // "gemm", empty: a model ran
  std::string operand_data;         // what the operands were drawn from
  std::string row_place;            // where the watched rows stood
  std::string neighbour_data;       // what the other rows held; empty: there were none
  std::int64_t operand_offset = 0;  // elements between an allocation and its first row, the least
  std::int64_t row_gap = 0;         // elements between two rows, the least
};

/// The one list of its fields: whoever stores or sends an Observed walks it, in both directions.
/// field(name, value).
template <class O, class F>
void visit_fields(O& observed, F&& field) {
  field("engine", observed.engine);
  field("device", observed.device);
  field("isa", observed.isa);
  field("precision", observed.precision);
  field("evidence", observed.evidence);
  field("kernels", observed.kernels);
  field("library", observed.library);
  field("library_sha256", observed.library_sha256);
  field("threads", observed.threads);
  field("ranks", observed.ranks);
  field("replicas", observed.replicas);
  field("virtual_ranks", observed.virtual_ranks);
  field("transport", observed.transport);
  field("collectives", observed.collectives);
  field("bytes_moved", observed.bytes_moved);
  field("live_rows", observed.live_rows);
  field("joined_late", observed.joined_late);
  field("left_early", observed.left_early);
  field("out_of_order", observed.out_of_order);
  field("steps", observed.steps);
  field("chunks", observed.chunks);
  field("page_size", observed.page_size);
  field("pages", observed.pages);
  field("prefix_hits", observed.prefix_hits);
  field("recomputed", observed.recomputed);
  field("cached_reads", observed.cached_reads);
  field("drafted", observed.drafted);
  field("draft_hits", observed.draft_hits);
  field("rolled_back", observed.rolled_back);
  field("max_position", observed.max_position);
  field("decode", observed.decode);
  field("gemm", observed.gemm);
  field("attention", observed.attention);
  field("weights", observed.weights);
  field("weight_bytes", observed.weight_bytes);
  field("peak_bytes", observed.peak_bytes);
  field("energy_mj", observed.energy_mj);
  field("energy_source", observed.energy_source);
  field("kv", observed.kv);
  field("kv_bytes", observed.kv_bytes);
  field("kv_exact_bytes", observed.kv_exact_bytes);
  field("kv_evicted", observed.kv_evicted);
  field("kv_coded", observed.kv_coded);
  field("kv_rebuilt", observed.kv_rebuilt);
  field("kv_identity", observed.kv_identity);
  field("patch", observed.patch);
  field("patch_rows", observed.patch_rows);
  field("patch_changed", observed.patch_changed);
  field("patch_sites", observed.patch_sites);
  field("patch_identity", observed.patch_identity);
  field("patch_doubt", observed.patch_doubt);
  field("imported", observed.imported);
  field("imported_sha256", observed.imported_sha256);
  field("operation", observed.operation);
  field("operand_data", observed.operand_data);
  field("row_place", observed.row_place);
  field("neighbour_data", observed.neighbour_data);
  field("operand_offset", observed.operand_offset);
  field("row_gap", observed.row_gap);
}

enum class CellStatus : std::uint8_t {
  ok,
  crashed,
  timed_out,
  failed,
  non_finite,
  recomputed_differs
};
constexpr int kCellStatuses = 6;

/// Everything one execution of one cell gave.
struct CellTrace {
  CellStatus status = CellStatus::ok;
  std::string reason;  // for people, when status is not ok
  Observed observed;
  TraceLevel level = TraceLevel::logits;
  std::vector<PromptTrace> prompts;  // by order in the prompt file
  double seconds = 0;                // wall clock of the cell, load excluded
  double record_seconds = 0;         // of it: digests, top-k and bookkeeping
  double communication_seconds = 0;  // of it, first rank: in collectives; 0 when not measured
};

/// Root over a prompt's logits digests and token ids, in position order.
Sha256 token_root(const PromptTrace& prompt);
/// Root over all prompts of a cell, in order of (tokens_digest, index).
Sha256 cell_root(const CellTrace& trace);

}  // namespace isobit
