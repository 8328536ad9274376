// Comparing two stored cells row by row, and deleting old runs.
//
// diff counts as compare() does: rows of a prompt are comparable while everything fed to the model
// so far agrees; prompts whose roots are equal are counted without reading a row.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "harness/store/impl.h"

namespace isobit {
namespace {

struct StoredPrompt {
  std::int32_t index = 0;
  std::string id;
  std::int64_t tokens = 0;
  Sha256 root{};
};
/// (tokens_digest, how many prompts before have the same) -> prompt
using StoredPrompts = std::map<std::pair<Sha256, int>, StoredPrompt>;

Result<StoredPrompts> prompts_of(Database& db, std::int64_t cell) {
  Query query(db,
              "SELECT prompt, id, tokens_digest, token_count, root FROM prompt WHERE cell = ?1"
              " ORDER BY prompt",
              cell);
  StoredPrompts prompts;
  std::map<Sha256, int> seen;
  while (query.next()) {
    const Sha256 digest = query.bytes<32>(2);
    prompts[{digest, seen[digest]++}] = {static_cast<std::int32_t>(query.integer(0)),
                                         std::string(query.text(1)), query.integer(3),
                                         query.bytes<32>(4)};
  }
  if (!query.ok()) return query.error();
  return prompts;
}

const char* const kTokenRows =
    "SELECT position, id, fed, digest FROM token WHERE cell = ?1 AND prompt = ?2"
    " ORDER BY position";

/// Walks two prompts' rows side by side; notes the first difference and counts.
Result<void> diff_rows(Query& a, Query& b, const StoredPrompt& prompt, Store::CellDifference& out) {
  bool first_found = false;
  const auto note = [&](std::int64_t position, const Query* row_a, const Query* row_b) {
    if (std::exchange(first_found, true)) return;
    Store::TokenDifference difference{prompt.index, prompt.id, position, {}, {}, -1, -1};
    if (row_a != nullptr) {
      difference.a.bytes = row_a->bytes<16>(3);
      difference.id_a = static_cast<std::int32_t>(row_a->integer(1));
    }
    if (row_b != nullptr) {
      difference.b.bytes = row_b->bytes<16>(3);
      difference.id_b = static_cast<std::int32_t>(row_b->integer(1));
    }
    out.first.push_back(std::move(difference));
  };
  bool has_a = a.next();
  bool has_b = b.next();
  while (has_a || has_b) {
    const std::int64_t at_a = has_a ? a.integer(0) : INT64_MAX;
    const std::int64_t at_b = has_b ? b.integer(0) : INT64_MAX;
    if (at_a != at_b) {
      const bool only_a = at_a < at_b;
      ++(only_a ? out.only_a : out.only_b);
      note(std::min(at_a, at_b), only_a ? &a : nullptr, only_a ? nullptr : &b);
      (only_a ? has_a : has_b) = (only_a ? a : b).next();
      continue;
    }
    ++out.compared;
    const bool same_id = a.integer(1) == b.integer(1);
    const auto digest_a = a.blob(3);
    const auto digest_b = b.blob(3);
    if (!same_id ||
        !std::equal(digest_a.begin(), digest_a.end(), digest_b.begin(), digest_b.end())) {
      ++out.differing;
      note(at_a, &a, &b);
    }
    if (!same_id) ++out.flipped;
    const std::int64_t fed_a = a.integer(2);  // -1: a side's last row
    const std::int64_t fed_b = b.integer(2);
    if (fed_a != fed_b && fed_a >= 0 && fed_b >= 0) break;  // from here on the inputs differ
    has_a = a.next();
    has_b = b.next();
  }
  if (!a.ok()) return a.error();
  if (!b.ok()) return b.error();
  return {};
}

}  // namespace

Result<Store::CellDifference> StoreImpl::diff(const CellInfo& a, const CellInfo& b) {
  for (const CellInfo* cell : {&a, &b}) {
    if (cell->pending) {
      return Error{"cell " + cell->name + " is not finished and has no trace", db_->path()};
    }
  }
  const std::int64_t cell_a = a.source != 0 ? a.source : a.id;
  const std::int64_t cell_b = b.source != 0 ? b.source : b.id;
  auto prompts_a = prompts_of(*db_, cell_a);
  ISOBIT_TRY(prompts_a);
  auto prompts_b = prompts_of(*db_, cell_b);
  ISOBIT_TRY(prompts_b);
  CellDifference out;
  Query rows_a(*db_, kTokenRows);
  Query rows_b(*db_, kTokenRows);
  for (const auto& [key, prompt] : *prompts_a) {
    const auto other = prompts_b->find(key);
    if (other == prompts_b->end()) {
      out.only_a += prompt.tokens;
      out.first.push_back({prompt.index, prompt.id, -1, {}, {}, -1, -1});
      continue;
    }
    if (prompt.root == other->second.root) {
      out.compared += prompt.tokens;
    } else {
      rows_a.rebind(cell_a, prompt.index);
      rows_b.rebind(cell_b, other->second.index);
      auto walked = diff_rows(rows_a, rows_b, prompt, out);
      ISOBIT_TRY(walked);
    }
    prompts_b->erase(other);
  }
  for (const auto& [key, prompt] : *prompts_b) {
    out.only_b += prompt.tokens;
    out.first.push_back({prompt.index, prompt.id, -1, {}, {}, -1, -1});
  }
  std::stable_sort(
      out.first.begin(), out.first.end(),
      [](const TokenDifference& x, const TokenDifference& y) { return x.prompt < y.prompt; });
  return out;
}

namespace {

/// Runs older than the newest `keep` that are not in progress and that no remaining run reuses a
/// cell of. Whether the process of a run is alive cannot be asked: it may be on another machine or
/// in another container. So a run without an end is believed to go on for some days.
Result<std::set<std::int64_t>> removable_runs(Database& db, int keep) {
  std::set<std::int64_t> removable;
  Query old(db,
            "SELECT id FROM (SELECT id, exit_code, started FROM run ORDER BY id DESC"
            " LIMIT -1 OFFSET ?1) WHERE exit_code IS NOT NULL"
            " OR started < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?2)",
            std::max(keep, 0), "-" + std::to_string(kDaysInProgress) + " days");
  while (old.next()) removable.insert(old.integer(0));
  if (!old.ok()) return old.error();
  std::vector<std::pair<std::int64_t, std::int64_t>> uses;  // (reusing run, reused run)
  Query query(db,
              "SELECT DISTINCT c.run, s.run FROM cell c JOIN cell s ON s.id = c.source"
              " WHERE c.source IS NOT NULL");
  while (query.next()) uses.emplace_back(query.integer(0), query.integer(1));
  if (!query.ok()) return query.error();
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [user, used] : uses) {
      if (removable.count(user) == 0 && removable.erase(used) > 0) changed = true;
    }
  }
  return removable;
}

}  // namespace

Result<std::int64_t> StoreImpl::gc(int keep, bool dry_run) {
  if (dry_run) {
    auto removable = removable_runs(*db_, keep);
    ISOBIT_TRY(removable);
    return static_cast<std::int64_t>(removable->size());
  }
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  auto removable = removable_runs(*db_, keep);
  ISOBIT_TRY(removable);
  auto deferred = db_->execute("PRAGMA defer_foreign_keys = ON");
  ISOBIT_TRY(deferred);
  for (const std::int64_t id : *removable) {
    Query remove(*db_, "DELETE FROM run WHERE id = ?1", id);
    auto removed = remove.run();
    ISOBIT_TRY(removed);
  }
  auto swept =
      db_->execute("DELETE FROM environment WHERE id NOT IN (SELECT environment FROM run)");
  ISOBIT_TRY(swept);
  auto committed = transaction.commit();
  ISOBIT_TRY(committed);
  // Giving the space back needs room and nobody else; the rows are gone either way.
  if (!removable->empty()) (void)db_->execute("VACUUM").has_value();
  return static_cast<std::int64_t>(removable->size());
}

}  // namespace isobit
