#!/usr/bin/env python3
"""Captures what PyTorch's fused attention and its products return on this machine's GPU.

  probe_torch.py attention FILE [--calls 400] [--kernels fa2,cudnn,efficient] [--seed 1]
  probe_torch.py attention FILE --configs bf16:1:9:3:64:free,… --keys 1,2,64 [--queries 1]
  probe_torch.py gemm FILE --shapes 576:576,192:576 [--rows 1-320,328-2400/8]

`isobit probe attention --from FILE` and `isobit probe gemm --from FILE` read the files: on any
machine, since operands are drawn by place (harness/probe/draw.h). With configurations
(PRECISION:BATCH:HEADS:KV_HEADS:WIDTH:MASK, mask free, causal or left) the calls are a user's own,
and PyTorch chooses the kernel; without, calls are drawn and each kernel is asked for. Needs torch,
transformers and a GPU. Ends with one line of counts; what an interrupted run had written is left in
FILE.part.
"""
import argparse
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import sys
import tempfile
import warnings

os.environ.setdefault("KINETO_LOG_LEVEL", "4")  # the profiler's errors alone; read at import
warnings.filterwarnings("ignore", message="Warning: Profiler clears events")

try:
    import torch
    import torch.nn.functional as functional
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.profiler import ProfilerActivity, profile
except ImportError as missing:
    sys.exit(f"error: {missing}; the script needs PyTorch 2.5 or newer")

KEY = 0x70726F6265  # of every draw
MASK32 = 0xFFFFFFFF
WEIGHT_PERIOD, ROW_PERIOD, KEPT = 61, 53, 68
CANCELLING = 32     # from this draw on sums cancel
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BACKENDS = {"fa2": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}
KEPT_ROWS = 24      # of one attention call, from two heads
ATTENTION_WORDS = ("sdpa", "flash", "fmha", "lean_reduction")


def philox(counter):
    """Philox4x32-10 of four int64 tensors that hold 32-bit words; gives four."""
    c = list(torch.broadcast_tensors(*counter))
    k0, k1 = KEY & MASK32, KEY >> 32
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [((b >> 32) & MASK32) ^ c[1] ^ k0, b & MASK32,
             ((a >> 32) & MASK32) ^ c[3] ^ k1, a & MASK32]
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c


def words(*numbers):
    return [torch.as_tensor(n, dtype=torch.int64, device="cuda") for n in numbers]


def values(draw, block):
    """fp32 values of drawn blocks: about normal for even draws, of spread size for odd ones."""
    a, b = block[0], block[1]
    fraction = 1.0 + (b >> 9).double() * 2.0 ** -23
    if draw % 2 == 0:
        total = (a & 255) + (a >> 8 & 255) + (a >> 16 & 255) + (a >> 24)
        return ((2 * total - 1020).double() / 256 * fraction).float()
    size = fraction * torch.exp2((a & 15).double() - 8)
    return torch.where((a >> 31) != 0, -size, size).float()


def rows_of(draw, side, rows, columns, dtype):
    """(rows, columns) of one side of a product; from CANCELLING on the second half of the columns
    repeats the first with weights of the other sign, and an odd last column is zero."""
    kind = draw - CANCELLING if draw >= CANCELLING else draw
    row = torch.arange(rows, device="cuda")[:, None]
    column = torch.arange(columns, device="cuda")[None, :]
    half = columns // 2
    source = column if draw < CANCELLING else column % max(half, 1)
    block = philox([source, row, *words(draw, side)])
    out = values(kind, block)
    if draw >= CANCELLING:
        sign = torch.where(column < half, 1.0, -1.0) if side == 0 else torch.ones_like(column)
        out = torch.where(column < 2 * half, out * sign, torch.zeros_like(out)).float()
    return out.to(dtype)


def kept_places(rows, outputs):
    i = torch.arange(4, KEPT, device="cuda")
    block = philox([i, *words(outputs, rows, 2)])
    drawn = torch.stack([block[0] % rows, block[1] % outputs], 1)
    corners = torch.tensor([[0, 0], [rows - 1, outputs - 1], [0, outputs - 1], [rows - 1, 0]],
                           device="cuda")
    return torch.cat([corners, drawn])


