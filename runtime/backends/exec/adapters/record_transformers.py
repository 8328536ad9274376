#!/usr/bin/env python3
"""Records digests of transformers' forward pass, place by place, and holds Isobit's against them.

  record_transformers.py record MODEL FILE --prompts TOKENS.jsonl --precision bf16 [--batch 8]
      [--cache on|off] [--max-new 16] [--layers 0,1,29] [--attention sdpa] [--device cuda]
  record_transformers.py compare FILE SHOWN.json [--cell TEXT]

TOKENS.jsonl has lines {"id": …, "tokens": […]}. The model is driven as the adapter transformers.py
drives it: greedily, prompts of a batch padded on the left. SHOWN.json is what `isobit show RUN
--json` prints of a run with `observe: ops`. README.md beside this file says what FILE holds.
Exit: 0 recorded, or all rows are equal; 1 some differ; 2 a mistake in arguments or files.
"""
import argparse
import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent
# In the order of the forward pass (runtime/trace.h); the three without a layer are outside.
SITES = ("embed", "norm1", "q", "k", "v", "attn", "o", "h1", "norm2", "act", "down", "h2",
         "final_norm", "logits")
OUTSIDE = ("embed", "final_norm", "logits")
DIGEST = re.compile(r"[0-9a-f]{32}")


class Mistake(Exception):
    """What was asked cannot be done; the text is for a person."""


def module_of(name, *places):
    """A module by its file, the first of these that is there."""
    for place in places:
        if place.is_file():
            spec = importlib.util.spec_from_file_location(name, place)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise Mistake(f"{places[0]} is not there")


# --- recording -------------------------------------------------------------------------------


@dataclasses.dataclass
class Pass:
    """One call of the model: which of its rows are new, and how to find them."""
    chosen: object   # (sequences, columns) of booleans, on the device: new rows
    places: list     # [(prompt, position)] of the chosen rows, as they are picked
    last: list       # [(sequence, prompt, position)] whose last column is wanted


