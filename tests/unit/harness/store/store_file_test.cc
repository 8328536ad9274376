// The database as a file: its version, strangers, damage, locks, full disks, writers, kills.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "harness/store/impl.h"
#include "harness/store/store.h"
#include "tests/fakes/folder.h"
#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

using namespace store_samples;

constexpr auto kWrite = Store::Mode::read_write;
constexpr auto kRead = Store::Mode::read_only;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string error_of(const std::string& path, Store::Mode mode, int busy_ms = 1000) {
  const auto store = Store::open(path, mode, busy_ms);
  return store ? "" : store.error().text();
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

/// Runs `sql` on the file over a connection of its own.
void execute(const std::string& path, const std::string& sql) {
  auto db = Database::open(path, Database::Access::create, 1000);
  ASSERT_TRUE(db);
  const auto done = (*db)->execute(sql);
  ASSERT_TRUE(done) << done.error().text();
}

/// Runs `body` in a child and gives its wait status.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(StoreFile, IsMadeWithItsFolderAndMarkedAsOurs) {
  const fakes::Folder folder;
  const std::string path = folder.file("a/b/isobit.db");
  ASSERT_EQ(error_of(path, kWrite), "");
  ASSERT_EQ(error_of(path, kRead), "");
  auto db = Database::open(path, Database::Access::read, 1000);
  ASSERT_TRUE(db);
  EXPECT_EQ(*(*db)->number("PRAGMA application_id"), kStoreApplication);
  EXPECT_EQ(*(*db)->number("PRAGMA user_version"), kStoreVersion);
  EXPECT_EQ(*(*db)->number("SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"),
            1);
  EXPECT_EQ(*(*db)->number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND"
                           " name NOT LIKE 'sqlite_%' AND sql NOT LIKE '%STRICT%'"),
            0);
}

TEST(StoreFile, ReadingOnlyNeverMakesAFile) {
  const fakes::Folder folder;
  const std::string path = folder.file("none.db");
  EXPECT_SAYS(error_of(path, kRead), "there is no database here");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(StoreFile, ANewerSchemaIsRefusedWithBothVersions) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  ASSERT_EQ(error_of(path, kWrite), "");
  execute(path, "PRAGMA user_version = 7; CREATE TABLE future (x)");
  for (const auto mode : {kRead, kWrite}) {
    const std::string error = error_of(path, mode);
    EXPECT_SAYS(error, path);
    EXPECT_SAYS(error, "schema version 7");
    EXPECT_SAYS(error, "up to " + std::to_string(kStoreVersion));
  }
  execute(path, "SELECT x FROM future");  // nothing was changed
}

TEST(StoreFile, VersionZeroIsMigratedByAWriterOnly) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  execute(path, "PRAGMA application_id = " + std::to_string(kStoreApplication) +
                    "; CREATE TABLE x (y); DROP TABLE x");
  EXPECT_SAYS(error_of(path, kRead), "must be brought to " + std::to_string(kStoreVersion));
  EXPECT_EQ(error_of(path, kWrite), "");
  EXPECT_EQ(error_of(path, kRead), "");
}

TEST(StoreFile, AFailedMigrationChangesNothing) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  execute(path, "PRAGMA application_id = " + std::to_string(kStoreApplication) +
                    "; CREATE TABLE token (mine)");
  EXPECT_SAYS(error_of(path, kWrite), "migration from schema version 0");
  execute(path, "SELECT mine FROM token");
  auto db = Database::open(path, Database::Access::read, 1000);
  EXPECT_EQ(*(*db)->number("SELECT count(*) FROM sqlite_schema"), 1);
}

/// Every column, index and view of a database, in an order of their own.
std::vector<std::string> shape(const std::string& path) {
  auto db = Database::open(path, Database::Access::read, 1000);
  Query query(**db,
              "SELECT s.type || ' ' || s.name || ' ' || coalesce(c.name || ' ' || c.type || ' ' ||"
              " c.\"notnull\" || ' ' || coalesce(c.dflt_value, '-') || ' ' || c.pk, s.sql, '')"
              " FROM sqlite_schema s LEFT JOIN pragma_table_xinfo(s.name) c ON s.type = 'table'"
              " ORDER BY 1");
  std::vector<std::string> found;
  while (query.next()) found.emplace_back(query.text(0));
  EXPECT_TRUE(query.ok()) << query.error().text();
  return found;
}

