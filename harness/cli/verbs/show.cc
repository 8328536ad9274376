// `isobit show`: what a cell or a run recorded; with --logits its rows, computed again.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/explain/rebuild.h"
#include "runtime/base/file.h"
#include "runtime/base/text.h"

namespace isobit::commands {
namespace {

namespace fs = std::filesystem;

Json token_json(const TokenRecord& token) {
  Json top = Json::array();
  for (std::size_t i = 0; i < std::size_t(token.top_count); ++i) {
    top.push_back({token.top_ids[i], token.top_logits[i]});
  }
  Json out = {{"position", token.position},
              {"id", token.id},
              {"digest", to_hex(token.digest)},
              {"margin", token.margin},
              {"top", top}};
  if (token.log_sum != 0) out["log_sum"] = token.log_sum;
  if (std::isfinite(token.fed_logit)) {
    out["fed"] = token.fed;
    out["fed_logit"] = token.fed_logit;
  }
  return out;
}

Json observed_json(const Observed& observed) {
  Json out = Json::object();
  visit_fields(observed, [&](const char* name, const auto& value) { out[name] = value; });
  return out;
}

/// The groups of a run, as they were judged, for the cells that are in them.
struct RunGroups {
  std::vector<GroupResult> groups;
  std::map<std::string, int> places;  // hash -> place among the run's first attempts

