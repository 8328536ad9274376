// What the tests of flash and fused attention share: the same call on several backends, over
// sequences in shuffled pages, and in plain rows through numerics/flash.h. Memory that may not be
// read holds NaN.
#pragma once

#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "runtime/backends/registry.h"
#include "runtime/numerics/flash_call.h"
#include "tests/conformance/kernel_data.h"

namespace isobit::flash_test {

using cpu::testing::Data;
using cpu::testing::make_data;
using cpu::testing::Random;

struct Case {
  std::string schedule = "flash:64";
  Precision precision = Precision::fp32;
  std::int64_t heads = 3, kv_heads = 2, d = 64;
  std::vector<std::int64_t> lengths = {1, 40, 130};  // of sequences; the last rows are queries
  std::int64_t queries = 2;                          // rows a sequence
  bool ascending = false;                            // its rows by position, else the last first
  std::int64_t window = 0;
  std::int32_t page_size = 16;
  int evict = 0;  // one position in `evict` stays; 0: no mask
  Data data = Data::plain;
  double softcap = 0;
  bool twins = false;  // two and two neighbours share a key, so that every maximum stands twice
};

inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  out << c.schedule << " precision " << int(c.precision) << " heads " << c.heads << "/"
      << c.kv_heads << " d " << c.d << " window " << c.window << " page " << c.page_size
      << " evict " << c.evict << " data " << int(c.data) << " queries " << c.queries << " lengths";
  for (const std::int64_t n : c.lengths) out << " " << n;
  return out;
}

/// A backend of the case's schedule; null where this machine has none.
inline std::unique_ptr<Backend> backend_of(const Case& c, const std::string& isa, int threads = 1,
                                           const std::string& device = "cpu") {
  BackendOptions options;
  options.isa = isa;
  options.threads = threads;
  options.device = device;
  if (c.schedule != "reference") options.attention = *parse_flash(c.schedule);
  if (options.attention.is_fused()) options.engine = *parse_engine("model:sm90");
  const Mode mode = mode_of(c.precision);
  if (!unsupported_reason(options, mode).empty()) return nullptr;
  auto made = make_backend(options, mode);
  ISOBIT_CHECK(made.has_value());
  return std::move(*made);
}

/// Sequences, their pages and queries.
class Scene {
 public:
  Scene(const Case& c, std::uint64_t seed) : c_(c), mode_(mode_of(c.precision)), random_(seed) {
    lay_out();
    const auto n = std::int64_t(slots_.size());
    k_ = values(n * c.kv_heads * c.d, seed + 1, mode_.cache);
    v_ = values(n * c.kv_heads * c.d, seed + 2, mode_.cache);
    make_rows();
    if (c.twins) share_keys();
    q_ = values(std::int64_t(places_.size()) * c.heads * c.d, 77, mode_.stored);
  }

  [[nodiscard]] AttentionRows arguments() const {
    AttentionRows args;
    args.rows = places_;
    args.heads = c_.heads;
    args.head_dim = c_.d;
    args.kv_heads = c_.kv_heads;
    for (std::int64_t h = 0; h < c_.heads; ++h) {
      args.kv_of_head.push_back(std::int32_t(h * c_.kv_heads / c_.heads));
    }
    args.scale = 0.17677669529663687;
    args.softcap = c_.softcap;
    args.page_size = c_.page_size;
    return args;
  }

  /// Numbers of a query head of row r.
  [[nodiscard]] std::span<const double> query(std::size_t r, std::int64_t head) const {
    return head_of(q_, std::int64_t(r) * c_.heads + head);
  }
  /// Keys and values of a position of sequence s, which is not hidden.
  [[nodiscard]] std::span<const double> key(std::size_t s, std::int64_t p, std::int64_t kv) const {
    return head_of(k_, rows_of_[s][std::size_t(p)] * c_.kv_heads + kv);
  }
  [[nodiscard]] std::span<const double> value(std::size_t s, std::int64_t p,
                                              std::int64_t kv) const {
    return head_of(v_, rows_of_[s][std::size_t(p)] * c_.kv_heads + kv);
  }

  /// What a backend makes of it.
  [[nodiscard]] std::vector<double> run(Backend& b) const {
    const std::int64_t width = c_.kv_heads * c_.d, out_width = c_.heads * c_.d;
    const auto n = std::int64_t(slots_.size()), rows = std::int64_t(places_.size());
    const std::int64_t k_slots = pages_ * ((c_.page_size + 15) / 16) * 16;
    const auto take = [&](std::int64_t elements) {
      return b.allocate(std::size_t(elements) * b.real_size());
    };
    void* const pools[] = {take(k_slots * width), take(pages_ * c_.page_size * width)};
    const Rows k{take(n * width), n, width, width}, v{take(n * width), n, width, width};
    const Rows q{take(rows * out_width), rows, out_width, out_width};
    const Rows out{take(rows * out_width), rows, out_width, out_width};
    b.set_reals(k_, k);
    b.set_reals(v_, v);
    b.set_reals(q_, q);
    b.write_kv(k, v, slots_, c_.kv_heads, c_.page_size, pools[0], pools[1]);
    b.attention(q, arguments(), pools[0], pools[1], out);
    std::vector<double> given = b.reals(out);
    for (void* memory : {pools[0], pools[1], k.data, v.data, q.data, out.data}) b.release(memory);
    return given;
  }

