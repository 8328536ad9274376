"""The cache policies of runtime/numerics/NUMERICS.md, "Lossy caches", by their names.

Written from that page alone. A policy is a codec and an eviction, either of which may do nothing:
lossy_codecs.py has what codecs make of K and V, here is which query sees what of it;
lossy_evictions.py has the evictions. What a query sees is always made anew from the exact keys and
values. Used by second_implementation.py.
"""
import dataclasses

import numpy as np

import lossy_codecs as codecs
from formats_and_draws import narrow
from lossy_evictions import EVICTIONS, Everything


class Exact:
    """What the codecs share: everyone sees keys and values as they were computed. stored is R."""

    def before_rope(self, layer, k, positions, stored):
        return k

    def written(self, layer, part, x, positions, stored):
        """What is kept of the rows of K ("k", after RoPE) or V ("v")."""
        return x

    def state(self, position, prompt):
        """What a query at the position sees depends on this only."""
        return None

    def seen(self, keys, values, state, stored):
        """keys, values [positions, kv_heads, head_dim], as written -> as seen in this state."""
        return keys, values

    def turns(self, state, head_dim):
        """Channels that turn together, of K and of V; 0 where nothing turns."""
        return 0, 0


# ---- Changed when they are written ---------------------------------------------------------------

class Changed(Exact):
    """bits and noise: change() is told what a value is."""

    def __init__(self, of="both", at="after_rope", layers=None):
        self.of, self.at = of, at
        self.layers = None if layers is None else [int(l) for l in layers.split("/")]

    def changes(self, layer, part):
        return self.of in ("both", part) and (self.layers is None or layer in self.layers)

    def before_rope(self, layer, k, positions, stored):
        early = self.at == "before_rope" and self.changes(layer, "k")
        return self.change(layer, "k", k, positions, stored) if early else k

    def written(self, layer, part, x, positions, stored):
        late = part == "v" or self.at == "after_rope"
        here = late and self.changes(layer, part)
        return self.change(layer, part, x, positions, stored) if here else x


class Bits(Changed):
    def __init__(self, kept, round="nearest", **where):
        super().__init__(**where)
        self.kept, self.nearest = int(kept), round == "nearest"

    def change(self, layer, part, x, positions, stored):
        return codecs.fewer_bits(x, self.kept, self.nearest, stored)


class Noise(Changed):
    kind = None

    def __init__(self, numbers, seed=0, keep_sign="false", **where):
        super().__init__(**where)
        self.numbers = [float(n) for n in numbers.split("/")]
        self.seed, self.keep_sign = int(seed), keep_sign == "true"

    def change(self, layer, part, x, positions, stored):
        e = codecs.drawn_noise(self.kind, self.numbers, self.seed, layer, part == "v", x.shape,
                               positions)
        return codecs.noisy(x, e, self.keep_sign, stored)


class Uniform(Noise):
    kind = "uniform"


class Normal(Noise):
    kind = "normal"


class LogNormal(Noise):
    kind = "lognormal"

    def __init__(self, numbers, **rest):
        super().__init__(numbers, keep_sign="true", **rest)


# ---- Coded when they are written -----------------------------------------------------------------

class Ggml(Exact):
    def __init__(self, names, rotate="false"):
        names = dict(pairs_of(names)) if ":" in names else {"k": names, "v": names}
        self.k, self.v, self.rotate = names["k"], names["v"], rotate == "true"

    def turns(self, state, head_dim):
        return (head_dim & -head_dim, 64) if self.rotate else (0, 0)

    def seen(self, keys, values, state, stored):
        turns = self.turns(state, keys.shape[2])
        keys, values = (codecs.turned(x, n) for x, n in zip((keys, values), turns))
        return codecs.ggml_coded(keys, self.k), codecs.ggml_coded(values, self.v)


class Rtn(Exact):
    def __init__(self, bits, per="token", group=32, rotate="none", when="prompt"):
        self.bits, self.group, self.block = int(bits), int(group), when == "block"
        self.per_token, self.rotate = per == "token", rotate == "hadamard"

    def state(self, position, prompt):
        if self.per_token:
            return None
        return position // self.group * self.group if self.block or position >= prompt else 0

    def turns(self, state, head_dim):
        acts = self.rotate and (self.per_token or self.block or state > 0)
        return (head_dim, head_dim) if acts else (0, 0)

    def seen(self, keys, values, state, stored):
        turns = self.turns(state, keys.shape[2])
        sides = (codecs.turned(x, n) for x, n in zip((keys, values), turns))
        if self.per_token:
            return tuple(codecs.rtn_coded(x.reshape(*x.shape[:2], -1, self.group), self.bits,
                                          stored).reshape(x.shape) for x in sides)
        return tuple(self.coded_until(narrow(x, stored), state, stored) for x in sides)

    def coded_until(self, x, end, stored):
        """Positions below end in groups, channel by channel; the others stay."""
        groups = np.moveaxis(x[:end].reshape(-1, self.group, *x.shape[1:]), 1, -1)
        coded = np.moveaxis(codecs.rtn_coded(groups, self.bits, stored), -1, 1)
        return np.concatenate([coded.reshape(end, *x.shape[1:]), x[end:]])


