// Prompts, positions, tokens and digests of a trace (checks.h).
#include "harness/import/checks.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "harness/import/rows.h"
#include "runtime/backend.h"
#include "runtime/base/words.h"
#include "runtime/numerics/evidence.h"
#include "runtime/run/log_sum.h"
#include "runtime/run/record_row.h"

namespace isobit {
namespace {

std::string name_of_prompt(const std::string& id) {
  return "prompt " + in_quotes(id);
}

/// Whether a row that is known by its digest and best entries is said to be not finite.
bool says_non_finite(const TraceRow& row) {
  const auto infinite = [](const auto& entry) { return !std::isfinite(entry.second); };
  return !row.finite.value_or(true) || std::any_of(row.top.begin(), row.top.end(), infinite);
}

/// Of a list as an engine returned it, in whatever order.
TopEntries best_of(TopList list) {
  std::sort(list.begin(), list.end());  // entries are offered by id
  TopEntries out;
  for (const auto& [id, value] : list) out.offer(id, value, kTopK);
  return out;
}

struct RecordedValues {
  bool log_sums = false, fed_logits = false;
};

/// A row by value: digest, best entries and whether it is finite.
/// `values`: what the cell records of a row's numbers.
template <class T>
void take_row(const RowTable& table, std::int64_t index, const RecordedValues& values,
              std::vector<T>& row, TokenRecord& token) {
  read_row(table, index, row);
  token.digest = digest_row(std::span<const T>(row));
  TopEntries top;
  for (std::size_t i = 0; i < row.size(); ++i) {
    top.offer(std::int32_t(i), double(row[i]), kTopK);
  }
  token.non_finite = top.non_finite;
  keep_top(top, token);
  const auto bytes = std::as_bytes(std::span<const T>(row));
  if (values.log_sums) token.log_sum = row_log_sum(bytes, sizeof(T) == 8);
  if (values.fed_logits) token.fed_logit = row_logit(bytes, sizeof(T) == 8, token.fed);
}

std::vector<TokenRecord>::const_iterator first_non_finite(const PromptTrace& prompt) {
  return std::find_if(prompt.tokens.begin(), prompt.tokens.end(),
                      [](const TokenRecord& token) { return token.non_finite; });
}

class Checker {
 public:
  Checker(const TraceFile& file, const std::string& path, const Loaded& loaded, const Cell& cell)
      : file_(file),
        folder_(std::filesystem::path(path).parent_path()),
        path_(path),
        loaded_(loaded),
        session_(loaded.session),
        model_(loaded.session.of(cell)),
        cell_(cell),
        taught_(cell.value("teacher_forced") != "false"),
        greedy_(decode_of(loaded.scenario, cell).strategy == "greedy"),
        wide_(cell.value("precision") == "fp64"),
        recorded_{needs_log_sums(loaded.scenario, cell), needs_fed_logits(loaded.scenario)} {}

  Result<CellTrace> check() {
    if (!file_.model.empty() && file_.model != model_.inputs.model_digest) {
      return Error{"the trace is of model " + file_.model + ", the scenario's is " +
                       model_.inputs.model_digest,
                   file_.place};
    }
    if (auto ok = check_prompts(); !ok) return ok.error();
    CellTrace out;
    observe(out.observed);
    for (std::size_t p = 0; p < session_.prompts.size(); ++p) {
      auto prompt = prompt_trace(p);
      ISOBIT_TRY(prompt);
      note_non_finite(*prompt, out);
      out.prompts.push_back(std::move(*prompt));
    }
    return out;
  }

 private:
  void observe(Observed& out) const {
    out.engine = file_.engine + (file_.version.empty() ? "" : " " + file_.version);
    const GenerateRequest asked = cell_.requested();
    out.device = asked.backend.device;
    out.precision = mode_of(asked.precision).name;
    out.evidence = file_.evidence;
    out.gemm = out.attention = out.weights = out.kv = "";  // nobody saw what ran
  }

  static void note_non_finite(const PromptTrace& prompt, CellTrace& out) {
    const auto bad = first_non_finite(prompt);
    if (bad == prompt.tokens.end() || out.status != CellStatus::ok) return;
    out.status = CellStatus::non_finite;
    out.reason = "prompt " + prompt.id + ", position " + std::to_string(bad->position) +
                 ": non-finite logit";
  }

