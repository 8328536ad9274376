// Opening a plugin, calling it under guard, and what is observed of it.
#include "runtime/backends/plugin/backend.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/base/option_text.h"
#include "runtime/base/text.h"
#include "runtime/numerics/probes.h"

namespace isobit {
namespace {

static_assert(int(Format::f64) == ISOBIT_F64 && int(Format::f32) == ISOBIT_F32);
static_assert(int(Format::tf32) == ISOBIT_TF32 && int(Format::bf16) == ISOBIT_BF16);
static_assert(int(Format::fp16) == ISOBIT_FP16 && int(Format::e4m3) == ISOBIT_E4M3);
static_assert(int(Format::e5m2) == ISOBIT_E5M2);

constexpr std::int64_t kGap = 16;       // least elements between two dense rows of an output
constexpr std::size_t kMostText = 300;  // characters of what a plugin says
constexpr std::uint64_t kMostScratch = std::uint64_t(1) << 36;  // bytes of one block

std::string file_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// What a plugin said of a failure, as one line.
std::string reason_of(const std::string& said, std::int32_t status) {
  if (said.empty()) return "it gave " + std::to_string(status) + " and no reason";
  return text::printable(said, kMostText);
}

double largest_of(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) return std::numeric_limits<double>::infinity();
    most = std::max(most, std::abs(value));
  }
  return most;
}

/// The operations of a table by name; f(name, whether the plugin has it).
template <class F>
void each_operation(const isobit_plugin& table, const F& f) {
  f("gemm", table.gemm != nullptr);
  f("attention", table.attention != nullptr);
  f("rms_norm", table.rms_norm != nullptr);
  f("layer_norm", table.layer_norm != nullptr);
  f("rope", table.rope != nullptr);
  f("gated", table.gated != nullptr);
  f("activate", table.activate != nullptr);
  f("add", table.add != nullptr);
}

}  // namespace

PluginBackend::PluginBackend(std::unique_ptr<Backend> inner, const PluginLibrary& library,
                             const BackendOptions& options)
    : ForwardingBackend(std::move(inner)), library_(library) {
  open(options);
}

PluginBackend::~PluginBackend() {
  close();
}

/// A plugin, or a GPU that it has broken, may not end the process here.
void PluginBackend::close() {
  if (table_.close == nullptr) return;
  const FloatingPointGuard guard;
  try {
    native_stream();  // makes its GPU the thread's
    table_.close(table_.state);
  } catch (...) {
  }
  table_.close = nullptr;
}

void PluginBackend::open(const BackendOptions& options) {
  for (const auto& pair : options.engine.pairs) {
    if (pair.first != "plugin") pairs_.emplace_back(pair.first, unescaped(pair.second));
  }
  for (const auto& [name, value] : pairs_) options_.push_back({name.c_str(), value.c_str()});
  host_.size = sizeof host_;
  host_.precision = mode_.name;
  host_.real = mode_.wide() ? ISOBIT_F64 : ISOBIT_F32;
  host_.matrix = int(mode_.matrix);
  host_.gemm_input = int(mode_.gemm_input);
  host_.stored = int(mode_.stored);
  host_.cache = int(mode_.cache);
  host_.device = options.device == "cuda" ? ISOBIT_CUDA : ISOBIT_CPU;
  host_.device_index = host_.device == ISOBIT_CUDA ? options.rank : 0;
  host_.threads = options.threads_asked();
  host_.stream = native_stream();
  host_.options = options_.data();
  host_.option_count = std::int64_t(options_.size());
  host_.error = [](const isobit_host* host, const char* text) {
    static_cast<PluginBackend*>(host->context)->opening_ = text == nullptr ? "" : text;
  };
  host_.context = this;
  table_.size = sizeof table_;
  const std::string why = open_table();
  if (!why.empty()) {
    close();
    throw BackendError("plugin " + file_name(library_.path) + ": " + why);
  }
  name_ = text::printable(table_.name, kMostText);
  if (table_.version != nullptr) name_ += " " + text::printable(table_.version, kMostText);
}

