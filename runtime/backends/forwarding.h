// A Backend that hands every operation on to another one: what replaces some operations derives
// from it. Several operations at once are the plain ones in their order, so that none goes round a
// replaced one; a step is never kept. Callers: plugin/, the selftest's defects.
#pragma once

#include <memory>

#include "runtime/backend.h"

namespace isobit {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner)
      : Backend(inner->mode()), inner_(std::move(inner)) {}
  [[nodiscard]] BackendInfo describe() const override;
  void* native_stream() override;
  void* allocate(std::size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* from, std::size_t bytes) override;
  void download(void* to, const void* from, std::size_t bytes) override;
  void copy(Rows from, Rows to) override;
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override;
  [[nodiscard]] Turn turn(const RopeAngle& angle) const override;
  void gather(Rows table, std::span<const std::int32_t> ids, Rows out) override;
  void rms_norm(Rows x, const void* weight, double eps, Rows out) override;
  void amax(Rows x, void* out) override;
  void scales(const void* amax, std::int64_t ranks, std::int64_t rows, Format format,
              void* scale) override;
  void quantize(Rows x, const void* scale, Format format, Rows out) override;
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override;
  void finish(std::span<const Rows> parts, const WeightMatrix& matrix, const void* row_scale,
              const void* bias, Format stored, Rows out) override;
  void rope(Rows x, std::int64_t heads, std::span<const std::int64_t> positions,
            const Rotation& rotation) override;
  void write_kv(Rows k, Rows v, std::span<const std::int64_t> slots, std::int64_t kv_heads,
                std::int32_t page_size, void* k_pool, void* v_pool) override;
  void read_kv(std::span<const std::int64_t> slots, std::int64_t kv_heads, std::int32_t page_size,
               const void* k_pool, const void* v_pool, Rows k, Rows v) override;
  void attention(Rows q, const AttentionRows& args, const void* k_pool, const void* v_pool,
                 Rows out) override;
  void encode_kv(Rows x, std::span<const std::int64_t> slots, const CodeLayout& layout,
                 void* codes) override;
  void attention_coded(Rows q, const AttentionRows& args, const KvPools& pools, Rows out) override;
  void attention_weights(Rows q, const AttentionRows& args, const KvPools& pools,
                         Rows out) override;
  void hadamard(Rows x, std::int64_t block) override;
  void change_kv(Rows x, std::int64_t kv_heads, const KvChange& change, const KvPlace& first,
                 std::span<const std::int64_t> positions) override;
  void gated(Activation f, Rows gate, Rows up, Rows out) override;
  void add(Rows h, Rows y) override;
  void layer_norm(Rows x, const void* weight, const void* bias, double eps, Rows out) override;
  void activate(Activation f, Rows x) override;
  void scale(Rows x, double factor) override;
  void softcap(Rows x, double cap) override;
  void add_scaled(Rows y, std::span<const std::int32_t> ids, std::span<const double> factors,
                  Rows sum) override;
  void digests(Rows x, std::span<Digest> out) override;
  TopEntries top(Rows row, int count) override;

 protected:
  std::unique_ptr<Backend> inner_;
};

}  // namespace isobit
