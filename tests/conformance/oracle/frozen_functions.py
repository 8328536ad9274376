"""exp, log, sin, cos and silu of runtime/numerics/NUMERICS.md ("Functions"), over arrays.

Written from that page alone, as the rest of second_implementation.py, which uses it.
"""
import numpy as np

from exact_fma import F32, F64, I64, fma

X = float.fromhex


def canonical(x):
    return np.where(np.isnan(x), x.dtype.type(np.nan), x)


def horner(x, constants):
    first, *rest = (X(c) for c in constants.split())
    q = np.full_like(x, first)
    for c in rest:
        q = fma(q, x, c)
    return q


EXP = {F32: ("0x1.715476p+0", "0x1.8p+23", "-0x1.62e430p-1", "0x1.05c610p-29", 89, -104,
             "0x1.6a2466p-10 0x1.1239e2p-7 0x1.5558f2p-5 0x1.555492p-3 0x1.fffffcp-2"),
       F64: ("0x1.71547652b82fep+0", "0x1.8p+52", "-0x1.62e42fefa39efp-1",
             "-0x1.abc9e3b39803fp-56", 710, -746,
             "0x1.6124613a86d09p-33 0x1.1eed8eff8d898p-29 0x1.ae64567f544e4p-26 "
             "0x1.27e4fb7789f5cp-22 0x1.71de3a556c734p-19 0x1.a01a01a01a01ap-16 "
             "0x1.a01a01a01a01ap-13 0x1.6c16c16c16c17p-10 0x1.1111111111111p-7 "
             "0x1.5555555555555p-5 0x1.5555555555555p-3 0x1p-1")}


def exp(x):
    real = x.dtype.type
    log2e, shift, ln2_high, ln2_low, highest, lowest, chain = EXP[real]
    inside = (x <= highest) & (x >= lowest)
    y = np.where(inside, x, real(0))
    n = fma(y, X(log2e), X(shift)) - real(X(shift))
    r = fma(n, X(ln2_low), fma(n, X(ln2_high), y))
    p = real(1) + fma(r * r, horner(r, chain), r)
    n = n.astype(I64)
    h = n // 2
    y = (p * np.ldexp(real(1), h)) * np.ldexp(real(1), n - h)
    return canonical(np.where(inside, y, np.where(x > highest, real(np.inf),
                                                  np.where(np.isnan(x), x, real(0)))))


LOG = ("0x1.642c8590b2164p-4 0x1.8618618618618p-4 0x1.af286bca1af28p-4 0x1.e1e1e1e1e1e1ep-4 "
       "0x1.1111111111111p-3 0x1.3b13b13b13b14p-3 0x1.745d1745d1746p-3 0x1.c71c71c71c71cp-3 "
       "0x1.2492492492492p-2 0x1.999999999999ap-2 0x1.5555555555555p-1")


def log(x):
    """fp64 only."""
    m, e = np.frexp(x)  # frexp keeps subnormals exact, as the page's 2^54 does
    m, k = m * 2, e.astype(F64) - 1
    upper = m >= X("0x1.6a09e667f3bcdp+0")
    m, k = np.where(upper, m * 0.5, m), np.where(upper, k + 1, k)
    f = m - 1
    s = f / (2 + f)
    z = s * s
    w = horner(z, LOG) * z
    h = (0.5 * f) * f
    low = fma(s, h + w, k * X("-0x1.718432a1b0e26p-35"))
    y = k * X("0x1.62e42ff000000p-1") - ((h - low) - f)
    y = np.where(x == 0, -np.inf, np.where(x == np.inf, np.inf, y))
    return np.where((x < 0) | np.isnan(x), np.nan, y)


SIN = ("0x1.952c77030ad4ap-49 -0x1.ae7f3e733b81fp-41 0x1.6124613a86d09p-33 "
       "-0x1.ae64567f544e4p-26 0x1.71de3a556c734p-19 -0x1.a01a01a01a01ap-13 "
       "0x1.1111111111111p-7 -0x1.5555555555555p-3")
COS = ("0x1.ae7f3e733b81fp-45 -0x1.93974a8c07c9dp-37 0x1.1eed8eff8d898p-29 "
       "-0x1.27e4fb7789f5cp-22 0x1.a01a01a01a01ap-16 -0x1.6c16c16c16c17p-10 "
       "0x1.5555555555555p-5")


def sin_cos(x):
    """fp64 only."""
    inside = np.abs(x) < 2.0**30
    x = np.where(inside, x, 0.0)
    n = fma(x, X("0x1.45f306dc9c883p-1"), X("0x1.8p+52")) - X("0x1.8p+52")
    middle = X("0x1.1a62633145c07p-54")
    a = fma(-n, X("0x1.921fb54442d18p+0"), x)
    p = n * middle
    p2 = fma(n, middle, -p)
    d = a - p
    b = d - a
    d2 = (a - (d - b)) - (p + b)
    e = fma(-n, X("-0x1.f1976b7ed8fbcp-110"), d2 - p2)
    r = d + e
    t = (d - r) + e
    z = r * r
    s = r + fma(r * z, horner(z, SIN), fma(-0.5 * z, t, t))
    h = 0.5 * z
    w = 1 - h
    c = w + (((1 - w) - h) + fma(z * z, horner(z, COS), -r * t))
    quarter = n.astype(I64) % 4
    sine, cosine = np.choose(quarter, (s, c, -s, -c)), np.choose(quarter, (c, -s, -c, s))
    return np.where(inside, sine, np.nan), np.where(inside, cosine, np.nan)


def silu(x):
    return canonical(x / (x.dtype.type(1) + exp(-x)))
