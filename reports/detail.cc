// What only some kinds of report tell, from the traces (Report::detail): the rows around the first
// differences, margins, and what the machine of an earlier run had else. Bounded, however long the
// run.
#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "reports/build.h"
#include "reports/describe.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr std::size_t kWindows = 16;      // told of one run
constexpr std::int64_t kRowsBefore = 6;   // of a window, before its first difference
constexpr std::int64_t kRowsAfter = 10;   // with the first difference
constexpr std::size_t kTextPoints = 600;  // of what was generated
constexpr std::size_t kMarginClasses = 9;
constexpr std::size_t kCandidates = 20;  // earlier executions asked for a golden's bits

using Cells = std::vector<CellInfo>;

/// Reads what is asked for again only once: neighbouring windows share their first side.
class Traces {
 public:
  explicit Traces(Store& store) : store_(store) {}
  /// Nothing where the rows are not whole: a page that shows them would say what nobody computed.
  std::shared_ptr<const CellTrace> of(const CellInfo& cell) {
    if (cell.pending) return nullptr;
    if (const auto known = kept_.find(cell.id); known != kept_.end()) return known->second;
    const auto damage = store_.damage(cell);
    if (!damage || !damage->empty()) return nullptr;
    auto trace = store_.trace(cell, true);
    if (!trace || trace->prompts.empty()) return nullptr;
    if (kept_.size() > 2) kept_.clear();
    return kept_[cell.id] = std::make_shared<const CellTrace>(std::move(*trace));
  }

 private:
  Store& store_;
  std::map<std::int64_t, std::shared_ptr<const CellTrace>> kept_;
};

const TokenRecord* row_at(const PromptTrace& prompt, std::int64_t position) {
  const auto at = std::lower_bound(
      prompt.tokens.begin(), prompt.tokens.end(), position,
      [](const TokenRecord& row, std::int64_t where) { return row.position < where; });
  return at != prompt.tokens.end() && at->position == position ? &*at : nullptr;
}

std::string digest_at(const PromptTrace& prompt, std::int64_t position) {
  const TokenRecord* row = row_at(prompt, position);
  return row == nullptr ? "" : to_hex(row->digest);
}

/// The other side of a cell's difference.
struct Other {
  std::shared_ptr<const CellTrace> trace;
  std::string name;
  bool first = false;  // it is side a of the difference
};

/// Whether some prompt of this id has this row.
bool has_row(const CellTrace& trace, const Difference& difference, const std::string& digest) {
  return std::any_of(trace.prompts.begin(), trace.prompts.end(), [&](const PromptTrace& prompt) {
    return prompt.id == difference.prompt_id && digest_at(prompt, difference.position) == digest;
  });
}

class Windows {
 public:
  Windows(Store& store, const RunInfo& run, const Cells& cells, Report& report)
      : store_(store), run_(run), cells_(cells), report_(report), traces_(store) {
    for (const CellInfo& cell : cells) {
      if (cell.attempt == 1) first_.push_back(&cell);
    }
  }

  void read() {
    std::set<std::size_t> chosen;
    std::vector<std::size_t> order;
    const auto choose = [&](std::size_t cell) {
      const bool parts = report_.cells[cell].divergence.present;
      if (parts && chosen.insert(cell).second) order.push_back(cell);
    };
    for (const AlikeCells& alike : alike_red_cells(report_)) choose(alike.first);
    for (std::size_t i = 0; i < report_.cells.size(); ++i) {
      if (!is_red(report_.cells[i].verdict)) choose(i);
    }
    for (const std::size_t cell : order) {
      if (report_.detail.windows.size() == kWindows) {
        ++report_.detail.windows_left_out;
      } else if (report_.cells[cell].divergence.position >= 0) {
        report_.detail.windows.push_back(window(cell));
      }
    }
  }

