"""The codecs of runtime/numerics/NUMERICS.md, "Lossy caches": what they make of K and V.

Written from that page alone. Every function takes and gives arrays of Reals; a group, a block or
a row of a tile is the last axis. Used by lossy_caches.py.
"""
import numpy as np

from exact_fma import F32, F64, fma
from formats_and_draws import FORMATS, drawn_words, narrow, odd_24_bits
from frozen_functions import X, canonical, exp, log, sin_cos


# ---- bits and noise ------------------------------------------------------------------------------

PATTERNS = {"bf16": (np.uint32, 23, 16), "fp16": (np.uint16, 10, 0), F32: (np.uint32, 23, 0),
            F64: (np.uint64, 52, 0)}


def fewer_bits(x, kept, nearest, stored):
    """The kept most significant fraction bits of x in R's pattern."""
    own = {"fp16": np.float16}.get(stored, x.dtype.type)
    word, fraction, unused = PATTERNS[stored if stored in FORMATS else x.dtype.type]
    drop = fraction - kept
    if drop <= unused:  # a bf16 number's low 16 bits are zeros of fp32's pattern
        return x
    pattern = x.astype(own).view(word)
    if nearest:
        last = (pattern >> word(drop)) & word(1)
        rounded = pattern + word(2**(drop - 1) - 1) + last
    else:
        rounded = pattern
    rounded = rounded & ~word(2**drop - 1)
    changed = rounded.view(own).astype(x.dtype)
    return canonical(np.where(np.isfinite(x), changed, x))


def drawn_noise(kind, numbers, seed, layer, is_value, shape, positions):
    """e in fp64, [positions, heads, channels]."""
    rows, heads, channels = shape
    words = drawn_words(seed, [2 * layer + is_value, np.arange(heads)[None, :, None],
                               positions[:, None, None], np.arange(channels)[None, None, :]])
    u, v = (odd_24_bits(w).astype(F64) * 2.0**-24 for w in words[:2])
    if kind == "uniform":
        first, second = numbers
        return first + (F64(second) - F64(first)) * u
    turn = sin_cos(X("0x1.921fb54442d18p+2") * v)[1]
    drawn = np.sqrt(-2 * log(u)) * turn
    if kind == "lognormal":
        variance = log(np.asarray(1 + F64(numbers[0]) * F64(numbers[0])))
        return exp(-0.5 * variance + np.sqrt(variance) * drawn) - 1
    first, second = numbers
    return first + second * drawn


def noisy(x, e, keep_sign, stored):
    if keep_sign:
        e = np.maximum(e, -1 + 2.0**-24)
    e = e.astype(x.dtype)
    return np.where(e == 0, x, narrow(x + x * e, stored))


# ---- Rotation ------------------------------------------------------------------------------------

def rotated(x, n):
    """Neighbouring channels turned, n of them at a time."""
    real = x.dtype.type
    y = x.reshape(*x.shape[:-1], -1, n) * (real(1) / np.sqrt(real(n)))
    a = 1
    while a < n:
        pairs = y.reshape(*y.shape[:-1], -1, 2, a)
        low, high = pairs[..., 0, :], pairs[..., 1, :]
        y = np.stack([low + high, low - high], -2).reshape(y.shape)
        a *= 2
    return canonical(y.reshape(x.shape))


def turned(x, n):
    """rotated(), or x where nothing turns."""
    return rotated(x, n) if n else x


# ---- ggml's blocks -------------------------------------------------------------------------------

def through_fp16(x):
    return x.astype(np.float16).astype(F32)


def inverse(d):
    i = np.where(d == 0, F32(0), F32(1) / d)
    return np.where(np.isinf(i), F32(0), i)


def first_of(x, choose):
    """The value at the first position that choose (np.argmin, np.argmax of something) gives."""
    return np.take_along_axis(x, np.expand_dims(choose, -1), -1)


def first_largest_magnitude(x):
    w = first_of(x, np.abs(x).argmax(-1))
    return np.where(w == 0, F32(0), w)


def q8_0(x):
    d = np.abs(x).max(-1, keepdims=True) / F32(127)
    y = x * inverse(d)
    whole = np.trunc(np.abs(y))
    codes = np.copysign(whole + (np.abs(y) - whole >= 0.5), y)
    finite = np.isfinite(d)
    codes = np.where(finite, codes, 0).astype(np.int8).astype(F32)
    return through_fp16(np.where(finite, d, F32(np.nan))) * codes


def symmetric(bits):
    c = 2**(bits - 1)

    def code(x):
        finite = np.isfinite(x).all(-1, keepdims=True)
        d = first_largest_magnitude(x) / F32(-c)
        codes = np.trunc(np.minimum(F32(2 * c - 1), x * inverse(d) + F32(c + 0.5)))
        d, codes = np.where(finite, d, F32(np.nan)), np.where(finite, codes, F32(c))
        return (codes - F32(c)) * through_fp16(d)
    return code


def with_minimum(bits):
    m = F32(2**bits - 1)

    def code(x):
        low, high = first_of(x, x.argmin(-1)), first_of(x, x.argmax(-1))
        d = (high - low) / m
        codes = np.trunc(np.minimum(m, (x - low) * inverse(d) + F32(0.5)))
        finite = np.isfinite(d)
        d, low = (np.where(finite, v, F32(np.nan)) for v in (d, low))
        codes = np.where(finite, codes, F32(0))
        return fma(codes, *(np.broadcast_to(through_fp16(v), x.shape) for v in (d, low)))
    return code


IQ4_NL = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], F32)