TEST(StoreFile, AMigratedDatabaseHasTheShapeOfANewOne) {
  const fakes::Folder folder;
  const std::string old = folder.file("old.db"), made = folder.file("new.db");
  std::filesystem::copy_file(ISOBIT_SOURCE_DIR "/tests/unit/harness/store/data/store_v1.db", old);
  EXPECT_SAYS(error_of(old, kRead), "must be brought to " + std::to_string(kStoreVersion));
  ASSERT_EQ(error_of(old, kWrite), "");
  ASSERT_EQ(error_of(made, kWrite), "");
  EXPECT_EQ(shape(old), shape(made));
  EXPECT_GT(shape(old).size(), 60U);
  auto store = Store::open(old, kWrite);
  ASSERT_TRUE(store);
  const auto run = (*store)->run(1);
  ASSERT_TRUE(run && *run);
  EXPECT_EQ((**run).overrides.size(), 0U);
  EXPECT_TRUE((*store)->groups(1)->empty());
}

TEST(StoreFile, BytesOfVersionOneAreStillRead) {
  const fakes::Folder folder;
  const std::string path = folder.file("old.db");
  std::filesystem::copy_file(ISOBIT_SOURCE_DIR "/tests/unit/harness/store/data/store_v1.db", path);
  auto store = Store::open(path, kWrite);
  ASSERT_TRUE(store) << store.error().text();
  const auto cells = (*store)->cells(1);
  ASSERT_TRUE(cells);
  ASSERT_EQ(cells->size(), 2U);
  EXPECT_EQ((*cells)[0].name, sample_cell(1, 1).name);
  EXPECT_EQ((*cells)[0].judgement.verdict, Verdict::pass);
  EXPECT_TRUE((*cells)[1].pending);
  const auto trace = (*store)->trace((*cells)[0], true);
  ASSERT_TRUE(trace) << trace.error().text();
  const CellTrace expected = sample_trace(2, 8, 1, TraceLevel::ops);
  EXPECT_EQ(cell_root(*trace), cell_root(expected));
  EXPECT_EQ(trace->prompts[1].observations, expected.prompts[1].observations);
  EXPECT_TRUE(same_token(trace->prompts[1].tokens[7], expected.prompts[1].tokens[7]));
  EXPECT_EQ((*store)->golden_events("smoke")->size(), 1U);
}

TEST(StoreFile, StrangersAndDamageAreNamed) {
  const fakes::Folder folder;
  const std::string other = folder.file("other.db");
  execute(other, "CREATE TABLE theirs (x)");
  EXPECT_SAYS(error_of(other, kWrite), "of another program");
  const std::string text = folder.file("text.db");
  std::ofstream(text) << std::string(5000, 'x');
  EXPECT_SAYS(error_of(text, kWrite), "is not a SQLite database");
  EXPECT_SAYS(error_of(text, kRead), "is not a SQLite database");
  EXPECT_EQ(read_text(text), std::string(5000, 'x'));
  EXPECT_SAYS(error_of(folder.file(""), kWrite), "is a folder");
  EXPECT_SAYS(error_of(text + "/x.db", kWrite), "folder cannot be made");
}

TEST(StoreFile, DamagedPagesGiveErrorsNotCrashes) {
  const fakes::Folder folder;
  const std::string good =
      read_text(ISOBIT_SOURCE_DIR "/tests/unit/harness/store/data/store_v1.db");
  ASSERT_GT(good.size(), 4096U);
  std::mt19937 random(7);
  int noticed = 0;
  for (int i = 0; i < 60; ++i) {
    std::string bytes = good;
    for (int k = 0; k < 200; ++k) {
      bytes[100 + random() % (bytes.size() - 100)] = static_cast<char>(random() % 256);
    }
    const std::string path = folder.file("d" + std::to_string(i));
    std::ofstream(path, std::ios::binary) << bytes;
    auto store = Store::open(path, kWrite);
    if (!store) {
      EXPECT_SAYS(store.error().text(), path);
      ++noticed;
      continue;
    }
    const auto cells = (*store)->cells(1);
    if (!cells || cells->empty()) {
      noticed += !cells;
      continue;
    }
    const auto trace = (*store)->trace((*cells)[0], true);
    noticed += !trace || cell_root(*trace) != (*cells)[0].root;
    (void)(*store)->diff((*cells)[0], (*cells)[0]).has_value();
  }
  EXPECT_GT(noticed, 30);
}

