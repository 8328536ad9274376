// Both indices are sorted by key, so that one walk meets every pair of rows.
#include "harness/execute/pairs.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "harness/execute/spill.h"
#include "runtime/base/interrupt.h"

namespace isobit {
namespace {

/// The last position of a prompt whose row both cells computed from equal tokens; -1: none.
std::int64_t last_aligned(const CellTrace& a, const CellTrace& b, std::size_t prompt) {
  if (prompt >= a.prompts.size() || prompt >= b.prompts.size()) return -1;
  const PromptTrace &x = a.prompts[prompt], &y = b.prompts[prompt];
  if (x.tokens_digest != y.tokens_digest) return -1;
  std::int64_t last = -1;
  for (std::size_t t = 0; t < std::min(x.tokens.size(), y.tokens.size()); ++t) {
    if (x.tokens[t].position != y.tokens[t].position) break;
    last = x.tokens[t].position;
    if (x.tokens[t].fed != y.tokens[t].fed) break;
  }
  return last;
}

/// One cell's rows, each as Reals and as doubles.
class CellRows {
 public:
  CellRows(const SpilledCell& cell, std::vector<SpillRow> index)
      : cell_(cell), index_(std::move(index)), reader_(cell.rows) {
    // A prompt that fills several places of a batch gives its rows again; the trace has the first.
    const auto again = std::unique(index_.begin(), index_.end(),
                                   [](const auto& a, const auto& b) { return a.key == b.key; });
    index_.erase(again, index_.end());
  }

  [[nodiscard]] const std::vector<SpillRow>& index() const { return index_; }
  [[nodiscard]] const SpilledCell& cell() const { return cell_; }
  [[nodiscard]] std::span<const float> reals() const { return narrow_; }
  [[nodiscard]] std::span<const double> doubles() const { return wide_; }

  /// False: the file is short.
  bool read(const SpillRow& row) {
    const std::vector<char> bytes = reader_.row(row);
    if (bytes.empty() && row.bytes != 0) return false;
    if (cell_.wide) {
      wide_.resize(bytes.size() / sizeof(double));
      std::memcpy(wide_.data(), bytes.data(), wide_.size() * sizeof(double));
    } else {
      narrow_.resize(bytes.size() / sizeof(float));
      std::memcpy(narrow_.data(), bytes.data(), narrow_.size() * sizeof(float));
      wide_.assign(narrow_.begin(), narrow_.end());
    }
    return true;
  }

  /// Whether the row just read is the one that the trace has the digest of; true without one.
  [[nodiscard]] bool is_recorded(const ValueKey& key) const {
    const Digest* recorded = digest_of(key);
    if (recorded == nullptr) return true;
    return *recorded == (cell_.wide ? digest_row(wide_) : digest_row(narrow_));
  }

 private:
  [[nodiscard]] const Digest* digest_of(const ValueKey& key) const {
    const PromptTrace& prompt = cell_.trace.prompts[std::size_t(key.prompt)];
    if (key.site == Site::logits) {
      const auto at = std::find_if(prompt.tokens.begin(), prompt.tokens.end(),
                                   [&](const auto& t) { return t.position == key.position; });
      return at == prompt.tokens.end() ? nullptr : &at->digest;
    }
    const auto before = [](const Observation& seen, const ValueKey& wanted) {
      return std::tie(seen.position, seen.layer, seen.site) <
             std::tie(wanted.position, wanted.layer, wanted.site);
    };
    const auto& all = prompt.observations;
    const auto at = std::lower_bound(all.begin(), all.end(), key, before);
    const bool found = at != all.end() && at->position == key.position && at->layer == key.layer &&
                       at->site == key.site;
    return found ? &at->digest : nullptr;
  }

  const SpilledCell& cell_;
  std::vector<SpillRow> index_;
  SpillReader reader_;
  std::vector<float> narrow_;
  std::vector<double> wide_;
};

/// The walk, and what it adds up.
class PairWalk {
 public:
  PairWalk(CellRows& a, CellRows& b, std::int64_t head_dim) : a_(a), b_(b), head_dim_(head_dim) {
    out_.one_type = a.cell().wide == b.cell().wide;
  }

