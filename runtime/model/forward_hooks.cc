// The cache hooks in the forward pass: values go to the host as double, the hook sees or changes
// them, they go back as Real. Slow and exact; nothing here runs when a hook is empty.

#include <algorithm>
#include <map>

#include "runtime/model/forward.h"
#include "runtime/numerics/order.h"

namespace isobit {
namespace {

/// Rows of Real in backend memory as doubles on the host, dense.
std::vector<double> fetch(Backend& backend, Rows x) {
  std::vector<double> out(std::size_t(x.rows * x.cols));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const char* from =
        static_cast<const char*>(x.data) + std::size_t(r * x.stride) * backend.real_size();
    double* to = out.data() + r * x.cols;
    if (backend.mode().wide()) {
      backend.download(to, from, std::size_t(x.cols) * sizeof(double));
    } else {
      std::vector<float> row(std::size_t(x.cols));
      backend.download(row.data(), from, row.size() * sizeof(float));
      std::copy(row.begin(), row.end(), to);
    }
  }
  return out;
}

void store(Backend& backend, const std::vector<double>& values, Rows x) {
  for (std::int64_t r = 0; r < x.rows; ++r) {
    char* to = static_cast<char*>(x.data) + std::size_t(r * x.stride) * backend.real_size();
    const double* from = values.data() + r * x.cols;
    if (backend.mode().wide()) {
      backend.upload(to, from, std::size_t(x.cols) * sizeof(double));
    } else {
      const std::vector<float> row(from, from + x.cols);
      backend.upload(to, row.data(), row.size() * sizeof(float));
    }
  }
}

/// Softmax of one head's scores over visible positions, for observers: scores by the chain of
/// NUMERICS.md, then fp64 in ascending order.
std::vector<double> weights_of(std::span<const double> q, std::span<const double> keys,
                               std::int64_t key_stride, std::int64_t n, double scale,
                               const std::vector<std::uint8_t>* keep) {
  std::vector<double> w(std::size_t(n), 0.0);
  double m = 0, sum = 0;
  bool any = false;
  const auto visible = [&](std::size_t j) {
    return keep == nullptr || j >= keep->size() || (*keep)[j] != 0;
  };
  for (std::size_t j = 0; j < w.size(); ++j) {
    if (!visible(j)) continue;
    const double* key = keys.data() + std::int64_t(j) * key_stride;
    w[j] = dot_chain<double>([&](std::int64_t i) { return q[std::size_t(i)]; },
                             [&](std::int64_t i) { return key[i]; }, 0, std::int64_t(q.size())) *
           scale;
    m = any ? max_nan(m, w[j]) : w[j];
    any = true;
  }
  for (std::size_t j = 0; j < w.size(); ++j) {
    w[j] = visible(j) ? exp_(w[j] - m) : 0.0;
    sum += w[j];
  }
  for (double& x : w) x /= sum;
  return w;
}

}  // namespace

void Forward::apply_write_hook(int index, Rows k, Rows v, std::span<const StepRow> rows) {
  const KvHooks* hooks = cache_.hooks();
  if (hooks == nullptr || !hooks->write) return;
  const std::size_t d = std::size_t(config_.head_dim);
  for (const auto& [x, which] : {std::pair(k, KeyOrValue::key), std::pair(v, KeyOrValue::value)}) {
    std::vector<double> values = fetch(backend_, x);
    const std::size_t heads = std::size_t(model_.partition.kv_heads.size());
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t h = 0; h < heads; ++h) {
        hooks->write(index, int(model_.partition.kv_heads.begin) + int(h), rows[r].position, which,
                     std::span(values).subspan((r * heads + h) * d, d));
      }
    }
    store(backend_, values, x);
  }
}

void Forward::apply_residual_hook(int index, Rows h, std::span<const StepRow> rows) {
  const KvHooks* hooks = cache_.hooks();
  if (hooks == nullptr || !hooks->residual) return;
  std::vector<double> values = fetch(backend_, h);
  const std::size_t width = std::size_t(h.cols);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    hooks->residual(index, rows[r].sequence, rows[r].position,
                    std::span(values).subspan(r * width, width));
  }
  store(backend_, values, h);
}

