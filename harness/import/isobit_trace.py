"""Records a trace of an inference engine for `isobit import`: digests of logits rows, one file.

    with TraceWriter("trace.jsonl", engine="vllm", version="0.9.1", axes={"batch": 8}) as trace:
        trace.prompt("p1", prompt_token_ids)
        for token, logits in generated:
            trace.row("p1", token, logits=logits)

Copy this file to where the engine runs: it needs Python 3.8 and, for speed, NumPy; without NumPy it
takes array.array and other buffers of floats. FORMAT.md beside it describes what it writes, the
numerics page of Isobit ("Digest of a row") what it hashes.
"""
import heapq
import json
import math
import os
import struct

try:
    import numpy
except ImportError:
    numpy = None

TOP = 8  # of a row by value, kept for people and for severities
SEGMENTS = 8
EVIDENCE = ("logits", "logprobs", "tokens")

_M32, _M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_P32_1, _P32_2, _P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_P64_1, _P64_2, _P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P64_4, _P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
_START = (_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1)
_STRIPE, _STRIPES = 64, 16  # bytes of a stripe, stripes of a block
_BLOCK = _STRIPE * _STRIPES


# --- XXH3-128 with seed 0 --------------------------------------------------------------------


def _u64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _u32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _swap(value, size):
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def _fold(a, b):
    product = a * b
    return (product & _M64) ^ (product >> 64)


def _avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & _M64
    return h ^ h >> 32


def _avalanche64(h):
    h ^= h >> 33
    h = h * _P64_2 & _M64
    h ^= h >> 29
    h = h * _P64_3 & _M64
    return h ^ h >> 32


def _canonical(low, high):
    return (high << 64 | low).to_bytes(16, "big")


def _hash_to_3(data):
    n = len(data)
    low = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
    swapped = _swap(low, 4)
    high = (swapped << 13 | swapped >> 19) & _M32
    return _canonical(_avalanche64(low ^ _u32(_SECRET, 0) ^ _u32(_SECRET, 4)),
                      _avalanche64(high ^ _u32(_SECRET, 8) ^ _u32(_SECRET, 12)))


def _hash_to_8(data):
    n = len(data)
    keyed = _u32(data, 0) + (_u32(data, n - 4) << 32) ^ _u64(_SECRET, 16) ^ _u64(_SECRET, 24)
    product = keyed * ((_P64_1 + (n << 2)) & _M64)
    low, high = product & _M64, product >> 64
    high = high + (low << 1) & _M64
    low ^= high >> 3
    low ^= low >> 35
    low = low * 0x9FB21C651E98DF25 & _M64
    return _canonical(low ^ low >> 28, _avalanche(high))


def _hash_to_16(data):
    n = len(data)
    first, last = _u64(data, 0), _u64(data, n - 8)
    product = (first ^ last ^ _u64(_SECRET, 32) ^ _u64(_SECRET, 40)) * _P64_1
    low, high = (product & _M64) + (n - 1 << 54) & _M64, product >> 64
    last ^= _u64(_SECRET, 48) ^ _u64(_SECRET, 56)
    high = high + last + (last & _M32) * (_P32_2 - 1) & _M64
    low ^= _swap(high, 8)
    product = low * _P64_2
    high = (product >> 64) + high * _P64_2 & _M64
    return _canonical(_avalanche(product & _M64), _avalanche(high))


class _Middle:
    """17 to 240 bytes: pairs of 16 bytes, mixed with the secret."""

    def __init__(self, data):
        self.data = data
        self.low, self.high = len(data) * _P64_1 & _M64, 0

    def _mix16(self, at, secret):
        return _fold(_u64(self.data, at) ^ _u64(_SECRET, secret),
                     _u64(self.data, at + 8) ^ _u64(_SECRET, secret + 8))

    def mix(self, a, b, secret):
        data = self.data
        self.low = self.low + self._mix16(a, secret) & _M64
        self.low ^= _u64(data, b) + _u64(data, b + 8) & _M64
        self.high = self.high + self._mix16(b, secret + 16) & _M64
        self.high ^= _u64(data, a) + _u64(data, a + 8) & _M64

    def finish(self):
        high = (self.low * _P64_1 + self.high * _P64_4 + len(self.data) * _P64_2) & _M64
        return _canonical(_avalanche(self.low + self.high & _M64), -_avalanche(high) & _M64)