class Recorder:
    """The rows that a model computes, as hooks see them.

    A row that is computed again (cache off) keeps its first digest, as in a trace of Isobit.
    """

    def __init__(self, model, layers, digest_row):
        self.digest_row, self.digests = digest_row, {}
        self.now, self.layer = None, 0
        self.done, self.names, self.live = set(), [], []
        decoder = model.get_decoder()
        self.count = len(decoder.layers)
        wanted = range(self.count) if layers is None else layers
        if any(layer >= self.count for layer in wanted):
            raise Mistake(f"--layers: the model has layers 0 to {self.count - 1}")
        self.wanted = frozenset(wanted)
        model.register_forward_pre_hook(self._begin, with_kwargs=True)
        decoder.layers[0].register_forward_pre_hook(self._input("embed", -1), with_kwargs=True)
        for number, layer in enumerate(decoder.layers):
            self._watch(number, layer)
        decoder.norm.register_forward_hook(self._final)
        self._wrap_rotation(decoder.layers[0].self_attn)

    def begin_batch(self, names):
        self.names, self.done, self.live = names, set(), [True] * len(names)

    # Where the hooks are.

    def _watch(self, number, layer):
        parts = {"input_layernorm": ("norm1", None), "self_attn.v_proj": ("v", None),
                 "self_attn.o_proj": ("o", "attn"), "post_attention_layernorm": ("norm2", "h1"),
                 "mlp.down_proj": ("down", "act")}
        if hasattr(layer, "pre_feedforward_layernorm"):
            raise Mistake("layers are not Llama's: they have a norm before the feed-forward part")
        for name, (output, given) in parts.items():
            try:
                part = layer.get_submodule(name)
            except AttributeError:
                raise Mistake(f"layers are not Llama's: they have no {name}") from None
            if number not in self.wanted:
                continue
            part.register_forward_hook(self._output(output, number))
            if given is not None:
                part.register_forward_pre_hook(self._input(given, number), with_kwargs=True)
        layer.register_forward_hook(self._output("h2", number))
        layer.self_attn.register_forward_pre_hook(
            lambda module, arguments, number=number: setattr(self, "layer", number))

    def _wrap_rotation(self, attention):
        """q and k after RoPE are what the function of the model's own file returns."""
        place = sys.modules[type(attention).__module__]
        rotate = getattr(place, "apply_rotary_pos_emb", None)
        if rotate is None:
            raise Mistake(f"{place.__name__} has no apply_rotary_pos_emb")

        def rotated(*arguments, **named):
            both = rotate(*arguments, **named)
            for site, value in zip("qk", both):  # (sequences, heads, columns, head_dim)
                self._take(site, self.layer, value.transpose(1, 2).flatten(2))
            return both

        place.apply_rotary_pos_emb = rotated

    def _input(self, site, layer):
        def hook(_, arguments, named):
            self._take(site, layer, arguments[0] if arguments else named["hidden_states"])
        return hook

    def _output(self, site, layer):
        def hook(_, __, output):
            self._take(site, layer, output[0] if isinstance(output, tuple) else output)
        return hook

    # What they do.

    def _begin(self, model, _, named):
        """Which rows of this call are real, and at which positions they stand."""
        import torch
        tokens, cache = named["input_ids"], named.get("past_key_values", named.get("cache"))
        count, width = tokens.shape
        mask, positions = named.get("attention_mask"), named.get("position_ids")
        seen = 0 if cache is None else int(cache.get_seq_length())
        if positions is None:
            positions = torch.arange(seen, seen + width, device=tokens.device).repeat(count, 1)
        real = torch.ones_like(tokens) if mask is None else mask[:, -width:]
        real, positions = real.bool().tolist(), positions.tolist()
        chosen, places, last = [[False] * width for _ in range(count)], [], []
        for s in range(count):
            if not self.live[s]:
                continue
            for column in range(width):
                key = (self.names[s], positions[s][column])
                if real[s][column] and key not in self.done:
                    chosen[s][column] = True
                    places.append(key)
                    self.done.add(key)
            last.append((s, self.names[s], positions[s][-1]))
        self.now = Pass(torch.tensor(chosen, device=tokens.device), places, last)

    def _take(self, site, layer, values):
        """values: (sequences, columns, numbers)."""
        if site not in OUTSIDE and layer not in self.wanted:
            return
        rows = values.detach()[self.now.chosen].float().cpu().numpy()
        for (name, position), row in zip(self.now.places, rows):
            self.digests[name, position, layer, site] = self.digest_row(row)

    def _final(self, _, __, values):
        for s, name, position in self.now.last:
            row = values.detach()[s, -1].float().cpu().numpy()
            self.digests[name, position, self.count, "final_norm"] = self.digest_row(row)

    def row(self, sequence, position, token, fed=None, logits=None):
        """The adapter's answer: one row of logits."""
        self.digests[self.names[sequence], position, self.count, "logits"] = self.digest_row(logits)


def load_adapter(options, isobit_exec):
    """The adapter's own class with the model loaded; it knows which sequences have ended."""
    base = module_of("isobit_adapter_transformers", FOLDER / "transformers.py").Transformers

    class Watched(base):
        recorder = None

        def _pass(self, parts, mask, cache, sequences, counters, rows=None):
            self.recorder.live = [not s.ended for s in sequences]
            return super()._pass(parts, mask, cache, sequences, counters, rows)

    adapter = Watched()
    adapter.hello({"attention": options.attention})
    kind = "gguf" if options.model.is_file() else "folder"
    adapter.load({"device": options.device, "precision": options.precision, "threads": 0,
                  "model": {"path": str(options.model), "kind": kind}})
    return adapter


def read_prompts(path):
    prompts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            prompt = json.loads(line)
            name, tokens = prompt["id"], [int(token) for token in prompt["tokens"]]
        except (ValueError, KeyError, TypeError):
            raise Mistake(f'{path}:{number}: a line is {{"id": …, "tokens": […]}}') from None
        if name in prompts or not tokens:
            raise Mistake(f"{path}:{number}: prompt {name} is there twice or empty")
        prompts[name] = tokens
    if not prompts:
        raise Mistake(f"{path} has no prompt")
    return prompts


