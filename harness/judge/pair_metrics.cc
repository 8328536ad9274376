// One function a kind of metric; a jackknife calls it without one prompt after the other.
#include "harness/judge/pair_metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "harness/judge/compare.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

using Values = std::vector<double>;
using Optional = std::optional<double>;

constexpr double kPercent = 100;
/// Of the law of margins: what two roundings of a difference may give.
constexpr double kRounding = 1 + 0x1p-50;

double mean_of(const Values& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / double(values.size());
}

/// The tokens of one prompt and sample on both sides.
struct Tokens {
  int prompt = 0;
  std::int64_t reference = 0;         // tokens of the reference
  std::int64_t equal = 0;             // of them, those that the configuration has at the same place
  std::int64_t parts = -1;            // first index, from 0, of a different token; -1: none
  std::int64_t steps = 0, flips = 0;  // rows from equal tokens; those whose best entries differ
};

Tokens tokens_of(int prompt, const PromptTrace& a, const PromptTrace& b) {
  Tokens out;
  out.prompt = prompt;
  out.reference = std::int64_t(a.tokens.size());
  const std::size_t shortest = std::min(a.tokens.size(), b.tokens.size());
  bool aligned = true;
  for (std::size_t t = 0; t < shortest; ++t) {
    const TokenRecord &x = a.tokens[t], &y = b.tokens[t];
    if (x.id == y.id) ++out.equal;
    if (x.id != y.id && out.parts < 0) out.parts = std::int64_t(t);
    if (aligned) {
      ++out.steps;
      const bool known = x.top_count > 0 && y.top_count > 0;
      if (known ? x.top_ids[0] != y.top_ids[0] : x.id != y.id) ++out.flips;
    }
    aligned = aligned && x.fed == y.fed;
  }
  if (out.parts < 0 && a.tokens.size() != b.tokens.size()) out.parts = std::int64_t(shortest);
  return out;
}

/// Sums of the layers of one site.
LayerSum sum_of(const std::vector<LayerSum>& layers, const std::string& site) {
  LayerSum out;
  for (const LayerSum& layer : layers) {
    if (layer.site != site) continue;
    out.rows += layer.rows;
    out.squares += layer.squares;
    out.magnitude += layer.magnitude;
    out.direction += layer.direction;
    out.evicted += layer.evicted;
  }
  return out;
}

class PairMetrics {
 public:
  explicit PairMetrics(const PairEvidence& evidence) : in_(evidence) {
    for (const auto& [reference, cell] : in_.traces) add(*reference, *cell);
    for (const PairRow& row : in_.rows) row_prompts_.insert(row.prompt);
  }

  MetricValue value(const MetricEntry& entry) {
    MetricValue out;
    out.metric = entry.name;
    if (entry.by_value() && !in_.no_values.empty()) {
      out.reason = in_.no_values;
      return out;
    }
    if (entry.need == PairNeed::rows) {
      of_rows(entry.metric, out);
    } else if (entry.by_value()) {
      of_layers(entry.metric, out);
    } else if (entry.metric == Metric::kv_bytes || entry.metric == Metric::weight_bytes ||
               entry.metric == Metric::tokens_per_second) {
      of_counters(entry.metric, out);
    } else {
      of_tokens(entry.metric, out);
    }
    if (out.value && !std::isfinite(*out.value)) {
      out.value.reset();
      if (out.reason.empty()) out.reason = "it is infinite";
    }
    if (!out.value) out.error.reset();
    if (out.error && !std::isfinite(*out.error)) out.error.reset();
    return out;
  }

 private:
  void add(const CellTrace& a, const CellTrace& b) {
    for (std::size_t p = 0; p < std::min(a.prompts.size(), b.prompts.size()); ++p) {
      const PromptTrace &x = a.prompts[p], &y = b.prompts[p];
      if (x.tokens_digest != y.tokens_digest || x.tokens.empty() || y.tokens.empty()) continue;
      tokens_.push_back(tokens_of(int(p), x, y));
      token_prompts_.insert(int(p));
    }
  }

  using Statistic = std::function<Optional(int without)>;  // -1: with all prompts