def hexadecimal(tensor):
    """16-bit values as four digits each."""
    return [f"{v & 0xFFFF:04x}" for v in tensor.contiguous().view(torch.int16).flatten().tolist()]


def started(calls):
    """Runs the calls one after the other and gives the kernels that each started, as
    [(name, grid, threads)]. What erfinv starts parts them."""
    mark = torch.zeros(1, device="cuda")
    calls[0]()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for call in calls:
            mark.erfinv_()
            call()
        torch.cuda.synchronize()
    handle, path = tempfile.mkstemp(suffix=".json")
    os.close(handle)
    try:
        profiler.export_chrome_trace(path)
        events = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["traceEvents"]
    finally:
        os.unlink(path)
    events = sorted((e for e in events if e.get("cat") == "kernel" or
                     e.get("cat") == "gpu_memset"), key=lambda e: e["ts"])
    out = []
    for event in events:
        if "erfinv" in event["name"]:
            out.append([])
        elif out:
            arguments = event["args"]
            out[-1].append((event["name"], arguments.get("grid", [0, 0, 1]),
                            math.prod(arguments.get("block", [0]))))
    if len(out) != len(calls):
        raise RuntimeError(f"{len(calls)} calls were made, the profiler saw {len(out)}")
    return out


def brief(name):
    """A kernel's name without return type, arguments and template."""
    name = name.split("(")[0].split("<")[0].strip()
    return name.split(" ")[-1].split("::")[-1] or "kernel"


