// Two traces, or a prompt and its golden, side by side (compare.h). Pure; bits decide.
#include "harness/judge/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace isobit {
namespace {

/// One row of either side; a golden has no values.
struct Row {
  std::int64_t position = 0;
  Digest digest;
  std::int32_t id = -1;
  std::int32_t fed = -1;
  float margin = 0;
  const TokenRecord* values = nullptr;
};

std::vector<Row> rows_of(const PromptTrace& prompt) {
  std::vector<Row> rows;
  rows.reserve(prompt.tokens.size());
  for (const TokenRecord& t : prompt.tokens) {
    rows.push_back({t.position, t.digest, t.id, t.fed, t.margin, &t});
  }
  return rows;
}

/// What was fed after a golden's row is not stored. Where the trace was fed something else than it
/// drew, a teacher chose, for both; elsewhere the golden was fed its own token.
std::vector<Row> rows_of(const GoldenBlock& golden, const PromptTrace& trace) {
  std::vector<Row> rows;
  rows.reserve(golden.rows.size());
  auto token = trace.tokens.begin();
  for (const GoldenRow& row : golden.rows) {
    while (token != trace.tokens.end() && token->position < row.position) ++token;
    const bool taught =
        token != trace.tokens.end() && token->position == row.position && token->fed != token->id;
    rows.push_back({row.position, row.digest, row.id, taught ? token->fed : row.id, 0, nullptr});
  }
  return rows;
}

/// Largest distance of a token that both sides list, or that one lists above the other's last.
double top_distance(const TokenRecord& a, const TokenRecord& b) {
  double distance = 0;
  const auto one_way = [&distance](const TokenRecord& from, const TokenRecord& to) {
    const auto count = std::size_t(to.top_count);
    for (std::size_t i = 0; i < std::size_t(from.top_count); ++i) {
      const auto end = to.top_ids.begin() + std::ptrdiff_t(count);
      const auto it = std::find(to.top_ids.begin(), end, from.top_ids[i]);
      const double mine = double(from.top_logits[i]);
      const double theirs =
          double(to.top_logits[it == end ? count - 1 : std::size_t(it - to.top_ids.begin())]);
      if (it != end) {
        distance = std::max(distance, std::abs(mine - theirs));
      } else if (count > 0) {
        distance = std::max(distance, mine - theirs);  // at least this far: it is not in the list
      }
    }
  };
  one_way(a, b);
  one_way(b, a);
  return distance;
}

/// Severity of one row whose digests or ids differ.
Severity row_severity(const Row& a, const Row& b) {
  if (a.id != b.id) return Severity::flipped;
  if (a.values == nullptr || b.values == nullptr) return Severity::bits_only;  // by ids alone
  if (a.values->top_count == 0 || b.values->top_count == 0) return Severity::bits_only;
  const double reach = 2 * top_distance(*a.values, *b.values);
  const bool safe = double(a.margin) > reach && double(b.margin) > reach;  // false for NaN
  return safe ? Severity::bits_only : Severity::near_tie;
}

bool constant_row(const TokenRecord& token) {
  return token.top_count > 1 &&
         token.top_logits[0] == token.top_logits[std::size_t(token.top_count) - 1];
}

/// Why a trace cannot be a language model's: empty when it can.
std::string implausible(const PromptTrace& prompt) {
  if (prompt.tokens.empty()) return "";
  if (std::all_of(prompt.tokens.begin(), prompt.tokens.end(), constant_row)) {
    return "constant logits in prompt " + prompt.id;
  }
  if (std::int64_t(prompt.tokens.size()) < kFewestTokens) return "";
  const Digest& first = prompt.tokens.front().digest;
  const bool same = std::all_of(prompt.tokens.begin(), prompt.tokens.end(),
                                [&](const TokenRecord& t) { return t.digest == first; });
  if (!same) return "";
  const bool drawn = prompt.tokens.front().id >= 0;  // else it is a shape of one operation
  return (drawn ? "the same logits at every position of prompt "
                : "the same results in every row of shape ") +
         prompt.id;
}

/// Collects a Comparison prompt by prompt.
class Comparer {
 public:
  explicit Comparer(std::int64_t least, bool tokens_alone = false)
      : least_(least), tokens_alone_(tokens_alone) {}

  /// `ended`: either side stopped by itself, so that few tokens are all there are.
  void prompt(int index, const std::string& id, const std::vector<Row>& a,
              const std::vector<Row>& b, bool ended) {
    prompt_ = index;
    id_ = &id;
    first_index_ = -1;
    const std::int64_t before = out_.tokens;
    walk(a, b);
    ++out_.prompts;
    out_.prompts_differing += first_index_ >= 0 ? 1 : 0;
    out_.divergence_index.push_back(first_index_);
    const std::int64_t compared = out_.tokens - before;
    if (first_index_ < 0 && !ended && compared < least_) {
      mistrust("only " + std::to_string(compared) + " tokens compared in prompt " + id +
               ", min_tokens is " + std::to_string(least_));
    }
  }

  void missing(int index, const std::string& id) {
    ++out_.prompts;
    ++out_.prompts_differing;
    out_.divergence_index.push_back(0);
    if (out_.first) return;
    out_.first.emplace();
    out_.first->prompt = index;
    out_.first->prompt_id = id;
    out_.first->what = "prompt missing";
  }

  void mistrust(const std::string& why) {
    if (out_.mistrust.empty()) out_.mistrust = why;
  }

  Comparison finish() {
    if (out_.tokens == 0) mistrust("nothing was compared");
    return std::move(out_);
  }

