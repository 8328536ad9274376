// The tables of RoPE: which rows a model needs, and their cosines and sines (NUMERICS.md, "RoPE").
//
// A row depends on the position and, for the kinds that look at the length (dynamic, longrope), on
// L: the prompt's length for a position of the prompt, else the position + 1. So rows never depend
// on the step, the batch or the cache. Callers: rank_model.cc and forward.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "runtime/model/config.h"
#include "runtime/numerics/rope_angle.h"

namespace isobit {

/// Whether its angles depend on the length of a sequence as well as on the position.
bool turns_by_length(const Rope& rope);

/// Where the row of a position lies. The first rows are those of L = position + 1, which serve
/// every position where the length makes no difference. Prompts past that length have blocks.
class RopeRows {
 public:
  /// Rows for positions [0, n) of sequences with these prompts; whether the tables change.
  bool extend(const ModelConfig& config, std::int64_t n, std::span<const std::int64_t> prompts);
  /// REQUIRES: `position` and `prompt` were asked for.
  [[nodiscard]] std::int64_t row(std::int64_t prompt, std::int64_t position) const;

  [[nodiscard]] std::int64_t positions() const { return positions_; }
  /// Of all rows, first to last: position and L.
  struct Row {
    std::int64_t position, length;
  };
  [[nodiscard]] std::vector<Row> all() const;

 private:
  /// What tells blocks apart: L, or 0 for every prompt whose rows are the first ones.
  [[nodiscard]] std::int64_t kind_of(std::int64_t prompt) const;
  struct Block {
    std::int64_t length, begin, rows;
  };
  std::int64_t positions_ = 0;
  std::int64_t edge_ = std::numeric_limits<std::int64_t>::max();  // the length matters beyond it
  bool alike_ = false;  // beyond the edge all lengths are one
  std::vector<Block> blocks_;
};

/// As config.json names it; "default" for a plain one.
const char* name_of(RopeScaling::Kind kind);

/// RoPE tables as fp64 before rounding: cosine and sine (rows, rotary dims / 2).
struct RopeTables {
  std::vector<double> cosine, sine;
};
/// `turn`: an engine's own cosine and sine.
RopeTables make_rope_tables(const ModelConfig& config, const Rope& rope,
                            std::span<const RopeRows::Row> rows,
                            const std::function<Turn(const RopeAngle&)>& turn = reference_turn);
/// The same of positions [first, first + count) that are generated: L = position + 1.
RopeTables make_rope_tables(const ModelConfig& config, const Rope& rope, std::int64_t first,
                            std::int64_t count);

}  // namespace isobit