  void read_margins() {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < report_.cells.size() && seen.size() < kMarginClasses; ++i) {
      const std::string& label = report_.cells[i].class_label;
      if (label == "-" || label == "!" || !seen.insert(label).second) continue;
      const auto trace = store_.trace(*first_[i], false);
      if (!trace || !trace->observed.operation.empty()) continue;
      ReportMargins margins{label, std::vector<std::int64_t>(kMarginSteps.size())};
      for (const PromptTrace& prompt : trace->prompts) {
        for (const TokenRecord& row : prompt.tokens) add_margin(double(row.margin), margins);
      }
      report_.detail.margins.push_back(std::move(margins));
    }
  }

 private:
  static void add_margin(double margin, ReportMargins& margins) {
    if (!(margin >= 0)) return;  // a row that is not finite has none
    const auto step = std::upper_bound(kMarginSteps.begin(), kMarginSteps.end(), margin);
    ++margins.counts[std::size_t(step - kMarginSteps.begin()) - 1];
  }

  Other other_of(std::size_t place, const Difference& difference) {
    const CellInfo& own = *first_[place];
    for (std::size_t i = 0; i < first_.size(); ++i) {
      const bool named =
          difference.against == first_[i]->name || difference.against == report_.cells[i].name;
      if (i != place && named) return {traces_.of(*first_[i]), cell_text(report_.cells[i]), true};
    }
    if (difference.against == own.name + " again") return again(own, difference);
    return earlier(own, difference);
  }

  /// Another attempt of the same cell, the one that has the row.
  Other again(const CellInfo& own, const Difference& difference) {
    for (const CellInfo& cell : cells_) {
      if (cell.hash != own.hash || cell.attempt == 1) continue;
      const auto trace = traces_.of(cell);
      if (trace && has_row(*trace, difference, difference.digest_b)) {
        return {trace, "attempt " + std::to_string(cell.attempt), false};
      }
    }
    return {};
  }

  /// An execution before this run that gave the bits of the golden or the baseline.
  Other earlier(const CellInfo& own, const Difference& difference) {
    const auto cells = store_.history(own.hash);
    if (!cells) return {};
    std::size_t asked = 0;
    for (const CellInfo& cell : *cells) {
      if (cell.run >= run_.id || cell.pending || asked == kCandidates) continue;
      ++asked;
      const auto trace = traces_.of(cell);
      if (trace && has_row(*trace, difference, difference.digest_b)) {
        return {trace, difference.against + ", as run " + std::to_string(cell.run) + " computed it",
                false};
      }
    }
    return {};
  }

  ReportWindow window(std::size_t place) {
    const Difference& difference = report_.cells[place].divergence;
    ReportWindow out;
    out.cell = int(place);
    out.prompt_id = difference.prompt_id;
    const auto own = traces_.of(*first_[place]);
    const Other other = other_of(place, difference);
    const std::string mine = cell_text(report_.cells[place]);
    out.name_a = other.first ? other.name : mine;
    out.name_b = other.first ? mine : other.trace ? other.name : difference.against;
    if (!own) {
      out.missing = "the rows of this cell are not in the database";
      return out;
    }
    if (!other.trace) {
      out.missing = "the database holds no rows of " + difference.against +
                    ", only its digests were compared";
    }
    static const CellTrace kNone{};
    const CellTrace& theirs = other.trace ? *other.trace : kNone;
    fill(difference, other.first ? theirs : *own, other.first ? *own : theirs, out);
    return out;
  }

  static void fill(const Difference& difference, const CellTrace& a, const CellTrace& b,
                   ReportWindow& out);

  Store& store_;
  const RunInfo& run_;
  const Cells& cells_;
  Report& report_;
  Traces traces_;
  std::vector<const CellInfo*> first_;  // by place in the report
};

ReportSide side_of(const TokenRecord* row) {
  ReportSide side;
  if (row == nullptr) return side;
  side.id = row->id;
  side.digest = to_hex(row->digest);
  side.margin = double(row->margin);
  for (std::size_t i = 0; i < std::size_t(row->top_count); ++i) {
    side.top.emplace_back(row->top_ids[i], double(row->top_logits[i]));
  }
  return side;
}

void add_rows(const Difference& difference, const PromptTrace& a, const PromptTrace& b,
              ReportWindow& out) {
  std::set<std::int64_t> positions;
  for (const PromptTrace* prompt : {&a, &b}) {
    for (const TokenRecord& row : prompt->tokens) positions.insert(row.position);
  }
  bool same_inputs = true;
  for (const std::int64_t position : positions) {
    const TokenRecord *row_a = row_at(a, position), *row_b = row_at(b, position);
    if (position < difference.position - kRowsBefore) {
      ++out.before;
    } else if (position >= difference.position + kRowsAfter) {
      ++out.after;
    } else {
      out.rows.push_back({position, side_of(row_a), side_of(row_b), same_inputs});
    }
    if (row_a != nullptr && row_b != nullptr) same_inputs = same_inputs && row_a->fed == row_b->fed;
  }
}

using Places = std::map<std::int64_t, std::vector<const Observation*>>;  // by position

Places places_of(const PromptTrace& prompt) {
  Places out;
  for (const Observation& one : prompt.observations) out[one.position].push_back(&one);
  return out;
}

std::string place_text(const Observation& one) {
  return (in_layers(one.site) ? "layer " + std::to_string(one.layer) + ", " : std::string()) +
         name_of(one.site);
}

/// Counts the sites of one position, layer by layer; gives the first that differs.
std::string count_sites(const std::vector<const Observation*>& a,
                        const std::vector<const Observation*>& b,
                        std::map<std::int32_t, std::array<std::int64_t, 2>>& counts) {
  std::string first;
  auto y = b.begin();
  for (const Observation* x : a) {
    const auto key = std::pair(x->layer, x->site);
    while (y != b.end() && std::pair((*y)->layer, (*y)->site) < key) ++y;
    if (y == b.end()) break;
    if (std::pair((*y)->layer, (*y)->site) != key) continue;
    const bool differs = x->digest != (*y)->digest;
    if (differs && first.empty()) first = place_text(*x);
    ++counts[x->layer][0];
    counts[x->layer][1] += differs ? 1 : 0;
  }
  return first;
}

