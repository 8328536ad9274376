// The table of cache codecs: a kind's arithmetic. A new codec is a header beside this one, a name
// in codec.h and a line here. Host and device.
//
// A codec is an object made from its KvCodec: tokens(), channels() of a tile, encode(x,
// token_stride, channel_stride, tile), and open<T>(tile), which gives a Tile whose at(token,
// channel) is a value.
#pragma once

#include "runtime/numerics/kv/ggml_blocks.h"
#include "runtime/numerics/kv/iq4_nl.h"
#include "runtime/numerics/kv/kivi.h"
#include "runtime/numerics/kv/kvarn.h"
#include "runtime/numerics/kv/q8_0.h"
#include "runtime/numerics/kv/rtn.h"

namespace isobit {

/// Whether a codec needs more memory to encode than a thread of a GPU has.
template <class Codec>
constexpr bool encodes_on_host() {
  return requires {
    Codec::kEncodesOnHost;
  };
}

/// Calls f with the codec; nothing for `none`. f is host or device code, as its caller is.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class F>
ISOBIT_HD inline void with_codec(const KvCodec& codec, F&& f) {
  switch (codec.kind) {
    case KvCodecKind::q8_0:
      return f(Q8_0(codec));
    case KvCodecKind::q4_0:
      return f(GgmlBlock<4, false>(codec));
    case KvCodecKind::q4_1:
      return f(GgmlBlock<4, true>(codec));
    case KvCodecKind::q5_0:
      return f(GgmlBlock<5, false>(codec));
    case KvCodecKind::q5_1:
      return f(GgmlBlock<5, true>(codec));
    case KvCodecKind::iq4_nl:
      return f(Iq4Nl(codec));
    case KvCodecKind::kivi2_tokens:
      return f(Kivi<2, true>(codec));
    case KvCodecKind::kivi2_channels:
      return f(Kivi<2, false>(codec));
    case KvCodecKind::kivi4_tokens:
      return f(Kivi<4, true>(codec));
    case KvCodecKind::kivi4_channels:
      return f(Kivi<4, false>(codec));
    case KvCodecKind::rtn_tokens:
      return f(Rtn<true>(codec));
    case KvCodecKind::rtn_channels:
      return f(Rtn<false>(codec));
    case KvCodecKind::kvarn_keys:
      return f(Kvarn<true>(codec));
    case KvCodecKind::kvarn_values:
      return f(Kvarn<false>(codec));
    default:
      return;
  }
}

/// A codec whose kind says everything, in one precision. `stored`: R of K and V.
inline KvCodec make_codec(KvCodecKind kind, Format stored) {
  switch (kind) {
    case KvCodecKind::q8_0:
      return Q8_0::make(stored);
    case KvCodecKind::q4_0:
      return GgmlBlock<4, false>::make(kind, stored);
    case KvCodecKind::q4_1:
      return GgmlBlock<4, true>::make(kind, stored);
    case KvCodecKind::q5_0:
      return GgmlBlock<5, false>::make(kind, stored);
    case KvCodecKind::q5_1:
      return GgmlBlock<5, true>::make(kind, stored);
    case KvCodecKind::iq4_nl:
      return Iq4Nl::make(stored);
    case KvCodecKind::kivi2_tokens:
      return Kivi<2, true>::make(kind, stored);
    case KvCodecKind::kivi2_channels:
      return Kivi<2, false>::make(kind, stored);
    case KvCodecKind::kivi4_tokens:
      return Kivi<4, true>::make(kind, stored);
    case KvCodecKind::kivi4_channels:
      return Kivi<4, false>::make(kind, stored);
    default:
      return {};
  }
}

}  // namespace isobit
