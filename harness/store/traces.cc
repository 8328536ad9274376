// Traces read back and held against what was stored beside them, and cells that take the trace of
// another.
//
// A database is a file that anybody can edit and a disk can spoil. Whoever shows rows reads them as
// they are; a cell that would stand on them takes them only when they give the stored counts and
// roots.
#include <algorithm>
#include <cstring>
#include <limits>

#include "harness/store/impl.h"

namespace isobit {
namespace {

TokenRecord read_token(const Query& row, int first) {
  TokenRecord token;
  token.position = row.integer(first);
  token.id = static_cast<std::int32_t>(row.integer(first + 1));
  token.fed = static_cast<std::int32_t>(row.integer(first + 2));
  token.digest.bytes = row.bytes<16>(first + 3);
  token.margin = row.null(first + 4) ? std::numeric_limits<float>::quiet_NaN()
                                     : static_cast<float>(row.real(first + 4));
  token.non_finite = row.integer(first + 5) != 0;
  const auto top = row.blob(first + 6);
  token.top_count = static_cast<std::int32_t>(std::min<std::size_t>(top.size() / 8, kTopK));
  for (std::size_t i = 0; i < std::size_t(token.top_count); ++i) {
    std::memcpy(&token.top_ids[i], top.data() + 8 * i, 4);
    std::memcpy(&token.top_logits[i], top.data() + 8 * i + 4, 4);
  }
  token.log_sum = row.real(first + 7);  // 0 where it is NULL
  if (!row.null(first + 8)) token.fed_logit = row.real(first + 8);
  return token;
}

constexpr const char* kNoSuchPrompt = "it has rows of a prompt it does not have";

/// The observations of one row of the table; false: of a site that there is not.
bool read_digests(std::span<const std::uint8_t> digests, std::int64_t position,
                  std::vector<Observation>& out) {
  for (std::size_t at = 0; at + 21 <= digests.size(); at += 21) {
    Observation observation;
    observation.position = position;
    std::memcpy(&observation.layer, digests.data() + at, 4);
    const int site = digests[at + 4];
    if (site >= kSites) return false;
    observation.site = static_cast<Site>(site);
    std::memcpy(observation.digest.bytes.data(), digests.data() + at + 5, 16);
    out.push_back(observation);
  }
  return true;
}

}  // namespace

PromptTrace* StoredTrace::prompt(std::int64_t index) {
  if (index >= 0 && index < std::int64_t(trace.prompts.size())) {
    return &trace.prompts[std::size_t(index)];
  }
  break_off(kNoSuchPrompt);
  return nullptr;
}

std::string damage_of(const StoredTrace& stored) {
  if (!stored.damage.empty()) return stored.damage;
  const std::vector<PromptTrace>& prompts = stored.trace.prompts;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto rows = static_cast<std::int64_t>(prompts[p].tokens.size());
    if (rows != stored.token_counts[p]) {
      return "prompt " + prompts[p].id + " has " + std::to_string(rows) + " token rows, not the " +
             std::to_string(stored.token_counts[p]) + " that were stored";
    }
    if (token_root(prompts[p]) != stored.roots[p]) {
      return "the token rows of prompt " + prompts[p].id + " do not give its root";
    }
  }
  if (cell_root(stored.trace) != stored.root) return "its prompts do not give its root";
  return "";
}

Result<CellTrace> StoreImpl::trace(const CellInfo& cell, bool with_observations) {
  auto stored = read_trace(cell.id, with_observations);
  ISOBIT_TRY(stored);
  if (!*stored) {
    return Error{"cell " + std::to_string(cell.id) + " has no trace (not finished)", db_->path()};
  }
  if ((*stored)->broken) {
    return Error{"cell " + std::to_string(cell.id) + " is damaged: " + (*stored)->damage,
                 db_->path()};
  }
  return std::move((*stored)->trace);
}

Result<std::string> StoreImpl::damage(const CellInfo& cell) {
  auto stored = read_trace(cell.id, true);
  ISOBIT_TRY(stored);
  return *stored ? damage_of(**stored) : std::string();
}

Result<std::optional<StoredTrace>> StoreImpl::read_trace(std::int64_t cell,
                                                         bool with_observations) {
  StoredTrace out;
  CellTrace& trace = out.trace;
  std::int64_t executed = 0;
  {
    Query query(*db_,
                "SELECT x.id, x.status, x.status_reason, x.level, x.observed, x.seconds,"
                " x.record_seconds, x.root, c.root = x.root"
                " FROM cell c JOIN cell x ON x.id = coalesce(c.source, c.id)"
                " WHERE c.id = ?1 AND c.state = 'done' AND x.state = 'done'",
                cell);
    if (!query.next()) {
      if (query.ok()) return std::optional<StoredTrace>();
      return query.error();
    }
    executed = query.integer(0);
    trace.status = status_of(query.text(1));
    trace.reason = query.text(2);
    trace.level = enum_of(query.text(3), 3, TraceLevel::logits);
    trace.observed = parse_observed(query.text(4));
    trace.seconds = query.real(5);
    trace.record_seconds = query.real(6);
    out.root = query.bytes<32>(7);
    if (query.integer(8) == 0) out.damage = "its root is not that of the cell it reuses";
  }
  auto prompts = read_prompts(executed, out);
  ISOBIT_TRY(prompts);
  auto tokens = read_tokens(executed, out);
  ISOBIT_TRY(tokens);
  if (with_observations) {
    auto observations = read_observations(executed, out);
    ISOBIT_TRY(observations);
  }
  return std::optional<StoredTrace>(std::move(out));
}

