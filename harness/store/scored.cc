// The scores of a run's cells, written when they are judged and read back whole.
#include <map>

#include "harness/store/impl.h"

namespace isobit {
namespace {

ScoreValue read_value(const Query& row) {
  ScoreValue out;
  out.score = row.text(1);
  out.value_name = row.text(2);
  out.n = row.integer(3);
  out.right = row.null(4) ? -1 : row.integer(4);
  out.left_out = row.integer(5);
  out.value = real_of(row, 6);
  out.error = real_of(row, 7);
  out.reason = row.text(8);
  out.difference = real_of(row, 10);
  out.gained = row.integer(11);
  out.lost = row.integer(12);
  out.p = real_of(row, 13);
  return out;
}

}  // namespace

Result<void> StoreImpl::insert_scores(const CellInfo& cell) {
  Query insert(
      *db_,
      "INSERT INTO score_value (cell, place, score, name, n, right, left_out, value,"
      " standard_error, reason, reference, difference, gained, lost, p) VALUES (?1, ?2,"
      " ?3, ?4, ?5, nullif(?6, -1), ?7, ?8, ?9, ?10, nullif(?11, -1), ?12, ?13, ?14, ?15)");
  for (std::size_t place = 0; place < cell.scores.size(); ++place) {
    const ScoreValue& value = cell.scores[place];
    insert.rebind(cell.id, std::int64_t(place), value.score, value.value_name, value.n, value.right,
                  value.left_out, or_null(value.value), or_null(value.error), value.reason,
                  std::int64_t(value.reference), or_null(value.difference), value.gained,
                  value.lost, or_null(value.p));
    auto done = insert.run();
    ISOBIT_TRY(done);
  }
  return {};
}

Result<std::vector<std::vector<ScoreValue>>> StoreImpl::scores(std::int64_t run) {
  std::map<std::int64_t, std::size_t> place_of;  // cell id -> place among first attempts
  Query cells(*db_, "SELECT id FROM cell WHERE run = ?1 AND attempt = 1 ORDER BY id", run);
  while (cells.next()) place_of.emplace(cells.integer(0), place_of.size());
  if (!cells.ok()) return cells.error();
  std::vector<std::vector<ScoreValue>> out(place_of.size());
  Query query(*db_,
              "SELECT cell, score, name, n, right, left_out, value, standard_error, reason,"
              " reference, difference, gained, lost, p FROM score_value"
              " WHERE cell IN (SELECT id FROM cell WHERE run = ?1) ORDER BY cell, place",
              run);
  while (query.next()) {
    const auto at = place_of.find(query.integer(0));
    const std::int64_t reference = query.null(9) ? -1 : query.integer(9);
    if (at == place_of.end() || reference < -1 || reference >= std::int64_t(out.size())) {
      return Error{"a score has a cell that its run does not have", db_->path()};
    }
    ScoreValue value = read_value(query);
    value.reference = int(reference);
    out[at->second].push_back(std::move(value));
  }
  if (!query.ok()) return query.error();
  return out;
}

}  // namespace isobit