  /// Each prompt of one side is on the other.
  Result<void> check_prompts() const {
    std::vector<std::string> known;
    for (const Prompt& prompt : session_.prompts) known.push_back(prompt.id);
    for (const TracePrompt& prompt : file_.prompts) {
      if (std::find(known.begin(), known.end(), prompt.id) != known.end()) continue;
      return Error{
          "the scenario has no " + name_of_prompt(prompt.id) + did_you_mean(prompt.id, known),
          prompt.place};
    }
    for (const std::string& id : known) {
      if (find(id) == nullptr) {
        return Error{name_of_prompt(id) + " of the scenario is not in the trace", path_};
      }
    }
    return {};
  }

  [[nodiscard]] const TracePrompt* find(const std::string& id) const {
    for (const TracePrompt& prompt : file_.prompts) {
      if (prompt.id == id) return &prompt;
    }
    return nullptr;
  }

  Result<PromptTrace> prompt_trace(std::size_t p) {
    const Prompt& own = session_.prompts[p];
    const std::vector<std::int32_t>& tokens = model_.tokens[p].tokens;
    const TracePrompt& prompt = *find(own.id);
    if (auto ok = check_tokens(prompt, tokens); !ok) return ok.error();
    if (auto ok = check_length(prompt, std::int64_t(tokens.size())); !ok) return ok.error();
    const auto values = rows_of(prompt);
    ISOBIT_TRY(values);
    PromptTrace out;
    out.id = own.id;
    out.answer = own.answer;
    out.tokens_digest = tokens_digest(tokens);
    out.prompt_tokens = std::int64_t(tokens.size());
    for (std::size_t i = 0; i < prompt.rows.size(); ++i) {
      const bool last = i + 1 == prompt.rows.size();
      if (taught_ && !last && !prompt.rows[i].fed) {
        return Error{"a taught cell's row needs fed", prompt.rows[i].place};
      }
      auto token = token_record(prompt.rows[i], *values, i, given_token(p, i));
      ISOBIT_TRY(token);
      out.tokens.push_back(*token);
    }
    if (auto ok = check_end(p, prompt, out); !ok) return ok.error();
    if (model_.tokenizer) {
      std::vector<std::int32_t> ids;
      for (const TokenRecord& token : out.tokens) ids.push_back(token.id);
      out.text = model_.tokenizer->decode(ids);
    }
    return out;
  }

  static Result<void> check_tokens(const TracePrompt& prompt,
                                   const std::vector<std::int32_t>& own) {
    const std::string name = name_of_prompt(prompt.id);
    if (prompt.tokens.size() != own.size()) {
      return Error{name + " has " + std::to_string(prompt.tokens.size()) +
                       " tokens, the scenario's has " + std::to_string(own.size()),
                   prompt.place};
    }
    const auto [here, there] = std::mismatch(own.begin(), own.end(), prompt.tokens.begin());
    if (here == own.end()) return {};
    return Error{name + ": token " + std::to_string(here - own.begin() + 1) + " is " +
                     std::to_string(*there) + ", the scenario's prompt has " +
                     std::to_string(*here) + " there",
                 prompt.place};
  }

  [[nodiscard]] Result<void> check_length(const TracePrompt& prompt, std::int64_t length) const {
    const std::string name = name_of_prompt(prompt.id);
    const TraceRow& first = prompt.rows.front();
    if (first.position != length - 1) {
      return Error{name + ": its first row is at position " + std::to_string(first.position) +
                       ", not at " + std::to_string(length - 1) + ", that of its last token",
                   first.place};
    }
    const std::int64_t most = loaded_.scenario.decode.max_new_tokens;
    if (std::int64_t(prompt.rows.size()) <= most) return {};
    return Error{name + " has more rows than max_new_tokens, " + std::to_string(most),
                 prompt.rows[std::size_t(most)].place};
  }

  /// Nothing is missing behind the last row, and nothing comes behind an end.
  Result<void> check_end(std::size_t p, const TracePrompt& prompt, PromptTrace& out) const {
    const std::string name = name_of_prompt(prompt.id);
    const std::string& place = prompt.rows.back().place;
    const auto rows = std::int64_t(out.tokens.size());
    const std::int64_t most = loaded_.scenario.decode.max_new_tokens;
    if (!model_.given(cell_.value("teacher_forced")).empty()) {
      return check_given(p, prompt, out);
    }
    if (taught_) {  // what was fed ends a sequence, whatever was drawn
      if (rows == most || ends(out.tokens.back().fed) || is_broken(out)) return {};
      return Error{name + " ends after " + std::to_string(rows) + " rows; max_new_tokens is " +
                       std::to_string(most) + ", and what was fed last ends no sequence",
                   place};
    }
    const auto is_end = [&](const TokenRecord& token) { return ends(token.id); };
    out.ended = is_end(out.tokens.back());
    const auto end = std::find_if(out.tokens.begin(), out.tokens.end() - 1, is_end);
    if (end != out.tokens.end() - 1) {
      const std::size_t after = std::size_t(end - out.tokens.begin()) + 1;
      return Error{
          name + ": a row follows token " + std::to_string(end->id) + ", which ends a sequence",
          prompt.rows[after].place};
    }
    if (rows == most || out.ended || is_broken(out)) return {};
    return Error{name + " ends after " + std::to_string(rows) + " rows; max_new_tokens is " +
                     std::to_string(most) + ", and its last token ends no sequence",
                 place};
  }

