// The forward pass of transformers on PyTorch and a Hopper GPU, on a CPU, every bit (NUMERICS.md,
// "What transformers computes"). Llama's blocks alone; what a model has besides is refused.
//
// transformers computes one static batch: sequences of different length get padding in front, and
// every sequence has a row in every call. What a kernel does depends on the whole call, so each
// step's calls are reckoned from its rows: they are all of the batch's. Callers: engine.cc.
#pragma once

#include "runtime/backends/cpu/attention_fused.h"
#include "runtime/backends/twin/products.h"
#include "runtime/numerics/torch_mean.h"

namespace isobit::twin {

class TransformersTwin : public ProductTwin {
 public:
  /// `tables`: of the special function unit; they outlive the object.
  TransformersTwin(const Mode& mode, const cpu::Kernels& kernels, int threads, Book book,
                   bool forecast, const SpecialTables& tables = hopper_tables());

  [[nodiscard]] BackendInfo describe() const override;
  [[nodiscard]] Turn turn(const RopeAngle& angle) const override;
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override;
  void finish_qkv(const Product* q, const Product& k, const Product& v, std::int64_t heads,
                  std::int64_t kv_heads, std::span<const std::int64_t> positions,
                  const Rotation& rotation, const HeadNorm* norm) override;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override;
  void gated(Activation f, Rows gate, Rows up, Rows out) override;
  void layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) override;
  void activate(Activation f, Rows x) override;
  void scale(Rows x, double factor) override;
  void softcap(Rows x, double cap) override;
  void add_scaled(Rows y, std::span<const std::int32_t> ids, std::span<const double> factors,
                  Rows sum) override;
  bool begin_step(const StepInputs& inputs) override;

 protected:
  // The steps of the order, one by one: tests put a mistake in the place of each.
  [[nodiscard]] virtual TorchRows norm_threads(std::int64_t n, std::int64_t rows) const;
  [[nodiscard]] virtual FusedPlan plan_of(const FusedChoice& choice, const FusedShape& shape) const;

 private:
  /// Rows of one sequence in the step.
  struct Sequence {
    std::int64_t first_row, rows, length;  // length: positions, with this step's
  };
  [[noreturn]] void lacks(const std::string& what) const;
  /// Rows of a call in which x is a part: every sequence has as many as the longest.
  [[nodiscard]] std::int64_t call_rows(std::int64_t rows) const;

  const SpecialTables& tables_;
  cpu::FusedAttention fused_;
  std::int64_t multiprocessors_;
  std::vector<Sequence> sequences_;
  std::int64_t step_rows_ = 0, wanted_ = 0, width_ = 0, columns_ = 0;
  bool padded_ = false;
  std::set<const AttentionLine*> used_;
};

/// Whether a book speaks of transformers, and not of a library's products alone.
bool is_of_transformers(const ProductBook& book);

}  // namespace isobit::twin