  Result<PairValues> run() {
    auto other = b_.index().begin();
    for (const SpillRow& row : a_.index()) {
      if (interrupted != 0) return Error{"interrupted", ""};
      while (other != b_.index().end() && other->key < row.key) ++other;
      if (other == b_.index().end()) break;
      if (other->key != row.key || row.key.position > last_of(row.key.prompt)) continue;
      if (!a_.read(row)) return Error{"a spill file is short", a_.cell().rows};
      if (!b_.read(*other)) return Error{"a spill file is short", b_.cell().rows};
      for (const CellRows* side : {&a_, &b_}) {
        if (!side->is_recorded(row.key)) return wrong(*side, row.key);
      }
      if (a_.doubles().size() != b_.doubles().size()) {
        out_.problem = std::string("rows of ") + name_of(row.key.site) + " have other lengths";
        break;
      }
      add(row.key);
    }
    for (auto& [place, sum] : sums_) out_.layers.push_back(std::move(sum));
    if (out_.rows.empty() && out_.problem.empty()) out_.problem = "no aligned row of logits";
    return std::move(out_);
  }

 private:
  std::int64_t last_of(int prompt) {
    const auto [at, fresh] = last_.emplace(prompt, -1);
    if (fresh) {
      at->second = last_aligned(a_.cell().trace, b_.cell().trace, std::size_t(prompt));
    }
    return at->second;
  }

  PairValues wrong(const CellRows& side, const ValueKey& key) {
    const PromptTrace& prompt = a_.cell().trace.prompts[std::size_t(key.prompt)];
    out_.wrong = "values of " + side.cell().name + " are not the row that was recorded: prompt " +
                 prompt.id + ", position " + std::to_string(key.position) + ", layer " +
                 std::to_string(key.layer) + ", " + name_of(key.site);
    out_.wrong_reference = &side == &a_;
    return std::move(out_);
  }

  void add(const ValueKey& key) {
    if (key.site == Site::logits) return add_logits(key);
    LayerSum& sum = sums_[{key.layer, key.site}];
    sum.layer = key.layer;
    sum.site = name_of(key.site);
    if (key.site == Site::k_seen || key.site == Site::v_seen) {
      VectorErrors& errors = key.site == Site::k_seen ? out_.keys : out_.values;
      errors.add(a_.doubles(), b_.doubles(), head_dim_, sum);
    } else {
      add_row(vector_distance(a_.doubles(), b_.doubles()), sum);
    }
  }

  void add_logits(const ValueKey& key) {
    const bool narrow = out_.one_type && !a_.cell().wide;
    const RowDistance d = narrow ? value_distance(a_.reals(), b_.reals())
                                 : value_distance(a_.doubles(), b_.doubles());
    PairRow row;
    row.prompt = key.prompt;
    row.position = key.position;
    row.kl = d.kl, row.js = d.js, row.total_variation = d.total_variation;
    row.max_abs = d.max_abs, row.mean_abs = d.mean_abs;
    row.margin = d.margin_a;
    row.max_ulp = out_.one_type ? d.max_ulp : 0;
    row.flip = d.argmax_a != d.argmax_b;
    out_.rows.push_back(row);
  }

  CellRows &a_, &b_;
  std::int64_t head_dim_;
  std::map<int, std::int64_t> last_;
  std::map<std::pair<std::int32_t, Site>, LayerSum> sums_;
  PairValues out_;
};

}  // namespace

Result<PairValues> measure_rows(const SpilledCell& reference, const SpilledCell& cell,
                                std::int64_t head_dim) {
  auto index_a = read_spill_index(reference.rows);
  ISOBIT_TRY(index_a);
  auto index_b = read_spill_index(cell.rows);
  ISOBIT_TRY(index_b);
  CellRows a(reference, std::move(*index_a)), b(cell, std::move(*index_b));
  return PairWalk(a, b, head_dim).run();
}

}  // namespace isobit