  /// The same from numerics/flash.h, over plain rows.
  [[nodiscard]] std::vector<double> literal() const {
    return mode_.wide() ? literal_as<double>() : literal_as<float>();
  }

 private:
  [[nodiscard]] std::span<const double> head_of(const std::vector<double>& x,
                                                std::int64_t head) const {
    return {x.data() + head * c_.d, std::size_t(c_.d)};
  }

  std::vector<double> values(std::int64_t n, std::uint64_t seed, Format format) const {
    if (mode_.wide()) return make_data<double>(c_.data, n, seed);
    std::vector<double> out;
    for (const float x : make_data<float>(c_.data, n, seed)) {
      out.push_back(double(round_to(format, x)));
    }
    return out;
  }

  void share_keys() {
    const std::int64_t width = c_.kv_heads * c_.d;
    for (const std::vector<std::int64_t>& row_of : rows_of_) {
      for (std::size_t p = 1; p < row_of.size(); p += 2) {
        if (row_of[p] < 0 || row_of[p - 1] < 0) continue;
        std::copy_n(k_.begin() + row_of[p - 1] * width, width, k_.begin() + row_of[p] * width);
      }
    }
  }

  void lay_out() {
    for (const std::int64_t n : c_.lengths) pages_ += (n + c_.page_size - 1) / c_.page_size;
    std::vector<std::int32_t> order(static_cast<std::size_t>(pages_));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[std::size_t(random_.below(std::int64_t(i)))]);
    }
    auto next = order.begin();
    for (const std::int64_t length : c_.lengths) {
      const std::int64_t pages = (length + c_.page_size - 1) / c_.page_size;
      tables_.emplace_back(next, next + pages);
      next += pages;
      auto& keep = keeps_.emplace_back(std::size_t(length), std::uint8_t(1));
      for (std::uint8_t& one : keep) one = c_.evict == 0 || random_.below(c_.evict) == 0;
      if (c_.evict > 0 && length > 200) std::fill(keep.begin() + 64, keep.begin() + 128, 0);
      auto& row_of = rows_of_.emplace_back(std::size_t(length), std::int64_t(-1));
      for (std::int64_t p = 0; p < length; ++p) {
        if (keep[std::size_t(p)] == 0) continue;  // what may not be read is never written
        row_of[std::size_t(p)] = std::int64_t(slots_.size());
        slots_.push_back(std::int64_t(tables_.back()[std::size_t(p / c_.page_size)]) *
                             c_.page_size +
                         p % c_.page_size);
      }
    }
    if (slots_.empty()) slots_.push_back(0);
  }

  void make_rows() {
    for (std::size_t s = 0; s < c_.lengths.size(); ++s) {
      const std::int64_t length = c_.lengths[s], count = std::min(c_.queries, length);
      for (std::int64_t i = 0; i < count; ++i) {
        AttentionRows::Row row;
        row.position = c_.ascending ? length - count + i : length - 1 - i;
        if (c_.window > 0) row.first = std::max<std::int64_t>(0, row.position - c_.window + 1);
        row.table = tables_[s].data();
        if (c_.evict > 0) row.keep = keeps_[s].data();
        places_.push_back(row);
        sequence_.push_back(s);
      }
    }
  }

  template <class T>
  [[nodiscard]] std::vector<double> literal_as() const {
    const AttentionRows args = arguments();
    const FlashRule rule = FlashCalls(*parse_flash(c_.schedule)).rule(args);
    const int d = int(c_.d);
    std::vector<T> q(q_.begin(), q_.end()), out(q_.size());
    std::vector<T> parts(static_cast<std::size_t>(kMostFlashSplits * d));
    for (std::size_t r = 0; r < places_.size(); ++r) {
      const std::vector<std::int64_t>& row_of = rows_of_[sequence_[r]];
      for (std::int64_t h = 0; h < c_.heads; ++h) {
        const std::int64_t kv = args.kv_of_head[std::size_t(h)];
        const auto at = [&](const std::vector<double>& x, std::int64_t p, int i) {
          return T(x[std::size_t((row_of[std::size_t(p)] * c_.kv_heads + kv) * d + i)]);
        };
        const std::size_t place = (r * std::size_t(c_.heads) + std::size_t(h)) * std::size_t(d);
        flash_row(
            rule, q.data() + place, d, T(args.scale), T(c_.softcap), places_[r].first,
            places_[r].position, [&](std::int64_t p) { return row_of[std::size_t(p)] >= 0; },
            [&](std::int64_t p, int i) { return at(k_, p, i); },
            [&](std::int64_t p, int i) { return at(v_, p, i); }, mode_.stored, parts.data(),
            out.data() + place);
      }
    }
    return {out.begin(), out.end()};
  }

  Case c_;
  Mode mode_;
  Random random_;
  std::int64_t pages_ = 0;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::vector<std::uint8_t>> keeps_;
  std::vector<std::vector<std::int64_t>> rows_of_;  // of k_ and v_, by position; -1: hidden
  std::vector<std::int64_t> slots_;
  std::vector<AttentionRows::Row> places_;
  std::vector<std::size_t> sequence_;  // of places_
  std::vector<double> k_, v_, q_;
};

}  // namespace isobit::flash_test
