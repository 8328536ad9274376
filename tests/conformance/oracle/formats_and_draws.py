"""The formats and the draws of runtime/numerics/NUMERICS.md ("Formats", "Sampling").

Written from that page alone, as the rest of second_implementation.py, which uses it.
"""
import numpy as np

from exact_fma import F32, F64
from frozen_functions import X, canonical

U64 = np.uint64

# name -> fraction bits, lowest exponent, largest finite, saturates
FORMATS = {"bf16": (7, -126, X("0x1.fep127"), False), "fp16": (10, -14, 65504.0, False),
           "e4m3": (3, -6, 448.0, True), "e5m2": (2, -14, 57344.0, True)}


def narrow(x, name):
    """Rounded to the format and widened again; "-" keeps the Real."""
    x = canonical(x)
    if name == "-":
        return x
    if name == "tf32":
        u = x.view(np.uint32)
        return ((u + np.uint32(0xFFF) + ((u >> 13) & 1)) & np.uint32(0xFFFFE000)).view(F32)
    fraction_bits, lowest, largest, saturates = FORMATS[name]
    wide = x.astype(F64)
    step = np.ldexp(1.0, np.maximum(np.frexp(wide)[1] - 1, lowest) - fraction_bits)
    q = np.rint(wide / step) * step
    q = np.where(np.abs(q) > largest, np.copysign(largest if saturates else np.inf, q), q)
    return canonical(q.astype(F32))


def philox4x32(counter, key, rounds=10):
    """counter: four uint64 arrays of 32-bit words; key: two integers."""
    c, (k0, k1), mask = list(counter), key, U64(0xFFFFFFFF)
    for _ in range(rounds):
        p0, p1 = c[0] * U64(0xD2511F53), c[2] * U64(0xCD9E8D57)
        c = [(p1 >> U64(32)) ^ c[1] ^ U64(k0), p1 & mask,
             (p0 >> U64(32)) ^ c[3] ^ U64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def drawn_words(seed, counter):
    """The four output words of the counter's four words, which are broadcast together."""
    counter = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, U64)) for v in counter))
    return philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))


def odd_24_bits(word):
    return U64(2) * (word >> U64(9)) + U64(1)


def draw(seed, prompt_hash, positions, stream):
    words = drawn_words(seed, [prompt_hash & 0xFFFFFFFF, prompt_hash >> 32, positions, stream])
    return odd_24_bits(words[0])