  static void fill(const Statistic& of, const std::set<int>& prompts, MetricValue& out) {
    out.prompts = std::int64_t(prompts.size());
    out.value = of(-1);
    if (!out.value || prompts.size() < 2) return;
    Values without;
    for (const int prompt : prompts) {
      const Optional value = of(prompt);
      if (!value) return;
      without.push_back(*value - *out.value);
    }
    const double mean = mean_of(without), n = double(without.size());
    double squares = 0;
    for (const double value : without) squares += (value - mean) * (value - mean);
    out.error = std::sqrt((n - 1) / n * squares);
  }

  /// factor * sum of `part` / sum of `whole` over the prompts' tokens.
  template <class A, class B>
  Statistic share(const A& part, const B& whole, double factor = kPercent) const {
    return [this, part, whole, factor](int without) -> Optional {
      double parts = 0, wholes = 0;
      for (const Tokens& each : tokens_) {
        if (each.prompt == without) continue;
        parts += part(each), wholes += whole(each);
      }
      return wholes > 0 ? Optional(factor * parts / wholes) : Optional();
    };
  }

  void of_tokens(Metric metric, MetricValue& out) const {
    if (tokens_.empty()) {
      out.reason = "no prompt has an output on both sides";
      return;
    }
    const auto one = [](const Tokens&) { return 1.0; };
    if (metric == Metric::token_divergence) {
      fill(share([](const Tokens& t) { return t.parts < 0 ? 0.0 : 1.0; }, one), token_prompts_,
           out);
    } else if (metric == Metric::first_divergence) {
      const auto first = [](const Tokens& t) {
        return double(t.parts < 0 ? t.reference + 1 : t.parts + 1);
      };
      fill(share(first, one, 1), token_prompts_, out);
    } else if (metric == Metric::token_match) {
      fill(share([](const Tokens& t) { return double(t.equal); },
                 [](const Tokens& t) { return double(t.reference); }),
           token_prompts_, out);
    } else {
      flip_rate(out);
    }
  }

  void flip_rate(MetricValue& out) const {
    if (!in_.teacher_forced) {
      out.reason =
          "free-running: behind the first flip the inputs differ; a flip rate is of "
          "teacher-forced cells, token_divergence of these";
      return;
    }
    std::int64_t steps = 0, flips = 0;
    for (const Tokens& each : tokens_) steps += each.steps, flips += each.flips;
    fill(share([](const Tokens& t) { return double(t.flips); },
               [](const Tokens& t) { return double(t.steps); }),
         token_prompts_, out);
    out.parts = {{"flips", double(flips)},
                 {"rows", double(steps)},
                 {"bound_95", kPercent * rate_upper_bound(flips, steps)}};
  }

  template <class F>
  Statistic row_mean(const F& of) const {
    return [this, of](int without) -> Optional {
      Values values;
      for (const PairRow& row : in_.rows) {
        if (row.prompt != without) values.push_back(of(row));
      }
      return values.empty() ? Optional() : Optional(mean_of(values));
    };
  }

  template <class F>
  [[nodiscard]] double row_max(const F& of) const {
    double out = 0;
    for (const PairRow& row : in_.rows) out = std::max(out, double(of(row)));
    return out;
  }

  void of_rows(Metric metric, MetricValue& out) const {
    if (in_.rows.empty()) {
      out.reason = "no row of logits is aligned";
      return;
    }
    out.prompts = std::int64_t(row_prompts_.size());
    const auto infinite = std::count_if(in_.rows.begin(), in_.rows.end(), [](const PairRow& row) {
      return !std::isfinite(row.kl) || !std::isfinite(row.max_abs);
    });
    if (infinite > 0) {
      out.reason = "infinite in " + std::to_string(infinite) + " of " +
                   text::count(std::int64_t(in_.rows.size()), "row");
    }
    Values kl;
    for (const PairRow& row : in_.rows) kl.push_back(row.kl);
    const auto mean = [&](auto of) { fill(row_mean(of), row_prompts_, out); };
    switch (metric) {
      case Metric::kl:
        return mean([](const PairRow& row) { return row.kl; });
      case Metric::js:
        return mean([](const PairRow& row) { return row.js; });
      case Metric::total_variation:
        return mean([](const PairRow& row) { return row.total_variation; });
      case Metric::mean_abs:
        return mean([](const PairRow& row) { return row.mean_abs; });
      case Metric::kl_median:
        out.value = quantile_of(kl, 0.5);
        return;
      case Metric::kl_p99:
        out.value = quantile_of(kl, 0.99);
        return;
      case Metric::kl_max:
        out.value = *std::max_element(kl.begin(), kl.end());
        return;
      case Metric::max_abs:
        out.value = row_max([](const PairRow& row) { return row.max_abs; });
        return;
      case Metric::max_ulp:
        if (!in_.one_type) out.reason = "rows of fp32 and of fp64 have no ULPs between them";
        if (in_.one_type) out.value = row_max([](const PairRow& row) { return row.max_ulp; });
        return;
      case Metric::margin_law:
        return margin_law(out);
      case Metric::recovery:
        return recover(out);
      default:
        return;
    }
  }

