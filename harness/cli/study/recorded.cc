// One attention call of a prefill has every position of a prompt: keys and values are read once.
#include "harness/cli/study/recorded.h"

#include <algorithm>

#include "harness/execute/session.h"
#include "harness/selftest/wrap.h"
#include "runtime/base/words.h"
#include "runtime/device_memory.h"
#include "runtime/numerics/attention_backward.h"

namespace isobit::study {
namespace {

constexpr std::int64_t kEvery = 16;  // positions, of which the last is taken
constexpr std::int32_t kBlock = 64;  // keys of a block
constexpr std::int64_t kLeastKeys = kEvery;

class Recording final : public selftest::ForwardingBackend {
 public:
  Recording(std::unique_ptr<Backend> inner, BiasTable& table)
      : ForwardingBackend(std::move(inner), {}), table_(table) {}

  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override {
    inner_->attention(q, args, k_pool, v_pool, out);
    if (args.rows.size() < kLeastKeys) return;  // a decode step
    const std::vector<double> queries = inner_->reals(q);
    const std::int32_t* table = args.rows.front().table;
    std::int64_t last = 0;
    for (const AttentionRows::Row& row : args.rows) last = std::max(last, row.position);
    read_cache(args, table, last + 1, k_pool, v_pool);
    for (std::size_t r = 0; r < args.rows.size(); ++r) {
      const AttentionRows::Row& row = args.rows[r];
      if (row.table != table || row.position % kEvery != kEvery - 1) continue;
      for (std::int64_t h = 0; h < args.heads; ++h) {
        record(args, row, args.kv_of_head[std::size_t(h)],
               queries.data() + std::int64_t(r) * q.cols + h * args.head_dim);
      }
    }
  }

 private:
  void read_cache(const AttentionRows& args, const std::int32_t* table, std::int64_t positions,
                  const void* k_pool, const void* v_pool) {
    std::vector<std::int64_t> slots;
    for (std::int64_t p = 0; p < positions; ++p) {
      slots.push_back(std::int64_t(table[p / args.page_size]) * args.page_size +
                      p % args.page_size);
    }
    const std::int64_t width = args.kv_heads * args.head_dim;
    const std::size_t bytes = std::size_t(positions * width) * inner_->real_size();
    DeviceMemory k(*inner_, bytes), v(*inner_, bytes);
    const Rows keys{k.get(), positions, width, width}, values{v.get(), positions, width, width};
    inner_->read_kv(slots, args.kv_heads, args.page_size, k_pool, v_pool, keys, values);
    keys_ = inner_->reals(keys);
    values_ = inner_->reals(values);
    width_ = width;
  }

  /// One query head of one row, with its scores in fp32 and in bf16.
  void record(const AttentionRows& args, const AttentionRows::Row& at, std::int64_t kv,
              const double* query) {
    BiasRow row;
    row.channels = args.head_dim;
    const std::vector<float> q(query, query + args.head_dim);
    for (std::int64_t p = at.first; p <= at.position; ++p) {
      const double* key = keys_.data() + p * width_ + kv * args.head_dim;
      const double* value = values_.data() + p * width_ + kv * args.head_dim;
      const std::vector<float> k(key, key + args.head_dim);
      float score = row_product(q.data(), k.data(), args.head_dim) * float(args.scale);
      if (args.softcap != 0) score = softcapped(score, float(args.softcap));
      row.scores.push_back(score);
      row.values.insert(row.values.end(), value, value + args.head_dim);
    }
    record_classified("scores fp32", row);
    for (float& score : row.scores) score = round_to(Format::bf16, score);
    record_classified("scores bf16", row);
  }

  void record_classified(const char* rows_are, const BiasRow& row) {
    const float greatest = *std::max_element(row.scores.begin(), row.scores.end());
    std::int64_t maxima = 0;
    std::vector<int> below(std::size_t(row.channels), 0), above = below;
    for (std::size_t j = 0; j < row.scores.size(); ++j) {
      if (row.scores[j] != greatest) continue;
      ++maxima;
      for (std::size_t c = 0; c < below.size(); ++c) {
        const float value = row.values[j * below.size() + c];
        below[c] += value < 0 ? 1 : 0;
        above[c] += value > 0 ? 1 : 0;
      }
    }
    std::vector<std::string> column;
    for (std::size_t c = 0; c < below.size(); ++c) {
      column.emplace_back(below[c] == maxima   ? "negative"
                          : above[c] == maxima ? "positive"
                                               : "mixed");
    }
    table_.add(rows_are, class_of_maxima(maxima), column, row);
  }

  BiasTable& table_;
  std::vector<double> keys_, values_;  // (positions, width_)
  std::int64_t width_ = 0;
};

Result<Precision> precision_named(const std::string& wanted) {
  std::vector<std::string> known;
  for (const Mode& mode : kModes) {
    known.emplace_back(mode.name);
    if (wanted == mode.name) return mode.precision;
  }
  return Error{"unknown precision " + in_quotes(wanted) + did_you_mean(wanted, known),
               "--precision"};
}

}  // namespace

Result<std::vector<BiasLine>> recorded_bias(const std::string& model, const std::string& prompts,
                                            const std::string& precision) {
  Scenario scenario;
  scenario.model = model;
  scenario.prompts.file = prompts;
  scenario.decode.max_new_tokens = 1;
  GenerateRequest request;
  auto known = precision_named(precision);
  ISOBIT_TRY(known);
  auto session = open_session(scenario);
  if (!session && session.error().place.empty()) return Error{session.error().message, "--model"};
  ISOBIT_TRY(session);
  BiasTable table(kBlock);
  request.precision = *known;
  ModelSession& own = session->models.front();
  request.prompts = own.tokens;
  request.max_new_tokens = 1;
  request.wrap_backend = [&](std::unique_ptr<Backend> inner) {
    return std::make_unique<Recording>(std::move(inner), table);
  };
  Runtime runtime(std::move(own.model));
  auto result = runtime.generate(request);
  ISOBIT_TRY(result);
  if (result->trace.status != CellStatus::ok) return Error{result->trace.reason, "--model"};
  std::vector<BiasLine> lines = table.lines();
  if (lines.empty()) {
    return Error{"no prompt has " + std::to_string(kLeastKeys) + " tokens; nothing was measured",
                 "--prompts"};
  }
  return lines;
}

}  // namespace isobit::study
