// Everything that looks up: runs, cells, history, golden events.
#include <algorithm>

#include "harness/store/impl.h"

namespace isobit {
namespace {

const std::string kCellColumns =
    "SELECT c.id, c.run, c.name, c.hash, c.class_hash, c.class_recipe, c.axes, c.key, c.attempt,"
    " c.state = 'pending', coalesce(c.source, 0), coalesce(sr.started, r.started), c.root,"
    " c.status, c.status_reason, c.verdict, c.severity, c.verdict_reason, c.seconds,"
    " c.record_seconds, c.difference, c.scored, c.correct,"
    " (SELECT sum(p.token_count) FROM prompt p WHERE p.cell = coalesce(c.source, c.id)),"
    " json_extract(c.observed, '$.virtual_ranks'),"
    " coalesce(json_extract(c.observed, '$.imported'), '')"
    " FROM cell c JOIN run r ON r.id = c.run LEFT JOIN cell s ON s.id = c.source"
    " LEFT JOIN run sr ON sr.id = s.run ";

const std::string kRunColumns =
    "SELECT r.id, r.command, r.scenario, r.scenario_path, r.scenario_text, e.json, r.commit_id,"
    " r.dirty, r.started, r.finished, coalesce(r.exit_code, -1), r.unseed, r.question,"
    " r.overrides, r.notes, r.tokens_compared, r.obsolete, r.seconds, r.cost"
    " FROM run r JOIN environment e ON e.id = r.environment ";

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
  cell.imported = row.text(25);
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
  run.cost = row.integer(18) != 0;
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

bool is_hash_start(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
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

Result<std::vector<CellCost>> StoreImpl::costs(std::int64_t run) {
  Query query(*db_,
              "SELECT c.id, x.seconds, x.observed,"
              " (SELECT sum(p.prompt_tokens) FROM prompt p WHERE p.cell = x.id),"
              " (SELECT sum(p.token_count) FROM prompt p WHERE p.cell = x.id)"
              " FROM cell c JOIN cell x ON x.id = coalesce(c.source, c.id)"
              " WHERE c.run = ?1 AND c.state = 'done' AND x.status = 'ok' ORDER BY c.id",
              run);
  return read_all<CellCost>(query, [](const Query& row) {
    CellCost cost;
    cost.cell = row.integer(0);
    cost.seconds = row.real(1);
    cost.observed = parse_observed(row.text(2));
    cost.prompt_tokens = row.integer(3);
    cost.tokens = row.integer(4);
    return cost;
  });
}

Result<std::string> StoreImpl::hash_named(const std::string& word) {
  {
    Query exact(*db_, "SELECT hash FROM cell WHERE name = ?1 OR hash = ?1 ORDER BY id DESC LIMIT 1",
                word);
    if (exact.next()) return std::string(exact.text(0));
    if (!exact.ok()) return exact.error();
  }
  {
    // The bare name: stored ones go on with " /" and a part of the hash; '0' comes after '/'.
    Query bare(*db_,
               "SELECT hash FROM cell WHERE name >= ?1 AND name < ?2 ORDER BY id DESC LIMIT 1",
               word + " /", word + " 0");
    if (bare.next()) return std::string(bare.text(0));
    if (!bare.ok()) return bare.error();
  }
  // "NAME /START", "/START" or "START"; before a whole hash anything may stand.
  const std::size_t slash = word.rfind(" /");
  const bool named = slash != std::string::npos;
  const std::string start = word.substr(named ? slash + 2 : word.starts_with("/") ? 1 : 0);
  if (!is_hash_start(start)) return std::string();
  constexpr std::size_t kWholeHash = 16;
  constexpr std::size_t kMost = 6;
  Query hashes(*db_,
               "SELECT hash, max(name) FROM cell WHERE hash >= ?1 AND hash < ?2 AND"
               " (?3 = '' OR substr(name, 1, length(?3)) = ?3) GROUP BY hash LIMIT ?4",
               start, start + "g",
               named && start.size() < kWholeHash ? word.substr(0, slash + 2) : std::string(),
               std::int64_t(kMost + 1));
  std::vector<std::string> found, texts;
  while (hashes.next()) {
    found.emplace_back(hashes.text(0));
    const std::string name(hashes.text(1));
    texts.push_back(name.substr(0, name.rfind(" /")) + " /" + found.back());
  }
  if (!hashes.ok()) return hashes.error();
  if (found.empty()) return std::string();
  if (found.size() == 1) return found.front();
  std::string candidates;
  for (std::size_t i = 0; i < std::min(texts.size(), kMost); ++i) {
    candidates += (i == 0 ? "" : ", ") + texts[i];
  }
  return Error{"'" + word + "' names more than one cell: " + candidates +
                   (texts.size() > kMost ? ", and more" : ""),
               db_->path()};
}

Result<std::vector<CellInfo>> StoreImpl::history(const std::string& name_or_hash) {
  const auto hash = hash_named(name_or_hash);
  ISOBIT_TRY(hash);
  if (hash->empty()) return std::vector<CellInfo>{};
  Query query(*db_, kCellColumns + "WHERE c.hash = ?1 ORDER BY c.id DESC", *hash);
  return read_all<CellInfo>(query, read_cell);
}

Result<std::optional<CellInfo>> StoreImpl::with_rows(const std::string& class_hash,
                                                     const std::string& prompt_digest,
                                                     const Sha256& root, std::int64_t but_not,
                                                     const std::string& rather) {
  Query query(*db_,
              kCellColumns +
                  "WHERE c.class_hash = ?1 AND c.state = 'done' AND c.source IS NULL"
                  " AND c.run <> ?4 AND EXISTS (SELECT 1 FROM prompt p WHERE"
                  " p.cell = c.id AND p.root = ?3 AND lower(hex(p.tokens_digest)) = ?2)"
                  " ORDER BY c.hash = ?5 DESC, c.id DESC LIMIT 1",
              class_hash, prompt_digest, root, but_not, rather);
  return read_one<CellInfo>(query, read_cell);
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
