// A thread takes some rows of one sequence and one KV head, all query heads that read it: scores of
// a block by one tensor chain over packed keys, P row by row, P V by another over packed values.
#include "runtime/backends/cpu/attention_fused.h"

#include <algorithm>
#include <cstring>

namespace isobit::cpu {
namespace {

constexpr std::int64_t kChunkRows = 64;  // rows times query heads that share one reading of K and V
const float kHidden = float_of(0xff800000u);

/// Keys (columns, d) and values (columns, d) of one head, packed: outputs of the first are columns,
/// of the second channels. Columns of padding are zeros.
struct HeadPair {
  std::vector<std::uint16_t> k, v;
  PackedMatrix keys, values;
};

PackedMatrix matrix_over(std::vector<std::uint16_t>& memory, std::int64_t n, std::int64_t k,
                         Format element) {
  PackedMatrix m;
  m.n = n;
  m.k = k;
  m.element = m.rounded = element;
  m.bounds = {0, k};
  memory.assign(std::size_t(m.panels() * kPanel * k + kPanel), 0);
  m.data = std::shared_ptr<void>(memory.data(), [](void*) {});  // the vector owns it
  return m;
}

void pack_head(const AttentionTask<float>& task, std::int64_t padding, std::int64_t columns,
               HeadPair& out) {
  const std::int64_t d = task.head_dim;
  const KvView<float>& kv = task.kv;
  out.keys = matrix_over(out.k, columns, d, kv.element);
  out.values = matrix_over(out.v, d, columns, kv.element);
  const auto* k_pool = static_cast<const std::uint16_t*>(kv.k);
  const auto* v_pool = static_cast<const std::uint16_t*>(kv.v);
  // Neighbours in a block of keys, a page and a panel lie side by side in both.
  for (std::int64_t c = padding, run = 0; c < columns; c += run) {
    const std::int64_t position = c - padding, o = position % kv.page_size;
    const std::int64_t page = kv.table[position / kv.page_size];
    run = std::min<std::int64_t>(
        {columns - c, kPanel - c % kPanel, kKeyBlock - o % kKeyBlock, kv.page_size - o});
    const std::uint16_t* k = k_pool + page * kv.k_page_stride + key_offset(o, d);
    std::uint16_t* k_to = out.k.data() + c / kPanel * kPanel * d + c % kPanel;
    for (std::int64_t i = 0; i < d; ++i) {
      std::memcpy(k_to + i * kPanel, k + i * kKeyBlock, std::size_t(run) * sizeof(std::uint16_t));
    }
    for (std::int64_t r = 0; r < run; ++r) {
      const std::uint16_t* v = v_pool + page * kv.v_page_stride + (o + r) * d;
      for (std::int64_t i = 0; i < d; i += kPanel) {
        std::memcpy(out.v.data() + (i / kPanel * columns + c + r) * kPanel, v + i,
                    std::size_t(std::min<std::int64_t>(kPanel, d - i)) * sizeof(std::uint16_t));
      }
    }
  }
}

/// Some rows of a sequence and all query heads of one KV head.
class Chunk {
 public:
  Chunk(const Kernels& kernels, const TensorUnit& unit, const AttentionCall<float>& call,
        const FusedSequence& sequence, const HeadPair& head, std::int64_t kv_head,
        const SpecialTables& tables)
      : kernels_(kernels),
        unit_(unit_of_order(unit, sequence.plan.order)),
        call_(call),
        sequence_(sequence),
        head_(head),
        kv_head_(kv_head),
        tables_(tables),
        d_(call.args.head_dim),
        scale_(fused_scale(float(call.args.scale))) {}

  /// Rows [begin, end) of the sequence.
  void run(std::int64_t begin, std::int64_t end) {
    queries_.clear();
    outs_.clear();
    last_.clear();
    for (std::int64_t r = begin; r < end; ++r) {
      const AttentionTask<float> task = call_.task(kv_head_, sequence_.first_row + r);
      const std::int64_t seen = sequence_.padding + task.last + 1;
      for (int h = 0; h < task.heads; ++h) {
        queries_.insert(queries_.end(), task.q + h * d_, task.q + (h + 1) * d_);
        outs_.push_back(task.out + h * d_);
        last_.push_back(seen);
      }
    }
    const FusedPlan& plan = sequence_.plan;
    const std::int64_t rows = std::int64_t(outs_.size());
    logs_.assign(std::size_t(plan.splits * rows), kHidden);
    parts_.resize(std::size_t(plan.splits * rows * d_));
    for (int s = 0; s < plan.splits; ++s) split(s, rows);
    for (std::int64_t r = 0; r < rows; ++r) finish(r, rows);
  }

 private:
  static TensorUnit unit_of_order(TensorUnit unit, const FusedOrder& order) {
    unit.group = order.group;
    return unit;
  }
  [[nodiscard]] float* part(int s, std::int64_t r, std::int64_t rows) {
    return parts_.data() + (s * rows + r) * d_;
  }