  [[nodiscard]] Json of(const CellInfo& cell) const {
    Json out = Json::array();
    const auto place = places.find(cell.hash);
    for (const GroupResult& group : groups) {
      const auto end = group.cells.end();
      if (place == places.end() || std::find(group.cells.begin(), end, place->second) == end) {
        continue;
      }
      out.push_back({{"rule", group.rule},
                     {"key", group.key},
                     {"verdict", name_of(group.judgement.verdict)},
                     {"reason", group.judgement.reason}});
    }
    return out;
  }
};

Result<RunGroups> groups_of_run(Store& store, std::int64_t run) {
  RunGroups out;
  auto groups = store.groups(run);
  ISOBIT_TRY(groups);
  out.groups = std::move(*groups);
  const auto cells = store.cells(run);
  ISOBIT_TRY(cells);
  for (const CellInfo& cell : *cells) {
    if (cell.attempt == 1) out.places.emplace(cell.hash, int(out.places.size()));
  }
  return out;
}

Json prompt_json(const PromptTrace& prompt, TraceLevel level) {
  Json tokens = Json::array();
  for (const TokenRecord& token : prompt.tokens) tokens.push_back(token_json(token));
  Json out = {
      {"prompt", prompt.id}, {"answer", prompt.answer}, {"text", prompt.text}, {"tokens", tokens}};
  if (level == TraceLevel::logits) return out;
  Json& rows = out["observations"] = Json::array();
  for (const Observation& one : prompt.observations) {
    rows.push_back({one.position, one.layer, name_of(one.site), to_hex(one.digest)});
  }
  return out;
}

Json cell_json(const CellInfo& cell, const CellTrace& trace, const Json& groups) {
  Json prompts = Json::array();
  for (const PromptTrace& prompt : trace.prompts) {
    prompts.push_back(prompt_json(prompt, trace.level));
  }
  Json out = {{"name", cell.name}, {"hash", cell.hash}};
  add_verdict(cell, out);
  out["groups"] = groups;
  out["run"] = cell.run;
  out["attempt"] = cell.attempt;
  out["cached"] = cell.source != 0;
  out["imported"] = cell.imported;
  out["executed"] = cell.source_date;
  out["root"] = to_hex(cell.root);
  out["engine"] = trace.observed.engine;
  out["kernels"] = trace.observed.kernels;
  out["library_sha256"] = trace.observed.library_sha256;
  out["observed"] = observed_json(trace.observed);
  out["level"] = name_of(trace.level);
  out["prompts"] = prompts;
  return out;
}

std::string decimal(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

/// The launches of one operation.
std::string operation_text(const Observed& o) {
  return "operation " + o.operation + " of " + o.operand_data + " numbers, " +
         std::to_string(o.steps) + " launches of " + std::to_string(o.live_rows) +
         " rows, the watched ones " + o.row_place + ", neighbours " +
         (o.neighbour_data.empty() ? "none" : o.neighbour_data) + ", offset " +
         std::to_string(o.operand_offset) + ", gap " + std::to_string(o.row_gap);
}

std::string observed_text(const Observed& o) {
  if (!o.imported.empty()) {
    return o.engine + " on " + o.device + ", " + o.precision + ", evidence " + o.evidence +
           ", by its recorder's word";
  }
  std::string out = o.engine + " on " + o.device + ", isa " + o.isa + ", " + o.precision + ", " +
                    std::to_string(o.threads) + " threads, " + std::to_string(o.ranks) +
                    (o.virtual_ranks ? " virtual" : "") + " ranks, " + std::to_string(o.live_rows) +
                    " live rows, " + std::to_string(o.steps) + " steps";
  if (!o.operation.empty()) out += ", " + operation_text(o);
  if (!o.transport.empty()) out += ", between ranks: " + o.transport;
  const Observed usual;
  if (o.gemm != usual.gemm) out += ", gemm " + o.gemm;
  if (o.attention != usual.attention) out += ", attention " + o.attention;
  if (o.weights != usual.weights) out += ", weights " + o.weights;
  if (o.replicas > 1) out += ", " + std::to_string(o.replicas) + " replicas";
  if (o.chunks > 1) out += ", " + std::to_string(o.chunks) + " chunks";
  if (o.prefix_hits > 0) out += ", " + std::to_string(o.prefix_hits) + " prefix hits";
  if (o.recomputed > 0) out += ", " + std::to_string(o.recomputed) + " recomputed";
  if (o.drafted > 0) {
    out += ", " + std::to_string(o.drafted) + " drafted, " + std::to_string(o.draft_hits) +
           " hits, " + std::to_string(o.rolled_back) + " rolled back";
  }
  return out;
}

void print_cell(const CellInfo& cell, const CellTrace& trace, bool verbose) {
  print(shown_text(cell.name) + "\n");
  print("  verdict   " + verdict_of(cell) +
        (cell.judgement.reason.empty() ? "" : ": " + shown_text(cell.judgement.reason)) + "\n");
  const bool imported = !cell.imported.empty();
  print("  run       " + std::to_string(cell.run) + (imported ? ", imported " : ", executed ") +
        cell.source_date + (cell.source != 0 ? " (reused)" : "") + "\n");
  if (imported) {
    print("  file      " + shown_text(cell.imported) + ", SHA-256 " +
          shown_text(trace.observed.imported_sha256) + "\n");
  }
  print("  root      " + to_hex(cell.root) + "\n");
  print("  observed  " + shown_text(observed_text(trace.observed)) + "\n");
  if (!imported) print("  kernels   " + shown_text(trace.observed.kernels) + "\n");
  if (!trace.observed.library.empty()) {
    print("  library   " + shown_text(fs::path(trace.observed.library).filename().string()) +
          ", SHA-256 " + trace.observed.library_sha256.substr(0, 16) + "\n");
  }
  print("  recorded  " + std::string(name_of(trace.level)) + "\n");
  for (const PromptTrace& prompt : trace.prompts) {
    const bool operation = !trace.observed.operation.empty();
    const std::string count = std::to_string(prompt.tokens.size());
    print(operation
              ? "  shape " + shown_text(prompt.id) + ", " + count + " rows\n"
              : "  prompt " + shown_text(prompt.id) + ", " + std::to_string(prompt.prompt_tokens) +
                    " tokens, " + count + " generated" + (prompt.ended ? ", ended" : "") + "\n");
    if (!prompt.text.empty())
      print("    " + text::quoted(prompt.text, verbose ? 100'000 : 200) + "\n");
    std::vector<std::vector<std::string>> rows{{"    position", "id", "digest", "margin", "top"}};
    if (operation) rows = {{"    row", "digest"}};
    for (const TokenRecord& token : prompt.tokens) {
      if (operation) {
        rows.push_back({"    " + std::to_string(token.position), to_hex(token.digest)});
        continue;
      }
      std::string top;
      for (std::size_t i = 0; i < std::min<std::size_t>(std::size_t(token.top_count), 3); ++i) {
        top += (i > 0 ? " " : "") + std::to_string(token.top_ids[i]) + ":" +
               decimal(double(token.top_logits[i]));
      }
      rows.push_back({"    " + std::to_string(token.position), std::to_string(token.id),
                      to_hex(token.digest), decimal(double(token.margin)), top});
    }
    constexpr std::size_t kMostRows = 25;
    const std::size_t all = rows.size();
    if (!verbose && all > kMostRows) rows.resize(kMostRows);
    print(table(rows));
    if (rows.size() < all) {
      print("    and " + std::to_string(all - rows.size()) + " more: -v shows all\n");
    }
  }
}

template <class T>
std::string row_bytes(const RowValues& row) {
  std::string bytes(row.size() * sizeof(T), '\0');
  for (std::size_t i = 0; i < row.size(); ++i) {
    const T value = T(row[i]);
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

/// Executes a cell again and writes its rows; false when the bits are no longer the stored ones.
Result<bool> write_logits(const RunInfo& run, const CellInfo& cell, const CellTrace& trace,
                          const std::string& folder) {
  auto rebuilt = rebuild(run, cell);
  ISOBIT_TRY(rebuilt);
  std::vector<std::pair<int, std::int64_t>> capture;
  for (std::size_t p = 0; p < trace.prompts.size(); ++p) {
    for (const TokenRecord& token : trace.prompts[p].tokens) {
      capture.emplace_back(int(p), token.position);
    }
  }
  const auto again = execute_again(**rebuilt, cell, trace, capture, false);
  ISOBIT_TRY(again);
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) return Error{problem.message(), folder};
  const bool wide = again->trace.observed.precision == "fp64";
  for (const auto& [place, row] : again->captured) {
    const std::string& id = trace.prompts[std::size_t(place.first)].id;
    const std::string path =
        (fs::path(folder) /
         (file_word(id) + "-" + std::to_string(place.second) + (wide ? ".f64" : ".f32")))
            .string();
    const auto written =
        write_file_atomically(path, wide ? row_bytes<double>(row) : row_bytes<float>(row));
    ISOBIT_TRY(written);
  }
  complain(std::to_string(again->captured.size()) + " rows of " + cell.name + " are in " + folder);
  if (again->captured.size() != capture.size()) {
    complain("the stored trace has " + std::to_string(capture.size()) + " rows");
    return false;
  }
  return cell_root(again->trace) == cell.root;
}

}  // namespace

Result<int> show(const Arguments& arguments) {
  allow_external(arguments.has("allow-external"));
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  const std::string& word = arguments.words[0];
  const bool json = arguments.has("json");
  const auto means = means_run(**store, word);
  ISOBIT_TRY(means);
  const bool whole_run = *means;
  std::vector<CellInfo> cells;
  if (whole_run) {
    auto run = find_run(**store, word);
    ISOBIT_TRY(run);
    auto of_run = (*store)->cells(run->id);
    ISOBIT_TRY(of_run);
    cells = std::move(*of_run);
  } else {
    auto cell = find_cell(**store, word);
    ISOBIT_TRY(cell);
    cells.push_back(std::move(*cell));
  }
  RunGroups groups;
  if (json && !cells.empty()) {
    auto of_run = groups_of_run(**store, cells.front().run);
    ISOBIT_TRY(of_run);
    groups = std::move(*of_run);
  }
  bool same = true;
  Json out = Json::array();
  std::size_t shown = 0;
  for (const CellInfo& cell : cells) {
    if (cell.pending) continue;
    auto trace = (*store)->trace(cell, json);                  // with what it observed
    if (json && !trace) trace = (*store)->trace(cell, false);  // damage() says what is lost
    ISOBIT_TRY(trace);
    ++shown;
    auto damage = (*store)->damage(cell);
    ISOBIT_TRY(damage);
    if (!damage->empty()) {
      complain("what is stored of " + cell.name + " is damaged: " + *damage);
      same = false;
    }
    if (json)
      out.push_back(cell_json(cell, *trace, groups.of(cell)));
    else
      print_cell(cell, *trace, arguments.has("verbose"));
    if (!arguments.has("logits")) continue;
    auto run = (*store)->run(cell.run);
    ISOBIT_TRY(run);
    const fs::path folder = arguments.text("logits");
    const std::string attempt = cell.attempt > 1 ? "-" + std::to_string(cell.attempt) : "";
    const fs::path place = whole_run ? folder / (cell.hash + attempt) : folder;
    const auto written = write_logits(**run, cell, *trace, place.string());
    ISOBIT_TRY(written);
    if (!*written) complain("the bits of " + cell.name + " are not those that were stored");
    same &= *written;
  }
  if (json) print_json({{"format", kOutputFormat}, {"cells", out}});
  if (shown == 0) complain("no finished cell");
  return int(shown == 0 ? kExitNothing : same ? kExitOk : kExitDifferent);
}

}  // namespace isobit::commands
