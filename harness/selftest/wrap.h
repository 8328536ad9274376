// Decorators of Backend and Communicator that change nothing, and what defects are made of.
// Callers: selftest*.cc and tests. A defect derives and overrides one operation.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "runtime/run/generate.h"

namespace isobit::selftest {

/// What a wrapped part may know of the request that it serves.
struct Setup {
  int ranks = 1;
  int threads = 1;
  std::int64_t batch = 1;
  bool taught = false;  // the cell has a teacher
  CacheMode cache;
};

/// Matrices of a layer in the order of their use; head comes after the last layer.
enum class Gemm { q, k, v, o, gate, up, down, head };

class ForwardingBackend : public Backend {
 public:
  ForwardingBackend(std::unique_ptr<Backend> inner, const Setup& setup);
  [[nodiscard]] BackendInfo describe() const override;
  void* native_stream() override;
  void* allocate(std::size_t bytes) override;
  void release(void* memory) override;
  void upload(void* to, const void* from, std::size_t bytes) override;
  void download(void* to, const void* from, std::size_t bytes) override;
  void copy(Rows from, Rows to) override;
  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override;
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
  /// Layer and kind of a matrix: by the order in which matrices are first used.
  struct Place {
    int layer;
    Gemm gemm;
  };
  Place place_of(const WeightMatrix& matrix);
  [[nodiscard]] int layer() const { return layer_; }  // of the latest gemm
  [[nodiscard]] bool is(const WeightMatrix& matrix, Gemm gemm, int layer = -1);

  /// Rows as fp32 on the host, dense, and back. REQUIRES: not fp64.
  std::vector<float> fetch(Rows x);
  void store(const std::vector<float>& values, Rows x);
  /// Changes the fp32 values of rows on the host.
  void change(Rows x, const std::function<void(std::vector<float>&)>& f);
  /// x * matrix with the columns cut at `cuts`, each part by itself: (parts) dense rows.
  std::vector<std::vector<float>> partial_products(Rows x, const WeightMatrix& matrix, Rows out,
                                                   const std::vector<std::int64_t>& cuts);
  /// The same sum cut in the middle of the columns: right to the last bits, in another order.
  void split_gemm(Rows x, const WeightMatrix& matrix, Rows out, int parts);

  std::unique_ptr<Backend> inner_;
  Setup setup_;

 private:
  std::vector<const WeightMatrix*> seen_;
  int layer_ = 0;
};

class ForwardingCommunicator : public Communicator {
 public:
  ForwardingCommunicator(std::unique_ptr<Communicator> inner, const Setup& setup)
      : inner_(std::move(inner)), setup_(setup) {}
  [[nodiscard]] int rank() const override { return inner_->rank(); }
  [[nodiscard]] int size() const override { return inner_->size(); }
  [[nodiscard]] bool is_virtual() const override { return inner_->is_virtual(); }
  void all_gather(const void* mine, void* all, std::span<const std::size_t> sizes) override {
    inner_->all_gather(mine, all, sizes);
  }
  [[nodiscard]] std::string transport() const override { return inner_->transport(); }
  [[nodiscard]] Traffic traffic() const override { return inner_->traffic(); }
  [[nodiscard]] double seconds() const override { return inner_->seconds(); }
  void abort() override { inner_->abort(); }
  void finish() override { inner_->finish(); }

 protected:
  std::unique_ptr<Communicator> inner_;
  Setup setup_;
};

}  // namespace isobit::selftest
