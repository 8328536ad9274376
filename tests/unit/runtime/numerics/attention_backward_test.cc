// Gradients of causal attention against PyTorch's autograd in fp64, and what the forms of delta are
// to each other.
#include "runtime/numerics/attention_backward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "runtime/numerics/digest.h"
#include "runtime/numerics/flash.h"

namespace isobit {
namespace {

constexpr std::int64_t kRows = 6, kDim = 4;

/// Gradients of q, k and v, (rows, channels) each: torch 2.15, fp64, printed by
/// tests/integration/check_attention_backward.py for the inputs below.
const double kTorch[] = {
    0x0.0p+0,
    0x0.0p+0,
    0x0.0p+0,
    0x0.0p+0,
    -0x1.769193cce3fe2p-5,
    0x1.3b9bd8fadc8cbp-3,
    -0x1.3823fb2abdfe7p-4,
    -0x1.769193cce3fe2p-4,
    0x1.3ace23a3e5c41p-4,
    -0x1.961e6ddb68aaep-4,
    0x1.f0680ae6dd875p-5,
    0x1.adcdecb66686dp-5,
    0x1.66d11e32fe506p-6,
    -0x1.bdcbd4f954a70p-5,
    0x1.9dda33ab6eae8p-5,
    0x1.01142991f1605p-5,
    0x1.b36ea1c12d2d0p-3,
    -0x1.d82bfda843efdp-4,
    0x1.b4c2b9ea65131p-7,
    0x1.d41892a1d8935p-6,
    -0x1.e553a267e26a7p-6,
    -0x1.fed99b748d75ap-5,
    0x1.a6bef43a83cdcp-4,
    0x1.d678e247196a1p-5,
    0x1.822a4941f6046p-5,
    -0x1.0defbc50a6324p-6,
    0x1.08666a55cd75dp-3,
    0x1.2c3a979ccff94p-4,
    -0x1.f6f83ac58ca80p-5,
    -0x1.6e63466bed9d2p-4,
    0x1.ecfaec944aa9cp-6,
    -0x1.e4cdba456dbc9p-4,
    -0x1.68ad7c2279584p-5,
    0x1.b30117ca5bb28p-5,
    0x1.0c4900dd6060bp-5,
    0x1.03aa1fd87426cp-8,
    0x1.10e7cc707214dp-4,
    -0x1.8924edc21f900p-12,
    -0x1.7c885c4f89114p-3,
    -0x1.e575eac653a08p-7,
    -0x1.3e86bb4f9b3a4p-7,
    0x1.20dfee4b64b0ep-5,
    0x1.e87d9e77134c0p-7,
    0x1.481312a76badap-5,
    0x1.69b0732254256p-10,
    0x1.25df5d8be45e6p-6,
    -0x1.58bc2dbcb833ap-6,
    0x1.03f6d2c0ac7aep-6,
    0x1.1e472a857fbd6p+0,
    0x1.5055d7f33939ap-3,
    0x1.5678954a579fdp-2,
    -0x1.5982ee18207c6p-5,
    0x1.a28686a535460p-4,
    -0x1.18b2dbc5875ecp-1,
    -0x1.5283aa214fc07p-3,
    -0x1.2b23b244de4ccp+0,
    0x1.26f85e8823e24p-2,
    0x1.03e59992f5d76p-3,
    0x1.b277605339bc4p-2,
    -0x1.10ac22784de44p-1,
    0x1.5ecc8ac609233p-3,
    0x1.b390f3165138fp-4,
    0x1.7d6809717998fp-2,
    -0x1.1167e23a475d2p-2,
    0x1.542546f1d88c0p-7,
    0x1.1adc0c95c1f20p-8,
    0x1.22f9fd3afc5e3p-3,
    -0x1.d12c119bd336dp-4,
    -0x1.8af867880dfc4p-4,
    -0x1.681eb8bfd0842p-4,
    0x1.16cd7641ebc12p-6,
    -0x1.226b5b2f5593dp-3,
};

/// Sixty-fourths, exact in fp32 and bf16's eight bits.
template <class T>
std::vector<T> numbers(std::int64_t which) {
  std::vector<T> out;
  for (std::int64_t i = 0; i < kRows * kDim; ++i) {
    out.push_back(T((which * 31 + 17 * i * (i + which)) % 127 - 63) / T(64));
  }
  return out;
}

/// One head with its forward pass.
template <class T>
struct Head {
  std::vector<T> q = numbers<T>(1), k = numbers<T>(2), v = numbers<T>(3), d_out = numbers<T>(4);
  std::vector<T> out = std::vector<T>(kRows * kDim), lse = std::vector<T>(kRows);