void add_layers(const PromptTrace& a, const PromptTrace& b, ReportLayers& out) {
  const Places in_a = places_of(a), in_b = places_of(b);
  std::vector<std::int64_t> positions;
  std::vector<std::map<std::int32_t, std::array<std::int64_t, 2>>> counts;
  std::vector<std::string> firsts;
  std::set<std::int32_t> layers;
  std::optional<std::size_t> parting;
  for (const auto& [position, rows] : in_a) {
    const auto other = in_b.find(position);
    if (other == in_b.end()) continue;
    std::map<std::int32_t, std::array<std::int64_t, 2>> here;
    firsts.push_back(count_sites(rows, other->second, here));
    if (!firsts.back().empty() && !parting) parting = positions.size();
    for (const auto& [layer, count] : here) layers.insert(layer);
    positions.push_back(position);
    counts.push_back(std::move(here));
  }
  const std::size_t middle = parting.value_or(positions.size());
  const std::size_t begin = middle - std::min(middle, std::size_t(kRowsBefore));
  const std::size_t end = std::min(positions.size(), middle + std::size_t(kRowsAfter));
  out.layers.assign(layers.begin(), layers.end());
  for (std::size_t i = begin; i < end; ++i) {
    out.positions.push_back(positions[i]);
    out.first.push_back(firsts[i]);
    for (const std::int32_t layer : out.layers) {
      out.compared.push_back(counts[i][layer][0]);
      out.differing.push_back(counts[i][layer][1]);
    }
  }
}

std::string beginning(const std::string& text) {
  return text::truncate(text::valid_utf8(text), kTextPoints);
}

/// The n-th prompt with these tokens; nullptr: there are fewer.
const PromptTrace* nth(const CellTrace& trace, const Sha256& tokens, std::size_t n) {
  for (const PromptTrace& prompt : trace.prompts) {
    if (prompt.tokens_digest == tokens && n-- == 0) return &prompt;
  }
  return nullptr;
}

void Windows::fill(const Difference& difference, const CellTrace& a, const CellTrace& b,
                   ReportWindow& out) {
  const bool from_b = a.prompts.empty();
  const CellTrace& known = from_b ? b : a;
  static const PromptTrace kNone{};
  std::map<Sha256, std::size_t> used;
  for (const PromptTrace& prompt : known.prompts) {
    const std::size_t n = used[prompt.tokens_digest]++;
    if (prompt.id != difference.prompt_id) continue;
    const std::string& wanted = from_b ? difference.digest_b : difference.digest_a;
    if (digest_at(prompt, difference.position) != wanted) continue;
    const PromptTrace* other = nth(from_b ? a : b, prompt.tokens_digest, n);
    // Rows beside each other must be those that were compared.
    if (!from_b && other && digest_at(*other, difference.position) != difference.digest_b) continue;
    const PromptTrace& first = from_b ? kNone : prompt;
    const PromptTrace& second = from_b ? prompt : other ? *other : kNone;
    out.text_a = beginning(first.text);
    out.text_b = beginning(second.text);
    add_rows(difference, first, second, out);
    add_layers(first, second, out.layers);
    return;
  }
  if (out.missing.empty()) out.missing = "the stored rows are not those that were compared";
}

std::map<std::string, std::string> environment_of(const RunInfo& run) {
  std::map<std::string, std::string> out;
  const auto json = nlohmann::json::parse(run.environment_json, nullptr, false);
  if (!json.is_object()) return out;
  for (const auto& [name, value] : json.items()) {
    if (value.is_string()) out[name] = value.get<std::string>();
  }
  return out;
}

/// The newest run of the scenario before this one that was green; else the newest that ended.
Result<void> read_earlier(Store& store, const RunInfo& run, ReportEarlier& out) {
  auto runs = store.runs();
  ISOBIT_TRY(runs);
  const RunInfo* found = nullptr;
  for (const RunInfo& one : *runs) {
    if (one.id >= run.id || one.scenario != run.scenario || one.exit_code < 0) continue;
    if (found == nullptr || (found->exit_code != kExitOk && one.exit_code == kExitOk)) found = &one;
  }
  if (found == nullptr) return {};
  out.run = found->id;
  out.exit_code = found->exit_code;
  out.started = found->started;
  const auto then = environment_of(*found), now = environment_of(run);
  std::set<std::string> names;
  for (const auto& [name, value] : then) names.insert(name);
  for (const auto& [name, value] : now) names.insert(name);
  for (const std::string& name : names) {
    const auto a = then.find(name), b = now.find(name);
    const std::string was = a == then.end() ? "" : a->second;
    const std::string is = b == now.end() ? "" : b->second;
    if (was != is) out.changes.push_back({name, was, is});
  }
  return {};
}

}  // namespace

Result<void> read_detail(Store& store, const RunInfo& run, const std::vector<CellInfo>& cells,
                         Report& report) {
  ReportDetail& detail = report.detail;
  detail.read = true;
  detail.started = run.started;
  detail.commit = run.commit;
  Windows windows(store, run, cells, report);
  windows.read();
  windows.read_margins();
  return read_earlier(store, run, detail.earlier);
}

}  // namespace isobit
