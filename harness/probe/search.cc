// The search (search.h).
#include "harness/probe/search.h"

#include <algorithm>
#include <set>

#include "harness/probe/forecast.h"
#include "runtime/base/interrupt.h"
#include "runtime/numerics/order.h"

namespace isobit::probe {
namespace {

using Meet = ProductOrder::Meet;
using Evidence = ProductLine::Evidence;

/// The whole numbers in a text that can be numbers of slices.
std::set<std::int64_t> numbers_in(const std::string& text) {
  constexpr std::size_t kMostNumbers = 32;
  std::set<std::int64_t> out;
  for (std::size_t i = 0; i < text.size() && out.size() < kMostNumbers;) {
    std::size_t end = i;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    if (end > i && end - i <= 4) {
      const std::int64_t value = std::stoll(text.substr(i, end - i));
      if (value >= 2 && value <= kMostLanes) out.insert(value);
    }
    i = std::max(end, i + 1);
  }
  return out;
}

/// Orders, each once.
class Orders {
 public:
  void add(const ProductOrder& order) {
    if (seen_.insert(order).second) all_.push_back(order);
  }
  void slices(ProductOrder like, std::int64_t k, std::int64_t n, std::int64_t multiple) {
    like.slice = slice_columns(k, n, multiple);
    if (like.slice == 0) return;
    add(like);
    if ((k + like.slice - 1) / like.slice > 2) {
      like.meet = Meet::halves;
      add(like);
    }
  }
  void dealt(std::int64_t k, std::int32_t tile, std::int64_t lanes, std::int64_t block) {
    ProductOrder order;
    order.deal = tile;
    order.lanes = std::int32_t(std::min(lanes, (k + tile - 1) / tile));
    order.block = block < k ? block : 0;
    if (order.lanes < 2) return;
    add(order);
    order.meet = Meet::halves;
    if (order.lanes > 2) add(order);
    order.meet = Meet::paired;
    order.lanes = std::int32_t(lanes);
    if (lanes > 2) add(order);
  }
  void nested(std::int64_t k, std::int32_t lanes) {
    ProductOrder order;
    order.deal = 1;
    order.lanes = std::int32_t(std::min<std::int64_t>(lanes, k));
    order.meet = Meet::nested;
    add(order);
  }
  std::vector<ProductOrder> take() { return std::move(all_); }

 private:
  std::vector<ProductOrder> all_;
  std::set<ProductOrder> seen_;
};

constexpr std::int64_t kMultiples[] = {64, 32, 128, 8, 16, 256, 4, 1};

/// Chains of a tensor core's groups: tiles whose residue comes first, instructions of half the
/// depth, 8-bit sums that are promoted.
void tensor_kinds(std::optional<TensorCore> chip, Format operand, std::int64_t k,
                  ProductOrder::Operands operands, std::vector<ProductOrder>& out) {
  ProductOrder kind;
  kind.chip = chip;
  kind.operands = operands;
  const auto unit = unit_of(kind, operand);
  if (!unit) return;
  if (operand == Format::e4m3 && k > kPromotedColumns) {
    kind.block = kPromotedColumns;
    out.push_back(kind);
    kind.block = 0;
  }
  for (const std::int32_t tile : {0, 32, 64, 16, 128}) {
    kind.tile = tile;
    for (const std::int32_t group : {0, unit->group / 2}) {
      kind.group = group;
      if (tile == 0 || k % tile != 0) out.push_back(kind);
    }
  }
}

/// Lanes of a warp or half of one that each take single columns, or one slice; in slices of the
/// numbers that the library said.
void few_rows(std::int64_t k, const std::set<std::int64_t>& said, Orders& out) {
  for (const std::int64_t block : {std::int64_t{256}, std::int64_t{512}, k}) {
    out.dealt(k, 1, 16, block);
  }
  out.dealt(k, 1, 32, k);
  for (const std::int32_t blocks : {8, 16, 31, 32}) out.nested(k, 256 * blocks);
  out.slices({}, k, 32, 1);
  for (const std::int64_t n : said) {
    ProductOrder order;
    order.deal = 1;
    order.lanes = 16;
    order.slice = (k + n - 1) / n;
    for (const std::int64_t block : {256, 512}) {
      order.block = block < order.slice ? block : 0;
      if (order.slice < k && n * order.lanes <= kMostLanes) out.add(order);
    }
  }
}

struct Found {
  ProductOrder order;
  bool all = false;          // every result of every call
  std::int64_t fitting = 0;  // results
};

/// The order of some calls of one matrix.
class Search {
 public:
  Search(const MatrixCapture& matrix, Format operand, const SearchPlan& plan, Values& values)
      : matrix_(matrix), operand_(operand), plan_(plan), values_(values) {}