  [[nodiscard]] bool ends(std::int32_t token) const {
    return std::find(model_.eos.begin(), model_.eos.end(), token) != model_.eos.end();
  }

  /// A row that is not finite fails the cell. An execution ends there; an engine that did not see
  /// it may have gone on, to whatever end.
  static bool is_broken(const PromptTrace& prompt) {
    return first_non_finite(prompt) != prompt.tokens.end();
  }

  /// What was fed is the answer, or the continuation; nobody needs to say what came after the last
  /// row.
  Result<void> check_given(std::size_t p, const TracePrompt& prompt, PromptTrace& out) const {
    const std::string& what = cell_.value("teacher_forced");
    const std::vector<std::int32_t>& given = model_.given(what)[p];
    for (std::size_t i = 0; i < std::min(given.size(), prompt.rows.size()); ++i) {
      const std::int32_t fed = out.tokens[i].fed;
      if (fed == given[i]) continue;
      return Error{"fed is " + std::to_string(fed) + ", the " + what + "'s token is " +
                       std::to_string(given[i]),
                   prompt.rows[i].place};
    }
    if (given.size() == prompt.rows.size()) return {};
    if (given.size() > prompt.rows.size() && is_broken(out)) return {};
    return Error{name_of_prompt(prompt.id) + " has " + std::to_string(prompt.rows.size()) +
                     " rows, its " + what + " has " + std::to_string(given.size()) + " tokens",
                 prompt.rows.back().place};
  }

  /// What the prompt file says that the cell is fed behind a row; -1: it does not.
  [[nodiscard]] std::int32_t given_token(std::size_t p, std::size_t row) const {
    const auto& given = model_.given(cell_.value("teacher_forced"));
    return p < given.size() && row < given[p].size() ? given[p][row] : -1;
  }

  Result<TokenRecord> token_record(const TraceRow& row, const std::optional<RowTable>& values,
                                   std::size_t index, std::int32_t given) {
    if (auto ok = check_ids(row); !ok) return ok.error();
    TokenRecord out;
    out.position = row.position;
    out.id = row.token;
    out.fed = row.fed.value_or(taught_ ? given : row.token);
    out.margin = std::numeric_limits<float>::quiet_NaN();  // as long as nothing says it
    if (!taught_ && out.fed != out.id) {
      return Error{"fed is " + std::to_string(out.fed) + ", token " + std::to_string(out.id) +
                       ": the cell is not teacher_forced",
                   row.place};
    }
    keep_top(best_of(row.top), out);
    if (values) {
      if (wide_) take_row(*values, std::int64_t(index), recorded_, wide_row_, out);
      if (!wide_) take_row(*values, std::int64_t(index), recorded_, row_, out);
      if (row.finite && *row.finite == out.non_finite) {
        return Error{std::string("finite is ") + (*row.finite ? "true" : "false") +
                         ", and the row (row " + std::to_string(index) + " of the file) is " +
                         (*row.finite ? "not finite" : "finite"),
                     row.place};
      }
    } else if (file_.evidence == "logprobs") {
      out.digest = digest_logprobs(row.token, *row.logprob, row.top);
    } else {
      out.digest = file_.evidence == "tokens" ? digest_token(row.token) : *row.digest;
      out.non_finite = file_.evidence == "logits" && says_non_finite(row);
    }
    if (row.digest && *row.digest != out.digest) {
      return Error{
          "digest is " + to_hex(*row.digest) + ", what the row holds gives " + to_hex(out.digest),
          row.place};
    }
    if (auto ok = check_greedy(row, values, index, out); !ok) return ok.error();
    return out;
  }

