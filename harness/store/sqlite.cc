// SQLite behind store/sqlite.h. The only file that includes sqlite3.h.
//
// Statement lifetimes and error codes end here; nothing above sees a result code.
#include "harness/store/sqlite.h"

#include <sqlite3.h>
#include <unistd.h>

#include <cctype>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "runtime/base/file.h"

namespace isobit {
namespace {

std::string seconds_text(int milliseconds) {
  const int tenths = milliseconds / 100;
  return std::to_string(tenths / 10) + (tenths % 10 != 0 ? "." + std::to_string(tenths % 10) : "");
}

constexpr const char* kElsewhere = "; --db or ISOBIT_DB names another place";

/// A result code in words that say what to do.
std::string explain(int extended, sqlite3* handle, int busy_ms) {
  const std::string detail = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(extended);
  const int system = handle != nullptr ? sqlite3_system_errno(handle) : 0;
  const std::string cause = system != 0 ? std::string(": ") + std::strerror(system) : "";
  switch (extended & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "the database is locked by another process (waited " + seconds_text(busy_ms) +
             " s; nothing was changed)";
    case SQLITE_FULL:
      return std::string(
                 "the disk is full; what was not finished is not stored, the rest is safe") +
             kElsewhere;
    case SQLITE_READONLY:
      return "the database is read-only (" + detail + ")" + kElsewhere;
    case SQLITE_NOTADB:
      return "is not a SQLite database";
    case SQLITE_CORRUPT:
      return "the database is damaged (" + detail + ")";
    case SQLITE_CANTOPEN:
      return "the database cannot be opened" + cause + kElsewhere;
    case SQLITE_IOERR:
      return "the database cannot be read or written (" + detail + cause + ")" + kElsewhere;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return "access to the database is denied" + cause;
    case SQLITE_CONSTRAINT:
      return "the database refused a row (" + detail + ")";
    default:
      return "database: " + detail;
  }
}

/// Whether a writer left a log that is not in the file yet.
bool has_log(const std::string& path) {
  std::error_code none;
  const auto size = std::filesystem::file_size(path + "-wal", none);
  return !none && size > 0;
}

/// "file:/a%20b?immutable=1": a name that no character of the path can break.
std::string immutable_uri(const std::string& path) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out = "file:";
  for (const char c : std::filesystem::absolute(path).string()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) != 0 || c == '/' || c == '.' || c == '-' || c == '_';
    if (plain) out += c;
    if (!plain) (out += '%').append({kHex[byte >> 4], kHex[byte & 15]});
  }
  return out + "?immutable=1";
}

}  // namespace

Database::Database(sqlite3* handle, std::string path, int busy_ms)
    : handle_(handle), path_(std::move(path)), busy_ms_(busy_ms) {}

Database::~Database() {
  for (const auto& [sql, statement] : idle_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path, Access access,
                                                 int busy_ms) {
  std::error_code ignored;
  const bool memory = access == Access::memory;
  if (!memory) {
    if (std::filesystem::is_directory(path, ignored)) {
      return Error{"is a folder, not a database", path};
    }
    if (auto ok = check_regular(path); !ok) return ok.error();  // a pipe would wait
  }
  if (access != Access::read) {
    return connect(path, memory ? ":memory:" : path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                   busy_ms);
  }
  auto database = connect(path, path, SQLITE_OPEN_READONLY, busy_ms);
  ISOBIT_TRY(database);
  if ((*database)->execute("SELECT 1 FROM sqlite_schema")) return database;
  // Even a reader of a WAL database makes files beside it. Where that is refused and no log is
  // left, the file alone is the whole database; it is read as one that nobody writes to.
  const int code = sqlite3_extended_errcode((*database)->handle_) & 0xFF;
  const bool refused = code == SQLITE_CANTOPEN || code == SQLITE_READONLY;
  if (!refused || has_log(path)) return (*database)->error();
  return connect(path, immutable_uri(path), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, busy_ms);
}

Result<std::unique_ptr<Database>> Database::connect(const std::string& path,
                                                    const std::string& name, int flags,
                                                    int busy_ms) {
  flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  if (handle == nullptr) return Error{explain(code, nullptr, busy_ms), path};
  std::unique_ptr<Database> database(new Database(handle, path, busy_ms));
  if (code != SQLITE_OK) return database->error();
  sqlite3_busy_timeout(handle, busy_ms);
  return database;
}

Error Database::error() const {
  const bool cannot_open = (sqlite3_extended_errcode(handle_) & 0xFF) == SQLITE_CANTOPEN;
  if (cannot_open && has_log(path_) && ::access(path_.c_str(), R_OK) == 0) {
    return Error{"cannot be read without write access to its folder: " + path_ +
                     "-wal holds results that are not in it yet; any command that may write there "
                     "puts them in",
                 path_};
  }
  return Error{explain(sqlite3_extended_errcode(handle_), handle_, busy_ms_), path_};
}

Result<void> Database::execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return error();
  return {};
}