 private:
  void walk(const std::vector<Row>& a, const std::vector<Row>& b) {
    bool flipped_before = false;
    const std::size_t both = std::min(a.size(), b.size());
    for (std::size_t i = 0; i < both; ++i) {
      if (a[i].position != b[i].position) return differ(i, &a[i], &b[i], "position");
      ++out_.tokens;
      const bool flip = a[i].id != b[i].id;
      if (flip || (!tokens_alone_ && a[i].digest != b[i].digest)) {
        ++out_.differing;
        out_.severity = std::max(out_.severity, row_severity(a[i], b[i]));
        differ(i, &a[i], &b[i], flip ? "token" : "digest");
      }
      if (flip) {
        ++out_.flipped;
        const bool first_flip = !std::exchange(flipped_before, true);
        if (first_flip && !std::isnan(a[i].margin)) out_.flip_margins.push_back(a[i].margin);
      }
      if (a[i].fed == b[i].fed || a[i].fed < 0 || b[i].fed < 0) continue;  // -1: a side's last row
      if (!flip) mistrust("the sides were fed different tokens in prompt " + *id_);
      return;  // from here on the inputs differ
    }
    if (a.size() == b.size()) return;
    differ(both, both < a.size() ? &a[both] : nullptr, both < b.size() ? &b[both] : nullptr,
           "length");
  }

  void differ(std::size_t index, const Row* a, const Row* b, const char* what) {
    if (first_index_ >= 0) return;
    first_index_ = static_cast<std::int64_t>(index);
    if (out_.first) return;
    Divergence& first = out_.first.emplace();
    first.prompt = prompt_;
    first.prompt_id = *id_;
    first.index = first_index_;
    first.what = what;
    first.position = a != nullptr ? a->position : b->position;
    if (a != nullptr) {
      first.a = a->digest;
      first.id_a = a->id;
      first.margin_a = a->margin;
    }
    if (b != nullptr) {
      first.b = b->digest;
      first.id_b = b->id;
      first.margin_b = b->margin;
    }
  }

  Comparison out_;
  int prompt_ = -1;
  const std::string* id_ = nullptr;
  std::int64_t first_index_ = -1;
  std::int64_t least_;
  bool tokens_alone_;
};

bool same_evidence(const CellTrace& a, const CellTrace& b) {
  return a.observed.evidence == b.observed.evidence;
}

}  // namespace

Sha256 root_of(const CellTrace& trace, Evidence of) {
  if (of != Evidence::tokens) return cell_root(trace);
  CellTrace tokens = trace;
  for (PromptTrace& prompt : tokens.prompts) {
    for (TokenRecord& token : prompt.tokens) token.digest = {};
  }
  return cell_root(tokens);
}

bool roots_differ(const CellTrace& a, const CellTrace& b, Evidence of) {
  const Evidence both = same_evidence(a, b) ? of : Evidence::tokens;
  return root_of(a, both) != root_of(b, both);
}

std::string lacks_evidence(const CellTrace& a, const CellTrace& b, Evidence of) {
  if (of == Evidence::tokens) return "";
  const std::string &first = a.observed.evidence, &second = b.observed.evidence;
  if (!same_evidence(a, b)) {
    return "one engine gave " + first + ", the other " + second +
           ": only tokens could be compared (`of: tokens`)";
  }
  if (evidence_named(first) >= of) return "";
  return "the engine gave " + first + ", and " + name_of(of) +
         " are to be compared (`of: " + first + "`)";
}

Comparison compare(const CellTrace& a, const CellTrace& b, std::int64_t least, Evidence of) {
  Comparer comparer(least, of == Evidence::tokens || !same_evidence(a, b));
  if (&a == &b) comparer.mistrust("a trace was compared with itself");
  std::map<Sha256, std::vector<const PromptTrace*>> others;  // in order, by tokens
  for (const PromptTrace& prompt : b.prompts) others[prompt.tokens_digest].push_back(&prompt);
  std::map<Sha256, std::size_t> used;
  for (std::size_t i = 0; i < a.prompts.size(); ++i) {
    const PromptTrace& prompt = a.prompts[i];
    const auto& same = others[prompt.tokens_digest];
    const std::size_t next = used[prompt.tokens_digest]++;
    if (next >= same.size()) {
      comparer.missing(static_cast<int>(i), prompt.id);
      continue;
    }
    const PromptTrace& other = *same[next];
    comparer.prompt(static_cast<int>(i), prompt.id, rows_of(prompt), rows_of(other),
                    prompt.ended || other.ended);
    for (const auto& [side, trace] : {std::pair(&prompt, &a), std::pair(&other, &b)}) {
      // A token that is drawn again has the same digest.
      if (trace->observed.evidence != name_of(Evidence::logits)) continue;
      if (const std::string why = implausible(*side); !why.empty()) comparer.mistrust(why);
    }
  }
  for (const auto& [digest, prompts] : others) {
    for (std::size_t i = used[digest]; i < prompts.size(); ++i) {
      comparer.missing(-1, prompts[i]->id);
    }
  }
  if (const std::string why = lacks_evidence(a, b, of); !why.empty()) comparer.mistrust(why);
  return comparer.finish();
}

Comparison compare(const PromptTrace& a, const GoldenBlock& golden, std::int64_t least) {
  Comparer comparer(least);
  comparer.prompt(0, a.id, rows_of(a), rows_of(golden, a), a.ended);
  if (const std::string why = implausible(a); !why.empty()) comparer.mistrust(why);
  return comparer.finish();
}

}  // namespace isobit