TEST(StoreFile, ALockIsWaitedForThenNamed) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  auto store = Store::open(path, kWrite, 300);
  ASSERT_TRUE(store);
  auto holder = Database::open(path, Database::Access::create, 1000);
  ASSERT_TRUE(holder);
  ASSERT_TRUE((*holder)->execute("BEGIN IMMEDIATE"));
  const auto start = std::chrono::steady_clock::now();
  const auto run = (*store)->begin_run(sample_run());
  ASSERT_FALSE(run);
  EXPECT_SAYS(run.error().text(), "locked by another process (waited 0.3 s");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(250));
  EXPECT_EQ(error_of(path, kRead), "") << "readers are not held up";
  ASSERT_TRUE((*holder)->execute("COMMIT"));
  EXPECT_TRUE((*store)->begin_run(sample_run()));
}

TEST(StoreFile, AReadOnlyStoreRefusesToWrite) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  ASSERT_EQ(error_of(path, kWrite), "");
  auto store = Store::open(path, kRead);
  ASSERT_TRUE(store);
  const auto run = (*store)->begin_run(sample_run());
  ASSERT_FALSE(run);
  EXPECT_SAYS(run.error().text(), "read-only");
}

TEST(StoreFile, AFullDiskIsNamedAndLosesNothingFinished) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  auto db = Database::open(path, Database::Access::create, 1000);
  ASSERT_TRUE(
      (*db)->execute("CREATE TABLE t (x); INSERT INTO t VALUES (1);"
                     "PRAGMA max_page_count = 4"));
  const auto full = (*db)->execute("INSERT INTO t VALUES (zeroblob(100000))");
  ASSERT_FALSE(full);
  EXPECT_SAYS(full.error().text(), "the disk is full");
  EXPECT_EQ(*(*db)->number("SELECT count(*) FROM t"), 1);
}

// The file may not grow beyond a limit: writing fails in the middle of a transaction.
TEST(StoreFile, AWriteThatFailsKeepsEarlierCells) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    auto store = Store::open(path, kWrite);
    std::vector<CellInfo> cells{sample_cell(*(*store)->begin_run(sample_run()), 1),
                                sample_cell(1, 2)};
    if (!(*store)->plan(cells) || !(*store)->finish(cells[0], sample_trace(1, 8, 1))) _exit(1);
    const rlimit limit{1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto done = (*store)->finish(cells[1], sample_trace(20, 2000, 1));
    if (done) _exit(2);
    const std::string text = done.error().text();
    const bool named = text.find("cannot be read or written") != std::string::npos ||
                       text.find("disk is full") != std::string::npos;
    _exit(named ? 0 : 3);
  });
  EXPECT_EQ(status, 0);
  auto store = Store::open(path, kWrite);
  ASSERT_TRUE(store);
  auto cells = (*store)->cells(1);
  ASSERT_TRUE(cells);
  EXPECT_EQ((*cells)[0].root, cell_root(sample_trace(1, 8, 1)));
  EXPECT_TRUE((*cells)[1].pending);
  EXPECT_TRUE((*store)->finish((*cells)[1], sample_trace(2, 8, 2)));
}

