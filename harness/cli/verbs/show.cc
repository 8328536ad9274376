// `isobit show`: what a cell or a run recorded; with --logits its rows, computed again.
#include <cmath>
#include <cstring>
#include <filesystem>

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
  return {{"position", token.position},
          {"id", token.id},
          {"digest", to_hex(token.digest)},
          {"margin", token.margin},
          {"top", top}};
}

Json cell_json(const CellInfo& cell, const CellTrace& trace) {
  Json prompts = Json::array();
  for (const PromptTrace& prompt : trace.prompts) {
    Json tokens = Json::array();
    for (const TokenRecord& token : prompt.tokens) tokens.push_back(token_json(token));
    prompts.push_back({{"prompt", prompt.id}, {"text", prompt.text}, {"tokens", tokens}});
  }
  return {{"name", cell.name},
          {"hash", cell.hash},
          {"verdict", verdict_of(cell)},
          {"run", cell.run},
          {"root", to_hex(cell.root)},
          {"engine", trace.observed.engine},
          {"kernels", trace.observed.kernels},
          {"library_sha256", trace.observed.library_sha256},
          {"prompts", prompts}};
}

std::string decimal(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string observed_text(const Observed& o) {
  std::string out = o.engine + " on " + o.device + ", isa " + o.isa + ", " + o.precision + ", " +
                    std::to_string(o.threads) + " threads, " + std::to_string(o.ranks) +
                    (o.virtual_ranks ? " virtual" : "") + " ranks, " + std::to_string(o.live_rows) +
                    " live rows, " + std::to_string(o.steps) + " steps";
  if (!o.transport.empty()) out += ", between ranks: " + o.transport;
  if (o.chunks > 1) out += ", " + std::to_string(o.chunks) + " chunks";
  if (o.prefix_hits > 0) out += ", " + std::to_string(o.prefix_hits) + " prefix hits";
  if (o.recomputed > 0) out += ", " + std::to_string(o.recomputed) + " recomputed";
  return out;
}

void print_cell(const CellInfo& cell, const CellTrace& trace, bool verbose) {
  print(shown_text(cell.name) + "\n");
  print("  verdict   " + verdict_of(cell) +
        (cell.judgement.reason.empty() ? "" : ": " + shown_text(cell.judgement.reason)) + "\n");
  print("  run       " + std::to_string(cell.run) + ", executed " + cell.source_date +
        (cell.source != 0 ? " (reused)" : "") + "\n");
  print("  root      " + to_hex(cell.root) + "\n");
  print("  observed  " + shown_text(observed_text(trace.observed)) + "\n");
  print("  kernels   " + shown_text(trace.observed.kernels) + "\n");
  if (!trace.observed.library.empty()) {
    print("  library   " + shown_text(fs::path(trace.observed.library).filename().string()) +
          ", SHA-256 " + trace.observed.library_sha256.substr(0, 16) + "\n");
  }
  print("  recorded  " + std::string(name_of(trace.level)) + "\n");
  for (const PromptTrace& prompt : trace.prompts) {
    print("  prompt " + shown_text(prompt.id) + ", " + std::to_string(prompt.prompt_tokens) +
          " tokens, " + std::to_string(prompt.tokens.size()) + " generated" +
          (prompt.ended ? ", ended" : "") + "\n");
    if (!prompt.text.empty())
      print("    " + text::quoted(prompt.text, verbose ? 100'000 : 200) + "\n");
    std::vector<std::vector<std::string>> rows{{"    position", "id", "digest", "margin", "top"}};
    for (const TokenRecord& token : prompt.tokens) {
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

/// A prompt id as part of a file name.
std::string file_word(const std::string& id) {
  std::string out;
  for (const char c : id) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' ||
                       (c == '.' && !out.empty());
    out += plain ? c : '_';
  }
  return out.empty() ? "_" : out;
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
  auto rebuilt = rebuild(run);
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
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  const std::string& word = arguments.words[0];
  const bool json = arguments.has("json"), whole_run = names_run(word);
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
  bool same = true;
  Json out = Json::array();
  std::size_t shown = 0;
  for (const CellInfo& cell : cells) {
    if (cell.pending) continue;
    auto trace = (*store)->trace(cell, false);
    ISOBIT_TRY(trace);
    ++shown;
    auto damage = (*store)->damage(cell);
    ISOBIT_TRY(damage);
    if (!damage->empty()) {
      complain("what is stored of " + cell.name + " is damaged: " + *damage);
      same = false;
    }
    if (json)
      out.push_back(cell_json(cell, *trace));
    else
      print_cell(cell, *trace, arguments.has("verbose"));
    if (!arguments.has("logits")) continue;
    auto run = (*store)->run(cell.run);
    ISOBIT_TRY(run);
    const fs::path folder = arguments.text("logits");
    const auto written = write_logits(**run, cell, *trace,
                                      whole_run ? (folder / cell.hash).string() : folder.string());
    ISOBIT_TRY(written);
    if (!*written) complain("the bits of " + cell.name + " are not those that were stored");
    same &= *written;
  }
  if (json) print_json({{"format", kOutputFormat}, {"cells", out}});
  if (shown == 0) complain("no finished cell");
  return int(shown == 0 ? kExitNothing : same ? kExitOk : kExitDifferent);
}

}  // namespace isobit::commands