/// Lets the plugin fill the table. Why it does not open, or empty.
std::string PluginBackend::open_table() {
  constexpr const char* kEntry = "isobit_plugin_open";
  FloatingPointGuard guard;
  std::int32_t status = 0;
  try {
    status = library_.open(&host_, &table_);
  } catch (...) {
    table_.close = nullptr;  // it gave no state
    return std::string(kEntry) + " threw an exception";
  }
  const auto restored = guard.restore(kEntry);
  if (status != 0) {
    table_.close = nullptr;
    return "it does not open: " + reason_of(opening_, status);
  }
  if (!restored) return restored.error().message;
  return table_.name == nullptr ? "it has no name" : "";
}

BackendInfo PluginBackend::describe() const {
  BackendInfo info = inner_->describe();
  std::string here, idle, there;
  each_operation(table_, [&](const char* name, bool has) {
    std::string& list = !has ? there : ran_.count(name) != 0 ? here : idle;
    list += (list.empty() ? "" : ", ") + std::string(name);
  });
  info.kernels = (here.empty() ? "" : "plugin: " + here + "; ") +
                 (idle.empty() ? "" : "plugin, not called: " + idle + "; ") +
                 "reference: " + (there.empty() ? "" : there + ", ") + "and the rest (" +
                 info.kernels + ")";
  if (!here.empty()) info.engine = "plugin:" + name_;  // else the reference computed everything
  info.library = library_.path;
  info.library_sha256 = library_.sha256_hex;
  if (!ran_.empty()) info.threads_used = threads_used_;  // not those that packed for the reference
  return info;
}

std::string PluginBackend::where(const std::string& operation) const {
  const bool product = operation == "gemm";
  const std::string at = last_matrix_.empty() ? "" : (product ? " of " : " after ") + last_matrix_;
  return "plugin " + file_name(library_.path) + ": " + operation + at;
}

void* PluginBackend::Room::reserve(Backend& backend, std::size_t wanted) {
  if (memory.get() == nullptr || bytes < wanted) {
    memory = DeviceMemory();
    memory = DeviceMemory(backend, wanted);
    bytes = wanted;
  }
  return memory.get();
}

isobit_rows PluginBackend::rows_of(Rows x, Format format) const {
  return {x.data, x.rows, x.cols, x.stride, host_.real, int(format)};
}

/// Between dense rows there is room too: for canaries.
isobit_out PluginBackend::output(Rows to, Format format) {
  const std::int64_t own = (to.cols + kGap - 1) / kGap * kGap + kGap;
  const std::int64_t stride = to.dense() ? own : to.stride;
  output_.prepare(*inner_, to.rows, std::size_t(to.cols) * real_size(),
                  std::size_t(stride) * real_size(), shift_of(to.data));
  written_ = {output_.data(), to.rows, to.cols, stride};
  return {written_.data, to.rows, to.cols, stride, host_.real, int(format)};
}

/// Rounding makes dense rows.
void PluginBackend::give(Rows to) {
  if (to.dense()) return inner_->quantize(written_, nullptr, mode_.stored, to);
  Rows rounded{nullptr, to.rows, to.cols, to.cols};
  rounded.data = rounded_.reserve(*inner_, std::size_t(to.rows * to.cols) * real_size());
  inner_->quantize(written_, nullptr, mode_.stored, rounded);
  inner_->copy(rounded, to);
}

