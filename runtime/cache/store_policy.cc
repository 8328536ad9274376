// What a policy makes of keys and values: changed, turned, coded, chosen, and read back.

#include <algorithm>
#include <numeric>

#include "runtime/cache/store.h"
#include "runtime/numerics/kv/codecs.h"
#include "runtime/numerics/kv/hadamard.h"

namespace isobit {
namespace {

constexpr std::int64_t kAll = CodedView::kAll;

}  // namespace

void KvCache::change(std::int64_t layer, bool keys, Rows x,
                     std::span<const std::int64_t> positions) {
  const KvPlace first{std::int32_t(layer), std::int32_t(shape_.first_kv_head), keys};
  backend_.change_kv(x, shape_.kv_heads, policy_->change(model_), first, positions);
  if (layer == first_changed_.layer && keys == first_changed_.keys) {
    counters_.coded += std::int64_t(positions.size());
  }
}

void KvCache::code_rows(std::int64_t layer, Rows k, Rows v, std::span<const int> sequences,
                        std::span<const std::int64_t> positions, bool again) {
  turn_written(layer, sequences, positions);
  // Turned rows are R applied to a rotation, coded later or not.
  const bool turns_all = keeps_exact_ && rotation_.turns() && policy_->turns_at_write();
  if (layer == 0 && turns_all && !again) counters_.coded += std::int64_t(positions.size());
  const CodedView first = policy_->coded(1, 0);
  if (first.k != kAll && first.v != kAll) return;
  std::vector<std::int64_t> slots;
  for (std::size_t r = 0; r < positions.size(); ++r) {
    slots.push_back(at(sequences[r]).codes.slot(codes_, positions[r]));
  }
  if (rotation_.k > 0) backend_.hadamard(k, rotation_.k);
  if (rotation_.v > 0) backend_.hadamard(v, rotation_.v);
  if (first.k == kAll) backend_.encode_kv(k, slots, k_layout_, code_memory_.k(layer));
  if (first.v == kAll) backend_.encode_kv(v, slots, v_layout_, code_memory_.v(layer));
  if (layer == 0) (again ? counters_.rebuilt : counters_.coded) += std::int64_t(slots.size());
}

bool KvCache::turns(int sequence, std::int64_t q) const {
  if (!rotation_.turns()) return false;
  return policy_->turns_at_write() || policy_->coded(at(sequence).prompt, q) != CodedView{};
}

/// Turns the rows just written of sequences whose layer is turned already.
void KvCache::turn_written(std::int64_t layer, std::span<const int> sequences,
                           std::span<const std::int64_t> positions) {
  if (!rotation_.turns() || !keeps_exact_) return;
  for (std::size_t begin = 0, end; begin < sequences.size(); begin = end) {
    end = begin + 1;
    while (end < sequences.size() && sequences[end] == sequences[begin]) ++end;
    const Sequence& s = at(sequences[begin]);
    if (s.layers[std::size_t(layer)].turned) {
      turn(layer, s, positions.subspan(begin, end - begin));
    }
  }
}

/// Turns exact rows where they lie, R applied.
void KvCache::turn(std::int64_t layer, const Sequence& s, std::span<const std::int64_t> positions) {
  const std::int64_t width = shape_.kv_heads * shape_.head_dim;
  if (width == 0) return;
  for (std::size_t begin = 0; begin < positions.size(); begin += std::size_t(kStagedRows)) {
    std::vector<std::int64_t> slots;
    for (const std::int64_t p :
         positions.subspan(begin, std::min(positions.size() - begin, std::size_t(kStagedRows)))) {
      slots.push_back(s.exact.slot(exact_, p));
    }
    const Rows rows{staged_.get(), std::int64_t(slots.size()), width, width};
    for (const bool keys : {true, false}) {
      const std::int32_t block = keys ? rotation_.k : rotation_.v;
      if (block == 0) continue;
      const Rows k = keys ? rows : Rows{}, v = keys ? Rows{} : rows;
      backend_.read_kv(slots, shape_.kv_heads, mode_.page_size, exact_memory_.k(layer),
                       exact_memory_.v(layer), k, v);
      backend_.hadamard(rows, block);
      backend_.quantize(rows, nullptr, model_.stored, rows);
      backend_.write_kv(k, v, slots, shape_.kv_heads, mode_.page_size, exact_memory_.k(layer),
                        exact_memory_.v(layer));
    }
  }
}

void KvCache::code(std::int64_t layer, int sequence, const CodedView& view) {
  Sequence& s = at(sequence);
  Layer& shown = s.layers[std::size_t(layer)];
  CodedView& done = shown.coded;
  if (done == view) return;
  if (rotation_.turns() && !shown.turned) {
    std::vector<std::int64_t> positions(std::size_t(s.positions));
    std::iota(positions.begin(), positions.end(), std::int64_t(0));
    turn(layer, s, positions);
    shown.turned = true;
  }
  const std::int64_t before = std::max(done.k, done.v);
  if (done.k != kAll) code_side(true, layer, s, done.k, view.k);
  if (done.v != kAll) code_side(false, layer, s, done.v, view.v);
  done = view;
  const bool counted = rotation_.turns() && policy_->turns_at_write();
  if (layer == 0 && !counted) counters_.coded += std::max(done.k, done.v) - before;
}

void KvCache::code_again(std::int64_t layer, int sequence) {
  const Sequence& s = at(sequence);
  const CodedView& done = s.layers[std::size_t(layer)].coded;
  if (done.k != kAll) code_side(true, layer, s, 0, done.k);
  if (done.v != kAll) code_side(false, layer, s, 0, done.v);
  if (layer == 0 && done.k != kAll && done.v != kAll) {
    counters_.rebuilt += std::max(done.k, done.v);
  }
}

/// Codes K or V of positions [begin, end), a share at a time, from their exact values.
void KvCache::code_side(bool keys, std::int64_t layer, const Sequence& s, std::int64_t begin,
                        std::int64_t end) {
  const CodeLayout& layout = keys ? k_layout_ : v_layout_;
  void* const codes = keys ? code_memory_.k(layer) : code_memory_.v(layer);
  const std::int64_t width = shape_.kv_heads * shape_.head_dim;
  begin = std::max(begin, policy_->coded_from());
  for (; begin < end; begin = std::min(begin + kStagedRows, end)) {
    const std::int64_t count = std::min(kStagedRows, end - begin);
    const Rows rows{staged_.get(), count, width, width};
    std::vector<std::int64_t> from, to;
    for (std::int64_t p = begin; p < begin + count; ++p) {
      from.push_back(s.exact.slot(exact_, p));
      if (p % layout.codec.tokens == 0) to.push_back(s.codes.slot(codes_, p));
    }
    backend_.read_kv(from, shape_.kv_heads, mode_.page_size, exact_memory_.k(layer),
                     exact_memory_.v(layer), keys ? rows : Rows{}, keys ? Rows{} : rows);
    backend_.encode_kv(rows, to, layout, codes);
  }
}

std::vector<double>& KvCache::scores(std::int64_t layer, int sequence, std::int64_t head) {
  return at(sequence).layers[std::size_t(layer)].scores[std::size_t(head)];
}

std::vector<double>& KvCache::query_state(std::int64_t layer, int sequence, std::int64_t head) {
  return at(sequence).layers[std::size_t(layer)].queries[std::size_t(head)];
}

/// Room for positions [0, n); new ones are kept.
void KvCache::Mask::grow(std::int64_t n) {
  if (n <= stride) return;
  const std::int64_t wider = (n + kStagedRows - 1) / kStagedRows * kStagedRows;
  std::vector<std::uint8_t> more(std::size_t(heads * wider), 1);
  for (std::int64_t h = 0; h < heads; ++h) {
    std::copy_n(bytes.begin() + h * stride, stride, more.begin() + h * wider);
  }
  bytes = std::move(more);
  stride = wider;
}

void KvCache::select(std::int64_t layer, int sequence, const KvScores& scores) {
  Mask& keep = at(sequence).layers[std::size_t(layer)].keep;
  if (keep.empty()) keep.heads = policy_->selects_by_head() ? shape_.all_kv_heads : 1;
  keep.grow(scores.positions);
  const auto n = std::size_t(scores.positions);
  std::vector<std::uint8_t> seen(std::size_t(keep.heads) * n);
  for (std::int64_t h = 0; h < keep.heads; ++h) {
    std::copy_n(keep.bytes.begin() + h * keep.stride, n, seen.begin() + h * scores.positions);
  }
  const auto kept = [&] { return std::count(seen.begin(), seen.end(), std::uint8_t(1)); };
  const std::int64_t before = kept();
  policy_->select(scores, seen);
  counters_.evicted += (before - kept()) * (shape_.all_kv_heads / keep.heads);
  for (std::int64_t h = 0; h < keep.heads; ++h) {
    std::copy_n(seen.begin() + h * scores.positions, n, keep.bytes.begin() + h * keep.stride);
  }
  if (kept() == std::int64_t(seen.size())) keep = {};
}

/// Decodes positions [0, n) of one side on the host, turned back.
void KvCache::read_codes(bool keys, std::int64_t layer, const Sequence& s, std::int64_t n,
                         std::vector<double>& out) {
  const CodeLayout& layout = keys ? k_layout_ : v_layout_;
  const auto* const pool =
      static_cast<const std::uint8_t*>(keys ? code_memory_.k(layer) : code_memory_.v(layer));
  const std::int64_t d = shape_.head_dim, width = shape_.kv_heads * d, page = layout.page_size;
  const std::int32_t block = keys ? rotation_.k : rotation_.v;
  std::vector<std::uint8_t> bytes(std::size_t(layout.page_bytes()));
  const auto read_page = [&]<class T>(T, std::int64_t index) {
    const std::int64_t at = s.codes.slot(codes_, index * page) / page;
    backend_.download(bytes.data(), pool + at * layout.page_bytes(), bytes.size());
    std::vector<T> row;
    row.resize(std::size_t(d));
    with_codec(layout.codec, [&](const auto& codec) {
      for (std::int64_t p = index * page; p < std::min(n, (index + 1) * page); ++p) {
        for (std::int64_t h = 0; h < shape_.kv_heads; ++h) {
          for (std::int64_t i = 0; i < d; ++i) {
            const auto tile = codec.template open<T>(bytes.data() + layout.tile(0, h, p % page, i));
            row[std::size_t(i)] = tile.at(int(p % codec.tokens()), int(i % codec.channels()));
          }
          for (std::int64_t i = 0; block > 0 && i < d; i += block)
            hadamard(&row[std::size_t(i)], block);
          std::copy(row.begin(), row.end(), out.begin() + p * width + h * d);
        }
      }
    });
  };
  for (std::int64_t index = 0; index * page < n; ++index) {
    if (backend_.mode().wide()) {
      read_page(double{}, index);
    } else {
      read_page(float{}, index);
    }
  }
}

/// REQUIRES: nothing, or everything, of a layer is coded.
void KvCache::read(std::int64_t layer, int sequence, std::int64_t n, std::vector<double>& keys,
                   std::vector<double>& values) {
  const Sequence& s = at(sequence);
  const std::int64_t width = shape_.kv_heads * shape_.head_dim;
  for (std::vector<double>* out : {&keys, &values}) {
    out->assign(std::size_t(n * width), 0.0);
    if (width == 0) continue;
    const bool k = out == &keys;
    if (!keeps_exact_) {
      read_codes(k, layer, s, n, *out);
      continue;
    }
    for (std::int64_t begin = 0; begin < n; begin += kStagedRows) {
      std::vector<std::int64_t> slots;
      for (std::int64_t p = begin; p < std::min(n, begin + kStagedRows); ++p) {
        slots.push_back(s.exact.slot(exact_, p));
      }
      const Rows rows{staged_.get(), std::int64_t(slots.size()), width, width};
      backend_.read_kv(slots, shape_.kv_heads, mode_.page_size, exact_memory_.k(layer),
                       exact_memory_.v(layer), k ? rows : Rows{}, k ? Rows{} : rows);
      const std::vector<double> some = backend_.reals(rows);
      std::copy(some.begin(), some.end(), out->begin() + begin * width);
    }
  }
}

AttentionRows::Row KvCache::view(std::int64_t layer, int sequence, AttentionRows::Row row) {
  Sequence& s = at(sequence);
  Layer& shown = s.layers[std::size_t(layer)];
  const KvPattern pattern = policy_->pattern(row.position);
  if (pattern.first > 0 && pattern.sinks == 0) {
    row.first = std::max(row.first, pattern.first);
  } else if (pattern.first > pattern.sinks) {
    std::vector<std::uint8_t>& mask = patterns_[row.position];
    mask.resize(std::size_t(row.position) + 1);
    for (std::int64_t j = 0; j <= row.position; ++j) mask[std::size_t(j)] = pattern.sees(j) ? 1 : 0;
    row.keep = mask.data();
  } else if (!shown.keep.empty()) {
    // To the step's last position at once: a mask must not move while rows point to it.
    shown.keep.grow(s.positions);
    const bool one = shown.keep.heads == 1;
    row.keep = shown.keep.bytes.data() + (one ? 0 : shape_.first_kv_head * shown.keep.stride);
    row.keep_stride = one ? 0 : shown.keep.stride;
  }
  row.code_table = s.codes.data();
  row.coded_from = policy_->coded_from();
  row.k_coded = shown.coded.k;
  row.v_coded = shown.coded.v;
  return row;
}

}  // namespace isobit
