// One cell by itself: did what was asked run, was the axis exercised, is the trace whole?

#include <algorithm>
#include <initializer_list>
#include <map>

#include "golden/recipe.h"
#include "harness/judge/judge.h"
#include "harness/judge/operation.h"
#include "runtime/base/words.h"
#include "runtime/numerics/flash_text.h"
#include "runtime/numerics/schedule_text.h"

namespace isobit {
namespace {

Judgement fail(const std::string& axis, const std::string& asked, const std::string& ran) {
  return {Verdict::fail, Severity::none, axis + " " + asked + " was asked, " + ran + " ran"};
}
Judgement mistrusted(const std::string& why) {
  return {Verdict::mistrusted, Severity::none, why};
}

Judgement check_place(const GenerateRequest& asked, const Observed& o) {
  const BackendOptions& backend = asked.backend;
  const std::string& exact = backend.engine.observed;
  const std::string engine = exact.empty() ? backend.engine.name : exact;
  const std::string ran = exact.empty() ? o.engine.substr(0, o.engine.find(':')) : o.engine;
  if (lower_case(engine) != lower_case(ran)) return fail("engine", engine, o.engine);
  if (backend.device != o.device) return fail("device", backend.device, o.device);
  if (backend.isa != "auto" && backend.isa != o.isa) return fail("isa", backend.isa, o.isa);
  const std::string precision = mode_of(asked.precision).name;
  if (precision != o.precision) return fail("precision", precision, o.precision);
  if (o.threads < backend.threads_asked()) {
    return mistrusted(std::to_string(backend.threads_asked()) + " threads were asked, at most " +
                      std::to_string(o.threads) + " took work");
  }
  return {};
}

Judgement check_ranks(const GenerateRequest& asked, const Observed& o) {
  if (asked.ranks != o.ranks) {
    return fail("gpus", std::to_string(asked.ranks), std::to_string(o.ranks));
  }
  if (asked.ranks > 1 && (o.collectives == 0 || o.bytes_moved == 0)) {
    return mistrusted("no bytes moved between " + std::to_string(asked.ranks) + " ranks");
  }
  const std::string way = name_of(asked.topology);
  if (asked.ranks > 1 && asked.topology != Topology::direct &&
      o.transport.find(way) == std::string::npos) {
    return fail("topology", way, o.transport);
  }
  return {};
}

/// Every replica must have had prompts of its own.
Judgement check_replicas(const GenerateRequest& asked, const CellTrace& trace) {
  const std::int64_t ran = trace.observed.replicas, prompts = std::int64_t(trace.prompts.size());
  if (asked.replicas == ran) return {};
  if (ran != prompts || ran > asked.replicas) {
    return fail("replicas", std::to_string(asked.replicas), std::to_string(ran));
  }
  return mistrusted(std::to_string(asked.replicas) + " replicas were asked, " +
                    std::to_string(ran) + " had a prompt");
}

/// Did the sequences join in the order asked for? All of a replica's join once, its first after
/// none.
Judgement check_order(const BatchShape& shape, std::int64_t sequences, const Observed& o) {
  using Order = BatchShape::Order;
  if (shape.order == Order::given) {
    return o.out_of_order == 0 ? Judgement{} : fail("batch order", "given", "another");
  }
  if (sequences <= o.replicas) return mistrusted("one sequence has no order");
  if (shape.order == Order::reversed) {
    return o.out_of_order == sequences - o.replicas ? Judgement{}
                                                    : fail("batch order", "reversed", "another");
  }
  return o.out_of_order > 0 ? Judgement{} : mistrusted("the shuffled order is the given one");
}

Judgement check_batch(const BatchShape& shape, const CellTrace& trace) {
  const Observed& o = trace.observed;
  if (o.live_rows < shape.size) {
    return mistrusted("batch " + std::to_string(shape.size) + " never had more than " +
                      std::to_string(o.live_rows) + " live rows");
  }
  if (shape.staggered && shape.size > 1 && (o.joined_late == 0 || o.left_early == 0)) {
    return mistrusted("no row joined or left a running batch");
  }
  std::int64_t sequences = 0;  // a replica repeats its prompts until they fill its batch
  const auto prompts = std::int64_t(trace.prompts.size());
  for (std::int64_t r = 0; r < o.replicas; ++r) {
    const std::int64_t share = prompts * (r + 1) / o.replicas - prompts * r / o.replicas;
    sequences += std::max(share, shape.size);
  }
  return check_order(shape, sequences, o);
}

/// Prefill chunks of the longest prompt: as many as its length and the mode make, no others. A
/// prefix that is shared was computed by itself, in chunks of its own.
Judgement check_chunks(const CacheMode& mode, const CellTrace& trace) {
  std::int64_t longest = 0;  // positions that one sequence computes before its first token
  for (const PromptTrace& prompt : trace.prompts) {
    const std::int64_t n = prompt.prompt_tokens;
    const std::int64_t shared = mode.shared_positions(n);
    longest = std::max({longest, shared, n - shared});
  }
  const std::int64_t asked =
      mode.chunk > 0 ? std::max<std::int64_t>((longest + mode.chunk - 1) / mode.chunk, 1) : 1;
  if (mode.chunk > 0 && asked < 2) {
    return mistrusted("nothing was longer than one chunk of " + std::to_string(mode.chunk));
  }
  const std::int64_t ran = trace.observed.chunks;
  if (ran != asked && !trace.prompts.empty()) {
    return fail("chunks of the longest prompt:", std::to_string(asked), std::to_string(ran));
  }
  return {};
}

/// Replies of one token come from the prompt's own step: no later one reads the cache.
bool has_later_steps(const CellTrace& trace) {
  return std::any_of(trace.prompts.begin(), trace.prompts.end(),
                     [](const PromptTrace& prompt) { return prompt.tokens.size() > 1; });
}

Judgement check_cache(const CacheMode& mode, const CellTrace& trace, bool asks_about_cache) {
  const Observed& o = trace.observed;
  if (!mode.keeps) {
    return o.cached_reads == 0 ? Judgement{} : fail("cache", "off", "a cache that was read");
  }
  if (o.cached_reads == 0 && (asks_about_cache || has_later_steps(trace))) {
    return mistrusted("the cache was never hit");
  }
  if (mode.shares_prefix && o.prefix_hits == 0) return mistrusted("no prefix was shared");
  if (const Judgement chunks = check_chunks(mode, trace); chunks.verdict != Verdict::pass) {
    return chunks;
  }
  if (mode.page_size != o.page_size) {
    return fail("page size", std::to_string(mode.page_size), std::to_string(o.page_size));
  }
  if (mode.shuffled_pages && o.pages < 2) {
    return mistrusted("no sequence was longer than one page of " + std::to_string(o.page_size));
  }
  if (mode.recomputes && o.recomputed == 0) return mistrusted("no position was recomputed");
  if (!mode.recomputes && o.recomputed != 0) {
    return fail("cache", mode.name, "one that recomputes");
  }
  if (mode.drafts > 0 && o.drafted == 0) return mistrusted("no token was drafted");
  if (mode.drafts == 0 && o.drafted != 0) return fail("cache", mode.name, "one that drafts");
  return {};
}

/// Did the cache policy run, and act where it could?
Judgement check_kv(const KvPolicySpec& policy, const Observed& o) {
  if (policy.text != o.kv) return fail("kv", policy.text, o.kv);
  if (policy.residual && !o.kv_identity && o.kv_rebuilt == 0) {
    return mistrusted("kv " + policy.text + " rebuilt nothing");
  }
  const bool acted = o.kv_coded > 0 || o.kv_evicted > 0;
  if (!policy.exact() && !policy.residual && !o.kv_identity && !acted) {
    return mistrusted("kv " + policy.text + " coded and evicted nothing");
  }
  return {};
}

/// Was what was asked put in, from a donor that ran as it was asked?
Judgement check_patch(const PatchSpec& patch, const Observed& o) {
  if (patch.text != o.patch) return fail("patch", patch.text, o.patch);
  if (!patch.patches()) return {};
  if (o.patch_rows == 0) return mistrusted("patch " + patch.text + " put in no row");
  if (!o.patch_doubt.empty()) return mistrusted("the donor: " + o.patch_doubt);
  return {};
}

/// Were the weights changed as was asked, and did that change one?
Judgement check_weights(const WeightChange& change, const Observed& o) {
  if (change.text == o.weights) return {};
  if (change.changes() && o.weights == change.text + kNothingChanged) {
    return mistrusted("weights " + o.weights);
  }
  return fail("weights", change.text, o.weights);
}

/// Did attention run in the order that was asked for, and were there blocks and splits to order?
Judgement check_attention(const FlashSchedule& asked, const Observed& o) {
  const bool ran = asked.text == o.attention;
  if (!ran && asked.emulated()) {
    const std::string attention = "attention " + asked.text;
    const FlashSchedule whole = without_splits(asked);
    if (o.attention == text_of(whole)) {
      return mistrusted(attention + " never had keys in more than one split");
    }
    if (o.attention == text_of(without_mitigation(asked)) ||
        o.attention == text_of(without_mitigation(whole))) {
      return mistrusted(attention + ": no block's greatest score stood there twice, so that the " +
                        "mitigation never acted");
    }
  }
  if (!ran) return fail("attention", asked.text, o.attention);
  if (asked.emulated() && o.max_position < asked.block) {
    return mistrusted("no context was longer than one block of " + std::to_string(asked.block));
  }
  return {};
}

/// Did products have schedules of the book, were they cut where those cut, and did one that follows
/// the rows follow them?
Judgement check_gemm(const ScheduleBook* book, const Observed& o) {
  if (book == nullptr) {
    return o.gemm == "reference" ? Judgement{} : fail("gemm", "reference", o.gemm);
  }
  std::map<std::string, bool> cuts;  // by the schedules' texts
  for (const ScheduleLine& line : book->lines) {
    cuts[text_of(line.schedule)] = line.schedule.split_k > 1;
  }
  const std::vector<SchedulesRan::Item> ran = SchedulesRan::read(o.gemm);
  std::string uncut;
  for (const SchedulesRan::Item& item : ran) {
    const auto asked = cuts.find(item.schedule);
    if (asked == cuts.end()) return fail("gemm", book->text, o.gemm);
    if (asked->second && !item.cut) uncut = item.schedule;
  }
  if (!uncut.empty()) return mistrusted("gemm " + uncut + " cut no product");
  // All launches of one operation have the same rows: its other cells follow them.
  const bool follows = o.operation.empty() && book->by_rows();
  if (follows && cuts.size() > 1 && ran.size() < 2) {
    return mistrusted("gemm " + book->text + ": every product had " + o.gemm);
  }
  return {};
}

/// Were tokens drawn as was asked? Draws that are all the best of their row are draws.
Judgement check_decode(const SamplerOptions& asked, const Observed& o) {
  const std::string wanted = text_of(asked);
  if (o.decode == wanted || (o.decode.empty() && wanted == "greedy")) return {};
  if (o.decode.empty()) return mistrusted("nothing says how tokens were drawn");
  return fail("decode", wanted, o.decode);
}

/// Of the judgements of a cell, the first that is graver than those before it.
Judgement gravest(std::initializer_list<Judgement> all) {
  Judgement worst;
  for (const Judgement& next : all) {
    const bool graver = next.verdict == Verdict::fail && worst.verdict != Verdict::fail;
    if (graver || worst.verdict == Verdict::pass) worst = next;
  }
  return worst;
}

/// What an engine in another process says that ran. What it does not say passes where the cell asks
/// for nothing else than the default.
Judgement check_said(const std::string& axis, const std::string& asked, const std::string& usual,
                     const std::string& ran) {
  if (asked == ran) return {};
  if (!ran.empty()) return fail(axis, asked, ran);
  return asked == usual ? Judgement{}
                        : mistrusted("the engine does not say which " + axis + " ran");
}

Judgement check_external_batch(const BatchShape& shape, const CellTrace& trace) {
  const Observed& o = trace.observed;
  if (o.live_rows > shape.size) {
    return mistrusted("batch " + std::to_string(shape.size) +
                      " was not alone: " + std::to_string(o.live_rows) + " rows were live at once");
  }
  if (shape.size > 1 && o.live_rows < shape.size) {
    return mistrusted("batch " + std::to_string(shape.size) + " was asked, " +
                      (o.live_rows == 0
                           ? "and the engine does not say how many rows were live"
                           : "at most " + std::to_string(o.live_rows) + " rows were live at once"));
  }
  if (shape.staggered && shape.size > 1 && (o.joined_late == 0 || o.left_early == 0)) {
    return mistrusted("the engine does not say that rows joined and left a running batch");
  }
  return check_order(shape, std::max(std::int64_t(trace.prompts.size()), shape.size), o);
}

Judgement check_external_cache(const CacheMode& mode, const CellTrace& trace,
                               bool asks_about_cache) {
  const Observed& o = trace.observed;
  if (!mode.keeps) {
    if (o.cached_reads > 0) return fail("cache", "off", "a cache that was read");
    return o.cached_reads == 0 ? Judgement{}
                               : mistrusted("the engine does not say whether a cache was read");
  }
  if (asks_about_cache && o.cached_reads <= 0 && has_later_steps(trace)) {
    return mistrusted("the engine does not say that its cache was read");
  }
  if (mode.shares_prefix && o.prefix_hits == 0) return mistrusted("no prefix was shared");
  const CacheMode usual;
  if (mode.page_size != usual.page_size || mode.recomputes || mode.drafts > 0) {
    return mistrusted("an engine in another process cannot say that cache " + mode.name + " ran");
  }
  if (mode.chunk == 0) return {};
  if (o.chunks == 0) return mistrusted("the engine does not say in how many chunks it computed");
  return check_chunks(mode, trace);
}

/// A cell of an engine in another process: it cannot be looked into, only held to what it says.
Judgement check_external(const GenerateRequest& asked, const CellTrace& trace,
                         bool asks_about_cache) {
  const Observed& o = trace.observed;
  if (!o.engine.starts_with("exec:")) return fail("engine", "exec", o.engine);
  const std::int64_t threads = asked.backend.threads;
  Judgement had;
  if (o.threads > threads) {
    had = fail("threads", std::to_string(threads), std::to_string(o.threads));
  } else if (threads > 1 && o.threads < threads) {
    had = mistrusted(std::to_string(threads) + " threads were asked, " +
                     (o.threads == 0 ? "and the engine does not say how many it had"
                                     : "it had " + std::to_string(o.threads)));
  }
  return gravest({had, check_said("device", asked.backend.device, "cpu", o.device),
                  check_said("precision", mode_of(asked.precision).name, "fp32", o.precision),
                  check_said("kv", asked.kv.text, "exact", o.kv),
                  o.decode.empty() ? Judgement{} : check_decode(asked.sampler, o),
                  check_external_batch(asked.batch, trace),
                  check_external_cache(asked.cache, trace, asks_about_cache)});
}

}  // namespace

Judgement check_observed(const GenerateRequest& asked, const CellTrace& trace,
                         bool asks_about_cache) {
  if (asked.backend.engine.name == "exec") return check_external(asked, trace, asks_about_cache);
  if (asked.operation.kind != OperationKind::none || !trace.observed.operation.empty()) {
    return gravest({check_place(asked, trace.observed),
                    check_operation_ran(asked.operation, trace.observed),
                    check_gemm(asked.backend.gemm.get(), trace.observed),
                    check_attention(asked.backend.attention, trace.observed)});
  }
  return gravest({check_place(asked, trace.observed), check_ranks(asked, trace.observed),
                  check_replicas(asked, trace), check_batch(asked.batch, trace),
                  check_cache(asked.cache, trace, asks_about_cache),
                  check_kv(asked.kv, trace.observed), check_patch(asked.patch.spec, trace.observed),
                  check_gemm(asked.backend.gemm.get(), trace.observed),
                  check_attention(asked.backend.attention, trace.observed),
                  check_weights(asked.weights, trace.observed),
                  check_decode(asked.sampler, trace.observed)});
}

bool is_twin(const Observed& ran) {
  return ran.engine.starts_with("twin:");
}

/// An external engine's variant names versions, not files, and the hardware last: what ran must say
/// the same hardware.
Judgement check_machine(const std::string& variant, const Observed& ran) {
  const std::size_t comma = variant.rfind(", ");
  const std::string hardware = variant.substr(comma == std::string::npos ? 0 : comma + 2);
  if (ran.kernels.find(hardware) != std::string::npos) return {};
  return {Verdict::fail, Severity::none,
          hardware + " was found before, and what ran does not say it: " + ran.kernels};
}

Judgement check_library(const std::string& class_recipe, const CellTrace& trace) {
  const auto lines = recipe_lines(class_recipe);
  const auto variant = lines.find("variant");
  if (variant == lines.end()) return {};
  const Observed& ran = trace.observed;
  if (is_twin(ran)) return {};  // its book says whose library it has
  if (ran.engine.starts_with("exec:")) return check_machine(variant->second, ran);
  const bool known = std::any_of(lines.begin(), lines.end(), [&](const auto& line) {
    return is_machine_key(line.first) && line.second == ran.library_sha256;
  });
  if (!known) {
    return {Verdict::fail, Severity::none,
            "library " + ran.library + " (" + short_value(ran.library_sha256) +
                ") ran, which is not the file that was found before"};
  }
  const std::string core = ran.engine.substr(std::min(ran.engine.find(':') + 1, ran.engine.size()));
  if (ran.device == "cpu" && lower_case(core) != lower_case(variant->second)) {
    return {Verdict::fail, Severity::none,
            "core type " + core + " ran, " + variant->second + " was found before"};
  }
  return {};
}

Judgement check_complete(const Scenario& scenario, const Cell& cell, const CellTrace& trace,
                         const std::vector<std::int32_t>& eos) {
  if (scenario.operation.kind != OperationKind::none) return check_all_rows(trace);
  const bool taught = cell.value("teacher_forced") != "false";
  for (const PromptTrace& prompt : trace.prompts) {
    const auto broken = [&](const std::string& why) {
      return Judgement{Verdict::fail, Severity::none, "prompt " + prompt.id + ": " + why};
    };
    if (prompt.tokens.empty()) return broken("no token was recorded");
    std::int64_t expected = prompt.prompt_tokens - 1;
    for (const TokenRecord& token : prompt.tokens) {
      if (token.position != expected++) {
        return broken("position " + std::to_string(expected - 1) + " is missing");
      }
    }
    const std::int32_t last = prompt.tokens.back().id;
    const bool ended =
        !scenario.decode.ignore_eos && std::find(eos.begin(), eos.end(), last) != eos.end();
    const auto count = std::int64_t(prompt.tokens.size());
    if (count < scenario.decode.max_new_tokens && !ended && !taught) {
      return broken("truncated: " + std::to_string(count) + " of " +
                    std::to_string(scenario.decode.max_new_tokens) + " tokens");
    }
  }
  return {};
}

}  // namespace isobit