def header_of(options, adapter, torch, prompts):
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else ""
    return {"isobit_record": 1, "engine": "transformers", "model": options.model.name,
            "transformers": adapter.library.__version__, "torch": str(torch.__version__),
            "cudnn": torch.backends.cudnn.version() or 0, "device": options.device, "gpu": gpu,
            "attention": adapter.model.config._attn_implementation,
            "precision": options.precision, "batch": options.batch, "cache": options.cache,
            "max_new": options.max_new, "layers": options.layers,
            "prompts": {name: len(tokens) for name, tokens in prompts.items()}}


def record(options):
    import isobit_exec
    trace = module_of("isobit_trace", FOLDER.parents[3] / "harness/import/isobit_trace.py",
                      FOLDER.parent / "isobit_trace.py")
    if trace.numpy is None:
        raise Mistake("the package numpy is not installed: pip install numpy")
    prompts = read_prompts(options.prompts)
    try:
        adapter = load_adapter(options, isobit_exec)
        recorder = adapter.recorder = Recorder(adapter.model, options.layers, trace.digest_row)
        names = list(prompts)
        for first in range(0, len(names), options.batch):
            part = names[first:first + options.batch]
            recorder.begin_batch(part)
            adapter.generate({"sequences": [{"prompt": prompts[name]} for name in part],
                              "max_new_tokens": options.max_new, "eos": [],
                              "cache": options.cache}, recorder)
    except (isobit_exec.Refused, isobit_exec.Unavailable) as problem:
        raise Mistake(str(problem)) from None
    header = header_of(options, adapter, adapter.torch, prompts)
    rows = sorted(recorder.digests.items(), key=lambda item: (
        names.index(item[0][0]), order_of(prompts[item[0][0]], item[0])))
    part = options.file.with_name(options.file.name + ".part")
    with open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(header | {"rows": len(rows)}) + "\n")
        for (name, position, layer, site), digest in rows:
            file.write(json.dumps({"prompt": name, "position": position, "layer": layer,
                                   "site": site, "digest": digest}) + "\n")
    os.replace(part, options.file)
    print(f"{options.file}: {len(rows)} rows of {len(names)} prompts")
    return 0


def order_of(prompt_tokens, key):
    """Where a row (prompt, position, layer, site) stands: a prompt is one pass, then each position
    is one; a pass goes layer by layer, site by site."""
    _, position, layer, site = key
    count = prompt_tokens if isinstance(prompt_tokens, int) else len(prompt_tokens)
    return 0 if position < count else position, layer, SITES.index(site), position


# --- comparing -------------------------------------------------------------------------------


def read_record(path):
    """(header, {(prompt, position, layer, site): digest})."""
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        header = json.loads(lines[0])
        count, prompts = header["rows"], header["prompts"]
        if header["isobit_record"] != 1 or not isinstance(prompts, dict):
            raise ValueError
    except (ValueError, KeyError, TypeError, IndexError):
        raise Mistake(f"{path}:1: no record of record_transformers.py") from None
    rows = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            row = json.loads(line)
            key = (row["prompt"], int(row["position"]), int(row["layer"]), row["site"])
            good = key[0] in prompts and key[3] in SITES and DIGEST.fullmatch(row["digest"])
        except (ValueError, KeyError, TypeError):
            good = False
        if not good or key in rows:
            raise Mistake(f"{path}:{number}: no row, or one that is there twice")
        rows[key] = row["digest"]
    if len(rows) != count:
        raise Mistake(f"{path}: {len(rows)} rows, {count} were written: the file is not whole")
    return header, rows


