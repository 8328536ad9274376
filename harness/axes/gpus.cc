// Axis gpus: ranks of tensor parallelism, on GPUs of their own or virtual, and how bytes travel
// between ranks that are threads. Lossless: only bytes move, sums are made in rank order.
#include "harness/axes/parse.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

const axes::Words kRanks = {"1", "2", "4", "8"};
constexpr Topology kTopologies[] = {Topology::direct, Topology::ring, Topology::doubling,
                                    Topology::tree};

Result<void> option(const std::string& key, const std::string& text, RankShape& shape) {
  if (key == "ranks") {
    auto word = axes::closed_value("gpus", {text, {}}, kRanks);
    ISOBIT_TRY(word);
    shape.ranks = std::stoi(*word);
    return {};
  }
  if (key == "arrival") {
    std::int64_t seed = 0;
    if (!parse_integer(text, 0, INT64_MAX, seed)) {
      return axes::bad_value("gpus, option arrival", text, "; a seed, a whole number from 0");
    }
    shape.arrival = std::uint64_t(seed);
    return {};
  }
  if (key != "topology") {
    return Error{"unknown option " + in_quotes(key) + " of gpus" +
                     did_you_mean(key, {"ranks", "topology", "arrival"}),
                 ""};
  }
  axes::Words names;
  for (const Topology topology : kTopologies) {
    names.emplace_back(name_of(topology));
    if (text != names.back()) continue;
    shape.topology = topology;
    return {};
  }
  return axes::bad_value("gpus, option topology", text, did_you_mean(text, names));
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  RankShape shape;
  auto options = axes::options_of(
      "gpus", raw, "ranks",
      [&](const std::string& key, const std::string& text) { return option(key, text, shape); });
  ISOBIT_TRY(options);
  std::map<std::string, std::string>& args = *options;
  if (!args.count("ranks")) {
    if (use == ValueUse::pattern && args.size() == 1) return axes::map_value(args, "", {});
    return Error{"a map of gpus needs ranks, e.g. {ranks: 4, topology: ring}", ""};
  }
  if (shape.topology == Topology::direct) args.erase("topology");
  if (shape.arrival == 0) args.erase("arrival");
  const std::string ranks = args["ranks"];
  return args.size() == 1 ? axes::scalar_value(ranks, shape) : axes::map_value(args, ranks, shape);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  const auto& shape = std::get<RankShape>(value.setting);
  request.ranks = shape.ranks;
  request.topology = shape.topology;
  request.arrival_seed = shape.arrival;
}

}  // namespace

Axis gpus_axis() {
  return {"gpus",
          "1",
          "1 | 2 | 4 | 8 | {ranks: n, topology: direct|ring|doubling|tree, arrival: SEED}",
          AxisKind::place,
          true,
          {},
          parse,
          axes::always,
          apply};
}

}  // namespace isobit
