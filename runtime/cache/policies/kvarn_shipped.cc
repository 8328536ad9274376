// kvarn, form: shipped: KVarN as its vLLM backend runs it. Everything is kept in the rotated frame
// as fp16, the first group for good; a whole group becomes codes at the start of the step after the
// one that completed it. A prompt's first rows see raw K and V, a step of one row reads the rotated
// frame, one of more rows turns everything back first: three paths, three roundings.

#include "runtime/numerics/kv/kvarn_shipped.h"

#include <map>

#include "runtime/cache/policies/table.h"
#include "runtime/cache/shipped.h"
#include "runtime/numerics/order.h"

namespace isobit {
namespace {

namespace kvarn = kvarn_shipped;

struct Options {
  int k_bits = 4, v_bits = 2, iterations = 8;
  std::int64_t group = 128;
};

/// K or V of one KV head and group.
struct Tile {
  std::vector<std::uint8_t> packed;  // row by row, the low bits of a byte first
  StoredReals step, low, scale;      // by row, by row, by column; fp16
};

/// What a layer keeps of one sequence.
struct Layer {
  std::vector<std::uint16_t> k, v;     // rows in fp16: the first group, then those behind the tiles
  std::vector<Tile> k_tiles, v_tiles;  // (groups from the second on, KV heads)
};

class KvarnCache final : public ShippedCache {
 public:
  KvarnCache(const Options& options, const KvModel& model) : options_(options), model_(model) {}

  void clear(int sequence) override { layers_.erase(sequence); }

  Result<std::vector<ShippedSeen>> update(std::int64_t layer,
                                          std::span<const ShippedRows> rows) override {
    for (const ShippedRows& each : rows) {
      std::vector<Layer>& all = layers_[each.sequence];
      if (all.empty()) all.resize(std::size_t(model_.layers));
      Layer& at = all[std::size_t(layer)];
      while ((groups(at) + 2) * options_.group <= each.past) {
        flush(at);
        if (layer == 0) coded_ += options_.group;
      }
      seen_coded_ |= groups(at) > 0;
      append(each.k, at.k);
      append(each.v, at.v);
    }
    return std::vector<ShippedSeen>(rows.size());
  }

  bool attends(std::int64_t past) const override { return past > 0; }

  void attend(std::int64_t layer, const ShippedAttention& how,
              const ShippedQueries& queries) const override {
    const Layer& at = layers_.at(queries.sequence)[std::size_t(layer)];
    const std::int64_t width = model_.heads * model_.head_dim;
    const std::int64_t rows = std::int64_t(queries.q.size()) / width;
    for (std::int64_t kv = 0; kv < model_.kv_heads; ++kv) {
      std::vector<float> k = head(at.k, at.k_tiles, kv, true);
      std::vector<float> v = head(at.v, at.v_tiles, kv, false);
      if (rows > 1) turn_back(k), turn_back(v);
      const std::int64_t last = std::int64_t(k.size()) / model_.head_dim - 1;
      const std::int64_t group = model_.heads / model_.kv_heads;
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h) {
          const auto from = std::size_t(r * width + h * model_.head_dim);
          const auto d = std::size_t(model_.head_dim);
          attend_head(how, last - rows + 1 + r, k, v, rows == 1, queries.q.subspan(from, d),
                      queries.out.subspan(from, d));
        }
      }
    }
  }

  std::int64_t bytes() const override {
    std::int64_t bytes = 0;
    for (const auto& [sequence, layers] : layers_) {
      for (const Layer& layer : layers) {
        bytes += std::int64_t((layer.k.size() + layer.v.size()) * sizeof(std::uint16_t));
        for (const auto* tiles : {&layer.k_tiles, &layer.v_tiles}) {
          for (const Tile& tile : *tiles) {
            bytes += std::int64_t(tile.packed.size()) + tile.step.bytes() + tile.low.bytes() +
                     tile.scale.bytes();
          }
        }
      }
    }
    return bytes;
  }

 private:
  /// Groups in codes; the first group never is.
  [[nodiscard]] std::int64_t groups(const Layer& at) const {
    return std::int64_t(at.k_tiles.size()) / model_.kv_heads;
  }