def cell_of(path, text):
    """The one cell of a show's JSON whose name or hash has this text."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found = [cell for cell in cells
                 if text in cell["name"] or cell["hash"].startswith(text.lstrip("/"))]
        levels = [cell["level"] for cell in found]
    except (ValueError, KeyError, TypeError):
        raise Mistake(f"{path} is not the output of isobit show RUN --json") from None
    if len(found) != 1:
        names = ", ".join(cell["name"] for cell in (found or cells)) or "none"
        raise Mistake(f"{path}: {len(found)} cells are meant; --cell names one of: {names}")
    if levels != ["ops"]:
        raise Mistake(f"{path}: the cell recorded {levels[0]}; the scenario needs observe: ops")
    return found[0]


def rows_of_cell(path, cell, layers_of_model):
    """{(prompt, position, layer, site): digest}."""
    rows = {}
    try:
        for prompt in cell["prompts"]:
            for position, layer, site, digest in prompt["observations"]:
                rows[prompt["prompt"], position, layer, site] = digest
            for token in prompt["tokens"]:
                key = (prompt["prompt"], token["position"], layers_of_model, "logits")
                rows[key] = token["digest"]
    except (ValueError, KeyError, TypeError):
        raise Mistake(f"{path}: a prompt without rows: an older isobit wrote it") from None
    return rows


def told(prompt, differing, total, recorded, shown):
    """The line of one prompt. `differing`: keys in the order of the pass."""
    if not differing:
        return f"prompt {prompt}: all {total} rows are equal"
    key = differing[0]
    _, position, layer, site = key
    if key in recorded and key in shown:
        what = f"recorded {recorded[key]}, shown {shown[key]}"
    else:
        what = "only the record has it" if key in recorded else "only the cell has it"
    return (f"prompt {prompt}: {len(differing)} of {total} rows differ, first at position "
            f"{position}, layer {layer}, {site}: {what}")


def compare(options):
    header, recorded = read_record(options.file)
    # Of what a record has: final_norm and logits have the number of layers.
    layers = [layer for _, _, layer, site in recorded if site in ("final_norm", "logits")]
    if not layers:
        raise Mistake(f"{options.file} has no row of logits")
    cell = cell_of(options.shown, options.cell)
    shown = rows_of_cell(options.shown, cell, layers[0])
    chosen = header.get("layers")
    if chosen is not None:
        shown = {key: digest for key, digest in shown.items()
                 if key[3] in OUTSIDE or key[2] in chosen}
    prompts = header["prompts"]
    lengths = prompts | {key[0]: 0 for key in shown if key[0] not in prompts}
    equal, total, all_equal = dict.fromkeys(SITES, 0), dict.fromkeys(SITES, 0), True
    for prompt, length in lengths.items():
        keys = sorted((key for key in recorded.keys() | shown.keys() if key[0] == prompt),
                      key=lambda key: order_of(length, key))
        differing = [key for key in keys if recorded.get(key) != shown.get(key)]
        for key in keys:
            total[key[3]] += 1
        for key in set(keys) - set(differing):
            equal[key[3]] += 1
        all_equal = all_equal and bool(keys) and not differing
        print(told(prompt, differing, len(keys), recorded, shown))
    for site in SITES:
        print(f"{site:<10} {equal[site]} of {total[site]} equal")
    return 0 if all_equal else 1


def layer_list(text):
    if not re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text):
        raise argparse.ArgumentTypeError("layers are numbers from 0, with commas")
    return sorted({int(word) for word in text.split(",")})


def count(text):
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise argparse.ArgumentTypeError("a whole number from 1 on")
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("record")
    one.add_argument("model", type=pathlib.Path)
    one.add_argument("file", type=pathlib.Path)
    one.add_argument("--prompts", type=pathlib.Path, required=True)
    one.add_argument("--precision", choices=["fp32", "bf16", "fp16"], required=True)
    one.add_argument("--batch", type=count, default=8)
    one.add_argument("--cache", choices=["on", "off"], default="on")
    one.add_argument("--max-new", type=count, default=16)
    one.add_argument("--layers", type=layer_list)
    one.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    one.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    two = verbs.add_parser("compare")
    two.add_argument("file", type=pathlib.Path)
    two.add_argument("shown", type=pathlib.Path)
    two.add_argument("--cell", default="", help="part of its name, or how its hash begins")
    return parser.parse_args()


def main():
    options = arguments()
    try:
        return record(options) if options.verb == "record" else compare(options)
    except (Mistake, OSError, UnicodeDecodeError) as problem:
        print(f"record_transformers: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
