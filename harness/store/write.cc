// Runs, planned cells, traces and golden events into the database.
//
// One transaction a cell; a kill leaves the cell pending with no row of its trace.
#include <cstring>

#include "harness/store/impl.h"

namespace isobit {
namespace {

/// Observations of one position as the blob of the observation table: 21 bytes each.
void append_observation(const Observation& observation, std::vector<std::uint8_t>& out) {
  const auto layer = static_cast<std::uint32_t>(observation.layer);
  for (int shift = 0; shift < 32; shift += 8) {
    out.push_back(static_cast<std::uint8_t>((layer >> shift) & 0xFF));
  }
  out.push_back(static_cast<std::uint8_t>(observation.site));
  out.insert(out.end(), observation.digest.bytes.begin(), observation.digest.bytes.end());
}

/// (id i32, logit fp32) pairs, little-endian.
std::vector<std::uint8_t> top_blob(const TokenRecord& token) {
  ISOBIT_CHECK(token.top_count >= 0 && token.top_count <= kTopK);
  std::vector<std::uint8_t> blob(std::size_t(token.top_count) * 8);
  for (std::size_t i = 0; i < std::size_t(token.top_count); ++i) {
    std::memcpy(blob.data() + 8 * i, &token.top_ids[i], 4);
    std::memcpy(blob.data() + 8 * i + 4, &token.top_logits[i], 4);
  }
  return blob;
}

}  // namespace

Result<std::int64_t> StoreImpl::environment_id(const std::string& json) {
  const std::string text = json.empty() ? "{}" : json;
  const Sha256 hash = sha256(text.data(), text.size());
  Query insert(*db_, "INSERT INTO environment (hash, json) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
               hash, text);
  auto inserted = insert.run();
  ISOBIT_TRY(inserted);
  Query find(*db_, "SELECT id FROM environment WHERE hash = ?1", hash);
  if (!find.next()) return find.ok() ? Error{"an environment vanished", db_->path()} : find.error();
  return find.integer(0);
}

Result<std::int64_t> StoreImpl::begin_run(const RunInfo& run) {
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  auto environment = environment_id(run.environment_json);
  ISOBIT_TRY(environment);
  Query insert(*db_,
               "INSERT INTO run (command, scenario, scenario_path, scenario_text, environment,"
               " commit_id, dirty, started, question, overrides, cost)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
               run.command, run.scenario, run.scenario_path, run.scenario_text, *environment,
               run.commit, run.dirty, run.started, run.question, print_texts(run.overrides),
               run.cost);
  auto inserted = insert.run();
  ISOBIT_TRY(inserted);
  const std::int64_t id = db_->last_id();
  auto committed = transaction.commit();
  ISOBIT_TRY(committed);
  return id;
}

Result<void> StoreImpl::end_run(const RunInfo& run) {
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  Query update(*db_,
               "UPDATE run SET finished = ?2, exit_code = ?3, unseed = ?4, notes = ?5,"
               " tokens_compared = ?6, obsolete = ?7, seconds = ?8 WHERE id = ?1",
               run.id, run.finished, run.exit_code, run.unseed, print_texts(run.notes),
               run.tokens_compared, run.obsolete, run.seconds);
  auto updated = update.run();
  ISOBIT_TRY(updated);
  if (db_->changes() != 1) return Error{"there is no run " + std::to_string(run.id), db_->path()};
  return transaction.commit();
}

Result<void> StoreImpl::plan(std::vector<CellInfo>& cells) {
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  std::vector<std::int64_t> ids;
  for (const CellInfo& cell : cells) {
    Query insert(*db_,
                 "INSERT INTO cell (run, name, hash, class_hash, class_recipe, axes, key, attempt,"
                 " state) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'pending')",
                 cell.run, cell.name, cell.hash, cell.class_hash, cell.class_recipe, cell.axes_json,
                 cell.key, cell.attempt);
    auto inserted = insert.run();
    ISOBIT_TRY(inserted);
    ids.push_back(db_->last_id());
  }
  auto committed = transaction.commit();
  ISOBIT_TRY(committed);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    cells[i].id = ids[i];
    cells[i].pending = true;
  }
  return {};
}