/// With a read hook, attention reads a copy of every visible position that the hook has seen.
void Forward::hooked_pools(int index, std::span<const StepRow> rows, void*& k_pool, void*& v_pool) {
  const KvHooks* hooks = cache_.hooks();
  const std::int64_t heads = model_.partition.kv_heads.size();
  if (hooks == nullptr || !hooks->read || heads == 0) return;
  read_k_ = DeviceMemory(backend_, cache_.k_bytes());
  read_v_ = DeviceMemory(backend_, cache_.v_bytes());
  std::map<int, std::int64_t> last;
  for (const StepRow& row : rows) {
    last[row.sequence] = std::max(last[row.sequence], row.position);
  }
  const std::int64_t d = config_.head_dim, width = heads * d;
  const std::int32_t page = cache_.mode().page_size;
  const DeviceMemory k_row(backend_, std::size_t(width) * backend_.real_size());
  const DeviceMemory v_row(backend_, std::size_t(width) * backend_.real_size());
  for (const auto& [sequence, end] : last) {
    for (std::int64_t position = 0; position <= end; ++position) {
      const std::int64_t slot = cache_.slot(sequence, position);
      backend_.read_kv(slot, heads, d, page, k_pool, v_pool, k_row.get(), v_row.get());
      const Rows k{k_row.get(), 1, width, width}, v{v_row.get(), 1, width, width};
      for (const auto& [x, which] :
           {std::pair(k, KeyOrValue::key), std::pair(v, KeyOrValue::value)}) {
        std::vector<double> values = fetch(backend_, x);
        for (std::int64_t h = 0; h < heads; ++h) {
          hooks->read(index, int(model_.partition.kv_heads.begin + h), position, which,
                      std::span(values).subspan(std::size_t(h * d), std::size_t(d)));
        }
        store(backend_, values, x);
      }
      backend_.write_kv(k, v, std::span(&slot, 1), heads, page, read_k_.get(), read_v_.get());
    }
  }
  k_pool = read_k_.get();
  v_pool = read_v_.get();
}

bool Forward::hide_evicted(int index, std::span<const StepRow> rows,
                           std::vector<AttentionRows::Row>& masked) {
  bool any = false;
  for (const StepRow& row : rows) {  // all grow before any is pointed to
    std::vector<std::uint8_t>* keep = cache_.keep(index, row.sequence, false);
    if (keep == nullptr || keep->empty()) continue;
    keep->resize(std::max(keep->size(), std::size_t(row.position) + 1), 1);
    any = true;
  }
  if (!any) return false;
  masked.assign(attention_.rows.begin(), attention_.rows.end());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::vector<std::uint8_t>* keep = cache_.keep(index, rows[r].sequence, false);
    if (keep != nullptr && !keep->empty()) masked[r].keep = keep->data();
  }
  return true;
}

void Forward::observe_and_select(int index, Rows q, std::span<const StepRow> rows) {
  const KvHooks* hooks = cache_.hooks();
  if (hooks == nullptr || !hooks->evicts()) return;
  const Partition& p = model_.partition;
  const std::int64_t d = config_.head_dim, width = p.kv_heads.size() * d;
  const std::int64_t group = config_.heads / config_.kv_heads;
  const std::vector<double> queries = fetch(backend_, q);
  const DeviceMemory k_row(backend_, std::size_t(width) * backend_.real_size());
  const DeviceMemory v_row(backend_, std::size_t(width) * backend_.real_size());
  for (std::size_t r = 0; r < rows.size() && hooks->observe; ++r) {
    std::vector<double> keys;
    for (std::int64_t j = 0; j <= rows[r].position; ++j) {
      backend_.read_kv(cache_.slot(rows[r].sequence, j), p.kv_heads.size(), d,
                       cache_.mode().page_size, cache_.k_pool(index), cache_.v_pool(index),
                       k_row.get(), v_row.get());
      const std::vector<double> key = fetch(backend_, {k_row.get(), 1, width, width});
      keys.insert(keys.end(), key.begin(), key.end());
    }
    for (std::int64_t head = p.heads.begin; head < p.heads.end; ++head) {
      const auto query = std::span(queries).subspan(
          r * std::size_t(q.cols) + std::size_t((head - p.heads.begin) * d), std::size_t(d));
      const auto offset = std::size_t((head / group - p.kv_heads.begin) * d);
      hooks->observe(
          index, int(head), rows[r].sequence, rows[r].position,
          weights_of(query, std::span(keys).subspan(offset), width, rows[r].position + 1,
                     1.0 / sqrt_(double(d)), cache_.keep(index, rows[r].sequence, false)));
    }
  }
  if (!hooks->select) return;
  std::map<int, std::int64_t> last;
  for (const StepRow& row : rows) last[row.sequence] = std::max(last[row.sequence], row.position);
  for (const auto& [sequence, end] : last) {
    std::vector<std::uint8_t>& keep = *cache_.keep(index, sequence, true);
    keep.resize(std::max(keep.size(), std::size_t(end) + 1), 1);
    hooks->select(index, sequence, keep);
  }
}

}  // namespace isobit
