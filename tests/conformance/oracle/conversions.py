#!/usr/bin/env python3
"""Hashes of every narrowing conversion of family F, computed without its code.

For each format: all 2^32 fp32 bit patterns in ascending order (or every --stride-th), converted by
ml_dtypes and NumPy (tf32: by fp64 addition), each output in its storage type, little-endian,
hashed by XXH3-128. The rules that differ from those libraries are applied here: NaN is canonical,
e4m3 and e5m2 saturate. Prints the table that tests/conformance/formats_test.cc holds.

Needs numpy, ml_dtypes, xxhash. A full run takes minutes.
"""
import argparse

import ml_dtypes
import numpy as np
import xxhash

CHUNK = 1 << 17  # fits a second-level cache


def tf32(x):
    """Adds and subtracts a number whose last place in fp64 is tf32's: the hardware rounds."""
    wide = x.astype(np.float64)
    power = (wide.view(np.uint64) & np.uint64(0x7FF0000000000000)).view(np.float64)
    big = np.maximum(power, 2.0**-126) * (1.5 * 2.0**42)
    rounded = np.copysign((np.abs(wide) + big) - big, wide)
    return np.where(np.isfinite(x), rounded, wide).astype(np.float32).view(np.uint32)


def eight_bit(dtype, largest):
    def convert(x):
        return np.clip(x, -largest, largest).astype(dtype).view(np.uint8)
    return convert


FORMATS = {
    "bf16": (lambda x: x.astype(ml_dtypes.bfloat16).view(np.uint16), np.uint16(0x7FC0)),
    "fp16": (lambda x: x.astype(np.float16).view(np.uint16), np.uint16(0x7E00)),
    "tf32": (tf32, np.uint32(0x7FC00000)),
    "e4m3": (eight_bit(ml_dtypes.float8_e4m3fn, np.float32(448)), np.uint8(0x7F)),
    "e5m2": (eight_bit(ml_dtypes.float8_e5m2, np.float32(57344)), np.uint8(0x7E)),
}


def digest(convert, nan, stride):
    state = xxhash.xxh3_128()
    for begin in range(0, 1 << 32, CHUNK * stride):
        end = min(begin + CHUNK * stride, 1 << 32)
        x = np.arange(begin, end, stride, dtype=np.int64).astype(np.uint32).view(np.float32)
        with np.errstate(all="ignore"):
            y = convert(x)
            unordered = np.isnan(x)
            if unordered.any():
                y = np.where(unordered, nan, y)
        state.update(y.data)
    return state.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    options = parser.parse_args()
    for name in options.formats:
        convert, nan = FORMATS[name]
        print(name, options.stride, digest(convert, nan, options.stride), flush=True)


if __name__ == "__main__":
    main()
