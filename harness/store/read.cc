// Everything that looks up and reads back: runs, cells, history, traces, golden events.
#include <algorithm>
#include <cstring>
#include <limits>

#include "harness/store/impl.h"

namespace isobit {
namespace {

const std::string kCellColumns =
    "SELECT c.id, c.run, c.name, c.hash, c.class_hash, c.class_recipe, c.axes, c.key, c.attempt,"
    " c.state = 'pending', coalesce(c.source, 0), coalesce(sr.started, r.started), c.root,"
    " c.status, c.status_reason, c.verdict, c.severity, c.verdict_reason, c.seconds,"
    " c.record_seconds, c.difference, c.scored, c.correct,"
    " (SELECT sum(p.token_count) FROM prompt p WHERE p.cell = coalesce(c.source, c.id)),"
    " json_extract(c.observed, '$.virtual_ranks')"
    " FROM cell c JOIN run r ON r.id = c.run LEFT JOIN cell s ON s.id = c.source"
    " LEFT JOIN run sr ON sr.id = s.run ";

const std::string kRunColumns =
    "SELECT r.id, r.command, r.scenario, r.scenario_path, r.scenario_text, e.json, r.commit_id,"
    " r.dirty, r.started, r.finished, coalesce(r.exit_code, -1), r.unseed, r.question,"
    " r.overrides, r.notes, r.tokens_compared, r.obsolete, r.seconds"
    " FROM run r JOIN environment e ON e.id = r.environment ";

template <class Enum>
Enum enum_of(std::string_view name, int count, Enum otherwise) {
  for (int i = 0; i < count; ++i) {
    if (name == name_of(static_cast<Enum>(i))) return static_cast<Enum>(i);
  }
  return otherwise;
}

CellInfo read_cell(const Query& row) {
  CellInfo cell;
  cell.id = row.integer(0);
  cell.run = row.integer(1);
  cell.name = row.text(2);
  cell.hash = row.text(3);
  cell.class_hash = row.text(4);
  cell.class_recipe = row.text(5);
  cell.axes_json = row.text(6);
  cell.key = row.bytes<32>(7);
  cell.attempt = static_cast<int>(row.integer(8));
  cell.pending = row.integer(9) != 0;
  cell.source = row.integer(10);
  cell.source_date = row.text(11);
  cell.root = row.bytes<32>(12);
  if (!cell.pending) cell.status = status_of(row.text(13));
  cell.status_reason = row.text(14);
  cell.judged = !row.null(15);
  if (cell.judged) {
    cell.judgement.verdict = verdict_of(row.text(15));
    cell.judgement.severity = enum_of(row.text(16), 4, Severity::none);
    cell.judgement.reason = row.text(17);
  }
  cell.seconds = row.real(18);
  cell.record_seconds = row.real(19);
  cell.difference = parse_difference(row.text(20));
  cell.score = {row.integer(21), row.integer(22)};
  cell.tokens = row.integer(23);
  cell.virtual_ranks = row.integer(24) != 0;
  return cell;
}

RunInfo read_run(const Query& row) {
  RunInfo run;
  run.id = row.integer(0);
  run.command = row.text(1);
  run.scenario = row.text(2);
  run.scenario_path = row.text(3);
  run.scenario_text = row.text(4);
  run.environment_json = row.text(5);
  run.commit = row.text(6);
  run.dirty = row.integer(7) != 0;
  run.started = row.text(8);
  run.finished = row.text(9);
  run.exit_code = static_cast<int>(row.integer(10));
  run.unseed = row.text(11);
  run.question = row.text(12);
  run.overrides = parse_texts(row.text(13));
  run.notes = parse_texts(row.text(14));
  run.tokens_compared = row.integer(15);
  run.obsolete = row.integer(16);
  run.seconds = row.real(17);
  return run;
}

template <class Value, class Reader>
Result<std::vector<Value>> read_all(Query& query, Reader read) {
  std::vector<Value> values;
  while (query.next()) values.push_back(read(query));
  if (!query.ok()) return query.error();
  return values;
}

template <class Value, class Reader>
Result<std::optional<Value>> read_one(Query& query, Reader read) {
  std::optional<Value> value;
  if (query.next()) value = read(query);
  if (!query.ok()) return query.error();
  return value;
}

TokenRecord read_token(const Query& row, int first) {
  TokenRecord token;
  token.position = row.integer(first);
  token.id = static_cast<std::int32_t>(row.integer(first + 1));
  token.fed = static_cast<std::int32_t>(row.integer(first + 2));
  token.digest.bytes = row.bytes<16>(first + 3);
  token.margin = row.null(first + 4) ? std::numeric_limits<float>::quiet_NaN()
                                     : static_cast<float>(row.real(first + 4));
  token.non_finite = row.integer(first + 5) != 0;
  const auto top = row.blob(first + 6);
  token.top_count = static_cast<std::int32_t>(std::min<std::size_t>(top.size() / 8, kTopK));
  for (std::size_t i = 0; i < std::size_t(token.top_count); ++i) {
    std::memcpy(&token.top_ids[i], top.data() + 8 * i, 4);
    std::memcpy(&token.top_logits[i], top.data() + 8 * i + 4, 4);
  }
  return token;
}

bool is_hash_prefix(const std::string& text) {
  return text.size() >= 4 && text.size() <= 64 &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Error out_of_range(std::int64_t cell, const std::string& path) {
  return Error{"cell " + std::to_string(cell) + " has rows of a prompt it does not have", path};
}

}  // namespace

Verdict verdict_of(std::string_view name) {
  return enum_of(name, kVerdicts, Verdict::fail);
}

Result<std::vector<std::optional<CellInfo>>> StoreImpl::find(const std::vector<Sha256>& keys) {
  auto begun = db_->execute("BEGIN");
  ISOBIT_TRY(begun);
  std::vector<std::optional<CellInfo>> found;
  Result<void> state;
  {
    Query query(*db_, kCellColumns +
                          "WHERE c.id = (SELECT id FROM cell WHERE key = ?1 AND state = 'done' AND"
                          " status = 'ok' AND source IS NULL ORDER BY id DESC LIMIT 1)");
    for (const Sha256& key : keys) {
      query.rebind(key);
      auto cell = read_one<CellInfo>(query, read_cell);
      if (!cell) {
        state = cell.error();
        break;
      }
      found.push_back(std::move(*cell));
    }
  }
  auto ended = db_->execute("COMMIT");
  ISOBIT_TRY(state);
  ISOBIT_TRY(ended);
  return found;
}

Result<std::vector<RunInfo>> StoreImpl::runs() {
  Query query(*db_, kRunColumns + "ORDER BY r.id DESC");
  return read_all<RunInfo>(query, read_run);
}

Result<std::optional<RunInfo>> StoreImpl::run(std::int64_t id) {
  Query query(*db_, kRunColumns + "WHERE r.id = ?1", id);
  return read_one<RunInfo>(query, read_run);
}

Result<std::vector<CellInfo>> StoreImpl::cells(std::int64_t run) {
  Query query(*db_, kCellColumns + "WHERE c.run = ?1 ORDER BY c.id", run);
  return read_all<CellInfo>(query, read_cell);
}

Result<std::optional<CellInfo>> StoreImpl::cell(std::int64_t id) {
  Query query(*db_, kCellColumns + "WHERE c.id = ?1", id);
  return read_one<CellInfo>(query, read_cell);
}

Result<std::vector<CellInfo>> StoreImpl::history(const std::string& name_or_hash) {
  {
    Query exact(*db_, kCellColumns + "WHERE c.name = ?1 OR c.hash = ?1 ORDER BY c.id DESC",
                name_or_hash);
    auto cells = read_all<CellInfo>(exact, read_cell);
    if (!cells || !cells->empty()) return cells;
  }
  const std::size_t slash = name_or_hash.rfind('/');
  const std::string prefix =
      slash == std::string::npos ? name_or_hash : name_or_hash.substr(slash + 1);
  if (!is_hash_prefix(prefix)) return std::vector<CellInfo>{};
  Query hashes(*db_, "SELECT DISTINCT hash FROM cell WHERE hash >= ?1 AND hash < ?2 LIMIT 3",
               prefix, prefix + "g");
  std::vector<std::string> matching;
  while (hashes.next()) matching.emplace_back(hashes.text(0));
  if (!hashes.ok()) return hashes.error();
  if (matching.size() > 1) {
    return Error{"'" + name_or_hash + "' names more than one cell: " + matching[0] + ", " +
                     matching[1] + (matching.size() > 2 ? ", …" : ""),
                 db_->path()};
  }
  if (matching.empty()) return std::vector<CellInfo>{};
  Query query(*db_, kCellColumns + "WHERE c.hash = ?1 ORDER BY c.id DESC", matching[0]);
  return read_all<CellInfo>(query, read_cell);
}

Result<CellTrace> StoreImpl::trace(const CellInfo& cell, bool with_observations) {
  CellTrace trace;
  std::int64_t executed = 0;
  {
    Query query(*db_,
                "SELECT x.id, x.status, x.status_reason, x.level, x.observed, x.seconds,"
                " x.record_seconds FROM cell c JOIN cell x ON x.id = coalesce(c.source, c.id)"
                " WHERE c.id = ?1 AND c.state = 'done'",
                cell.id);
    if (!query.next()) {
      return query.ok() ? Error{"cell " + std::to_string(cell.id) + " has no trace (not finished)",
                                db_->path()}
                        : query.error();
    }
    executed = query.integer(0);
    trace.status = status_of(query.text(1));
    trace.reason = query.text(2);
    trace.level = enum_of(query.text(3), 3, TraceLevel::logits);
    trace.observed = parse_observed(query.text(4));
    trace.seconds = query.real(5);
    trace.record_seconds = query.real(6);
  }
  auto prompts = read_prompts(executed, trace);
  ISOBIT_TRY(prompts);
  auto tokens = read_tokens(executed, trace);
  ISOBIT_TRY(tokens);
  if (with_observations) {
    auto observations = read_observations(executed, trace);
    ISOBIT_TRY(observations);
  }
  return trace;
}

Result<void> StoreImpl::read_prompts(std::int64_t cell, CellTrace& trace) {
  Query query(*db_,
              "SELECT prompt, id, tokens_digest, prompt_tokens, token_count, ended, answer, text"
              " FROM prompt WHERE cell = ?1 ORDER BY prompt",
              cell);
  while (query.next()) {
    if (query.integer(0) != std::int64_t(trace.prompts.size())) {
      return out_of_range(cell, db_->path());
    }
    PromptTrace& prompt = trace.prompts.emplace_back();
    prompt.id = query.text(1);
    prompt.tokens_digest = query.bytes<32>(2);
    prompt.prompt_tokens = query.integer(3);
    prompt.ended = query.integer(5) != 0;
    prompt.answer = query.text(6);
    prompt.text = query.text(7);
  }
  if (!query.ok()) return query.error();
  return {};
}

Result<void> StoreImpl::read_tokens(std::int64_t cell, CellTrace& trace) {
  Query query(*db_,
              "SELECT prompt, position, id, fed, digest, margin, non_finite, top"
              " FROM token WHERE cell = ?1 ORDER BY prompt, position",
              cell);
  while (query.next()) {
    const std::int64_t prompt = query.integer(0);
    if (prompt < 0 || prompt >= std::int64_t(trace.prompts.size())) {
      return out_of_range(cell, db_->path());
    }
    trace.prompts[std::size_t(prompt)].tokens.push_back(read_token(query, 1));
  }
  if (!query.ok()) return query.error();
  return {};
}

Result<void> StoreImpl::read_observations(std::int64_t cell, CellTrace& trace) {
  Query query(*db_,
              "SELECT prompt, position, digests FROM observation WHERE cell = ?1"
              " ORDER BY prompt, position",
              cell);
  while (query.next()) {
    const std::int64_t prompt = query.integer(0);
    if (prompt < 0 || prompt >= std::int64_t(trace.prompts.size())) {
      return out_of_range(cell, db_->path());
    }
    const auto digests = query.blob(2);
    for (std::size_t at = 0; at + 21 <= digests.size(); at += 21) {
      Observation observation;
      observation.position = query.integer(1);
      std::memcpy(&observation.layer, digests.data() + at, 4);
      const int site = digests[at + 4];
      if (site >= kSites) return Error{"an observation of an unknown site", db_->path()};
      observation.site = static_cast<Site>(site);
      std::memcpy(observation.digest.bytes.data(), digests.data() + at + 5, 16);
      trace.prompts[std::size_t(prompt)].observations.push_back(observation);
    }
  }
  if (!query.ok()) return query.error();
  return {};
}

Result<std::vector<GoldenEvent>> StoreImpl::golden_events(const std::string& scenario) {
  Query query(*db_,
              "SELECT at, action, scenario, class_hash, prompt_id, block_hash, parent_hash,"
              " by_whom, reason FROM golden_event WHERE scenario = ?1 ORDER BY id",
              scenario);
  return read_all<GoldenEvent>(query, [](const Query& row) {
    GoldenEvent event;
    event.at = row.text(0);
    event.action = row.text(1);
    event.scenario = row.text(2);
    event.class_hash = row.text(3);
    event.prompt_id = row.text(4);
    event.block_hash = row.text(5);
    event.parent_hash = row.text(6);
    event.by = row.text(7);
    event.reason = row.text(8);
    return event;
  });
}

}  // namespace isobit
