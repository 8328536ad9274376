// Fuzzes the database's reader: a database of one run in which some values are no longer what was
// stored. No crash: every look-up, trace and report is a value or an error.
//
// Input: a line a change, "table.column key value", where the value is i (integer), r (real), t
// (text), x (blob in hex) with what follows, n (NULL) or d (the row is deleted); an empty line; and
// the name of a cell to look up. The tables are made without STRICT, and nothing is checked.
#include <algorithm>

#include "harness/store/impl.h"
#include "reports/build.h"
#include "reports/report.h"
#include "tests/fuzz/input.h"

namespace isobit {
namespace {

constexpr std::pair<const char*, const char*> kKeys[] = {
    {"environment", "id"},
    {"run", "id"},
    {"cell", "id"},
    {"prompt", "prompt"},
    {"token", "position"},
    {"observation", "position"},
    {"contract_group", "number"},
    {"contract_member", "place"},
    {"measured_group", "number"},
    {"metric_value", "place"},
    {"golden_event", "id"},
};

struct Fixture {
  Database* database = nullptr;
  std::unique_ptr<StoreImpl> store;
};

CellTrace sample_trace() {
  CellTrace trace;
  trace.level = TraceLevel::layers;
  for (const std::int32_t p : {0, 1}) {
    PromptTrace prompt;
    prompt.id = "p" + std::to_string(p);
    prompt.tokens_digest = sha256(&p, sizeof p);
    for (const std::int64_t position : {5, 6}) {
      TokenRecord token;
      token.position = position;
      token.id = token.fed = p + 7;
      token.top_count = kTopK;
      prompt.tokens.push_back(token);
      prompt.observations.push_back({position, 0, Site::h2, {}});
    }
    trace.prompts.push_back(std::move(prompt));
  }
  return trace;
}

std::string schema() {
  std::string text = kStoreSchema;
  for (const std::string word : {" STRICT,", " STRICT"}) {
    for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos;) {
      text.erase(at, word.size());
    }
  }
  return text;
}

Fixture made() {
  Fixture out;
  auto database = Database::open(":memory:", Database::Access::memory, 0);
  out.database = database->get();
  ISOBIT_CHECK(out.database->execute(schema()).has_value());
  out.store = std::make_unique<StoreImpl>(std::move(*database));
  RunInfo run;
  run.scenario = "s";
  run.environment_json = R"({"cpu":"x"})";
  run.started = "2026-01-22T13:40:00Z";
  run.id = *out.store->begin_run(run);
  std::vector<CellInfo> cells(3);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    cells[i].run = run.id;
    cells[i].name = "s%batch=" + std::to_string(i);
    cells[i].hash = std::string(15, 'a') + char('0' + i);
    cells[i].axes_json = R"({"batch":")" + std::to_string(i) + "\"}";
  }
  ISOBIT_CHECK(out.store->plan(cells).has_value());
  ISOBIT_CHECK(out.store->finish(cells[0], sample_trace()).has_value());
  ISOBIT_CHECK(out.store->finish(cells[1], sample_trace()).has_value());
  ISOBIT_CHECK(out.store->reuse(cells[2], cells[0], true)->damage.empty());
  cells[1].judgement.verdict = Verdict::diff;
  cells[1].difference.present = cells[1].difference.has_distance = true;
  GroupResult group;
  group.rule = "differ across batch";
  group.cells = {0, 1, 2};
  group.equal_pairs = {{0, 2}};
  group.base = 0;
  group.flip_margins = {0.5F};
  group.divergence_index = {-1, 1};
  group.pairs.resize(1);
  group.pairs[0].cell = 1;
  ISOBIT_CHECK(out.store->judge(cells, {group}).has_value());
  MeasuredGroup measured;
  measured.rule = "measure across batch";
  measured.cells = {0, 1, 2};
  measured.values = {{"std_accuracy", 0.5, 0.25, 2, ""}, {"div_index", {}, {}, 0, "none"}};
  ISOBIT_CHECK(out.store->record(run.id, {measured}).has_value());
  ISOBIT_CHECK(
      out.store->record({"bless", "s", "c", "p", "b", "-", "me", "why", "now"}).has_value());
  ISOBIT_CHECK(out.store->end_run(run).has_value());
  ISOBIT_CHECK(
      out.database->execute("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF")
          .has_value());
  return out;
}

