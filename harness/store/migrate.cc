// From older schemas to the present one (schema.sql). One step a version; the caller's transaction
// makes all of them happen, or none.
#include "harness/store/impl.h"

namespace isobit {
namespace {

/// Version 2: what `report` tells is stored with the run instead of judged again.
constexpr const char* kToVersion2 = R"sql(
ALTER TABLE run ADD COLUMN question TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN overrides TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(overrides));
ALTER TABLE run ADD COLUMN notes TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(notes));
ALTER TABLE run ADD COLUMN tokens_compared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN obsolete INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN seconds REAL;
ALTER TABLE cell ADD COLUMN difference TEXT
  CHECK (difference IS NULL OR json_valid(difference));
ALTER TABLE cell ADD COLUMN scored INTEGER;
ALTER TABLE cell ADD COLUMN correct INTEGER;
UPDATE run SET notes = json_array('judged by an older program, which kept no groups')
WHERE finished IS NOT NULL;
ALTER TABLE golden_event RENAME TO golden_event_1;
DROP INDEX golden_event_scenario;
)sql";

constexpr const char* kAfterTables2 = R"sql(
INSERT INTO golden_event SELECT * FROM golden_event_1 WHERE action IN ('bless', 'reject');
DROP TABLE golden_event_1;
)sql";

/// Version 3: whether a run tells what its cells took, and what `measure` needs of a row.
constexpr const char* kToVersion3 = R"sql(
ALTER TABLE run ADD COLUMN cost INTEGER NOT NULL DEFAULT 0 CHECK (cost IN (0, 1));
ALTER TABLE token ADD COLUMN log_sum REAL;
)sql";

/// Version 4: the log-probabilities of what was fed.
constexpr const char* kToVersion4 = R"sql(
ALTER TABLE token ADD COLUMN fed_logit REAL;
)sql";

/// The statement of the schema that makes a table or an index.
std::string statement_of(const std::string& begin) {
  const std::string schema = kStoreSchema;
  const std::size_t at = schema.find(begin);
  ISOBIT_CHECK(at != std::string::npos);
  return schema.substr(at, schema.find(';', at) + 1 - at);
}

Result<void> to_version_2(Database& db) {
  if (auto ok = db.execute(kToVersion2); !ok) return ok;
  for (const char* made : {"CREATE TABLE contract_group ", "CREATE TABLE contract_member ",
                           "CREATE INDEX contract_member_cell ", "CREATE TABLE golden_event ",
                           "CREATE INDEX golden_event_scenario "}) {
    if (auto ok = db.execute(statement_of(made)); !ok) return ok;
  }
  return db.execute(kAfterTables2);
}

Result<void> to_version_3(Database& db) {
  if (auto ok = db.execute(kToVersion3); !ok) return ok;
  for (const char* made : {"CREATE TABLE measured_group ", "CREATE TABLE metric_value "}) {
    if (auto ok = db.execute(statement_of(made)); !ok) return ok;
  }
  return {};
}

/// Version 4: scores, and pairs of configurations.
Result<void> to_version_4(Database& db) {
  if (auto ok = db.execute(kToVersion4); !ok) return ok;
  for (const char* made :
       {"CREATE TABLE score_value ", "CREATE TABLE identity_control ",
        "CREATE TABLE measured_pair ", "CREATE TABLE pair_value ", "CREATE TABLE pair_layer "}) {
    if (auto ok = db.execute(statement_of(made)); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<void> migrate_schema(Database& db, std::int64_t version) {
  const auto failed = [&](const Error& error) {
    return Error{"migration from schema version " + std::to_string(version) +
                     " failed, nothing was changed: " + error.message,
                 db.path()};
  };
  if (version == 0) {
    if (auto ok = db.execute(kStoreSchema); !ok) return failed(ok.error());
    return {};
  }
  if (version == 1) {
    if (auto ok = to_version_2(db); !ok) return failed(ok.error());
  }
  if (version <= 2) {
    if (auto ok = to_version_3(db); !ok) return failed(ok.error());
  }
  if (version <= 3) {  // 4: another process was faster
    if (auto ok = to_version_4(db); !ok) return failed(ok.error());
  }
  return {};
}

}  // namespace isobit