Result<void> StoreImpl::read_prompts(std::int64_t cell, StoredTrace& out) {
  Query query(*db_,
              "SELECT prompt, id, tokens_digest, prompt_tokens, token_count, ended, answer, text,"
              " root FROM prompt WHERE cell = ?1 ORDER BY prompt",
              cell);
  while (query.next()) {
    if (query.integer(0) != std::int64_t(out.trace.prompts.size())) {
      out.break_off(kNoSuchPrompt);
      return {};
    }
    PromptTrace& prompt = out.trace.prompts.emplace_back();
    prompt.id = query.text(1);
    prompt.tokens_digest = query.bytes<32>(2);
    prompt.prompt_tokens = query.integer(3);
    out.token_counts.push_back(query.integer(4));
    prompt.ended = query.integer(5) != 0;
    prompt.answer = query.text(6);
    prompt.text = query.text(7);
    out.roots.push_back(query.bytes<32>(8));
  }
  if (!query.ok()) return query.error();
  return {};
}

Result<void> StoreImpl::read_tokens(std::int64_t cell, StoredTrace& out) {
  Query query(*db_,
              "SELECT prompt, position, id, fed, digest, margin, non_finite, top, log_sum,"
              " fed_logit"
              " FROM token WHERE cell = ?1 ORDER BY prompt, position",
              cell);
  while (query.next()) {
    PromptTrace* const prompt = out.prompt(query.integer(0));
    if (prompt == nullptr) return {};
    prompt->tokens.push_back(read_token(query, 1));
  }
  if (!query.ok()) return query.error();
  return {};
}

Result<void> StoreImpl::read_observations(std::int64_t cell, StoredTrace& out) {
  Query query(*db_,
              "SELECT prompt, position, digests, root FROM observation WHERE cell = ?1"
              " ORDER BY prompt, position",
              cell);
  while (query.next()) {
    PromptTrace* const prompt = out.prompt(query.integer(0));
    if (prompt == nullptr) return {};
    const std::int64_t position = query.integer(1);
    const auto digests = query.blob(2);
    if (!read_digests(digests, position, prompt->observations)) {
      out.break_off("it has an observation of an unknown site");
      return {};
    }
    if (sha256(digests.data(), digests.size()) != query.bytes<32>(3)) {
      out.damage = "the observations of prompt " + prompt->id + " at position " +
                   std::to_string(position) + " do not give their root";
    }
  }
  if (!query.ok()) return query.error();
  return {};
}

Result<Reuse> StoreImpl::reuse(CellInfo& cell, const CellInfo& source, bool with_observations) {
  const std::int64_t executed = source.source != 0 ? source.source : source.id;
  Reuse out;
  Transaction transaction(*db_);  // nobody deletes the source between the look and the use
  ISOBIT_TRY(transaction.begun());
  auto stored = read_trace(executed, with_observations);
  ISOBIT_TRY(stored);
  if (!*stored) {
    out.outcome = Reuse::Outcome::gone;
    return out;
  }
  out.damage = damage_of(**stored);
  if (!out.damage.empty()) {
    out.outcome = Reuse::Outcome::damaged;
    return out;
  }
  Query update(*db_,
               "UPDATE cell SET state = 'done', source = s.id, root = s.root, status = s.status,"
               " status_reason = s.status_reason, level = s.level, observed = s.observed,"
               " seconds = 0, record_seconds = 0"
               " FROM cell s WHERE cell.id = ?1 AND cell.state = 'pending' AND s.id = ?2"
               " AND s.state = 'done' AND s.source IS NULL",
               cell.id, executed);
  auto updated = update.run();
  ISOBIT_TRY(updated);
  if (db_->changes() != 1) {
    return Error{"cell " + std::to_string(cell.id) + " is not pending", db_->path()};
  }
  auto committed = transaction.commit();
  ISOBIT_TRY(committed);
  auto taken = this->cell(cell.id);
  ISOBIT_TRY(taken);
  if (!*taken) return Error{"cell " + std::to_string(cell.id) + " vanished", db_->path()};
  const Judgement judgement = cell.judgement;
  const bool judged = cell.judged;
  cell = **taken;
  cell.judgement = judgement;
  cell.judged = judged;
  out.trace = std::move((*stored)->trace);
  return out;
}

}  // namespace isobit