  Head() {
    for (std::int64_t i = 0; i < kRows; ++i) {
      FlashState<T> state;
      T* const o = out.data() + i * kDim;
      flash_split(
          FlashRule{}, q.data() + i * kDim, int(kDim), T(0.5), T(0), 0, i,
          [](std::int64_t) { return true; },
          [&](std::int64_t j, int c) { return k[std::size_t(j * kDim + c)]; },
          [&](std::int64_t j, int c) { return v[std::size_t(j * kDim + c)]; }, state, o);
      for (std::int64_t c = 0; c < kDim; ++c) o[c] = o[c] * (T(1) / state.l);
      lse[std::size_t(i)] = flash_lse(state);
    }
  }
  [[nodiscard]] AttentionHead<T> view() const {
    return {kRows,    kDim,         T(0.5),     q.data(),  k.data(),
            v.data(), d_out.data(), out.data(), lse.data()};
  }
  /// dQ, dK, dV, one after the other.
  [[nodiscard]] std::vector<T> gradients(DeltaForm form, Format rounded) const {
    std::vector<T> all(3 * kRows * kDim);
    attention_backward(view(), form, rounded, all.data(), all.data() + kRows * kDim,
                       all.data() + 2 * kRows * kDim);
    return all;
  }
};

double worst(const std::vector<double>& a) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - kTorch[i]));
  return most;
}
std::vector<double> widened(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

TEST(AttentionBackward, EqualsAutogradInFp64) {
  const Head<double> head;
  ASSERT_EQ(std::size(kTorch), 3 * kRows * kDim);
  // Both sides are fp64 of order 1: what remains is their rounding.
  EXPECT_LT(worst(head.gradients(DeltaForm::output, Format::f64)), 1e-15);
  EXPECT_LT(worst(head.gradients(DeltaForm::terms, Format::f64)), 1e-15);
}

/// O in bf16 enters delta, and so dQ and dK; dV has no delta.
TEST(AttentionBackward, ARoundedOutputEntersThroughDeltaAlone) {
  const Head<float> head;
  const std::vector<float> exact = head.gradients(DeltaForm::output, Format::f32);
  const std::vector<float> rounded = head.gradients(DeltaForm::output, Format::bf16);
  const std::vector<float> terms = head.gradients(DeltaForm::terms, Format::bf16);
  EXPECT_LT(worst(widened(exact)), 1e-6);
  EXPECT_LT(worst(widened(terms)), 1e-6);
  EXPECT_GT(worst(widened(rounded)), 1e-4);
  for (std::size_t i = 2 * kRows * kDim; i < exact.size(); ++i) {
    EXPECT_EQ(bits_of(exact[i]), bits_of(rounded[i])) << i;
  }
}

/// The first query sees one key: P is 1 whatever Q and K are, and nothing flows back to them.
TEST(AttentionBackward, ASingleKeyGivesQueriesNoGradient) {
  const Head<double> head;
  const std::vector<double> all = head.gradients(DeltaForm::terms, Format::f64);
  for (std::int64_t c = 0; c < kDim; ++c) EXPECT_EQ(all[std::size_t(c)], 0.0);
}

/// One order, so one digest: of fp32 gradients, whatever the compiler or machine.
TEST(AttentionBackward, HasOneOrder) {
  const std::vector<float> all = Head<float>().gradients(DeltaForm::output, Format::bf16);
  EXPECT_EQ(to_hex(digest_row(std::span<const float>(all))), "b3ba3c9046d83c3dd4fdd19490e8e986");
}

}  // namespace
}  // namespace isobit
