// Decorators of Backend and Communicator that change nothing, and what defects are made of.
// Callers: selftest*.cc and tests. A defect derives and overrides one operation.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "runtime/backends/forwarding.h"
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

class ForwardingBackend : public isobit::ForwardingBackend {
 public:
  ForwardingBackend(std::unique_ptr<Backend> inner, const Setup& setup)
      : isobit::ForwardingBackend(std::move(inner)), setup_(setup) {}
  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override;

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
