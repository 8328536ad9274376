// A thin, error-carrying layer over SQLite: a database, a statement, a transaction.
//
// sqlite3.h is included by store/sqlite.cc only. Every failure is an Error that names the trouble
// (locked, disk full, damaged, read-only, …) and the file. One thread at a time; a connection is
// never used on both sides of a fork. Used by this folder and its tests.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace isobit {

class Database {
 public:
  enum class Access { create, read, memory };
  /// Access::read needs no write access, not even to the folder, unless a writer was killed there.
  /// `busy_ms`: how long a writer waits for another one before the error "locked".
  static Result<std::unique_ptr<Database>> open(const std::string& path, Access access,
                                                int busy_ms);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  /// Runs one or more statements without parameters.
  Result<void> execute(const std::string& sql);
  /// The value of a one-number query ("PRAGMA user_version").
  Result<std::int64_t> number(const std::string& sql);
  [[nodiscard]] std::int64_t last_id() const;
  /// Rows that the last INSERT, UPDATE or DELETE touched.
  [[nodiscard]] std::int64_t changes() const;
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The last failure in words.
  [[nodiscard]] Error error() const;

 private:
  friend class Query;
  Database(sqlite3* handle, std::string path, int busy_ms);
  /// `name`: what SQLite calls the file at `path`.
  static Result<std::unique_ptr<Database>> connect(const std::string& path, const std::string& name,
                                                   int flags, int busy_ms);
  sqlite3_stmt* take(const std::string& sql);  // nullptr: see error()
  void give(const std::string& sql, sqlite3_stmt* statement);

  sqlite3* handle_;
  std::string path_;
  int busy_ms_;
  std::multimap<std::string, sqlite3_stmt*, std::less<>> idle_;  // prepared, reset, by text
};

/// One use of a prepared statement; statements are prepared once and kept.
///   Query q(db, "SELECT a FROM t WHERE b = ?1 AND c = ?2", b, c);
///   while (q.next()) use(q.integer(0));
///   if (!q.ok()) return q.error();
class Query {
 public:
  template <class... Values>
  Query(Database& database, const std::string& sql, const Values&... values)
      : Query(database, sql, Prepared{}) {
    bind_all(values...);
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query();

  /// Another round of the same statement with new values.
  template <class... Values>
  void rebind(const Values&... values) {
    reset();
    bind_all(values...);
  }
  /// Next row; false at the end and after a failure.
  bool next();
  /// For statements without rows: runs to the end.
  Result<void> run();
  [[nodiscard]] bool ok() const { return !failed_; }
  [[nodiscard]] const Error& error() const { return error_; }

  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] double real(int column) const;
  [[nodiscard]] bool null(int column) const;
  /// Valid until the next row.
  [[nodiscard]] std::string_view text(int column) const;
  [[nodiscard]] std::span<const std::uint8_t> blob(int column) const;
  /// A blob of exactly N bytes; zeros when it has another size (NULL).
  template <std::size_t N>
  [[nodiscard]] std::array<std::uint8_t, N> bytes(int column) const {
    std::array<std::uint8_t, N> out{};
    const auto from = blob(column);
    if (from.size() == N) std::copy(from.begin(), from.end(), out.begin());
    return out;
  }

 private:
  struct Prepared {};
  Query(Database& database, const std::string& sql, Prepared);
  template <class... Values>
  void bind_all(const Values&... values) {
    int index = 0;
    (bind(++index, values), ...);
  }
  void bind(int index, std::int64_t value);
  void bind(int index, int value) { bind(index, std::int64_t{value}); }
  void bind(int index, bool value) { bind(index, std::int64_t{value}); }
  void bind(int index, double value);  // NaN becomes NULL
  void bind(int index, const std::string& value);
  void bind(int index, const char* value);
  void bind(int index, std::nullptr_t);
  void bind(int index, std::span<const std::uint8_t> value);
  template <std::size_t N>
  void bind(int index, const std::array<std::uint8_t, N>& value) {
    bind(index, std::span<const std::uint8_t>(value));
  }
  void reset();
  void fail();

  Database& database_;
  std::string sql_;
  sqlite3_stmt* statement_ = nullptr;
  bool failed_ = false;
  Error error_;
};

/// BEGIN IMMEDIATE … COMMIT; rolled back when it goes out of scope without commit().
class Transaction {
 public:
  explicit Transaction(Database& database);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  /// Did BEGIN succeed?
  [[nodiscard]] const Result<void>& begun() const { return begun_; }
  Result<void> commit();

 private:
  Database& database_;
  Result<void> begun_;
  bool open_ = false;
};

}  // namespace isobit
