// Pairs of a measured group, written and read back whole. Rows are packed: 73 bytes each,
// little-endian, in the order of visit() below.
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "harness/store/impl.h"

namespace isobit {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kRowBytes = 73;

template <class Row, class F>
void visit(Row& row, F&& field) {
  field(row.sample), field(row.prompt), field(row.position);
  field(row.kl), field(row.js), field(row.total_variation);
  field(row.max_abs), field(row.mean_abs), field(row.margin);
  field(row.max_ulp), field(row.flip);
}

template <class T>
using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t,
                                std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint8_t>>;

std::vector<std::uint8_t> packed(const std::vector<PairRow>& rows) {
  std::vector<std::uint8_t> out;
  out.reserve(rows.size() * kRowBytes);
  for (const PairRow& row : rows) {
    visit(row, [&out](auto value) {
      const auto bits = std::bit_cast<Bits<decltype(value)>>(value);
      for (std::size_t i = 0; i < sizeof bits; ++i) {
        out.push_back(std::uint8_t((bits >> (8 * i)) & 0xFFU));
      }
    });
  }
  return out;
}

/// False: not a whole number of rows, or a flag that is none.
bool unpack(std::span<const std::uint8_t> bytes, std::vector<PairRow>& out) {
  if (bytes.size() % kRowBytes != 0) return false;
  for (std::size_t at = 0; at < bytes.size();) {
    if (bytes[at + kRowBytes - 1] > 1) return false;
    visit(out.emplace_back(), [&](auto& value) {
      using T = std::remove_reference_t<decltype(value)>;
      Bits<T> bits = 0;
      for (std::size_t i = 0; i < sizeof bits; ++i) {
        bits = Bits<T>(bits | Bits<T>(Bits<T>(bytes[at + i]) << (8 * i)));
      }
      value = std::bit_cast<T>(bits);
      at += sizeof bits;
    });
  }
  return true;
}

/// A number that is not finite is text in JSON.
Json parts_json(const MetricValue& value) {
  Json out = Json::array();
  for (const auto& [name, number] : value.parts) out.push_back({name, number});
  return out;
}

bool read_parts(std::string_view text, MetricValue& value) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return false;
  for (const Json& part : json) {
    if (!part.is_array() || part.size() != 2 || !part[0].is_string()) return false;
    if (!part[1].is_number() && !part[1].is_null()) return false;
    value.parts.emplace_back(
        part[0].get<std::string>(),
        part[1].is_null() ? std::numeric_limits<double>::infinity() : part[1].get<double>());
  }
  return true;
}

/// [[reference, configuration], …], both below `limit`.
bool read_cells(std::string_view text, std::int64_t limit, MeasuredPair& pair) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return false;
  for (const Json& both : json) {
    if (!both.is_array() || both.size() != 2) return false;
    for (const Json& cell : both) {
      if (!cell.is_number_integer()) return false;
      if (cell.get<std::int64_t>() < 0 || cell.get<std::int64_t>() >= limit) return false;
    }
    pair.cells.emplace_back(both[0].get<int>(), both[1].get<int>());
  }
  return true;
}

/// The pair that a row names by its first two columns, or null.
MeasuredPair* pair_of(const Query& row, std::vector<MeasuredGroup>& groups) {
  const std::int64_t number = row.integer(0), pair = row.integer(1);
  if (number < 0 || number >= std::int64_t(groups.size())) return nullptr;
  std::vector<MeasuredPair>& pairs = groups[std::size_t(number)].pairs;
  if (pair < 0 || pair >= std::int64_t(pairs.size())) return nullptr;
  return &pairs[std::size_t(pair)];
}

}  // namespace

Result<void> StoreImpl::insert_pairs(std::int64_t run, std::int64_t number,
                                     const MeasuredGroup& group) {
  if (group.control.pairs > 0 || !group.control.problem.empty()) {
    Query insert(*db_,
                 "INSERT INTO identity_control (run, number, pairs, exact, problem)"
                 " VALUES (?1, ?2, ?3, ?4, ?5)",
                 run, number, group.control.pairs, group.control.exact, group.control.problem);
    auto done = insert.run();
    ISOBIT_TRY(done);
  }
  for (std::size_t place = 0; place < group.pairs.size(); ++place) {
    auto done = insert_pair(run, number, std::int64_t(place), group.pairs[place]);
    ISOBIT_TRY(done);
  }
  return {};
}