def iq4_nl(x):
    w = np.where(np.isfinite(x).all(-1, keepdims=True), first_largest_magnitude(x), F32(np.nan))
    y = x * (F32(1) / (w / F32(-127)))
    middles = (IQ4_NL[1:].astype(F64) + IQ4_NL[:-1]) / 2
    codes = np.searchsorted(middles, y.astype(F64), side="right")
    v = IQ4_NL[codes]
    above, below = np.zeros(w.shape[:-1], F32), np.zeros(w.shape[:-1], F32)
    for i in range(32):
        weight = (x[..., i] * x[..., i]) * v[..., i]
        above, below = above + weight * x[..., i], below + weight * v[..., i]
    d = (above / below)[..., None]
    small = np.abs(w) < F32(1e-15)
    d = np.where(small, F32(0), d)
    plain = small | ~np.isfinite(d)
    d = through_fp16(np.where(np.isfinite(d), d, F32(np.nan)))
    return d * np.where(plain, IQ4_NL[8], v)


GGML = {"q8_0": q8_0, "q4_0": symmetric(4), "q5_0": symmetric(5), "q4_1": with_minimum(4),
        "q5_1": with_minimum(5), "iq4_nl": iq4_nl}


def ggml_coded(x, name):
    blocks = x.astype(F32).reshape(*x.shape[:-1], -1, 32)
    return canonical(GGML[name](blocks).astype(x.dtype).reshape(x.shape))


# ---- Groups with a step and a minimum ------------------------------------------------------------

def extremes(x):
    zero = x.dtype.type(0)
    return x.min(-1, keepdims=True) + zero, x.max(-1, keepdims=True) + zero


def value(codes, scale, low, bad):
    real = codes.dtype.type
    scale, low = (np.where(bad, real(np.nan), v) for v in (scale, low))
    scale, low = (np.broadcast_to(v, codes.shape) for v in (scale, low))
    return canonical(fma(np.where(bad, real(0), codes), scale, low))


def kivi_coded(x, bits, stored):
    real, levels = x.dtype.type, x.dtype.type(2**bits - 1)
    low, high = extremes(x)
    scale = narrow(narrow(high - low, stored) / levels, stored)
    y = np.minimum(narrow(narrow(x - low, stored) / scale, stored), levels)
    return value(np.where(scale == 0, real(0), np.rint(y)), scale, low, ~np.isfinite(scale))


def rtn_codes(x, bits):
    """Codes, step and low, none of them rounded by R."""
    real, levels = x.dtype.type, x.dtype.type(2**bits - 1)
    low, high = extremes(x)
    step = np.maximum((high - low) / levels, real(1e-10))
    return np.rint(np.minimum((x - low) / step, levels)), step, low


def rtn_coded(x, bits, stored):
    codes, step, low = rtn_codes(x, bits)
    kept = narrow(step, stored), narrow(low, stored)
    bad = ~np.isfinite([step, low, *kept]).all(0)
    return value(codes, *kept, bad)


# ---- kvarn ---------------------------------------------------------------------------------------

def deviation(x, axis):
    """Of the lines along the axis, which stays with length 1."""
    real, m = x.dtype.type, x.shape[axis]
    lines = np.moveaxis(x, axis, 0)
    total = np.zeros_like(lines[0])
    for line in lines:
        total = total + line
    mean, squares = total / real(m), np.zeros_like(total)
    for line in lines:
        squares = squares + (line - mean) * (line - mean)
    return np.expand_dims(np.sqrt(squares / real(m - 1)), axis)


def spread(deviations):
    """The largest / the larger of the smallest and 1e-8, of a tile's columns or rows."""
    real = deviations.dtype.type
    largest, smallest = (f(deviations, (-2, -1), keepdims=True) for f in (np.max, np.min))
    return largest / np.maximum(smallest, real(1e-8))


def longer(logarithm, deviations):
    real = deviations.dtype.type
    inside = np.clip(deviations, real(1e-3), real(1e3))
    more = log(inside.astype(F64)).astype(deviations.dtype)
    return np.clip(logarithm + more, real(-0.3), real(10))


def balanced(x, iterations):
    """x [..., rows, columns]: the kept scales (e^A of the columns, e^B of the rows)."""
    a, b = np.zeros_like(x[..., :1, :]), np.zeros_like(x[..., :, :1])
    columns, rows = deviation(x, -2), deviation(x, -1)
    kept = np.ones_like(a), np.ones_like(b)
    least = spread(columns) + spread(rows)
    for _ in range(iterations):
        a = longer(a, columns)
        b = longer(b, deviation(x / exp(a) / exp(b), -1))
        current = x / exp(a) / exp(b)
        columns, rows = deviation(current, -2), deviation(current, -1)
        imbalance = spread(columns) + spread(rows)
        better = imbalance <= least
        least = np.where(better, imbalance, least)
        kept = np.where(better, exp(a), kept[0]), np.where(better, exp(b), kept[1])
    return kept


def kvarn_coded(x, bits, iterations, stored):
    """x [..., rows, columns]: tiles whose rows are K's channels or V's positions."""
    real = x.dtype.type
    kept_as = "fp16" if stored in ("bf16", "fp16") else "-"
    of_columns, of_rows = balanced(x, iterations)
    codes, step, low = rtn_codes(x / of_columns / of_rows, bits)
    a, z = narrow(of_rows * step, kept_as), narrow(of_rows * low, kept_as)
    s = narrow(of_columns, kept_as)
    bad = ~np.isfinite([step, low, a, z]).all(0)
    bad = bad | ~np.isfinite(x).all((-2, -1), keepdims=True)
    return canonical(value(codes, a, z, bad) * np.broadcast_to(s, x.shape).astype(real))