  [[nodiscard]] Result<void> check_ids(const TraceRow& row) const {
    const std::int64_t vocabulary = model_.model.config.vocab_size;
    const auto check = [&](std::int64_t id) -> Result<void> {
      if (id < vocabulary) return {};
      return Error{"token " + std::to_string(id) + " is outside the vocabulary of " +
                       std::to_string(vocabulary),
                   row.place};
    };
    if (auto ok = check(row.token); !ok) return ok;
    if (auto ok = check(row.fed.value_or(0)); !ok) return ok;
    for (const auto& [id, value] : row.top) {
      if (auto ok = check(id); !ok) return ok;
    }
    return {};
  }

  /// A greedy token is the best of its row, or of equal ones, as far as the row is known.
  [[nodiscard]] Result<void> check_greedy(const TraceRow& row,
                                          const std::optional<RowTable>& values, std::size_t index,
                                          const TokenRecord& token) const {
    if (!greedy_ || token.non_finite || token.top_count == 0) return {};
    std::optional<double> own = row.logprob;
    if (values) {
      own = wide_ ? wide_row_[std::size_t(row.token)] : double(row_[std::size_t(row.token)]);
    }
    const TopEntries best = best_of(row.top);
    for (const auto& [id, value] : row.top) {
      if (!own && id == row.token) own = value;
    }
    const double top = values ? top_value(token) : best.values.front();
    if (own && *own >= top) return {};
    const std::string of = values ? " (row " + std::to_string(index) + " of the file)" : "";
    return Error{"token " + std::to_string(row.token) + " is not the best of its row" + of +
                     ", which is " + std::to_string(token.top_ids[0]) +
                     "; the scenario decodes greedily",
                 row.place};
  }

  [[nodiscard]] double top_value(const TokenRecord& token) const {
    const auto best = std::size_t(token.top_ids[0]);
    return wide_ ? wide_row_[best] : double(row_[best]);
  }

  /// The prompt's rows by value; nothing when its digests are given.
  Result<std::optional<RowTable>> rows_of(const TracePrompt& prompt) {
    if (prompt.rows_file.empty()) return std::optional<RowTable>();
    const std::filesystem::path named = std::filesystem::path(prompt.rows_file).lexically_normal();
    if (named.is_absolute() || named.begin()->string() == "..") {
      return Error{"rows: " + in_quotes(prompt.rows_file) + " leaves the folder of the trace",
                   prompt.place};
    }
    const std::string path = (folder_ / named).string();
    auto at = files_.find(path);
    if (at == files_.end()) {
      auto opened = RowFile::open(path);
      if (!opened) {
        return Error{opened.error().message, prompt.place + ": " + opened.error().place};
      }
      at = files_.emplace(path, std::move(*opened)).first;
    }
    auto table = at->second.of_prompt(prompt.id);
    if (!table) return Error{table.error().message, prompt.place + ": " + path};
    if (auto ok = check_table(prompt, *table); !ok) {
      return Error{ok.error().message, prompt.place + ": " + path};
    }
    return std::optional<RowTable>(*table);
  }

  [[nodiscard]] Result<void> check_table(const TracePrompt& prompt, const RowTable& table) const {
    const std::int64_t vocabulary = model_.model.config.vocab_size;
    if (table.cols != vocabulary) {
      return Error{"rows of " + std::to_string(table.cols) + " numbers; the vocabulary has " +
                       std::to_string(vocabulary),
                   ""};
    }
    if (table.rows != std::int64_t(prompt.rows.size())) {
      return Error{std::to_string(table.rows) + " rows by value, " +
                       std::to_string(prompt.rows.size()) + " lines of " +
                       name_of_prompt(prompt.id),
                   ""};
    }
    if ((table.type == RowType::f64) == wide_) return {};
    return Error{std::string("rows of ") + name_of(table.type) + ", and the cell's precision is " +
                     cell_.value("precision") + ": its digests are of " +
                     (wide_ ? "fp64" : "fp32") + " rows",
                 ""};
  }

  const TraceFile& file_;
  std::filesystem::path folder_;
  const std::string& path_;
  const Loaded& loaded_;
  const Session& session_;
  const ModelSession& model_;
  const Cell& cell_;
  bool taught_, greedy_, wide_;
  RecordedValues recorded_;
  std::map<std::string, RowFile> files_;
  std::vector<float> row_;
  std::vector<double> wide_row_;
};

}  // namespace

Result<CellTrace> cell_trace(const TraceFile& file, const std::string& path, const Loaded& loaded,
                             const Cell& cell) {
  return Checker(file, path, loaded, cell).check();
}

}  // namespace isobit
