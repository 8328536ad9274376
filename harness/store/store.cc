// Opening a database: whose it is, which version, creation (store.h).
//
// application_id says that the file is ours, user_version which schema it has. Migrations run in
// one transaction; a file that is already newer is refused with both versions named.
#include "harness/store/store.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "harness/store/impl.h"
#include "runtime/base/file.h"

namespace isobit {
namespace {

struct Identity {
  std::int64_t application = 0, version = 0, tables = 0;
  [[nodiscard]] bool fresh() const { return application == 0 && version == 0 && tables == 0; }
};

/// In one statement: another process may be making the tables at this moment.
Result<Identity> identity_of(Database& db) {
  Query query(db,
              "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) "
              "FROM pragma_application_id, pragma_user_version");
  if (!query.next()) return query.error();
  return Identity{query.integer(0), query.integer(1), query.integer(2)};
}

Result<void> check_identity(const Identity& identity, const std::string& path) {
  if (identity.fresh()) return {};
  if (identity.application != kStoreApplication) {
    return Error{"is a SQLite database of another program", path};
  }
  if (identity.version > kStoreVersion) {
    return Error{"the database has schema version " + std::to_string(identity.version) +
                     ", this program knows versions up to " + std::to_string(kStoreVersion) +
                     "; use a newer isobit or another --db",
                 path};
  }
  return {};
}

/// WAL is a property of the file. The switch ignores the busy timeout while another process makes
/// the same switch, so it is repeated here.
Result<void> use_wal(Database& db, int busy_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(busy_ms);
  while (true) {
    auto done = db.execute("PRAGMA journal_mode = WAL");
    if (done || std::chrono::steady_clock::now() >= deadline) return done;
    if (done.error().message.find("locked") == std::string::npos) return done;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Result<void> migrate(Database& db) {
  Transaction transaction(db);
  ISOBIT_TRY(transaction.begun());
  auto identity = identity_of(db);  // again: another process may have been faster
  ISOBIT_TRY(identity);
  auto checked = check_identity(*identity, db.path());
  ISOBIT_TRY(checked);
  auto migrated = migrate_schema(db, identity->version);
  ISOBIT_TRY(migrated);
  auto marked = db.execute("PRAGMA application_id = " + std::to_string(kStoreApplication) +
                           "; PRAGMA user_version = " + std::to_string(kStoreVersion));
  ISOBIT_TRY(marked);
  return transaction.commit();
}

Result<void> prepare_for_writing(Database& db, const Identity& identity, int busy_ms) {
  if (identity.fresh()) {
    auto sized = db.execute("PRAGMA page_size = 8192");
    ISOBIT_TRY(sized);
  }
  auto wal = use_wal(db, busy_ms);
  ISOBIT_TRY(wal);
  if (identity.version < kStoreVersion) {
    auto migrated = migrate(db);
    ISOBIT_TRY(migrated);
  }
  return {};
}

/// The database's folder; who makes it, and no other process, also tells Git to leave it alone.
Result<void> make_folder(const std::filesystem::path& database) {
  namespace fs = std::filesystem;
  const fs::path folder = database.has_parent_path() ? database.parent_path() : fs::path(".");
  std::error_code error;
  if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), error);
  const bool made = !error && fs::create_directory(folder, error);
  if (error) {
    return Error{"the database's folder cannot be made: " + error.message() +
                     "; --db or ISOBIT_DB names another place",
                 folder.string()};
  }
  // Of a file that cannot be made SQLite would say that it is missing.
  if (!fs::exists(database, error) && ::access(folder.c_str(), W_OK) != 0) {
    return Error{std::string("the database's folder cannot be written: ") + std::strerror(errno) +
                     "; --db or ISOBIT_DB names another place",
                 folder.string()};
  }
  if (!made || folder.filename() != kOwnFolder) return {};
  return write_file_atomically((folder / ".gitignore").string(), "*\n");
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const std::string& path, Mode mode, int busy_ms) {
  namespace fs = std::filesystem;
  const bool writing = mode != Mode::read_only, on_disk = mode != Mode::in_memory;
  std::error_code error;
  if (!writing && !fs::exists(path, error)) {
    return Error{"there is no database here; `isobit run` makes one", path};
  }
  if (writing && on_disk) {
    auto made = make_folder(path);
    ISOBIT_TRY(made);
  }
  using Access = Database::Access;
  auto db = Database::open(path,
                           !on_disk  ? Access::memory
                           : writing ? Access::create
                                     : Access::read,
                           busy_ms);
  ISOBIT_TRY(db);
  auto identity = identity_of(**db);
  ISOBIT_TRY(identity);
  auto checked = check_identity(*identity, path);
  ISOBIT_TRY(checked);
  // NORMAL in WAL: a killed process loses no commit; a power cut may lose the last ones, never
  // the file. The memory map makes long reads fast. The file may come from anywhere: its pages are
  // looked at before they are used.
  auto tuned = (*db)->execute(
      "PRAGMA foreign_keys = ON; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768;"
      "PRAGMA mmap_size = 4294967296; PRAGMA temp_store = MEMORY;"
      "PRAGMA cell_size_check = ON");
  ISOBIT_TRY(tuned);
  if (writing) {
    auto prepared = prepare_for_writing(**db, *identity, busy_ms);
    ISOBIT_TRY(prepared);
  } else if (identity->version < kStoreVersion) {
    return Error{"the database has schema version " + std::to_string(identity->version) +
                     " and must be brought to " + std::to_string(kStoreVersion) +
                     " first: open it once with a command that writes",
                 path};
  }
  return std::unique_ptr<Store>(new StoreImpl(std::move(db.value())));
}

}  // namespace isobit