def _hash_to_128(data):
    n, state = len(data), _Middle(data)
    for i in range((n - 1) // 32, -1, -1):
        state.mix(16 * i, n - 16 * (i + 1), 32 * i)
    return state.finish()


def _hash_to_240(data):
    n, state = len(data), _Middle(data)
    for i in range(4):
        state.mix(32 * i, 32 * i + 16, 32 * i)
    state.low, state.high = _avalanche(state.low), _avalanche(state.high)
    for i in range(4, n // 32):
        state.mix(32 * i, 32 * i + 16, 3 + 32 * (i - 4))
    state.mix(n - 16, n - 32, 136 - 17 - 16)
    return state.finish()


def _key(at):
    return struct.unpack_from("<8Q", _SECRET, at)


def _merge(lanes, secret, start):
    for i in range(0, 8, 2):
        start += _fold(lanes[i] ^ _u64(_SECRET, secret + 8 * i),
                       lanes[i + 1] ^ _u64(_SECRET, secret + 8 * i + 8))
    return _avalanche(start & _M64)


def _finish_long(lanes, n):
    return _canonical(_merge(lanes, 11, n * _P64_1 & _M64),
                      _merge(lanes, 192 - 64 - 11, ~(n * _P64_2) & _M64))


def _accumulate(lanes, words, at, key):
    for i in range(8):
        word = words[at + i]
        keyed = word ^ key[i]
        lanes[i ^ 1] += word
        lanes[i] += (keyed & _M32) * (keyed >> 32)


def _hash_long(data):
    """More than 240 bytes, in plain Python."""
    n = len(data)
    keys = [_key(8 * stripe) for stripe in range(_STRIPES)]
    scramble = _key(192 - 64)
    full = (n - 1) // _STRIPE  # the last stripe, whole or not, is the end of the data
    words = struct.unpack_from(f"<{8 * full}Q", data)
    lanes = list(_START)
    for stripe in range(full):
        _accumulate(lanes, words, 8 * stripe, keys[stripe % _STRIPES])
        if stripe % _STRIPES == _STRIPES - 1:
            for i in range(8):
                lane = lanes[i] & _M64
                lanes[i] = (lane ^ lane >> 47 ^ scramble[i]) * _P32_1 & _M64
    _accumulate(lanes, struct.unpack_from("<8Q", data, n - _STRIPE), 0, _key(192 - 64 - 7))
    return _finish_long([lane & _M64 for lane in lanes], n)


def _sums(stripes, keys):
    """What stripes of shape (inputs, …, stripes, 8) add to the lanes."""
    keyed = stripes ^ keys
    keyed = (keyed & numpy.uint64(_M32)) * (keyed >> numpy.uint64(32))
    keyed += stripes.reshape(*stripes.shape[:-1], 4, 2)[..., ::-1].reshape(stripes.shape)
    return keyed.sum(axis=-2, dtype=numpy.uint64)


def _hash_long_many(inputs):
    """As _hash_long, of several inputs of one length at once: an array (inputs, bytes)."""
    count, n = inputs.shape
    blocks = (n - 1) // _BLOCK
    rest = (n - 1 - _BLOCK * blocks) // _STRIPE
    keys = numpy.array([_key(8 * stripe) for stripe in range(_STRIPES)], dtype=numpy.uint64)

    def words(begin, end, *shape):
        part = numpy.ascontiguousarray(inputs[:, begin:end])
        return part.view("<u8").astype(numpy.uint64, copy=False).reshape(count, *shape, 8)

    lanes = numpy.tile(numpy.array(_START, dtype=numpy.uint64), (count, 1))
    sums = _sums(words(0, blocks * _BLOCK, blocks, _STRIPES), keys)
    scramble = numpy.array(_key(192 - 64), dtype=numpy.uint64)
    shift, prime = numpy.uint64(47), numpy.uint64(_P32_1)
    for block in range(blocks):
        lanes += sums[:, block]
        lanes ^= lanes >> shift
        lanes ^= scramble
        lanes *= prime
    begin = blocks * _BLOCK
    lanes += _sums(words(begin, begin + rest * _STRIPE, rest), keys[:rest])
    last = numpy.array([_key(192 - 64 - 7)], dtype=numpy.uint64)
    lanes += _sums(words(n - _STRIPE, n, 1), last)
    return [_finish_long(each, n) for each in lanes.tolist()]


def xxh3_128(data):
    """XXH3-128 of bytes, seed 0, canonical form: 16 bytes."""
    data = bytes(data)
    n = len(data)
    if n == 0:
        return _canonical(_avalanche64(_u64(_SECRET, 64) ^ _u64(_SECRET, 72)),
                          _avalanche64(_u64(_SECRET, 80) ^ _u64(_SECRET, 88)))
    for most, function in ((3, _hash_to_3), (8, _hash_to_8), (16, _hash_to_16),
                           (128, _hash_to_128), (240, _hash_to_240)):
        if n <= most:
            return function(data)
    return _hash_long(data)


# --- digests ---------------------------------------------------------------------------------


def _row_array(row):
    """A NumPy array as little-endian fp32 or fp64 with canonical NaN."""
    row = numpy.asarray(row)
    if row.ndim != 1:
        raise ValueError(f"a row has one dimension, not {row.ndim}")
    if row.dtype.kind != "f" or row.dtype.itemsize > 8:
        raise TypeError(f"a row of {row.dtype}; float16, float32 and float64 are hashed")
    wide = row.dtype.itemsize == 8
    row = numpy.ascontiguousarray(row, dtype="<f8" if wide else "<f4")
    bad = numpy.isnan(row)
    if bad.any():
        bits = row.copy().view("<u8" if wide else "<u4")
        bits[bad] = 0x7FF8000000000000 if wide else 0x7FC00000
        row = bits.view(row.dtype)
    return row


def _row_bytes(row):
    """The same of a buffer of floats, without NumPy: its bytes and the size of a number."""
    view = memoryview(row)
    if view.ndim != 1 or view.format not in ("e", "f", "d"):
        raise TypeError("a row is an array of one dimension and format e, f or d")
    kind = "d" if view.format == "d" else "f"
    nan = struct.pack("<Q", 0x7FF8 << 48) if kind == "d" else struct.pack("<I", 0x7FC00000)
    values = view.tolist()
    data = bytearray(struct.pack(f"<{len(values)}{kind}", *values))
    for i, value in enumerate(values):
        if value != value:
            data[i * len(nan):(i + 1) * len(nan)] = nan
    return bytes(data), len(nan)


def digest_row(row):
    """32 hex digits: of a row of float32 or float64, or of float16, widened to float32."""
    if numpy is not None:
        array = _row_array(row)
        data, size, count = array.view(numpy.uint8), array.dtype.itemsize, len(array)
    else:
        data, size = _row_bytes(row)
        count = len(data) // size
    bounds = [size * (count * s // SEGMENTS) for s in range(SEGMENTS + 1)]
    parts = [data[a:b] for a, b in zip(bounds, bounds[1:])]
    digests = [b""] * SEGMENTS
    lengths = {len(part) for part in parts}
    for length in lengths:
        places = [s for s in range(SEGMENTS) if len(parts[s]) == length]
        if numpy is not None and length > 240:
            found = _hash_long_many(numpy.stack([parts[s] for s in places]))
        else:
            found = [xxh3_128(bytes(parts[s])) for s in places]
        for s, digest in zip(places, found):
            digests[s] = digest
    return xxh3_128(b"".join(digests)).hex()


def _double(value):
    return struct.pack("<Q", 0x7FF8 << 48) if value != value else struct.pack("<d", value)


def digest_logprobs(token, logprob, top):
    """32 hex digits: of a token's log-probability and those of `top`, pairs (id, value) in the
    order in which the engine returned them."""
    data = b"isobit logprobs 1\n" + struct.pack("<i", token) + _double(logprob)
    data += struct.pack("<I", len(top))
    for token_id, value in top:
        data += struct.pack("<i", token_id) + _double(value)
    return xxh3_128(data).hex()


def digest_token(token):
    """32 hex digits: of a token alone."""
    return xxh3_128(b"isobit token 1\n" + struct.pack("<i", token)).hex()


# --- the file --------------------------------------------------------------------------------


def _is_finite(row):
    if numpy is not None:
        return bool(numpy.isfinite(_row_array(row)).all())
    return all(math.isfinite(value) for value in memoryview(row).tolist())


def _top_of_row(row):
    """The best entries of a finite row: value descending, id ascending."""
    if numpy is not None:
        row = _row_array(row)
        least = -math.inf
        if len(row) > TOP:
            least = numpy.partition(row, len(row) - TOP)[len(row) - TOP]
        ids = numpy.flatnonzero(row >= least)
        pairs = [(int(i), float(row[i])) for i in ids]
    else:
        pairs = enumerate(memoryview(row).tolist())
    return heapq.nsmallest(TOP, pairs, key=lambda pair: (-pair[1], pair[0]))


def _json_number(value):
    if math.isfinite(value):
        return float(value)
    if value == -math.inf:
        return "-inf"
    raise ValueError(f"{value} is no log-probability")


class TraceWriter:
    """Writes one trace; the file appears when it is whole."""

    def __init__(self, path, engine, version="", axes=None, environment=None, evidence="logits",
                 model=""):
        if evidence not in EVIDENCE:
            raise ValueError(f"evidence is one of {', '.join(EVIDENCE)}")
        self._path, self._part = os.fspath(path), os.fspath(path) + ".part"
        self._evidence, self._next = evidence, {}
        header = {"isobit_trace": 1, "engine": engine, "version": version, "evidence": evidence,
                  "model": model, "axes": {k: str(v) for k, v in (axes or {}).items()},
                  "environment": {k: str(v) for k, v in (environment or {}).items()}}
        self._file = open(self._part, "w", encoding="utf-8", newline="\n")
        self._write({key: value for key, value in header.items() if value not in ("", {})})

    def _write(self, line):
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def prompt(self, name, tokens, rows=None):
        """A prompt's token ids; `rows`: a .npy or .safetensors file beside the trace that holds its
        rows by value, in the order of the lines."""
        line = {"prompt": name, "tokens": [int(token) for token in tokens]}
        if rows is not None:
            line["rows"] = rows
        self._next[name] = len(line["tokens"]) - 1
        self._write(line)

    def row(self, prompt, token, position=None, fed=None, logits=None, digest=None, logprob=None,
            top=(), finite=True):
        """The next row of a prompt and the token that was drawn from it; `fed`: the token given to
        the next step, where that is another (teacher forcing). Evidence: `logits`, the row itself,
        or its `digest`; `logprob` and `top` as returned; or the token alone. finite=False goes with
        the digest of a row that holds a NaN or an infinity; of `logits` it is found out."""
        token = int(token)
        line = {"prompt": prompt, "token": token,
                "position": self._next[prompt] if position is None else int(position)}
        self._next[prompt] = line["position"] + 1
        if fed is not None:
            line["fed"] = int(fed)
        top = [(int(i), float(value)) for i, value in top]
        if self._evidence == "logprobs":
            line["logprob"] = _json_number(logprob)
            line["digest"] = digest_logprobs(token, float(logprob), top)
        elif self._evidence == "tokens":
            line["digest"] = digest_token(token)
        elif logits is not None:
            line["digest"] = digest_row(logits)
            finite = _is_finite(logits)
            top = top or (_top_of_row(logits) if finite else ())
        elif digest is not None:
            line["digest"] = digest
        if self._evidence == "logits" and not finite:
            line["finite"] = False
        if top:
            line["top"] = [[i, _json_number(value)] for i, value in top]
        self._write(line)

    def close(self):
        self._file.close()
        os.replace(self._part, self._path)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            self._file.close()
            os.remove(self._part)
