// Made-up runs and traces for the store's tests, every field filled and every value repeatable, and
// a store to put them in.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "harness/store/sqlite.h"
#include "harness/store/store.h"
#include "tests/fakes/folder.h"

namespace isobit::store_samples {

inline Digest digest_of(std::uint64_t seed) {
  return digest_bytes(std::as_bytes(std::span(&seed, 1)));
}

inline RunInfo sample_run() {
  RunInfo run;
  run.command = "isobit check scenarios/smoke.yaml";
  run.scenario = "smoke";
  run.scenario_path = "scenarios/smoke.yaml";
  run.scenario_text = "version: 1\n";
  run.environment_json = R"({"cpu":"Model X","gpu":""})";
  run.commit = "0123abcd";
  run.dirty = true;
  run.started = "2026-01-22T13:40:00Z";
  run.question = "Are the bits the same?";
  run.cost = true;
  run.overrides = {"axes.batch=[1,2]", "run.reports=[\"x\"]"};
  return run;
}

inline CellInfo sample_cell(std::int64_t run, int index) {
  CellInfo cell;
  cell.run = run;
  cell.hash = to_hex(digest_of(std::uint64_t(1000 + index))).substr(0, 16);
  cell.name = "smoke%batch=" + std::to_string(index) + " /" + cell.hash.substr(0, 8);
  cell.class_hash = std::string(64, 'c');
  cell.class_recipe = "engine=reference\nnumerics=F1\n";
  cell.axes_json = R"({"batch":")" + std::to_string(index) + "\"}";
  cell.key = sha256(&index, sizeof index);
  return cell;
}

inline TokenRecord sample_token(int position, std::uint64_t seed) {
  TokenRecord token;
  token.position = position;
  token.id = static_cast<std::int32_t>((seed * 31 + std::uint64_t(position)) % 49152);
  token.fed = token.id;
  token.digest = digest_of(seed * 1'000'003 + std::uint64_t(position));
  token.margin = 0.1F * static_cast<float>(position % 7);
  token.top_count = kTopK;
  for (int i = 0; i < kTopK; ++i) {
    token.top_ids[std::size_t(i)] = token.id + i;
    token.top_logits[std::size_t(i)] = 3.0F - 0.1F * static_cast<float>(i);
  }
  return token;
}

/// `prompts` prompts with `tokens` rows each; equal seeds give equal traces.
inline CellTrace sample_trace(int prompts, int tokens, std::uint64_t seed,
                              TraceLevel level = TraceLevel::logits) {
  CellTrace trace;
  trace.level = level;
  trace.seconds = 1.5;
  trace.record_seconds = 0.25;
  trace.observed.engine = "reference";
  trace.observed.bytes_moved = 1'234'567'890'123;
  trace.observed.virtual_ranks = true;
  for (int p = 0; p < prompts; ++p) {
    PromptTrace prompt;
    prompt.id = "p" + std::to_string(p);
    prompt.tokens_digest = sha256(&p, sizeof p);
    prompt.prompt_tokens = 10 + p;
    prompt.answer = "42";
    prompt.text = "text é \"" + std::to_string(p);
    prompt.ended = p % 2 == 1;
    for (int t = 0; t < tokens; ++t) {
      prompt.tokens.push_back(sample_token(9 + p + t, seed + std::uint64_t(p)));
      if (level == TraceLevel::logits) continue;
      for (const Site site : {Site::norm1, Site::h2}) {
        prompt.observations.push_back(
            {9 + p + t, -1 + t, site, digest_of(seed + std::uint64_t(100 * t))});
      }
    }
    trace.prompts.push_back(std::move(prompt));
  }
  return trace;
}

/// Bit equality of floats: NaN payloads and zero signs count.
template <class T>
bool same_bytes(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

inline bool same_token(const TokenRecord& a, const TokenRecord& b) {
  return a.position == b.position && a.id == b.id && a.fed == b.fed && a.digest == b.digest &&
         same_bytes(a.margin, b.margin) && a.top_count == b.top_count && a.top_ids == b.top_ids &&
         same_bytes(a.top_logits, b.top_logits) && a.non_finite == b.non_finite;
}

/// A store in a scratch folder, and shortcuts that fail the test on an error.
class StoreTest : public testing::Test {
 protected:
  StoreTest() : path_(folder_.file("db/isobit.db")) {
    auto opened = Store::open(path_, Store::Mode::read_write);
    ISOBIT_CHECK(opened.has_value());
    store_ = std::move(opened.value());
  }
  std::int64_t begin(const RunInfo& run = sample_run()) {
    auto id = store_->begin_run(run);
    EXPECT_TRUE(id) << id.error().text();
    return *id;
  }
  /// Plans and finishes one cell.
  CellInfo executed(std::int64_t run, int index, const CellTrace& trace) {
    std::vector<CellInfo> cells{sample_cell(run, index)};
    auto planned = store_->plan(cells);
    EXPECT_TRUE(planned) << planned.error().text();
    auto done = store_->finish(cells[0], trace);
    EXPECT_TRUE(done) << done.error().text();
    return cells[0];
  }
  CellInfo reused(std::int64_t run, int index, const CellInfo& source) {
    std::vector<CellInfo> cells{sample_cell(run, index)};
    EXPECT_TRUE(store_->plan(cells));
    auto done = store_->reuse(cells[0], source, true);
    EXPECT_TRUE(done) << done.error().text();
    EXPECT_EQ(done->outcome, Reuse::Outcome::taken) << done->damage;
    return cells[0];
  }
  /// What somebody with the sqlite3 shell does to the file: no foreign key stops them.
  void tamper(const std::string& sql) {
    auto db = Database::open(path_, Database::Access::create, 1000);
    ASSERT_TRUE(db);
    const auto done = (*db)->execute(sql);
    EXPECT_TRUE(done) << done.error().text();
  }
  /// The first column of a query's rows as text, over a connection of its own.
  std::vector<std::string> rows(const std::string& sql) {
    auto db = Database::open(path_, Database::Access::read, 1000);
    Query query(**db, sql);
    std::vector<std::string> found;
    while (query.next()) found.emplace_back(query.text(0));
    EXPECT_TRUE(query.ok()) << query.error().text();
    return found;
  }

  fakes::Folder folder_;
  std::string path_;
  std::unique_ptr<Store> store_;
};

/// Takes from a database of version 4 what version 3 did not have.
inline constexpr const char* kBackToVersion3 =
    "DROP TABLE pair_layer; DROP TABLE pair_value; DROP TABLE measured_pair;"
    " DROP TABLE identity_control; DROP TABLE score_value;"
    " ALTER TABLE token DROP COLUMN fed_logit; PRAGMA user_version = 3";

}  // namespace isobit::store_samples
