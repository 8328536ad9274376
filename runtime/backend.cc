// What operations that do several things at once are: the plain ones, in this order.

#include "runtime/backend.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>

#include "runtime/numerics/schedule_text.h"

namespace isobit {
namespace {

constexpr const char* kBetween = "; ";
constexpr const char* kUncut = " (one slice)";

}  // namespace
namespace {

/// Dense rows as one.
Rows in_one(Rows x) {
  return x.dense() && x.cols > 0 ? Rows{x.data, 1, x.rows * x.cols, x.rows * x.cols} : x;
}

}  // namespace
namespace {

/// rms_norm of each head: the rows lie one behind the other, so that a head is a row as well.
void norm_heads(Backend& backend, Rows x, std::int64_t heads, const void* weight, double eps) {
  ISOBIT_CHECK(x.stride == x.cols);
  if (heads == 0) return;
  const std::int64_t d = x.cols / heads;
  const Rows each{x.data, x.rows * heads, d, d};
  backend.rms_norm(each, weight, eps, each);
}

}  // namespace

void TopEntries::insert(std::int32_t id, double value, int most) {
  // After every entry that is greater or equal: ids stay ascending within a tie.
  auto at = values.begin();
  while (at != values.end() && *at >= value) ++at;
  ids.insert(ids.begin() + (at - values.begin()), id);
  values.insert(at, value);
  if (count < most) {
    ++count;
  } else {
    values.pop_back();
    ids.pop_back();
  }
}

void Backend::gemms(Rows x, std::span<const WeightMatrix* const> matrices,
                    std::span<const Rows> outs) {
  ISOBIT_CHECK(matrices.size() == outs.size());
  for (std::size_t i = 0; i < outs.size(); ++i) gemm(x, *matrices[i], outs[i]);
}

void Backend::finish_qkv(const Product* q, const Product& k, const Product& v, std::int64_t heads,
                         std::int64_t kv_heads, std::span<const std::int64_t> positions,
                         const Rotation& rotation, const HeadNorm* norm) {
  if (q != nullptr) {
    end_linear(*q);
    if (norm != nullptr) norm_heads(*this, q->out, heads, norm->q, norm->eps);
    if (rotation.dims > 0) rope(q->out, heads, positions, rotation);
  }
  end_linear(k);
  if (norm != nullptr) norm_heads(*this, k.out, kv_heads, norm->k, norm->eps);
  if (rotation.dims > 0) rope(k.out, kv_heads, positions, rotation);
  end_linear(v);
}

void Backend::finish_gated(Activation f, const Product& gate, const Product& up, Rows act) {
  end_linear(gate);
  end_linear(up);
  gated(f, gate.out, up.out, act);
}

void Backend::finish_add(const Product& y, Rows h) {
  end_linear(y);
  add(h, y.out);
}

void Backend::finish_add_norm(const Product& y, Rows h, const void* weight, double eps, Rows x) {
  finish_add(y, h);
  rms_norm(h, weight, eps, x);
}

double Backend::read_logits(Rows logits, int count, std::span<TopEntries> best,
                            std::span<Digest> digests_out) {
  ISOBIT_CHECK(std::int64_t(best.size()) == logits.rows);
  ISOBIT_CHECK(digests_out.empty() || digests_out.size() == best.size());
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t r = 0; r < best.size(); ++r) {
    Rows row = logits;
    row.rows = 1;
    row.data = static_cast<char*>(logits.data) + r * std::size_t(logits.stride) * real_size();
    best[r] = top(row, count);
    if (!digests_out.empty()) digests(row, digests_out.subspan(r, 1));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<double> Backend::reals(Rows x) {
  std::vector<double> out;
  const Rows rows = in_one(x);
  std::vector<float> narrow(mode_.wide() ? 0 : std::size_t(rows.cols));
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const char* from = static_cast<const char*>(x.data) + std::size_t(r * x.stride) * real_size();
    const std::size_t bytes = std::size_t(rows.cols) * real_size();
    if (mode_.wide()) {
      const std::size_t at = out.size();
      out.resize(at + std::size_t(rows.cols));
      download(out.data() + at, from, bytes);
    } else {
      download(narrow.data(), from, bytes);
      out.insert(out.end(), narrow.begin(), narrow.end());
    }
  }
  return out;
}

void Backend::set_reals(std::span<const double> values, Rows x) {
  ISOBIT_CHECK(std::int64_t(values.size()) == x.rows * x.cols);
  const Rows rows = in_one(x);
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    char* to = static_cast<char*>(x.data) + std::size_t(r * x.stride) * real_size();
    const auto row = values.subspan(std::size_t(r * rows.cols), std::size_t(rows.cols));
    if (mode_.wide()) {
      upload(to, row.data(), row.size_bytes());
    } else {
      const std::vector<float> narrow(row.begin(), row.end());
      upload(to, narrow.data(), narrow.size() * sizeof(float));
    }
  }
}

bool Backend::begin_step(const StepInputs&) {
  return false;
}
void Backend::end_step() {}

std::string SchedulesRan::text() const {
  std::map<std::string, bool> texts;
  for (const auto& [schedule, cut] : ran_) texts[text_of(*schedule)] |= cut;
  std::string out;
  for (const auto& [text, cut] : texts) {
    out += (out.empty() ? "" : kBetween) + text + (cut ? "" : kUncut);
  }
  return out.empty() ? "reference" : out;
}

std::vector<SchedulesRan::Item> SchedulesRan::read(const std::string& text) {
  std::vector<Item> items;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(kBetween, begin), text.size());
    Item item{text.substr(begin, end - begin), true};
    if (item.schedule.ends_with(kUncut)) {
      item.schedule.erase(item.schedule.size() - std::strlen(kUncut));
      item.cut = false;
    }
    items.push_back(std::move(item));
    begin = end + std::strlen(kBetween);
  }
  return items;
}

const GemmSchedule& schedule_of(const ScheduleBook& book, std::int64_t outputs, std::int64_t inputs,
                                std::int64_t rows) {
  const GemmSchedule* found = book.find(outputs, inputs, rows);
  if (found == nullptr) {
    throw BackendError(book.text + " has no line for a product of " + std::to_string(outputs) +
                       " outputs, " + std::to_string(inputs) + " inputs and " +
                       std::to_string(rows) + " rows");
  }
  return *found;
}

}  // namespace isobit