def facts(file):
    """What a book of these captures is about: the engine of the adapter of transformers, and what
    it says that its rows depend on."""
    file_of = pathlib.Path(__file__).with_name("transformers.py")
    described = importlib.util.spec_from_file_location("adapter_of_transformers", file_of)
    adapter = importlib.util.module_from_spec(described)
    described.loader.exec_module(adapter)
    try:
        machine = adapter.machine().get("cuda")
    except adapter.Unavailable as why:
        sys.exit(f"error: {why}")
    if machine is None:
        sys.exit("error: nvidia-smi does not say which GPU this is")
    names = {"engine": "exec:transformers", "device": "cuda",
             "variant": machine,
             f"library.{file_of.name}": hashlib.sha256(file_of.read_bytes()).hexdigest(),
             "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count}
    for name, value in sorted(names.items()):
        print(f"fact {name} {value}", file=file)


# Attention.

def attention_operand(draw, side, batch, heads, rows, columns, dtype, scale=1.0):
    """(batch, heads, rows, columns): q is side 16, k 17, v 18. Head h of sequence b is drawn as
    number b * heads + h."""
    number = torch.arange(batch * heads, device="cuda")[:, None, None]
    row = torch.arange(rows, device="cuda")[None, :, None]
    column = torch.arange(columns, device="cuda")[None, None, :]
    block = philox([column, row, number, *words(draw * 256 + side)])
    return (values(0, block) * scale).to(dtype).view(batch, heads, rows, columns)


def attention_call(spec):
    """Operands, and the function that runs it. Odd draws have queries four times as large."""
    kernel, precision, batch, heads, kv_heads, queries, keys, width, mask, draw = spec
    dtype = DTYPES[precision]
    q = attention_operand(draw, 16, batch, heads, queries, width, dtype, 4.0 if draw % 2 else 1.0)
    q = q.transpose(1, 2).contiguous().transpose(1, 2)  # as a model's projection lies
    k, v = (attention_operand(draw, side, batch, kv_heads, keys, width, dtype)
            for side in (17, 18))
    arguments = {"is_causal": mask == "causal", "scale": width ** -0.5}
    if mask.startswith("left"):  # "left:2,0,…": columns of padding in front of each sequence
        pads = [int(p) for p in mask[5:].split(",")]
        column = torch.arange(keys, device="cuda")
        row = torch.arange(queries, device="cuda") + keys - queries
        seen = column[None, :] <= row[:, None]
        first = torch.tensor(pads, device="cuda")[:, None, None]
        arguments["attn_mask"] = (seen[None] & (column[None, None, :] >= first))[:, None]
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    elif kv_heads != heads and kernel == "efficient":
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    elif kv_heads != heads:
        arguments["enable_gqa"] = True

    def call():
        if kernel == "default":
            return functional.scaled_dot_product_attention(q, k, v, **arguments)
        with sdpa_kernel(BACKENDS[kernel]):
            return functional.scaled_dot_product_attention(q, k, v, **arguments)
    return call


class Dice:
    """Whole numbers by a counter; the shapes of a seed are always the same."""

    def __init__(self, seed):
        self.state = [seed, 0]

    def below(self, n):
        self.state[1] += 1
        word = philox(words(self.state[1], self.state[0], 7, 3))
        return int(word[0]) % n

    def spread(self, most):
        """1 to `most`, each power of two as likely as another."""
        top = self.below(most.bit_length())
        return min(most, (1 << top) + self.below(1 << top))


def drawn_specs(dice, kernels, count):
    for index in range(count):
        kernel = kernels[index % len(kernels)]
        precision = ("bf16", "fp16")[dice.below(2)]
        width = (64, 64, 96, 128)[dice.below(4)]
        kv_heads = (1, 2, 3, 4)[dice.below(4)]
        heads = kv_heads * (1, 2, 3, 4)[dice.below(4)]
        batch = (1, 1, 2, 8)[dice.below(4)]
        queries = 1 if dice.below(3) == 0 else dice.spread(2048)
        mask = ("free", "causal", "left")[dice.below(3 if kernel != "fa2" else 2)]
        keys = dice.spread(4096)
        if mask == "causal":
            queries = keys = max(2, min(keys, 2048))
        elif mask == "left":
            keys = max(keys, queries)
            pads = [0] + [dice.below(keys) for _ in range(batch - 1)]
            mask = "left:" + ",".join(map(str, pads))
        yield (kernel, precision, batch, heads, kv_heads, queries, keys, width, mask, index % 64)


def kept_rows(spec):
    """[(sequence, head, query)], at most KEPT_ROWS: the ends and drawn ones of two heads."""
    _, _, batch, heads, _, queries, keys, _, mask, draw = spec
    pads = [int(p) for p in mask[5:].split(",")] if mask.startswith("left") else [0] * batch
    rows = []
    for which in range(2):
        word = philox(words(which, queries, draw, 5))
        b, h = int(word[0]) % batch, int(word[1]) % heads
        least = max(0, pads[b] - (keys - queries))  # a query of padding sees nothing
        if least >= queries:
            continue
        picked = {least, queries - 1}
        i = torch.arange(KEPT_ROWS // 2 - 2, device="cuda")
        drawn = philox([i, *words(queries, draw * 2 + which, 6)])[0] % (queries - least) + least
        rows += [(b, h, m) for m in sorted(picked | set(drawn.tolist()))]
    return rows


def spec_text(spec):
    return " ".join(map(str, spec))


def capture_attention(options, file):
    print("isobit attention capture 1", file=file)
    facts(file)
    specs = list(configured_specs(options)) if options.configs else list(
        drawn_specs(Dice(options.seed), options.kernels.split(","), options.calls))
    outputs = refused = 0
    for begin in range(0, len(specs), 50):
        part, calls, results = [], [], []
        for spec in specs[begin:begin + 50]:
            call = attention_call(spec)
            try:
                results.append(call())
            except RuntimeError as problem:
                refused += 1
                print(f"refused {spec_text(spec)}: {str(problem).splitlines()[0]}", file=sys.stderr)
                continue
            part.append(spec)
            calls.append(call)
        for spec, kernels, result in zip(part, started(calls), results):
            names = [f"{brief(n)} z{'x'.join(map(str, grid))}" for n, grid, _ in kernels
                     if any(word in n.lower() for word in ATTENTION_WORDS)]
            print(f"attention {spec_text(spec)} | {' + '.join(names)}", file=file)
            for b, h, m in kept_rows(spec):
                print("row", b, h, m, "".join(hexadecimal(result[b, h, m])), file=file)
                outputs += result.shape[-1]
        print(f"{min(begin + 50, len(specs))} of {len(specs)} calls", file=sys.stderr, flush=True)
    print(f"end {outputs}", file=file)
    return f"{len(specs) - refused} calls, {outputs} outputs, {refused} refused by the backend"


def configured_specs(options):
    """What a user's calls take by themselves, for each configuration and number of keys."""
    for config in options.configs.split(","):
        precision, batch, heads, kv_heads, width, mask = config.split(":")
        for queries in numbers(options.queries):
            for keys in numbers(options.keys):
                rows = keys if queries == 0 else queries  # 0: as many queries as keys
                if rows > keys or (mask == "causal" and rows < 2):
                    continue
                pads = [3 * b % max(keys - rows + 1, min(keys, 8)) for b in range(int(batch))]
                text = "left:" + ",".join(map(str, pads)) if mask == "left" else mask
                yield ("default", precision, int(batch), int(heads), int(kv_heads), rows, keys,
                       int(width), text, keys % 64)


# Products.

def numbers(text):
    """"1-4,8,16-32/8" → [1, 2, 3, 4, 8, 16, 24, 32]."""
    out = []
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        out += range(int(first), int(last or first) + 1, int(step or 1))
    return sorted(set(out))


def capture_products(options, file):
    print("isobit capture 1", file=file)
    facts(file)
    print("fact results operand", file=file)
    all_rows, calls_made = numbers(options.rows), 0
    for precision, dtype in DTYPES.items():
        for shape in options.shapes.split(","):
            outputs, inputs = map(int, shape.split(":"))
            weights, rows = {}, {}
            for draw in (CANCELLING, CANCELLING + 1):
                drawn = rows_of(draw, 0, WEIGHT_PERIOD, inputs, dtype)
                weights[draw] = drawn[torch.arange(outputs, device="cuda") % WEIGHT_PERIOD]
                drawn = rows_of(draw, 1, ROW_PERIOD, inputs, dtype)
                rows[draw] = drawn[torch.arange(all_rows[-1], device="cuda") % ROW_PERIOD]

            def product(m, d=CANCELLING):
                return functional.linear(rows[d][:m], weights[d])
            names = []
            for kernels in started([lambda m=m: product(m) for m in all_rows]):
                names.append(" + ".join(
                    "memset" if "emset" in n else f"{brief(n)} b{threads} z{grid[2]}"
                    for n, grid, threads in kernels))
            print(f"matrix {precision} {outputs} {inputs}", file=file)
            wanted, begin = set(), 0
            for at in range(1, len(all_rows) + 1):
                if at < len(all_rows) and names[at] == names[begin]:
                    continue
                print("choice", all_rows[begin], all_rows[at - 1], names[begin], file=file)
                wanted |= {all_rows[begin], all_rows[(begin + at - 1) // 2], all_rows[at - 1]}
                begin = at
            for m in sorted(wanted):
                for draw in weights:
                    places = kept_places(m, outputs)
                    result = product(m, draw)[places[:, 0], places[:, 1]]
                    bits = result.float().view(torch.int32).tolist()
                    print("call", m, draw, *(f"{v & MASK32:08x}" for v in bits), file=file)
            print("end", 2 * len(wanted), file=file)
            calls_made += 2 * len(wanted)
            print(f"{precision} {shape}: {len(wanted)} numbers of rows", file=sys.stderr,
                  flush=True)
    return f"{calls_made} calls, {calls_made * KEPT} results"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["attention", "gemm"])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--kernels", default="fa2,cudnn,efficient")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--configs", default="")
    parser.add_argument("--keys", default="1-16,32-4096/32")
    parser.add_argument("--queries", default="1")
    parser.add_argument("--shapes", default="576:576,192:576,1536:576,576:1536")
    parser.add_argument("--rows", default="1-320,328-2400/8")
    return parser.parse_args()


def main():
    options = parse()
    if not torch.cuda.is_available():
        raise SystemExit("error: this torch sees no GPU")
    run = {"attention": capture_attention, "gemm": capture_products}[options.what]
    part = options.file.with_suffix(options.file.suffix + ".part")
    with open(part, "w", encoding="ascii") as file, torch.no_grad():
        said = run(options, file)
    part.replace(options.file)
    print(said)


if __name__ == "__main__":
    main()
