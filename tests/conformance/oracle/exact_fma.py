"""fma of arrays, exact to the last bit, without a hardware fma: fma32 and fma64.

numpy has no fma. fp32 goes through fp64 and round-to-odd, fp64 through error-free transforms;
exact_fma computes one value with rationals, and check_fma holds the two against it.
Used by second_implementation.py and frozen_functions.py.
"""
import random
from fractions import Fraction

import numpy as np

F32, F64, I64 = np.float32, np.float64, np.int64


def round_to_odd_sum(a, b):
    """a + b in fp64, an inexact sum rounded to the neighbour with an odd last bit."""
    s, e = two_sum(a, b)
    s = np.array(s)
    bits = s.view(I64)
    inexact = (np.abs(e) > 0) & np.isfinite(s) & ((bits & 1) == 0)
    bits += np.where((e > 0) == (s > 0), 1, -1) * inexact
    return s


def two_sum(a, b):
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a, b):
    p = a * b
    ah, bh = a * 134217729.0, b * 134217729.0
    ah, bh = ah - (ah - a), bh - (bh - b)
    al, bl = a - ah, b - bh
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


def fma32(a, b, c):
    """The product is exact in fp64; the sum is rounded to odd there, then once to fp32."""
    return round_to_odd_sum(a.astype(F64) * b.astype(F64), c.astype(F64)).astype(F32)


def fma64(a, b, c):
    """Error-free transforms (Boldo and Melquiond); outside their range, exact rationals."""
    a, b, c = np.broadcast_arrays(a, b, c)
    p, low = two_product(a, b)
    u, v = two_sum(c, low)
    t, w = two_sum(p, u)
    result = np.array(t + round_to_odd_sum(w, v))
    result = np.where(result == 0, p + c, result)
    big = np.maximum(np.abs(a), np.maximum(np.abs(b), np.maximum(np.abs(p), np.abs(c))))
    unsafe = ~(big < 2.0**990) | ((np.abs(p) < 2.0**-900) & (a != 0) & (b != 0))
    for i in zip(*np.nonzero(unsafe)) if unsafe.any() else ():
        x, y, z = float(a[i]), float(b[i]), float(c[i])
        finite = np.isfinite([x, y, z]).all()
        result[i] = exact_fma(x, y, z, 52, -1022) if finite else x * y + z
    return result


def exact_fma(a, b, c, fraction_bits, lowest_exponent):
    """fma of finite numbers through rationals; slow, and the judge of the two above."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    e = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    e -= abs(exact) < Fraction(2) ** e
    step = Fraction(2) ** (max(e, lowest_exponent) - fraction_bits)
    rounded = abs(round(exact / step) * step)
    limit = Fraction(2) ** (1024 if fraction_bits == 52 else 128)
    return float(np.copysign(float(rounded) if rounded < limit else np.inf, exact.numerator))


def fma(a, b, c):
    """One rounding, in the type of the array arguments; plain floats are exact constants."""
    real = next(v.dtype for v in (a, b, c) if hasattr(v, "dtype"))
    a, b, c = (np.asarray(v, dtype=real) for v in (a, b, c))
    return fma32(a, b, c) if real == F32 else fma64(a, b, c)


def check_fma(cases=3000):
    """fma32 and fma64 against exact rationals: ties, cancellation, subnormals, plain numbers."""
    pick_one, wrong = random.Random(1), 0
    for real, bits, lowest, apply in ((F32, 23, -126, fma32), (F64, 52, -1022, fma64)):
        rows = []
        for i in range(cases):
            width = pick_one.choice((3, bits // 2, bits, bits + 1))
            a, b, c = (real(pick_one.randrange(-2**width, 2**width + 1)) for _ in range(3))
            a = real(np.ldexp(a, pick_one.choice((0, -bits, lowest // 2, lowest - 20))))
            shift = pick_one.randrange(-2 * bits - 3, 2 * bits + 3)
            c = -a * b if i % 4 == 0 else real(np.ldexp(a * c, shift))
            rows.append((a, b, c))
        got = apply(*(np.array(column, real) for column in zip(*rows)))
        want = [exact_fma(float(a), float(b), float(c), bits, lowest) for a, b, c in rows]
        wrong += sum(g.tobytes() != real(w).tobytes() for g, w in zip(got, want))
    return wrong == 0, f"fma against rationals, {2 * cases} cases: {wrong} wrong"