std::string blob_of(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += char(std::strtol(hex.substr(i, 2).c_str(), nullptr, 16));
  }
  return out;
}

/// A change that SQLite refuses, or of what is not there, is none.
void change(Database& database, std::string_view line) {
  const std::string table = fuzz::take_part(line, '.');
  const std::string column = fuzz::take_part(line, ' ');
  const std::int64_t row = std::atoll(fuzz::take_part(line, ' ').c_str());
  const auto* const key = std::find_if(std::begin(kKeys), std::end(kKeys),
                                       [&](const auto& each) { return table == each.first; });
  if (key == std::end(kKeys) || line.empty()) return;
  if (column.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") != std::string::npos) return;
  const std::string value(line.substr(1));
  const std::string where = std::string(" WHERE ") + key->second + " = ?1";
  const std::string set = "UPDATE OR IGNORE " + table + " SET " + column + " = ?2" + where;
  const auto run = [&](const auto& bound) {
    Query query(database, set, row, bound);
    (void)query.run().has_value();
  };
  if (line[0] == 'i') run(std::int64_t{std::atoll(value.c_str())});
  if (line[0] == 'r') run(std::strtod(value.c_str(), nullptr));
  if (line[0] == 't') run(value);
  if (line[0] == 'n') run(nullptr);
  if (line[0] == 'x') {
    const std::string blob = blob_of(value);
    run(std::span(reinterpret_cast<const std::uint8_t*>(blob.data()), blob.size()));
  }
  if (line[0] == 'd') {
    Query query(database, "DELETE FROM " + table + where, row);
    (void)query.run().has_value();
  }
}

void read_all(Store& store, const std::string& name) {
  (void)fuzz::accepted(store.runs());
  (void)fuzz::accepted(store.history(name));
  (void)fuzz::accepted(store.golden_events("s"));
  const auto cells = store.cells(1);
  if (fuzz::accepted(cells)) {
    for (const CellInfo& cell : *cells) {
      (void)fuzz::accepted(store.trace(cell, true));
      (void)fuzz::accepted(store.damage(cell));
      (void)fuzz::accepted(store.diff(cells->front(), cell));
    }
  }
  const auto report = build_report(store, 1);
  if (!fuzz::accepted(report)) return;
  TerminalStyle style;
  style.verbose = true;
  // One form an input: each takes as long as all the reading before.
  switch (name.size() % 4) {
    case 0:
      ISOBIT_CHECK(!render_terminal(*report, style).empty());
      break;
    case 1:
      ISOBIT_CHECK(!render_json(*report).empty());
      break;
    case 2:
      ISOBIT_CHECK(!render_junit({*report}).empty());
      break;
    default:
      ISOBIT_CHECK(!render_markdown({*report}).empty());
  }
}

}  // namespace
}  // namespace isobit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  static const Fixture fixture = made();
  const std::string input = fuzz::text_of(data, size);
  std::string_view rest = input;
  ISOBIT_CHECK(fixture.database->execute("SAVEPOINT fuzz").has_value());
  for (int changes = 0; changes < 16; ++changes) {
    const std::string line = fuzz::take_part(rest, '\n');
    if (line.empty()) break;
    change(*fixture.database, line);
  }
  read_all(*fixture.store, std::string(rest));
  ISOBIT_CHECK(fixture.database->execute("ROLLBACK TO fuzz; RELEASE fuzz").has_value());
  return 0;
}
