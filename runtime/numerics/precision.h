// The precision modes of family F and where each of them rounds (NUMERICS.md, table
// "Rounding points"). Data only; host and device.
#pragma once

#include <cstddef>
#include <cstdint>

namespace isobit {

/// A storage format. Values in memory are fp32 (fp64 in `fp64`) that are exact in the format.
enum class Format : std::uint8_t { f64, f32, tf32, bf16, fp16, e4m3, e5m2 };

/// How a checkpoint stores a row's elements: each by itself, or in blocks of 32 or 256 neighbours
/// with small integer codes and shared scales (blocks.h).
enum class BlockFormat : std::uint8_t {
  none,
  q4_0,
  q4_1,
  q8_0,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs
};

enum class Precision : std::uint8_t {
  fp64,
  fp32,
  tf32,
  bf16,
  fp16,
  fp8_e4m3,
  fp8_e5m2,
  layercast_bf16,
  layercast_fp16,
  layercast_bf16_paper,
  layercast_fp16_paper
};
constexpr int kPrecisions = 11;

/// Version of the arithmetic; part of every recipe. Raised when any bit of family F changes.
inline constexpr const char* kNumericsVersion = "F1";

struct Mode {
  Precision precision;
  const char* name;
  Format weight;      // embedding and norms
  Format matrix;      // matrices of q, k, v, o, gate, up, down
  Format head;        // lm_head's matrix
  Format gemm_input;  // activations into those GEMMs (8-bit ones with a row scale)
  Format head_input;  // activations into lm_head
  Format stored;      // activations and residual between operations
  Format cache;       // K and V
  Format bias;        // biases of the linear layers

  /// Accumulator, tables and activations are fp64.
  [[nodiscard]] constexpr bool wide() const { return precision == Precision::fp64; }
  /// The layer's GEMMs are 8-bit with power-of-two scales.
  [[nodiscard]] constexpr bool scaled() const {
    return matrix == Format::e4m3 || matrix == Format::e5m2;
  }
};

inline constexpr Mode kModes[kPrecisions] = {
    {Precision::fp64, "fp64", Format::f64, Format::f64, Format::f64, Format::f64, Format::f64,
     Format::f64, Format::f64, Format::f64},
    {Precision::fp32, "fp32", Format::f32, Format::f32, Format::f32, Format::f32, Format::f32,
     Format::f32, Format::f32, Format::f32},
    {Precision::tf32, "tf32", Format::f32, Format::tf32, Format::tf32, Format::tf32, Format::tf32,
     Format::f32, Format::f32, Format::f32},
    {Precision::bf16, "bf16", Format::bf16, Format::bf16, Format::bf16, Format::bf16, Format::bf16,
     Format::bf16, Format::bf16, Format::bf16},
    {Precision::fp16, "fp16", Format::fp16, Format::fp16, Format::fp16, Format::fp16, Format::fp16,
     Format::fp16, Format::fp16, Format::fp16},
    {Precision::fp8_e4m3, "fp8-e4m3", Format::bf16, Format::e4m3, Format::bf16, Format::e4m3,
     Format::bf16, Format::bf16, Format::bf16, Format::bf16},
    {Precision::fp8_e5m2, "fp8-e5m2", Format::bf16, Format::e5m2, Format::bf16, Format::e5m2,
     Format::bf16, Format::bf16, Format::bf16, Format::bf16},
    {Precision::layercast_bf16, "layercast-bf16", Format::bf16, Format::bf16, Format::bf16,
     Format::f32, Format::f32, Format::f32, Format::f32, Format::bf16},
    {Precision::layercast_fp16, "layercast-fp16", Format::fp16, Format::fp16, Format::fp16,
     Format::f32, Format::f32, Format::f32, Format::f32, Format::fp16},
    {Precision::layercast_bf16_paper, "layercast-bf16-paper", Format::f32, Format::bf16,
     Format::f32, Format::f32, Format::f32, Format::f32, Format::f32, Format::bf16},
    {Precision::layercast_fp16_paper, "layercast-fp16-paper", Format::f32, Format::fp16,
     Format::f32, Format::f32, Format::f32, Format::f32, Format::f32, Format::fp16}};

constexpr const Mode& mode_of(Precision precision) {
  return kModes[std::size_t(precision)];
}

}  // namespace isobit
