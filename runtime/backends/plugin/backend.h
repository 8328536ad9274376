// The backend of engine plugin: the reference's, with the operations of a plugin's table replaced.
//
// An operation of the plugin reads the runtime's memory and writes into a guarded block; what it
// wrote is checked, rounded as the page says, and copied. Its failures are BackendErrors that name
// the operation and the matrix before it. Callers: engine.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "runtime/backends/forwarding.h"
#include "runtime/backends/plugin/guard.h"
#include "runtime/backends/plugin/library.h"
#include "runtime/backends/registry.h"

namespace isobit {

class PluginBackend final : public ForwardingBackend {
 public:
  /// Throws BackendError with the plugin's text when it does not open.
  PluginBackend(std::unique_ptr<Backend> inner, const PluginLibrary& library,
                const BackendOptions& options);
  ~PluginBackend() override;
  PluginBackend(const PluginBackend&) = delete;
  PluginBackend& operator=(const PluginBackend&) = delete;

  [[nodiscard]] BackendInfo describe() const override;
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override;
  void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools, Rows out) override;
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override;
  void layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) override;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override;
  void gated(Activation f, Rows gate, Rows up, Rows out) override;
  void activate(Activation f, Rows x) override;
  void add(Rows h, Rows y) override;
  double read_logits(Rows logits, int count, std::span<TopEntries> best,
                     std::span<Digest> digests) override;

 private:
  /// What an operation reads.
  struct Inputs {
    std::vector<Rows> activations;  // they must stay as they are
    /// A bound of all that an operation makes of a row on the way to its result, in whatever order:
    /// no sum, product or power is greater. NaN or infinite where an input is.
    std::function<double(std::int64_t row)> bound;
    bool narrowed = false;  // what is read is narrowed_, with the values of halves_
  };
  /// Memory that grows.
  struct Room {
    DeviceMemory memory;
    std::size_t bytes = 0;
    void* reserve(Backend& backend, std::size_t wanted);
  };
  /// What the C functions of one call write.
  struct Answers {
    PluginBackend* backend = nullptr;
    std::string text;
    std::size_t blocks = 0;  // of scratch_
  };

  void open(const BackendOptions& options);
  std::string open_table();
  void close();
  [[nodiscard]] bool on_host() const { return host_.device == ISOBIT_CPU; }
  [[nodiscard]] bool stored_operands(Format format) const;
  /// Bytes from the last address that 64 divides.
  [[nodiscard]] static std::size_t shift_of(const void* data) {
    return reinterpret_cast<std::uintptr_t>(data) % 64;
  }
  [[nodiscard]] isobit_rows rows_of(Rows x, Format format) const;
  [[nodiscard]] isobit_rows operand(Rows x, Format format);
  /// Clears the guarded output of the next operation, which lies as the rows that it stands for.
  isobit_out output(Rows to, Format format);
  /// The output, rounded to the stored format.
  void give(Rows to);
  [[noreturn]] void refuse_policy() const;

  template <class Args>
  void perform(const char* name, std::int32_t (*run)(void*, isobit_call*, const Args*),
               const Args& args, const Inputs& inputs) {
    guarded(name, inputs, [&](isobit_call& call) { return run(table_.state, &call, &args); });
  }
  void guarded(const char* name, const Inputs& inputs,
               const std::function<std::int32_t(isobit_call&)>& run);
  isobit_call call_of(Answers& answers);
  void check_canaries(const std::string& where, const Answers& answers);
  std::function<double(std::int64_t)> bound_of_attention(Rows q, const isobit_attention& call);
  bool narrowed_changed();
  void check_output(const std::string& where, const Inputs& inputs);
  [[nodiscard]] std::vector<Digest> digests_of(const std::vector<Rows>& all);
  /// Greatest magnitude of a row; infinite where a value is not finite.
  double largest(Rows x, std::int64_t row);
  /// "plugin my.so: gemm of NAME", for messages.
  [[nodiscard]] std::string where(const std::string& operation) const;
  void* scratch(std::uint64_t bytes, Answers& answers);

  const PluginLibrary& library_;
  std::vector<std::pair<std::string, std::string>> pairs_;
  std::vector<isobit_option> options_;
  isobit_host host_{};
  isobit_plugin table_{};
  std::string opening_;  // what host_.error() said
  std::string name_;     // "mygemm 1.2"
  GuardedBlock output_;
  Rows written_;  // the values of output_
  std::vector<GuardedBlock> scratch_;
  Room keys_values_, rounded_, cosines_, sines_;
  GuardedBlock narrowed_;  // activations of a product as 16-bit elements
  std::vector<std::uint16_t> halves_;
  std::string last_matrix_;    // of the latest product
  std::set<std::string> ran_;  // operations of the plugin
  std::int64_t threads_used_ = 0;
};

}  // namespace isobit