void* PluginBackend::scratch(std::uint64_t bytes, Answers& answers) {
  if (bytes > kMostScratch) return nullptr;
  try {
    if (answers.blocks == scratch_.size()) scratch_.emplace_back();
    GuardedBlock& block = scratch_[answers.blocks];
    block.prepare(*inner_, 1, bytes, bytes);
    ++answers.blocks;
    return block.data();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

std::vector<Digest> PluginBackend::digests_of(const std::vector<Rows>& all) {
  std::vector<Digest> out;
  for (const Rows& x : all) {
    std::vector<Digest> of_rows(std::size_t(x.rows));
    inner_->digests(x, of_rows);
    out.insert(out.end(), of_rows.begin(), of_rows.end());
  }
  return out;
}

double PluginBackend::largest(Rows x, std::int64_t row) {
  x.data = static_cast<char*>(x.data) + std::size_t(row * x.stride) * real_size();
  x.rows = 1;
  return largest_of(inner_->reals(x));
}

isobit_call PluginBackend::call_of(Answers& answers) {
  isobit_call call{};
  call.size = sizeof call;
  call.stream = native_stream();
  call.threads = host_.threads;
  call.threads_used = 1;
  call.context = &answers;
  call.scratch = [](isobit_call* self, std::uint64_t bytes) {
    auto& mine = *static_cast<Answers*>(self->context);
    return mine.backend->scratch(bytes, mine);
  };
  call.error = [](isobit_call* self, const char* text) {
    static_cast<Answers*>(self->context)->text = text == nullptr ? "" : text;
  };
  return call;
}

void PluginBackend::guarded(const char* name, const Inputs& inputs,
                            const std::function<std::int32_t(isobit_call&)>& run) {
  const std::string place = where(name);
  const std::vector<Digest> before = digests_of(inputs.activations);
  Answers answers{this, "", 0};
  isobit_call call = call_of(answers);
  FloatingPointGuard guard;
  std::int32_t status = 0;
  bool threw = false;
  try {
    status = run(call);
  } catch (...) {
    threw = true;
  }
  const auto restored = guard.restore(place);
  if (threw) throw BackendError(place + " threw an exception");
  check_canaries(place, answers);
  if (status != 0) {
    throw BackendError(place + " failed: " + reason_of(answers.text, status));
  }
  if (!restored) throw BackendError(restored.error().message);
  if (digests_of(inputs.activations) != before || (inputs.narrowed && narrowed_changed())) {
    throw BackendError(place + " wrote into its input");
  }
  check_output(place, inputs);
  threads_used_ = std::max<std::int64_t>(threads_used_, call.threads_used);
  ran_.insert(name);
}

bool PluginBackend::narrowed_changed() {
  narrowed_.fetch(*inner_);
  return !narrowed_.damage().empty() || !narrowed_.holds(halves_.data());
}

void PluginBackend::check_canaries(const std::string& where, const Answers& answers) {
  try {
    output_.fetch(*inner_);
    for (std::size_t i = 0; i < answers.blocks; ++i) scratch_[i].fetch(*inner_);
  } catch (const BackendError& error) {  // what the device says of the plugin's work
    throw BackendError(where + ": " + error.what());
  }
  if (const std::string damage = output_.damage(); !damage.empty()) {
    throw BackendError(where + " wrote outside its output: " + damage);
  }
  for (std::size_t i = 0; i < answers.blocks; ++i) {
    const std::string damage = scratch_[i].damage();
    if (damage.empty()) continue;
    throw BackendError(where + " wrote outside scratch block " + std::to_string(i + 1) + ": " +
                       damage);
  }
}

void PluginBackend::check_output(const std::string& where, const Inputs& inputs) {
  const auto told = [&](const GuardedBlock::Count& found) {
    return std::to_string(found.number) + " of " + std::to_string(written_.rows * written_.cols) +
           " values" + ", the first in row " + std::to_string(found.row) + ", column " +
           std::to_string(found.col);
  };
  if (const auto found = output_.unwritten(real_size()); found.number > 0) {
    throw BackendError(where + " left output unwritten: " + told(found));
  }
  // Half of what a Real holds leaves room for what sums round. Beyond, inf - inf may be right.
  const double most = mode_.wide() ? std::numeric_limits<double>::max() / 2
                                   : double(std::numeric_limits<float>::max()) / 2;
  const auto own = [&](std::int64_t row) { return inputs.bound(row) < most; };
  if (const auto found = output_.not_a_number(real_size(), own); found.number > 0) {
    throw BackendError(where + " gave NaN from finite inputs: " + told(found));
  }
}

double PluginBackend::read_logits(Rows logits, int count, std::span<TopEntries> best,
                                  std::span<Digest> digests) {
  return inner_->read_logits(logits, count, best, digests);
}

}  // namespace isobit