  void margin_law(MetricValue& out) const {
    const auto safe = [](const PairRow& row) {
      return row.margin > 2 * row.max_abs * kRounding;  // false for NaN
    };
    std::int64_t flips = 0, unexplained = 0;
    for (const PairRow& row : in_.rows) {
      flips += row.flip ? 1 : 0;
      unexplained += row.flip && safe(row) ? 1 : 0;
    }
    fill(row_mean([&](const PairRow& row) { return safe(row) ? kPercent : 0.0; }), row_prompts_,
         out);
    out.parts = {{"flips", double(flips)}, {"unexplained", double(unexplained)}};
    if (unexplained == 0) return;
    out.value.reset();
    out.reason =
        text::count(unexplained, "flip") + " where no flip was possible: an error of the harness";
  }

  void recover(MetricValue& out) const {
    if (!in_.patched) {
      out.reason = "no patched run: its configuration, or the one with patch: none, is missing";
      return;
    }
    if (!in_.of_donor) {
      out.reason = "undefined: the reference is not the donor of the patch";
      return;
    }
    const Recovery found = recovery(in_.rows, in_.donor);
    out.value = found.value;
    out.reason = found.reason;
    out.parts = {{"kl_patched", found.patched}, {"kl_recipient", found.recipient}};
    const auto without = [this](int prompt) {
      const auto left = [prompt](const std::vector<PairRow>& rows) {
        std::vector<PairRow> kept;
        std::copy_if(rows.begin(), rows.end(), std::back_inserter(kept),
                     [prompt](const PairRow& row) { return row.prompt != prompt; });
        return kept;
      };
      return recovery(left(in_.rows), left(in_.donor)).value;
    };
    if (found.value) fill(without, row_prompts_, out);
  }

  void of_layers(Metric metric, MetricValue& out) const {
    if (metric == Metric::layer_drift) return drift(out);
    const bool keys = metric == Metric::k_error;
    const LayerSum all = sum_of(in_.layers, keys ? "k_seen" : "v_seen");
    const double total = all.magnitude + all.direction;
    if (all.rows == 0) {
      if (all.evicted > 0) out.parts = {{"evicted", double(all.evicted)}};
      out.reason = all.evicted > 0 ? "every position is evicted"
                                   : "the cache shows no rows by value, or none was recorded";
      return;
    }
    out.prompts = std::int64_t(row_prompts_.size());
    if (all.squares > 0) out.value = total / all.squares;
    if (!out.value) out.reason = "the reference's rows are all 0";
    const auto part = [&](double sum) { return total > 0 ? sum / total : 0; };
    out.parts = {{"total", total},
                 {"magnitude", all.magnitude},
                 {"direction", all.direction},
                 {"magnitude_share", part(all.magnitude)},
                 {"direction_share", part(all.direction)},
                 {"largest_5_percent_share", (keys ? in_.keys : in_.values).largest_share()},
                 {"vectors", double(all.rows)},
                 {"evicted", double(all.evicted)}};
  }

  void drift(MetricValue& out) const {
    const LayerSum* last = nullptr;
    std::int64_t layers = 0;
    for (const LayerSum& layer : in_.layers) {
      if (layer.site != "h2") continue;
      last = &layer;
      ++layers;
    }
    if (last == nullptr) {
      out.reason = "no row of h2 was recorded";
      return;
    }
    out.prompts = std::int64_t(row_prompts_.size());
    if (last->norm > 0) out.value = last->distance / last->norm;
    if (!out.value) out.reason = "the reference's rows are all 0";
    out.parts = {{"layer", double(last->layer)}, {"layers", double(layers)}};
  }