Result<void> StoreImpl::finish(CellInfo& cell, const CellTrace& trace) {
  const Sha256 root = cell_root(trace);
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  Query update(*db_,
               "UPDATE cell SET state = 'done', root = ?2, status = ?3, status_reason = ?4,"
               " level = ?5, observed = ?6, seconds = ?7, record_seconds = ?8"
               " WHERE id = ?1 AND state = 'pending'",
               cell.id, root, name_of(trace.status), trace.reason, name_of(trace.level),
               print_observed(trace.observed), trace.seconds, trace.record_seconds);
  auto updated = update.run();
  ISOBIT_TRY(updated);
  if (db_->changes() != 1) {
    return Error{"cell " + std::to_string(cell.id) + " is not pending", db_->path()};
  }
  auto inserted = insert_prompts(cell.id, trace);
  ISOBIT_TRY(inserted);
  auto committed = transaction.commit();
  ISOBIT_TRY(committed);
  cell.pending = false;
  cell.source = 0;
  cell.root = root;
  cell.status = trace.status;
  cell.status_reason = trace.reason;
  cell.seconds = trace.seconds;
  cell.record_seconds = trace.record_seconds;
  cell.imported = trace.observed.imported;
  return {};
}

Result<void> StoreImpl::insert_prompts(std::int64_t cell, const CellTrace& trace) {
  Query tokens(*db_,
               "INSERT INTO token (cell, prompt, position, id, fed, digest, margin, non_finite,"
               " top, log_sum, fed_logit)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, nullif(?10, 0.0), ?11)");
  for (std::size_t i = 0; i < trace.prompts.size(); ++i) {
    const PromptTrace& prompt = trace.prompts[i];
    const int index = static_cast<int>(i);
    Query insert(*db_,
                 "INSERT INTO prompt (cell, prompt, id, tokens_digest, prompt_tokens, token_count,"
                 " root, ended, answer, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                 cell, index, prompt.id, prompt.tokens_digest, prompt.prompt_tokens,
                 static_cast<std::int64_t>(prompt.tokens.size()), token_root(prompt), prompt.ended,
                 prompt.answer, prompt.text);
    auto inserted = insert.run();
    ISOBIT_TRY(inserted);
    for (const TokenRecord& token : prompt.tokens) {
      tokens.rebind(cell, index, token.position, token.id, token.fed, token.digest.bytes,
                    static_cast<double>(token.margin), token.non_finite,
                    std::span<const std::uint8_t>(top_blob(token)), token.log_sum, token.fed_logit);
      auto done = tokens.run();
      ISOBIT_TRY(done);
    }
    auto observed = insert_observations(cell, index, trace.level, prompt);
    ISOBIT_TRY(observed);
  }
  return {};
}

Result<void> StoreImpl::insert_observations(std::int64_t cell, int index, TraceLevel level,
                                            const PromptTrace& prompt) {
  const auto& all = prompt.observations;
  Query insert(*db_,
               "INSERT INTO observation (cell, prompt, position, level, root, digests)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
  std::vector<std::uint8_t> blob;
  for (std::size_t begin = 0; begin < all.size();) {
    blob.clear();
    std::size_t end = begin;
    for (; end < all.size() && all[end].position == all[begin].position; ++end) {
      append_observation(all[end], blob);
    }
    insert.rebind(cell, index, all[begin].position, name_of(level),
                  sha256(blob.data(), blob.size()), std::span<const std::uint8_t>(blob));
    auto inserted = insert.run();
    ISOBIT_TRY(inserted);
    begin = end;
  }
  return {};
}

Result<void> StoreImpl::record(const GoldenEvent& event) {
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  Query insert(*db_,
               "INSERT INTO golden_event (at, action, scenario, class_hash, prompt_id, block_hash,"
               " parent_hash, by_whom, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
               event.at, event.action, event.scenario, event.class_hash, event.prompt_id,
               event.block_hash, event.parent_hash, event.by, event.reason);
  auto inserted = insert.run();
  ISOBIT_TRY(inserted);
  return transaction.commit();
}

}  // namespace isobit