Result<std::int64_t> Database::number(const std::string& sql) {
  Query query(*this, sql);
  if (!query.next()) {
    return query.ok() ? Error{"no row from: " + sql, path_} : query.error();
  }
  return query.integer(0);
}

std::int64_t Database::last_id() const {
  return sqlite3_last_insert_rowid(handle_);
}
std::int64_t Database::changes() const {
  return sqlite3_changes64(handle_);
}

sqlite3_stmt* Database::take(const std::string& sql) {
  if (const auto it = idle_.find(sql); it != idle_.end()) {
    sqlite3_stmt* const statement = it->second;
    idle_.erase(it);
    return statement;
  }
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v3(handle_, sql.c_str(), int(sql.size()) + 1, SQLITE_PREPARE_PERSISTENT,
                     &statement, nullptr);
  return statement;
}

void Database::give(const std::string& sql, sqlite3_stmt* statement) {
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  idle_.emplace(sql, statement);
}

Query::Query(Database& database, const std::string& sql, Prepared)
    : database_(database), sql_(sql), statement_(database.take(sql)) {
  if (statement_ == nullptr) fail();
}

Query::~Query() {
  if (statement_ != nullptr) database_.give(sql_, statement_);
}

void Query::fail() {
  failed_ = true;
  error_ = database_.error();
}

void Query::reset() {
  if (!failed_) sqlite3_reset(statement_);
}

bool Query::next() {
  if (failed_) return false;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) fail();
  return false;
}

Result<void> Query::run() {
  while (next()) {
  }
  if (failed_) return error_;
  return {};
}

std::int64_t Query::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}
double Query::real(int column) const {
  return sqlite3_column_double(statement_, column);
}
bool Query::null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::string_view Query::text(int column) const {
  const auto* const text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return {text, std::size_t(sqlite3_column_bytes(statement_, column))};
}

std::span<const std::uint8_t> Query::blob(int column) const {
  const auto* const data =
      static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, std::size_t(sqlite3_column_bytes(statement_, column))};
}

void Query::bind(int index, std::int64_t value) {
  if (!failed_ && sqlite3_bind_int64(statement_, index, value) != SQLITE_OK) fail();
}
void Query::bind(int index, double value) {
  if (!failed_ && sqlite3_bind_double(statement_, index, value) != SQLITE_OK) fail();
}
void Query::bind(int index, const std::string& value) {
  if (!failed_ && sqlite3_bind_text64(statement_, index, value.data(), value.size(),
                                      SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK) {
    fail();
  }
}
void Query::bind(int index, const char* value) {
  bind(index, std::string(value));
}
void Query::bind(int index, std::nullptr_t) {
  if (!failed_ && sqlite3_bind_null(statement_, index) != SQLITE_OK) fail();
}
void Query::bind(int index, std::span<const std::uint8_t> value) {
  static constexpr std::uint8_t kEmpty = 0;  // a null pointer would bind NULL
  if (!failed_ && sqlite3_bind_blob64(statement_, index, value.empty() ? &kEmpty : value.data(),
                                      value.size(), SQLITE_TRANSIENT) != SQLITE_OK) {
    fail();
  }
}

Transaction::Transaction(Database& database)
    : database_(database), begun_(database.execute("BEGIN IMMEDIATE")) {
  open_ = begun_.has_value();
}

Transaction::~Transaction() {
  // A failed ROLLBACK means that SQLite has already rolled back (disk full, I/O error).
  if (open_) (void)database_.execute("ROLLBACK").has_value();
}

Result<void> Transaction::commit() {
  if (auto done = database_.execute("COMMIT"); !done) return done;
  open_ = false;
  return {};
}

}  // namespace isobit