  void of_counters(Metric metric, MetricValue& out) const {
    double reference = 0, mine = 0, exact = 0;
    for (const auto& [a, b] : in_.traces) {
      if (metric == Metric::kv_bytes) {
        reference += double(a->observed.kv_bytes), mine += double(b->observed.kv_bytes);
        exact += double(b->observed.kv_exact_bytes);
      } else if (metric == Metric::weight_bytes) {
        reference += double(a->observed.weight_bytes), mine += double(b->observed.weight_bytes);
      } else {
        reference += speed_of(*a), mine += speed_of(*b);
      }
    }
    if (mine <= 0) {
      out.reason = "not measured";
      return;
    }
    const double samples = double(in_.traces.size());
    out.value = mine / samples;
    out.prompts = std::int64_t(token_prompts_.size());
    if (exact > 0) out.parts.emplace_back("of_exact", mine / exact);
    if (reference <= 0) return;
    out.parts.emplace_back("reference", reference / samples);
    out.parts.emplace_back("of_reference", mine / reference);
  }

  static double speed_of(const CellTrace& trace) {
    double tokens = 0;
    for (const PromptTrace& prompt : trace.prompts) tokens += double(prompt.tokens.size());
    return trace.seconds > 0 ? tokens / trace.seconds : 0;
  }

  const PairEvidence& in_;
  std::vector<Tokens> tokens_;  // by sample, then prompt
  std::set<int> token_prompts_, row_prompts_;
};

}  // namespace

std::vector<MetricValue> measure_pair(const std::vector<Metric>& metrics,
                                      const PairEvidence& evidence) {
  PairMetrics all(evidence);
  std::vector<MetricValue> out;
  for (const Metric metric : metrics) {
    if (entry_of(metric).of_pairs()) out.push_back(all.value(entry_of(metric)));
  }
  return out;
}

double quantile_of(std::vector<double> values, double q) {
  ISOBIT_CHECK(!values.empty() && q >= 0 && q <= 1);
  std::sort(values.begin(), values.end());
  const double at = q * double(values.size() - 1);
  const auto low = std::size_t(at);
  const double part = at - double(low);
  if (part == 0) return values[low];
  return values[low] + (values[low + 1] - values[low]) * part;
}

Recovery recovery(const std::vector<PairRow>& donor_to_patched,
                  const std::vector<PairRow>& donor_to_recipient) {
  const auto key = [](const PairRow& row) {
    return std::tuple(row.sample, row.prompt, row.position);
  };
  std::map<std::tuple<int, int, std::int64_t>, double> recipient;
  for (const PairRow& row : donor_to_recipient) recipient[key(row)] = row.kl;
  Recovery out;
  for (const PairRow& row : donor_to_patched) {
    const auto at = recipient.find(key(row));
    if (at == recipient.end()) continue;
    ++out.rows;
    out.patched += row.kl;
    out.recipient += at->second;
  }
  if (out.rows == 0) {
    out.reason = "no row is in donor, patched run and recipient";
    return out;
  }
  out.patched /= double(out.rows);
  out.recipient /= double(out.rows);
  if (out.recipient == 0) {
    out.reason = "undefined: the recipient does not diverge from the donor";
  } else if (!std::isfinite(out.recipient) || !std::isfinite(out.patched)) {
    out.reason = "undefined: a divergence is infinite";
  } else {
    out.value = 1 - out.patched / out.recipient;
  }
  return out;
}

std::string not_identical(const std::vector<PairRow>& rows, const std::vector<LayerSum>& layers,
                          const std::vector<std::string>& sites) {
  for (const PairRow& row : rows) {
    const bool zero = row.kl == 0 && row.js == 0 && row.total_variation == 0 && row.max_abs == 0 &&
                      row.mean_abs == 0 && row.max_ulp == 0 && !row.flip;
    if (zero) continue;
    return "KL " + text::number(row.kl) + ", largest distance " + text::number(row.max_abs) +
           " at prompt " + std::to_string(row.prompt) + ", position " +
           std::to_string(row.position);
  }
  for (const LayerSum& sum : layers) {
    if (std::count(sites.begin(), sites.end(), sum.site) == 0) continue;
    if (sum.distance == 0 && sum.max_abs == 0 && sum.magnitude == 0 && sum.direction == 0) continue;
    return "distance " + text::number(sum.distance) + " of " + sum.site + " in layer " +
           std::to_string(sum.layer);
  }
  return "";
}

}  // namespace isobit
