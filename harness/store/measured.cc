// What `measure` found in a run, written and read back whole.
#include <nlohmann/json.hpp>

#include "harness/store/impl.h"

namespace isobit {
namespace {

/// Whole numbers of a JSON array below `limit`; false: there is something else in it.
bool read_places(std::string_view text, std::int64_t limit, std::vector<int>& out) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array()) return false;
  for (const auto& place : json) {
    if (!place.is_number_integer()) return false;
    const auto number = place.get<std::int64_t>();
    if (number < 0 || number >= limit) return false;
    out.push_back(int(number));
  }
  return true;
}

MeasuredGroup read_group(const Query& row) {
  MeasuredGroup group;
  group.rule = row.text(0);
  group.key = row.text(1);
  group.unselected_cells = row.integer(3);
  group.configurations = row.integer(4);
  group.lost = row.integer(5);
  group.samples = row.integer(6);
  group.prompts = row.integer(7);
  group.left_out = row.integer(8);
  return group;
}

MetricValue read_value(const Query& row) {
  MetricValue out;
  out.metric = row.text(1);
  out.value = real_of(row, 2);
  out.error = real_of(row, 3);
  out.prompts = row.integer(4);
  out.reason = row.text(5);
  return out;
}

}  // namespace

Result<void> StoreImpl::record(std::int64_t run, const std::vector<MeasuredGroup>& groups) {
  Transaction transaction(*db_);
  ISOBIT_TRY(transaction.begun());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    auto inserted = insert_measured(run, std::int64_t(g), groups[g]);
    ISOBIT_TRY(inserted);
  }
  return transaction.commit();
}

Result<void> StoreImpl::insert_measured(std::int64_t run, std::int64_t number,
                                        const MeasuredGroup& group) {
  Query insert(*db_,
               "INSERT INTO measured_group (run, number, rule, key, cells, unselected,"
               " configurations, lost, samples, prompts, left_out)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
               run, number, group.rule, group.key, nlohmann::json(group.cells).dump(),
               group.unselected_cells, group.configurations, group.lost, group.samples,
               group.prompts, group.left_out);
  auto inserted = insert.run();
  ISOBIT_TRY(inserted);
  Query values(*db_,
               "INSERT INTO metric_value (run, number, place, metric, value, standard_error,"
               " prompts, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
  for (std::size_t place = 0; place < group.values.size(); ++place) {
    const MetricValue& value = group.values[place];
    values.rebind(run, number, std::int64_t(place), value.metric, or_null(value.value),
                  or_null(value.error), value.prompts, value.reason);
    auto done = values.run();
    ISOBIT_TRY(done);
  }
  return insert_pairs(run, number, group);
}

Result<std::vector<MeasuredGroup>> StoreImpl::measured(std::int64_t run) {
  const Error strange{"a measured group has a cell that its run does not have", db_->path()};
  Query count(*db_, "SELECT count(*) FROM cell WHERE run = ?1 AND attempt = 1", run);
  const std::int64_t cells = count.next() ? count.integer(0) : 0;
  if (!count.ok()) return count.error();
  std::vector<MeasuredGroup> out;
  Query query(*db_,
              "SELECT rule, key, cells, unselected, configurations, lost, samples, prompts,"
              " left_out FROM measured_group WHERE run = ?1 ORDER BY number",
              run);
  while (query.next()) {
    MeasuredGroup group = read_group(query);
    if (!read_places(query.text(2), cells, group.cells)) return strange;
    out.push_back(std::move(group));
  }
  if (!query.ok()) return query.error();
  Query values(*db_,
               "SELECT number, metric, value, standard_error, prompts, reason FROM metric_value"
               " WHERE run = ?1 ORDER BY number, place",
               run);
  while (values.next()) {
    const std::int64_t number = values.integer(0);
    if (number < 0 || number >= std::int64_t(out.size())) return strange;
    out[std::size_t(number)].values.push_back(read_value(values));
  }
  if (!values.ok()) return values.error();
  if (auto ok = read_pairs(run, cells, out); !ok) return ok.error();
  return out;
}

}  // namespace isobit
