// The table of cache codecs: a kind's arithmetic and its description. A new codec is a header
// beside this one, a name in codec.h and a line here. Host and device.
#pragma once

#include "runtime/numerics/kv/kivi.h"
#include "runtime/numerics/kv/q8_0.h"

namespace isobit {

/// Calls f with a value of the codec's type; nothing for `none`. f is host or device code, as its
/// caller is.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class F>
ISOBIT_HD inline void with_codec(KvCodecKind kind, F&& f) {
  switch (kind) {
    case KvCodecKind::none:
      return;
    case KvCodecKind::q8_0:
      return f(Q8_0{});
    case KvCodecKind::kivi2_tokens:
      return f(Kivi<2, true>{});
    case KvCodecKind::kivi2_channels:
      return f(Kivi<2, false>{});
    case KvCodecKind::kivi4_tokens:
      return f(Kivi<4, true>{});
    case KvCodecKind::kivi4_channels:
      return f(Kivi<4, false>{});
  }
}

/// The codec in one precision. `stored`: R of K and V.
inline KvCodec make_codec(KvCodecKind kind, Format stored) {
  KvCodec out;
  with_codec(kind, [&]<class Codec>(Codec) {
    out = {kind, stored, Codec::kTokens, Codec::kChannels, Codec::bytes(stored)};
  });
  return out;
}

}  // namespace isobit