  void split(int s, std::int64_t rows) {
    const FusedPlan& plan = sequence_.plan;
    const FusedOrder& order = plan.order;
    const FusedSpan span = fused_split(plan, sequence_.shape.keys, s);
    states_.assign(std::size_t(rows), FusedState{});
    float* o = part(s, 0, rows);
    std::fill(o, o + rows * d_, 0.0f);
    const std::int64_t blocks = fused_blocks(span.end - span.begin, order.block);
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t first = span.begin + (order.last_first ? blocks - 1 - b : b) * order.block;
      block(first, std::min(span.end, first + order.block), rows, o);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const FusedState& state = states_[std::size_t(r)];
      const float sum = fused_sum(order, state);
      const float inverse = fused_inverse(tables_, order, sum);
      for (std::int64_t i = 0; i < d_; ++i) o[r * d_ + i] *= inverse;
      if (plan.splits > 1) {
        logs_[std::size_t(s * rows + r)] = fused_log_sum(tables_, scale_, state, sum);
      }
    }
  }

  /// Columns [first, end) for those of the rows that see one of them.
  void block(std::int64_t first, std::int64_t end, std::int64_t rows, float* o) {
    const FusedOrder& order = sequence_.plan.order;
    std::int64_t begin = 0;  // rows see more and more
    while (begin < rows && last_[std::size_t(begin)] <= first) ++begin;
    if (begin == rows || end <= sequence_.padding) return;
    const std::int64_t width = fused_blocks(head_.keys.n, order.block) * order.block;
    scores_.resize(std::size_t(rows * width));
    kernels_.f32.tensor_chain({&unit_, queries_.data(), d_, &head_.keys, 0, d_, scores_.data(),
                               width, begin, rows, first / kPanel, (end + kPanel - 1) / kPanel});
    for (std::int64_t r = begin; r < rows; ++r) {
      float* p = scores_.data() + r * width + first;
      const std::int64_t seen = std::min(end, last_[std::size_t(r)]);
      for (std::int64_t j = 0; j < order.block; ++j) {
        const bool visible = first + j >= sequence_.padding && first + j < seen;
        p[j] = visible ? fused_score(order, scale_, p[j]) : kHidden;
      }
      const float before = fused_block(tables_, order, scale_, states_[std::size_t(r)], p);
      for (std::int64_t j = 0; j < order.block; ++j) p[j] = round_to(unit_.operand, p[j]);
      for (std::int64_t i = 0; i < d_; ++i) o[r * d_ + i] *= before;
    }
    // A block's columns past the last key are zeros of P: groups of nothing but zeros leave c.
    kernels_.f32.tensor_chain({&unit_, scores_.data(), width, &head_.values, first, end, o, d_,
                               begin, rows, 0, head_.values.panels(), 0, o});
  }

  void finish(std::int64_t r, std::int64_t rows) {
    const FusedPlan& plan = sequence_.plan;
    float* out = outs_[std::size_t(r)];
    if (plan.splits == 1) {
      for (std::int64_t i = 0; i < d_; ++i) {
        out[i] = round_to(unit_.operand, part(0, r, rows)[i]);
      }
      return;
    }
    float logs[kMostFusedSplits];
    for (int s = 0; s < plan.splits; ++s) logs[s] = logs_[std::size_t(s * rows + r)];
    fused_split_factors(tables_, plan.splits, logs);
    for (std::int64_t i = 0; i < d_; ++i) {
      float sum = 0.0f;
      for (int s = 0; s < plan.splits; ++s) sum = fma_(logs[s], part(s, r, rows)[i], sum);
      out[i] = round_to(unit_.operand, sum);
    }
  }

  const Kernels& kernels_;
  TensorUnit unit_;
  const AttentionCall<float>& call_;
  const FusedSequence& sequence_;
  const HeadPair& head_;
  std::int64_t kv_head_;
  const SpecialTables& tables_;
  std::int64_t d_;
  FusedScale scale_;
  std::vector<float> queries_, parts_, logs_;
  std::vector<float> scores_;  // (rows, columns): scores, then P
  std::vector<float*> outs_;
  std::vector<std::int64_t> last_;  // of each row: columns that it sees
  std::vector<FusedState> states_;
};

}  // namespace

void FusedAttention::run(const AttentionCall<float>& call, std::span<const FusedSequence> sequences,
                         ThreadPool& pool) const {
  const std::int64_t heads = call.args.kv_heads;
  const std::int64_t tasks = std::int64_t(sequences.size()) * heads;
  pool.run(tasks, [&](int index, int shares) {
    HeadPair head;
    for (std::int64_t t = index; t < tasks; t += shares) {
      const FusedSequence& sequence = sequences[std::size_t(t / heads)];
      const std::int64_t h = t % heads;
      const AttentionTask<float> first = call.task(h, sequence.first_row);
      pack_head(first, sequence.padding, sequence.shape.keys, head);
      Chunk chunk(kernels_, unit_, call, sequence, head, h, tables_);
      const std::int64_t at_once = std::max<std::int64_t>(1, kChunkRows / first.heads);
      for (std::int64_t r = 0; r < sequence.rows; r += at_once) {
        chunk.run(r, std::min(sequence.rows, r + at_once));
      }
    }
  });
}

}  // namespace isobit::cpu
