// One cell by itself: did what was asked run, was the axis exercised, is the trace whole?

#include <algorithm>

#include "harness/execute/session.h"
#include "harness/judge/judge.h"
#include "runtime/schedule/batcher.h"

namespace isobit {
namespace {

bool equal_ignoring_case(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

Judgement fail(const std::string& axis, const std::string& asked, const std::string& ran) {
  return {Verdict::fail, Severity::none, axis + " " + asked + " was asked, " + ran + " ran"};
}
Judgement mistrusted(const std::string& why) {
  return {Verdict::mistrusted, Severity::none, why};
}

Judgement check_place(const Cell& cell, const Observed& o) {
  const BackendOptions asked = backend_options(cell);
  const bool any_core = asked.core_type.empty();
  const std::string engine = any_core ? asked.engine : asked.engine + ":" + asked.core_type;
  const std::string ran = any_core ? o.engine.substr(0, o.engine.find(':')) : o.engine;
  if (!equal_ignoring_case(engine, ran)) return fail("engine", engine, o.engine);
  if (cell.value("device") != o.device) return fail("device", cell.value("device"), o.device);
  const std::string& isa = cell.value("isa");
  if (isa != "auto" && isa != o.isa) return fail("isa", isa, o.isa);
  if (cell.value("precision") != o.precision) {
    return fail("precision", cell.value("precision"), o.precision);
  }
  const std::int64_t gpus = cell.number("gpus");
  if (gpus != o.ranks) return fail("gpus", cell.value("gpus"), std::to_string(o.ranks));
  if (gpus > 1 && (o.collectives == 0 || o.bytes_moved == 0)) {
    return mistrusted("no bytes moved between " + std::to_string(gpus) + " ranks");
  }
  if (o.threads < asked.threads) {
    return mistrusted(std::to_string(asked.threads) + " threads were asked, at most " +
                      std::to_string(o.threads) + " took work");
  }
  return {};
}

/// Did the sequences join in the order asked for? All of them join once.
Judgement check_order(const BatchShape& shape, std::int64_t sequences, const Observed& o) {
  using Order = BatchShape::Order;
  if (shape.order == Order::given) {
    return o.out_of_order == 0 ? Judgement{} : fail("batch order", "given", "another");
  }
  if (sequences < 2) return mistrusted("one sequence has no order");
  if (shape.order == Order::reversed) {
    return o.out_of_order == sequences - 1 ? Judgement{}
                                           : fail("batch order", "reversed", "another");
  }
  return o.out_of_order > 0 ? Judgement{} : mistrusted("the shuffled order is the given one");
}

Judgement check_batch(const Cell& cell, const CellTrace& trace) {
  const Observed& o = trace.observed;
  const auto shape = parse_batch_shape(cell.value("batch"));
  if (!shape) return {Verdict::fail, Severity::none, shape.error().message};
  if (o.live_rows < shape->size) {
    return mistrusted("batch " + std::to_string(shape->size) + " never had more than " +
                      std::to_string(o.live_rows) + " live rows");
  }
  if (shape->staggered && shape->size > 1 && (o.joined_late == 0 || o.left_early == 0)) {
    return mistrusted("no row joined or left a running batch");
  }
  return check_order(*shape, std::max(std::int64_t(trace.prompts.size()), shape->size), o);
}

/// Prefill chunks of the longest prompt: as many as its length and the mode make, no others.
Judgement check_chunks(const CacheMode& mode, const CellTrace& trace) {
  std::int64_t longest = 0;
  for (const PromptTrace& prompt : trace.prompts) longest = std::max(longest, prompt.prompt_tokens);
  const std::int64_t asked =
      mode.chunk > 0 ? std::max<std::int64_t>((longest + mode.chunk - 1) / mode.chunk, 1) : 1;
  if (mode.chunk > 0 && asked < 2) {
    return mistrusted("no prompt was longer than one chunk of " + std::to_string(mode.chunk));
  }
  const std::int64_t ran = trace.observed.chunks;
  if (ran != asked && !trace.prompts.empty()) {
    return fail("chunks of the longest prompt:", std::to_string(asked), std::to_string(ran));
  }
  return {};
}

Judgement check_cache(const Cell& cell, const CellTrace& trace) {
  const Observed& o = trace.observed;
  const auto mode = parse_cache_mode(cell.value("cache"));
  if (!mode) return {Verdict::fail, Severity::none, mode.error().message};
  if (!mode->keeps) {
    return o.cached_reads == 0 ? Judgement{} : fail("cache", "off", "a cache that was read");
  }
  if (o.cached_reads == 0) return mistrusted("the cache was never hit");
  if (const Judgement chunks = check_chunks(*mode, trace); chunks.verdict != Verdict::pass) {
    return chunks;
  }
  if (mode->page_size != o.page_size) {
    return fail("page size", std::to_string(mode->page_size), std::to_string(o.page_size));
  }
  if (mode->shuffled_pages && o.pages < 2) {
    return mistrusted("no sequence was longer than one page of " + std::to_string(o.page_size));
  }
  if (mode->shares_prefix && o.prefix_hits == 0) return mistrusted("no prefix was shared");
  if (mode->recomputes && o.recomputed == 0) return mistrusted("no position was recomputed");
  if (!mode->recomputes && o.recomputed != 0) {
    return fail("cache", cell.value("cache"), "one that recomputes");
  }
  return {};
}

}  // namespace

Judgement check_observed(const Cell& cell, const CellTrace& trace) {
  Judgement worst = check_place(cell, trace.observed);
  for (const Judgement& next : {check_batch(cell, trace), check_cache(cell, trace)}) {
    const bool graver = next.verdict == Verdict::fail && worst.verdict != Verdict::fail;
    if (graver || worst.verdict == Verdict::pass) worst = next;
  }
  return worst;
}

Judgement check_complete(const Scenario& scenario, const Cell& cell, const CellTrace& trace,
                         const std::vector<std::int32_t>& eos) {
  const bool taught = cell.value("teacher_forced") == "true";
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
