// The functions between the halves of an MLP, by name. Callers: backends, model.
#pragma once

#include <cstdint>

#include "runtime/numerics/functions.h"

namespace isobit {

/// gelu_tanh: the formula with tanh ("gelu_pytorch_tanh", "gelu_new").
enum class Activation : std::uint8_t { silu, gelu_tanh };

template <class T>
ISOBIT_HD inline T activated(Activation f, T x) {
  return f == Activation::silu ? silu_(x) : gelu_tanh_(x);
}

/// cap * tanh(x / cap): a quotient of T, tanh of it in fp64 rounded to T, a product of T.
template <class T>
ISOBIT_HD inline T softcapped(T x, T cap) {
  return canonical(T(tanh_(double(x / cap))) * cap);
}

}  // namespace isobit
