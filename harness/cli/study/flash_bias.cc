// Rows are drawn from a counter, so that one does not depend on those before it.
#include "harness/cli/study/flash_bias.h"

#include <algorithm>
#include <cmath>

#include "runtime/numerics/flash.h"
#include "runtime/numerics/random.h"

namespace isobit::study {
namespace {

constexpr std::int64_t kKeys = 64, kChannels = 16;
constexpr std::int32_t kBlock = 64;  // all keys of a drawn row

struct Shape {
  const char* name;
  double low, high;  // of the distance below the maxima
};
constexpr Shape kShapes[] = {{"sink", 12, 20}, {"sharp", 8, 16}, {"broad", 1, 9}};
constexpr const char* kSigns[] = {"negative", "mixed", "positive"};
constexpr int kMaxima[] = {1, 2, 4, 8};

const char* name_of(Format format) {
  return format == Format::bf16 ? "bf16" : "fp16";
}

/// P V before the division, and the sum of P, by numerics/flash.h: the scores are the keys' first
/// channel, the query's is 1.
template <class T>
struct Attended {
  std::vector<T> o;  // (channels)
  T l = T(0);
};
template <class T>
Attended<T> attend(const BiasRow& row, const FlashRule& rule) {
  const int d = int(row.channels);
  std::vector<T> q(std::size_t(d), T(0));
  q[0] = T(1);
  Attended<T> out{std::vector<T>(std::size_t(d)), T(0)};
  FlashState<T> state;
  const auto key = [&](std::int64_t j, int i) {
    return i == 0 ? T(row.scores[std::size_t(j)]) : T(0);
  };
  const auto value = [&](std::int64_t j, int i) { return T(row.values[std::size_t(j * d + i)]); };
  flash_split(
      rule, q.data(), d, T(1), T(0), 0, std::int64_t(row.scores.size()) - 1,
      [](std::int64_t) { return true; }, key, value, state, out.o.data());
  out.l = state.l;
  return out;
}

std::vector<double> exact_output(const BiasRow& row, std::int32_t block) {
  FlashRule rule;
  rule.block = block;
  Attended<double> all = attend<double>(row, rule);
  for (double& o : all.o) o = o / all.l;
  return all.o;
}

std::vector<double> rounded_output(const Attended<float>& all, Format format, Rounded rounded) {
  std::vector<double> out;
  const float inverse = 1.0f / all.l;
  for (const float o : all.o) {
    const bool sum = rounded == Rounded::sum;
    out.push_back(double(sum ? round_to(format, o) * inverse : round_to(format, o * inverse)));
  }
  return out;
}

double product(const std::vector<float>& d_out, const std::vector<double>& out) {
  double sum = 0;
  for (std::size_t c = 0; c < out.size(); ++c) sum += double(d_out[c]) * out[c];
  return sum;
}

/// A number in (0, 1).
double drawn(std::uint64_t seed, std::uint32_t row, std::uint32_t element, std::uint32_t what,
             std::uint32_t place) {
  const PhiloxBlock block = philox4x32({{row, element, what, place}}, seed);
  return double(2u * (block.word[0] >> 9) + 1u) * 0x1p-24;
}

/// What a counter draws: its third word.
enum Draw : std::uint32_t { kMaximum, kSign, kDistance, kValue, kValueSign, kGradient };

/// `place`: of the line, so that no two share a row.
BiasRow drawn_row(std::uint64_t seed, std::uint32_t number, std::uint32_t place, const Shape& shape,
                  int sign, int maxima) {
  const auto draw = [&](std::uint32_t element, Draw what) {
    return drawn(seed, number, element, what, place);
  };
  const auto signed_value = [&](double size, std::uint32_t element) {
    const bool negative = sign == 0 || (sign == 1 && draw(element, kValueSign) < 0.5);
    return float(negative ? -size : size);
  };
  BiasRow row;
  row.channels = kChannels;
  const double greatest = (0.5 + 4 * draw(0, kMaximum)) * (draw(0, kSign) < 0.5 ? -1 : 1);
  for (std::uint32_t j = 0; j < kKeys; ++j) {
    const double below = shape.low + (shape.high - shape.low) * draw(j, kDistance);
    row.scores.push_back(float(int(j) < maxima ? greatest : greatest - below));
    for (std::uint32_t c = 0; c < kChannels; ++c) {
      const std::uint32_t element = j * std::uint32_t(kChannels) + c;
      row.values.push_back(signed_value(1 + draw(element, kValue), element));
    }
  }
  const std::uint32_t after = std::uint32_t(kKeys * kChannels);
  for (std::uint32_t c = 0; c < kChannels; ++c) {
    row.d_out.push_back(signed_value(0.5 + draw(c, kGradient), after + c));
  }
  return row;
}

/// Mean over the channels of a class; false where it has none.
bool mean_of(const std::vector<double>& x, const std::vector<std::string>& column,
             const std::string& wanted, double& mean) {
  double sum = 0;
  int count = 0;
  for (std::size_t c = 0; c < x.size(); ++c) {
    if (column.size() > 1 && column[c] != wanted) continue;
    sum += x[c];
    ++count;
  }
  mean = count > 0 ? sum / count : 0;
  return count > 0;
}

/// Standard error of the mean of n numbers.
double standard_error(double sum, double squares, std::int64_t n) {
  if (n < 2) return 0;
  const double mean = sum / double(n);
  const double variance = (squares - double(n) * mean * mean) / double(n - 1);
  return std::sqrt(std::max(variance, 0.0) / double(n));
}

}  // namespace

const std::vector<Mitigation>& mitigations() {
  static const std::vector<Mitigation> all = {
      {"none", 0, false}, {"paper", 7, false}, {"repository", 2, true}};
  return all;
}

std::string class_of_maxima(std::int64_t maxima) {
  if (maxima <= 2) return std::to_string(maxima);
  return maxima <= 4 ? "3-4" : maxima <= 8 ? "5-8" : "9 or more";
}

BiasTable::Sums& BiasTable::sums_of(const BiasLine& wanted) {
  const auto same = [&](const Sums& sums) {
    const BiasLine& line = sums.line;
    return line.rows_are == wanted.rows_are && line.format == wanted.format &&
           line.values == wanted.values && line.maxima == wanted.maxima &&
           line.mitigation == wanted.mitigation && line.rounded == wanted.rounded;
  };
  const auto found = std::find_if(sums_.begin(), sums_.end(), same);
  if (found != sums_.end()) return *found;
  sums_.push_back({wanted});
  return sums_.back();
}

void BiasTable::add(const std::string& rows_are, const std::string& maxima,
                    const std::vector<std::string>& column, const BiasRow& row) {
  for (const Format format : {Format::bf16, Format::fp16}) {
    add_in(format, rows_are, maxima, column, row);
  }
}

void BiasTable::add_in(Format format, const std::string& rows_are, const std::string& maxima,
                       const std::vector<std::string>& column, BiasRow row) {
  for (float& v : row.values) v = round_to(format, v);
  const std::vector<double> exact = exact_output(row, block_);
  if (row.d_out.empty()) row.d_out.assign(exact.begin(), exact.end());
  for (float& g : row.d_out) g = round_to(format, g);
  const double delta = product(row.d_out, exact);
  std::vector<double> sizes;
  for (const double o : exact) sizes.push_back(std::abs(o));
  std::vector<std::string> classes = column;
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  for (const Mitigation& mitigation : mitigations()) {
    const FlashRule rule{block_, 1, 0, format, mitigation.beta, mitigation.loose};
    const Attended<float> low = attend<float>(row, rule);
    for (const Rounded rounded : {Rounded::sum, Rounded::quotient}) {
      const std::vector<double> out = rounded_output(low, format, rounded);
      const bool finite =
          std::all_of(out.begin(), out.end(), [](double x) { return is_finite(x); });
      const bool zero = std::all_of(out.begin(), out.end(), [](double x) { return x == 0; });
      std::vector<double> errors;
      for (std::size_t c = 0; c < out.size(); ++c) errors.push_back(out[c] - exact[c]);
      const double delta_error = product(row.d_out, out) - delta;
      for (const std::string& values : classes) {
        BiasLine line{rows_are, name_of(format), values,
                      maxima,   mitigation.name, rounded == Rounded::sum ? "sum" : "quotient"};
        Sums& sums = sums_of(line);
        ++sums.line.rows;
        if (!finite || zero) ++sums.line.lost;
        double error = 0, size = 0;
        if (!finite || zero || !mean_of(errors, column, values, error)) continue;
        mean_of(sizes, column, values, size);
        sums.error += error;
        sums.error_squared += error * error;
        sums.size += size;
        sums.delta += delta_error;
        sums.delta_squared += delta_error * delta_error;
        sums.delta_size += std::abs(delta);
      }
    }
  }
}

std::vector<BiasLine> BiasTable::lines() const {
  std::vector<BiasLine> out;
  for (const Sums& sums : sums_) {
    BiasLine line = sums.line;
    const std::int64_t n = line.rows - line.lost;
    const double count = double(std::max<std::int64_t>(n, 1));
    line.output_error = sums.error / count;
    line.output_standard_error = standard_error(sums.error, sums.error_squared, n);
    line.output_size = sums.size / count;
    line.delta_error = sums.delta / count;
    line.delta_standard_error = standard_error(sums.delta, sums.delta_squared, n);
    line.delta_size = sums.delta_size / count;
    out.push_back(line);
  }
  return out;
}

std::vector<BiasLine> synthetic_bias(std::uint64_t seed, std::int64_t rows) {
  BiasTable table(kBlock);
  std::uint32_t place = 0;
  for (const Shape& shape : kShapes) {
    for (int sign = 0; sign < 3; ++sign) {
      for (const int maxima : kMaxima) {
        for (std::int64_t r = 0; r < rows; ++r) {
          table.add(shape.name, std::to_string(maxima), {kSigns[sign]},
                    drawn_row(seed, std::uint32_t(r), place, shape, sign, maxima));
        }
        ++place;
      }
    }
  }
  return table.lines();
}

}  // namespace isobit::study