TEST(StoreFile, EightWritersAtOnceLoseNothing) {
  const fakes::Folder folder;
  const std::string path = folder.file("x.db");  // not there yet: all eight try to make it
  constexpr int kWriters = 8, kCells = 50;
  std::vector<pid_t> children;
  for (int w = 0; w < kWriters; ++w) {
    const pid_t child = fork();
    if (child == 0) {
      auto store = Store::open(path, kWrite);
      if (!store) _exit(1);
      const auto run = (*store)->begin_run(sample_run());
      if (!run) _exit(2);
      std::vector<CellInfo> cells;
      for (int c = 0; c < kCells; ++c) cells.push_back(sample_cell(*run, 100 * w + c));
      if (!(*store)->plan(cells)) _exit(3);
      for (int c = 0; c < kCells; ++c) {
        if (!(*store)->finish(cells[std::size_t(c)], sample_trace(2, 8, std::uint64_t(w))))
          _exit(4);
      }
      _exit((*store)->judge(cells, {}) ? 0 : 5);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  auto store = Store::open(path, kRead);
  ASSERT_TRUE(store);
  const auto runs = (*store)->runs();
  ASSERT_EQ(runs->size(), std::size_t{kWriters});
  int finished = 0;
  for (const RunInfo& run : *runs) {
    const auto cells = (*store)->cells(run.id);
    ASSERT_TRUE(cells);
    for (const CellInfo& cell : *cells) {
      finished +=
          !cell.pending && cell.judged && cell_root(*(*store)->trace(cell, false)) == cell.root;
    }
  }
  EXPECT_EQ(finished, kWriters * kCells);
}

/// Plans 30 cells, says so, and finishes them until it is killed.
[[noreturn]] void write_until_killed(const std::string& path, int planned) {
  auto store = Store::open(path, kWrite);
  if (!store) _exit(1);
  const auto run = (*store)->begin_run(sample_run());
  if (!run) _exit(2);
  std::vector<CellInfo> cells;
  for (int i = 0; i < 30; ++i) cells.push_back(sample_cell(*run, i));
  if (!(*store)->plan(cells) || ::write(planned, "p", 1) != 1) _exit(3);
  for (CellInfo& cell : cells) {
    if (!(*store)->finish(cell, sample_trace(4, 60, std::uint64_t(cell.id), TraceLevel::ops))) {
      _exit(4);
    }
  }
  _exit(0);
}

int kills() {
  const char* const text = std::getenv("ISOBIT_TEST_KILLS");
  return text != nullptr ? static_cast<int>(std::strtol(text, nullptr, 10)) : 25;
}

TEST(StoreFile, AKilledWriterLeavesWholeCellsAndPendingOnes) {
  std::mt19937 random(20261122);
  int pending = 0, finished = 0;
  for (int i = 0; i < kills(); ++i) {
    const fakes::Folder folder;
    const std::string path = folder.file("x.db");
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) write_until_killed(path, ends[1]);
    ::close(ends[1]);
    char byte = 0;
    // Every fourth kill may come while the file is made, the others once cells are being written.
    if (i % 4 != 0) {
      ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    }
    ::close(ends[0]);
    ::usleep(useconds_t(random() % 60'000));
    ::kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << status;
    if (!std::filesystem::exists(path)) continue;
    auto store = Store::open(path, kWrite);
    ASSERT_TRUE(store) << store.error().text();
    const auto cells = (*store)->cells(1);
    ASSERT_TRUE(cells) << cells.error().text();
    EXPECT_TRUE(cells->empty() || cells->size() == 30U) << "cells are planned together";
    for (CellInfo cell : *cells) {
      const CellTrace whole = sample_trace(4, 60, std::uint64_t(cell.id), TraceLevel::ops);
      (cell.pending ? pending : finished) += 1;
      if (cell.pending) {
        ASSERT_TRUE((*store)->finish(cell, whole)) << "no half of it is left";
      }
      const auto trace = (*store)->trace(cell, true);
      ASSERT_TRUE(trace);
      ASSERT_EQ(cell_root(*trace), cell_root(whole));
      ASSERT_EQ(trace->prompts[3].observations, whole.prompts[3].observations);
    }
    store.value().reset();
    auto db = Database::open(path, Database::Access::read, 1000);
    EXPECT_EQ(*(*db)->number("SELECT count(*) FROM pragma_integrity_check"
                             " WHERE integrity_check = 'ok'"),
              1);
    EXPECT_EQ(*(*db)->number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
  }
  RecordProperty("pending", pending);
  RecordProperty("finished", finished);
  EXPECT_GT(pending, 0) << "no kill came in the middle of a run";
  EXPECT_GT(finished, 0);
}

}  // namespace
}  // namespace isobit