  /// Rows (tokens, KV heads * head_dim): to fp16, rotated by the fp16 matrix, to fp16.
  void append(std::span<const double> rows, std::vector<std::uint16_t>& to) const {
    const auto d = std::size_t(model_.head_dim);
    std::vector<float> x(d), turned(d);
    for (std::size_t begin = 0; begin < rows.size(); begin += d) {
      for (std::size_t i = 0; i < d; ++i) x[i] = round_to(Format::fp16, float(rows[begin + i]));
      kvarn::rotate(x, kvarn::fp16_element(model_.head_dim), turned);
      for (const float each : turned) to.push_back(fp16_from_float(each));
    }
  }

  /// The group behind the tiles becomes tiles.
  void flush(Layer& at) const {
    const std::int64_t d = model_.head_dim, g = options_.group;
    const auto begin = std::size_t(g * model_.kv_heads * d), count = begin;
    for (std::int64_t h = 0; h < model_.kv_heads; ++h) {
      std::vector<float> k(std::size_t(d * g)), v(k);
      for (std::int64_t t = 0; t < g; ++t) {
        for (std::int64_t i = 0; i < d; ++i) {
          const std::size_t from = begin + std::size_t((t * model_.kv_heads + h) * d + i);
          k[std::size_t(i * g + t)] = float_from_fp16(at.k[from]);
          v[std::size_t(t * d + i)] = float_from_fp16(at.v[from]);
        }
      }
      at.k_tiles.push_back(tile_of(k, d, g, options_.k_bits));
      at.v_tiles.push_back(tile_of(v, g, d, options_.v_bits));
    }
    for (auto* rows : {&at.k, &at.v}) {
      rows->erase(rows->begin() + std::ptrdiff_t(begin),
                  rows->begin() + std::ptrdiff_t(begin + count));
    }
  }