# ---- Coded later ---------------------------------------------------------------------------------

class Kivi(Exact):
    def __init__(self, bits, when="prompt"):
        self.bits, self.block = int(bits), when == "block"

    def state(self, position, prompt):
        """The first exact key and the first exact value."""
        whole = position // 32 * 32
        if self.block:
            return whole, whole
        return (whole, max(0, position - 32)) if position >= prompt else (0, 0)

    def seen(self, keys, values, state, stored):
        keys, values, (k_end, v_end) = keys.copy(), values.copy(), state
        groups = np.moveaxis(keys[:k_end].reshape(-1, 32, *keys.shape[1:]), 1, -1)
        coded = np.moveaxis(codecs.kivi_coded(groups, self.bits, stored), -1, 1)
        keys[:k_end] = coded.reshape(keys[:k_end].shape)
        groups = values[:v_end].reshape(v_end, values.shape[1], values.shape[2] // 32, 32)
        values[:v_end] = codecs.kivi_coded(groups, self.bits, stored).reshape(values[:v_end].shape)
        return keys, values


class Kvarn(Exact):
    def __init__(self, bits, form="paper", group=128, sink=128, iterations=8):
        self.k_bits, self.v_bits = (int(b) for b in bits[1:].split("v"))
        self.group, self.sink, self.iterations = int(group), int(sink), int(iterations)

    def state(self, position, prompt):
        """The first exact position behind the sinks; the sinks' end where nothing is coded."""
        whole = position // self.group * self.group
        return max(self.sink, whole if position >= prompt else 0)

    def turns(self, state, head_dim):
        return (head_dim, head_dim) if state > self.sink else (0, 0)

    def seen(self, keys, values, state, stored):
        if state == self.sink:
            return keys, values
        keys, values = (narrow(codecs.turned(x, keys.shape[2]), stored) for x in (keys, values))
        return (self.coded(keys, state, (0, 2, 3, 1), self.k_bits, stored),
                self.coded(values, state, (0, 2, 1, 3), self.v_bits, stored))

    def coded(self, x, end, axes, bits, stored):
        """axes: a tile's (tile, position, head, channel) as (tile, head, rows, columns)."""
        tiles = x[self.sink:end].reshape(-1, self.group, *x.shape[1:]).transpose(axes)
        tiles = codecs.kvarn_coded(tiles, bits, self.iterations, stored)
        tiles = tiles.transpose(np.argsort(axes)).reshape(end - self.sink, *x.shape[1:])
        return np.concatenate([x[:self.sink], tiles, x[end:]])


# ---- Names ---------------------------------------------------------------------------------------

CODECS = {"bits": Bits, "uniform": Uniform, "normal": Normal, "lognormal": LogNormal,
          "ggml": Ggml, "rtn": Rtn, "kivi": Kivi, "kvarn": Kvarn}


@dataclasses.dataclass
class Policy:
    codec: Exact
    eviction: Everything


def parts_of(text, separator):
    """Split at the separators outside parentheses; parentheses around a part go."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [p[1:-1] if p.startswith("(") else p for p in parts]


def pairs_of(text):
    for part in parts_of(text, "+"):
        key, _, given = part.partition(":")
        yield key, given[1:-1] if given.startswith("(") else given


def policy_named(name):
    """By the canonical text, for example kivi:2, rtn:4+per:channel or chain:snapkv:64>q8_0."""
    if name.startswith("chain:"):
        made = [policy_named(part) for part in parts_of(name.removeprefix("chain:"), ">")]
        codec = next((p.codec for p in made if type(p.codec) is not Exact), Exact())
        return Policy(codec, next(p.eviction for p in made if type(p.eviction) is not Everything))
    (kind, main), *options = pairs_of(name)
    if kind == "exact":
        return Policy(Exact(), Everything())
    if kind in codecs.GGML:
        kind, main = "ggml", kind
    if kind in EVICTIONS:
        return Policy(Exact(), EVICTIONS[kind](main, **dict(options)))
    return Policy(CODECS[kind](main, **dict(options)), Everything())