Result<void> StoreImpl::insert_pair(std::int64_t run, std::int64_t number, std::int64_t place,
                                    const MeasuredPair& pair) {
  const std::vector<std::uint8_t> rows = packed(pair.rows);
  Query insert(*db_,
               "INSERT INTO measured_pair (run, number, pair, configuration, reference, cells,"
               " problem, row_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
               run, number, place, pair.configuration, pair.reference, Json(pair.cells).dump(),
               pair.problem, std::span<const std::uint8_t>(rows));
  auto inserted = insert.run();
  ISOBIT_TRY(inserted);
  Query values(*db_,
               "INSERT INTO pair_value (run, number, pair, place, metric, value, standard_error,"
               " prompts, reason, parts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
  for (std::size_t i = 0; i < pair.values.size(); ++i) {
    const MetricValue& value = pair.values[i];
    values.rebind(run, number, place, std::int64_t(i), value.metric, or_null(value.value),
                  or_null(value.error), value.prompts, value.reason, parts_json(value).dump());
    auto done = values.run();
    ISOBIT_TRY(done);
  }
  Query layers(*db_,
               "INSERT INTO pair_layer (run, number, pair, layer, site, row_count, distance, norm,"
               " max_abs, squares, magnitude, direction, evicted)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
  for (const LayerSum& sum : pair.layers) {
    layers.rebind(run, number, place, std::int64_t(sum.layer), sum.site, sum.rows, sum.distance,
                  sum.norm, sum.max_abs, sum.squares, sum.magnitude, sum.direction, sum.evicted);
    auto done = layers.run();
    ISOBIT_TRY(done);
  }
  return {};
}

Result<void> StoreImpl::read_pairs(std::int64_t run, std::int64_t cells,
                                   std::vector<MeasuredGroup>& groups) {
  const Error strange{
      "a measured pair is of a group or a cell that its run does not have, or its"
      " rows are damaged",
      db_->path()};
  Query controls(*db_,
                 "SELECT number, pairs, exact, problem FROM identity_control WHERE run = ?1"
                 " ORDER BY number",
                 run);
  while (controls.next()) {
    const std::int64_t number = controls.integer(0);
    if (number < 0 || number >= std::int64_t(groups.size())) return strange;
    groups[std::size_t(number)].control = {controls.integer(1), controls.integer(2),
                                           std::string(controls.text(3))};
  }
  if (!controls.ok()) return controls.error();
  Query pairs(*db_,
              "SELECT number, pair, configuration, reference, cells, problem, row_bytes"
              " FROM measured_pair WHERE run = ?1 ORDER BY number, pair",
              run);
  while (pairs.next()) {
    const std::int64_t number = pairs.integer(0);
    if (number < 0 || number >= std::int64_t(groups.size())) return strange;
    std::vector<MeasuredPair>& all = groups[std::size_t(number)].pairs;
    if (pairs.integer(1) != std::int64_t(all.size())) return strange;
    MeasuredPair& pair = all.emplace_back();
    pair.configuration = pairs.text(2);
    pair.reference = pairs.text(3);
    pair.problem = pairs.text(5);
    if (!read_cells(pairs.text(4), cells, pair)) return strange;
    if (!unpack(pairs.blob(6), pair.rows)) return strange;
  }
  if (!pairs.ok()) return pairs.error();
  return read_pair_numbers(run, groups);
}

Result<void> StoreImpl::read_pair_numbers(std::int64_t run, std::vector<MeasuredGroup>& groups) {
  const Error strange{"a number of a measured pair is damaged", db_->path()};
  Query values(*db_,
               "SELECT number, pair, metric, value, standard_error, prompts, reason, parts"
               " FROM pair_value WHERE run = ?1 ORDER BY number, pair, place",
               run);
  while (values.next()) {
    MeasuredPair* pair = pair_of(values, groups);
    if (pair == nullptr) return strange;
    MetricValue& value = pair->values.emplace_back();
    value.metric = values.text(2);
    value.value = real_of(values, 3);
    value.error = real_of(values, 4);
    value.prompts = values.integer(5);
    value.reason = values.text(6);
    if (!read_parts(values.text(7), value)) return strange;
  }
  if (!values.ok()) return values.error();
  Query layers(*db_,
               "SELECT number, pair, layer, site, row_count, distance, norm, max_abs, squares,"
               " magnitude, direction, evicted FROM pair_layer WHERE run = ?1"
               " ORDER BY number, pair, layer, site",
               run);
  while (layers.next()) {
    MeasuredPair* pair = pair_of(layers, groups);
    if (pair == nullptr) return strange;
    pair->layers.push_back({std::int32_t(layers.integer(2)), std::string(layers.text(3)),
                            layers.integer(4), layers.real(5), layers.real(6), layers.real(7),
                            layers.real(8), layers.real(9), layers.real(10), layers.integer(11)});
  }
  if (!layers.ok()) return layers.error();
  return {};
}

}  // namespace isobit