  Found find(const std::vector<const Call*>& calls, const std::string& hint) {
    std::int64_t results = 0;
    std::vector<std::vector<Place>> places;
    for (const Call* call : calls) {
      places.push_back(kept_places(call->rows, matrix_.outputs));
      results += std::int64_t(call->bits.size());
    }
    const auto fits = [&](const ProductOrder& order) {
      for (std::size_t i = 0; i < calls.size(); ++i) {
        const auto all = std::int64_t(places[i].size());
        if (values_.fitting(order, *calls[i], places[i], true) != all) return false;
      }
      return true;
    };
    // What the library says comes first, then what explained other rows of this matrix.
    if (plan_.chip) {
      const auto told = forecast_order(hint, *plan_.chip, operand_, matrix_.inputs);
      if (told && fits(*told)) return {*told, true, results};
    }
    for (const ProductOrder& order : before_) {
      if (fits(order)) return {order, true, results};
    }
    const auto tried = candidates(plan_.chip, operand_, matrix_.inputs, hint, plan_.rounds);
    for (const ProductOrder& order : tried) {
      if (!fits(order)) continue;
      before_.insert(before_.begin(), order);
      return {order, true, results};
    }
    return nearest(calls, places, tried);
  }

 private:
  /// The one that fits most results of the first call's kind.
  Found nearest(const std::vector<const Call*>& calls,
                const std::vector<std::vector<Place>>& places,
                const std::vector<ProductOrder>& tried) {
    constexpr std::size_t kMostTried = 24;
    Found best;
    for (std::size_t i = 0; i < tried.size() && i < kMostTried; ++i) {
      std::int64_t fitting = 0;
      for (std::size_t c = 0; c < calls.size(); ++c) {
        fitting += values_.fitting(tried[i], *calls[c], places[c], false);
      }
      if (i == 0 || fitting > best.fitting) best = {tried[i], false, fitting};
    }
    return best;
  }