  [[nodiscard]] Tile tile_of(const std::vector<float>& x, std::int64_t rows, std::int64_t columns,
                             int bits) const {
    const kvarn::Balanced balanced = kvarn::balance(x, rows, columns, options_.iterations);
    const StoredReals none(Format::fp16);
    Tile tile{std::vector<std::uint8_t>(std::size_t(rows * columns * bits / 8)), none, none, none};
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::span row(balanced.x.data() + r * columns, std::size_t(columns));
      const kvarn::CodedRow coded =
          kvarn::encode_row(row, balanced.row_scale[std::size_t(r)], bits);
      tile.step.push(double(coded.step));
      tile.low.push(double(coded.low));
      for (std::int64_t c = 0; c < columns; ++c) {
        const std::int64_t bit = (r * columns + c) * bits;
        std::uint8_t& byte = tile.packed[std::size_t(bit / 8)];
        byte = std::uint8_t(byte | coded.codes[std::size_t(c)] << (bit % 8));
      }
    }
    for (const float scale : balanced.column_scale) {
      tile.scale.push(double(round_to(Format::fp16, scale)));
    }
    return tile;
  }

  /// K or V of one KV head at every position, rotated: (positions, head_dim), codes unrounded.
  [[nodiscard]] std::vector<float> head(const std::vector<std::uint16_t>& rows,
                                        const std::vector<Tile>& tiles, std::int64_t h,
                                        bool keys) const {
    const std::int64_t d = model_.head_dim, g = options_.group, heads = model_.kv_heads;
    std::vector<float> out;
    const auto add_rows = [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t t = first; t < end; ++t) {
        for (std::int64_t i = 0; i < d; ++i) {
          out.push_back(float_from_fp16(rows[std::size_t((t * heads + h) * d + i)]));
        }
      }
    };
    const std::int64_t kept = std::int64_t(rows.size()) / (heads * d),
                       bits = keys ? options_.k_bits : options_.v_bits;
    add_rows(0, std::min(kept, g));
    for (std::size_t at = std::size_t(h); at < tiles.size(); at += std::size_t(heads)) {
      const Tile& tile = tiles[at];
      for (std::int64_t t = 0; t < g; ++t) {
        for (std::int64_t i = 0; i < d; ++i) {
          const std::int64_t r = keys ? i : t, c = keys ? t : i, columns = keys ? g : d;
          const std::int64_t bit = (r * columns + c) * bits;
          const int code = tile.packed[std::size_t(bit / 8)] >> (bit % 8) & ((1 << bits) - 1);
          out.push_back(kvarn::value(code, float(tile.step.at(std::size_t(r))),
                                     float(tile.low.at(std::size_t(r))),
                                     float(tile.scale.at(std::size_t(c)))));
        }
      }
    }
    add_rows(std::min(kept, g), kept);
    return out;
  }

  /// Every position out of the rotated frame by the fp32 matrix, then fp16.
  void turn_back(std::vector<float>& x) const {
    const auto d = std::size_t(model_.head_dim);
    std::vector<float> turned(d);
    for (std::size_t begin = 0; begin < x.size(); begin += d) {
      kvarn::rotate(std::span(x).subspan(begin, d), kvarn::exact_element(model_.head_dim), turned);
      std::copy(turned.begin(), turned.end(), x.begin() + std::ptrdiff_t(begin));
    }
  }

  /// One query at a position. `turned`: in the rotated frame, in and out through fp16.
  void attend_head(const ShippedAttention& how, std::int64_t position, const std::vector<float>& k,
                   const std::vector<float>& v, bool turned, std::span<const double> q,
                   std::span<double> out) const {
    const std::int64_t d = model_.head_dim;
    const float element = kvarn::fp16_element(d);
    std::vector<float> query(q.begin(), q.end()), given(q.size());
    if (turned) {
      for (float& each : query) each = round_to(Format::fp16, each);
      kvarn::rotate(query, element, given);
      query = given;
    }
    const auto reader = [d](const std::vector<float>& x) {
      return [&x, d](std::int64_t j, std::int64_t i) { return x[std::size_t(j * d + i)]; };
    };
    attention_row(
        query.data(), int(d), float(how.scale), float(how.softcap), 0, position,
        [](std::int64_t) { return true; }, reader(k), reader(v),
        turned ? Format::fp16 : model_.stored, given.data());
    if (turned) {
      query = given;
      kvarn::rotate(query, element, given);
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = double(round_to(model_.stored, given[i]));
    }
  }

  Options options_;
  KvModel model_;
  std::map<int, std::vector<Layer>> layers_;  // by sequence
};

class KvarnShipped final : public ShippedScheme {
 public:
  explicit KvarnShipped(const Options& options) : options_(options) {}
  Result<void> check(const KvModel& model) const override {
    if ((model.head_dim & (model.head_dim - 1)) != 0) {
      return Error{"head_dim " + std::to_string(model.head_dim) + " is no power of two", ""};
    }
    if (model.slides) return Error{"form: shipped has no sliding windows here", ""};
    return {};
  }
  std::unique_ptr<ShippedCache> open(const KvModel& model) const override {
    return std::make_unique<KvarnCache>(options_, model);
  }

 private:
  Options options_;
};

}  // namespace

PolicyResult parse_kvarn_shipped(const OptionArgs& args) {
  if (args.options.count("sink") != 0) {
    return Error{"the sink of kvarn as shipped is its first group", ""};
  }
  auto group = args.word("group", {"64", "128"}, "128");
  ISOBIT_TRY(group);
  auto iterations = args.whole("iterations", 0, 64, 8);
  ISOBIT_TRY(iterations);
  Options options;
  options.k_bits = args.main[1] - '0';
  options.v_bits = args.main[3] - '0';
  options.group = *group == "64" ? 64 : 128;
  options.iterations = int(*iterations);
  MadePolicy made;
  made.name = "kvarn";
  made.main = args.main;
  made.options["form"] = "shipped";
  if (*group != "128") made.options["group"] = *group;
  if (*iterations != 8) made.options["iterations"] = std::to_string(*iterations);
  made.shipped = std::make_shared<KvarnShipped>(options);
  return made;
}

}  // namespace isobit