  const MatrixCapture& matrix_;
  Format operand_;
  const SearchPlan& plan_;
  Values& values_;
  std::vector<ProductOrder> before_;
};

std::vector<const Call*> calls_between(const MatrixCapture& matrix, std::int64_t from,
                                       std::int64_t to) {
  std::vector<const Call*> out;
  for (const Call& call : matrix.calls) {
    if (call.rows >= from && call.rows <= to) out.push_back(&call);
  }
  return out;
}

ProductLine line_of(const MatrixCapture& matrix, Format operand, const Choice& rows,
                    const std::vector<const Call*>& calls, const Found& found) {
  ProductLine line;
  line.operand = operand;
  line.outputs = matrix.outputs;
  line.inputs = matrix.inputs;
  line.from_rows = rows.from;
  line.to_rows = rows.to;
  line.order = found.order;
  line.evidence = found.all ? Evidence::proved : Evidence::open;
  std::int64_t results = 0;
  for (const Call* call : calls) results += std::int64_t(call->bits.size());
  line.calls = found.all ? std::int64_t(calls.size()) : found.fitting;
  line.results = results;
  return line;
}

/// Runs of rows to explain by one order each: the library's choices, or else each number of rows.
std::vector<Choice> runs_of(const MatrixCapture& matrix) {
  if (!matrix.choices.empty()) return matrix.choices;
  std::set<std::int64_t> rows;
  for (const Call& call : matrix.calls) rows.insert(call.rows);
  std::vector<Choice> out;
  for (const std::int64_t m : rows) out.push_back({m, m, ""});
  return out;
}

/// The line before, longer, where both are proved and of one order; else one more.
void append(ProductLine line, std::size_t first, std::vector<ProductLine>& out) {
  const bool more = out.size() > first && out.back().evidence == Evidence::proved &&
                    line.evidence == Evidence::proved && out.back().order == line.order &&
                    out.back().to_rows + 1 == line.from_rows;
  if (!more) return out.push_back(std::move(line));
  out.back().to_rows = line.to_rows;
  out.back().calls += line.calls;
  out.back().results += line.results;
}

void add_lines(const MatrixCapture& matrix, const SearchPlan& plan, std::vector<ProductLine>& out) {
  const Mode* mode = operand_of(matrix.precision);
  ISOBIT_CHECK(mode != nullptr);
  const Format operand = mode->gemm_input;
  Values values(matrix.inputs, *mode, matrix.rounded);
  Search search(matrix, operand, plan, values);
  const std::size_t first = out.size();
  for (const Choice& run : runs_of(matrix)) {
    const auto calls = calls_between(matrix, run.from, run.to);
    if (calls.empty()) continue;
    const Found found = search.find(calls, run.text);
    if (found.all || run.from == run.to) {
      append(line_of(matrix, operand, run, calls, found), first, out);
      continue;
    }
    std::set<std::int64_t> rows;
    for (const Call* call : calls) rows.insert(call->rows);
    for (const std::int64_t m : rows) {
      const auto of_m = calls_between(matrix, m, m);
      append(line_of(matrix, operand, {m, m, run.text}, of_m, search.find(of_m, run.text)), first,
             out);
    }
  }
}

}  // namespace

std::int64_t slice_columns(std::int64_t k, std::int64_t n, std::int64_t multiple) {
  const std::int64_t even = (k + n - 1) / n;
  const std::int64_t slice = (even + multiple - 1) / multiple * multiple;
  return slice < k ? slice : 0;
}

std::vector<ProductOrder> candidates(std::optional<TensorCore> chip, Format operand, std::int64_t k,
                                     const std::string& hint, bool rounds) {
  std::vector<ProductOrder> kinds;
  using How = ProductOrder::Operands;
  for (const How how : {How::exact, How::tf32, How::tf32_away}) {
    if (how == How::exact || (rounds && operand == Format::f32)) {
      tensor_kinds(chip, operand, k, how, kinds);
    }
  }
  kinds.emplace_back();
  Orders out;
  for (const ProductOrder& each : kinds) out.add(each);
  const std::set<std::int64_t> said = numbers_in(hint);
  few_rows(k, said, out);
  for (const ProductOrder& each : kinds) {
    for (const std::int64_t n : said) {
      for (const std::int64_t multiple : kMultiples) out.slices(each, k, n, multiple);
    }
  }
  for (const std::int64_t n : said) {
    for (const std::int32_t tile : {8, 16, 32}) out.dealt(k, tile, n, k);
  }
  for (const ProductOrder& each : kinds) {
    for (std::int64_t n = 2; n <= 32; ++n) {
      for (const std::int64_t multiple : kMultiples) out.slices(each, k, n, multiple);
    }
  }
  for (std::int64_t n = 2; n <= 16; ++n) {
    for (const std::int32_t tile : {8, 16, 4, 32}) out.dealt(k, tile, n, k);
  }
  return out.take();
}

const Operands& Values::operands(std::int64_t draw) {
  const auto known = drawn_.find(draw);
  if (known != drawn_.end()) return known->second;
  return drawn_.emplace(draw, Operands(draw, inputs_, mode_.matrix, mode_.gemm_input))
      .first->second;
}

std::uint32_t Values::bits(const ProductOrder& order, std::int64_t draw, Place place) {
  const auto [at, fresh] = tables_.try_emplace(order);
  Table& table = at->second;
  if (fresh) {
    table.steps = product_steps(order, inputs_);
    table.unit = unit_of(order, mode_.gemm_input);
    table.sums.resize(std::size_t(table.steps.lanes));
  }
  const std::int64_t key =
      (draw * kRowPeriod + place.row % kRowPeriod) * kWeightPeriod + place.output % kWeightPeriod;
  const auto [value, unknown] = table.known.try_emplace(key);
  if (unknown) {
    const Operands& drawn = operands(draw);
    const float* a = drawn.row(place.row).data();
    const float* b = drawn.weights(place.output).data();
    const ProductOrder::Operands how = order.operands;
    const float sum =
        ordered_product(
            table.steps.steps, table.unit ? &*table.unit : nullptr,
            [a, how](std::int64_t i) { return taken(how, a[i]); },
            [b, how](std::int64_t i) { return taken(how, b[i]); }, table.sums.data()) +
        0.0F;
    value->second = bits_of(rounded_ ? round_to(mode_.gemm_input, sum) : sum);
  }
  return value->second;
}

std::int64_t Values::fitting(const ProductOrder& order, const Call& call,
                             const std::vector<Place>& places, bool all) {
  std::int64_t count = 0;
  for (std::size_t i = 0; i < places.size() && i < call.bits.size(); ++i) {
    const bool same = bits(order, call.draw, places[i]) == call.bits[i];
    if (!same && all) return count;
    count += same ? 1 : 0;
  }
  return count;
}

std::vector<ProductLine> search_orders(const Capture& capture, const SearchPlan& plan) {
  std::vector<ProductLine> out;
  for (const MatrixCapture& matrix : capture.matrices) {
    if (interrupted != 0) break;
    const std::size_t before = out.size();
    add_lines(matrix, plan, out);
    std::int64_t proved = 0;
    for (std::size_t i = before; i < out.size(); ++i) {
      proved += out[i].evidence == Evidence::proved ? 1 : 0;
    }
    if (plan.progress) {
      plan.progress(matrix.precision + " " + std::to_string(matrix.outputs) + " x " +
                    std::to_string(matrix.inputs) + ": " + std::to_string(proved) + " of " +
                    std::to_string(out.size() - before) + " lines proved");
    }
  }
  return out;
}

}  // namespace isobit::probe
