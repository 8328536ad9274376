"""Hugging Face transformers as an external engine: its own forward pass, cache and attention.

Set-up: pip install transformers torch   (and gguf for a GGUF file). Options and limits: README.md.

The loop of decoding is written here around the model's forward, so that every row is seen. One
request is one batch; sequences of different length are padded, and one that has ended stays in the
batch as padding, as in generate(). Rows are converted to fp32, which is exact.
"""
import copy
import dataclasses
import importlib.metadata
import importlib.util
import inspect
import os
import pathlib
import subprocess

import isobit_exec
from isobit_exec import Refused, Unavailable

isobit_exec.leave_folder(__file__)  # this file is not the package transformers

OPTIONS = ("attention", "padding", "kv_cache", "score", "pad_to")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclasses.dataclass
class Counters:
    live_rows: int = 0
    steps: int = 0
    cached_reads: int = 0
    prefix_hits: int = 0


class Transformers(isobit_exec.Adapter):
    engine = "transformers"

    def hello(self, options):
        isobit_exec.known(options, OPTIONS)
        self.attention = isobit_exec.choice(options, "attention", ["eager", "sdpa"], "sdpa")
        self.padding = isobit_exec.choice(options, "padding", ["left", "right"], "left")
        self.kv_cache = isobit_exec.choice(options, "kv_cache", ["dynamic", "static"], "dynamic")
        self.score = isobit_exec.choice(options, "score", ["steps", "one_pass"], "steps")
        self.pad_to = isobit_exec.whole(options, "pad_to", 0)
        version = f"{installed('transformers')}, torch {installed('torch')}"
        caches = ["off"] if self.score == "one_pass" else ["on", "off", "prefix"]
        devices = ["cpu", "cuda"] if os.path.exists("/dev/nvidiactl") else ["cpu"]
        return {"version": version, "machine": machine(),
                "axes": {"precision": list(DTYPES), "device": devices, "cache": caches,
                         "batch": True, "threads": True, "teacher_forced": True}}

    def load(self, request):
        os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}
        import torch
        import transformers
        transformers.utils.logging.disable_progress_bar()
        self.torch, self.library = torch, transformers
        self._set_threads(request)
        if request["device"] == "cuda" and not torch.cuda.is_available():
            raise Refused("this torch sees no CUDA device")
        place = pathlib.Path(request["model"]["path"])
        options = {"dtype": getattr(torch, DTYPES[request["precision"]]),
                   "attn_implementation": self.attention, "local_files_only": True}
        if request["model"]["kind"] == "gguf":
            for package in ("gguf", "accelerate"):
                if importlib.util.find_spec(package) is None:
                    raise Refused(f"a GGUF file needs the package {package}: pip install {package}")
            place, options["gguf_file"] = place.parent, place.name
        model = transformers.AutoModelForCausalLM.from_pretrained(place, **options)
        self.model = model.to(request["device"]).eval()
        arguments = inspect.signature(self.model.forward).parameters
        self.cache_argument = "cache" if "cache" in arguments else "past_key_values"

    def generate(self, request, answer):
        if request.get("sampling"):
            raise Refused("transformers is driven greedily here: sampling is not understood")
        self._set_threads(request)
        sequences = isobit_exec.sequences(request)
        counters = Counters()
        with self.torch.no_grad():
            if self.score == "one_pass":
                self._score_in_one_pass(sequences, answer, counters)
            elif request["cache"] == "off":
                self._recompute(sequences, answer, counters)
            else:
                self._decode(sequences, request, answer, counters)
        return dataclasses.asdict(counters) | self._what_ran()

    # The three ways through a batch.

    def _decode(self, sequences, request, answer, counters):
        """The prompt's rows fill the cache, then one column a step. With a prefix, the first half
        of each prompt is a pass of its own, whose cache is copied for the rest."""
        parts = [[s.prompt for s in sequences]]
        if request["cache"] == "prefix":
            halves = [len(s.prompt) // 2 for s in sequences]
            parts = [[s.prompt[:half] for s, half in zip(sequences, halves)],
                     [s.prompt[half:] for s, half in zip(sequences, halves)]]
            parts = [part for part in parts if any(part)]
        columns = sum(max(map(len, part)) for part in parts) + max(s.rows_wanted for s in sequences)
        cache = self._new_cache(columns + self.pad_to)
        mask = None
        for number, part in enumerate(parts):
            if number > 0:
                cache = copy.deepcopy(cache)
                counters.prefix_hits += sum(map(len, parts[0]))
            logits, mask = self._pass(part, mask, cache, sequences, counters)
        self._record(sequences, logits, answer, counters)
        while not all(s.ended for s in sequences):
            part = [s.tokens[-1:] for s in sequences]
            logits, mask = self._pass(part, mask, cache, sequences, counters)
            self._record(sequences, logits, answer, counters)

    def _recompute(self, sequences, answer, counters):
        """Every step computes the whole sequences again and keeps nothing."""
        while not all(s.ended for s in sequences):
            logits, _ = self._pass([s.tokens for s in sequences], None, None, sequences, counters)
            self._record(sequences, logits, answer, counters)

    def _score_in_one_pass(self, sequences, answer, counters):
        """Prompt and teacher go through the model once, and every row comes from that."""
        if any(s.teacher is None for s in sequences):
            raise Refused("score: one_pass needs a teacher (teacher_forced) for every sequence")
        whole = [s.prompt + s.teacher[:-1] for s in sequences]
        logits, _ = self._pass(whole, None, None, sequences, counters,
                               rows=[len(s.teacher) for s in sequences])
        counters.steps += 1
        for s in sequences:
            for row in logits[s.number]:
                self._tell(s, row, answer)

    # One pass, and what its rows mean.

    def _pass(self, parts, mask, cache, sequences, counters, rows=None):
        """Puts the next tokens of each sequence through the model. `mask` says which columns before
        were real. Returns ([sequence] → (rows, vocabulary) logits, the mask with the new columns);
        there are as many rows as `rows` says (default one), and the last is the last token's."""
        torch, device = self.torch, self.model.device
        width = max(max(map(len, parts)), self.pad_to if mask is None else 0)
        tokens, block = [], []
        for part in parts:
            pad, ones = [0] * (width - len(part)), [1] * len(part)
            tokens.append(pad + part if self.padding == "left" else part + pad)
            block.append(pad + ones if self.padding == "left" else ones + pad)
        block = torch.tensor(block, device=device)                    # (sequences, width)
        seen = 0 if mask is None else mask.sum(1, keepdim=True)
        columns_before = 0 if mask is None else mask.shape[1]
        mask = block if mask is None else torch.cat([mask, block], 1)  # (sequences, columns)
        known = {"input_ids": torch.tensor(tokens, device=device), "use_cache": cache is not None}
        if not mask.all():  # else the model makes both, as for a user who does not pad
            known["attention_mask"] = mask
            known["position_ids"] = (seen + block.cumsum(1) - 1).clamp(min=0)
        if cache is not None:
            if int(cache.get_seq_length()) != columns_before:
                raise Refused(f"the cache holds {int(cache.get_seq_length())} columns, "
                              f"{columns_before} were computed")
            known[self.cache_argument] = cache
        ends = [width if self.padding == "left" else max(len(part), 1) for part in parts]
        wanted = [range(end - count, end) for end, count in zip(ends, rows or [1] * len(parts))]
        keep = sorted(set().union(*wanted))
        known["logits_to_keep"] = 1 if keep == [width - 1] else torch.tensor(keep, device=device)
        logits = self.model(**known).logits                # (sequences, keep, vocabulary)

        live = [s for s in sequences if not s.ended]
        counters.live_rows = max(counters.live_rows, len(live))
        if columns_before:
            held = mask[:, :columns_before].sum(1).tolist()
            counters.cached_reads += sum(held[s.number] for s in live)
        at = {column: place for place, column in enumerate(keep)}
        return [logits[number, at[columns.start]:at[columns.start] + len(columns)]
                for number, columns in enumerate(wanted)], mask

    def _record(self, sequences, logits, answer, counters):
        counters.steps += 1
        for s in sequences:
            if not s.ended:
                self._tell(s, logits[s.number][-1], answer)

    def _tell(self, s, row, answer):
        row = row.float().cpu().contiguous().numpy()
        s.tell(answer, int(row.argmax()), logits=row)  # the first of equal ones

    # What the library is asked for, and what it says it did.

    def _new_cache(self, columns):
        if self.kv_cache == "static":
            return self.library.StaticCache(config=self.model.config, max_cache_len=columns)
        return self.library.DynamicCache(config=self.model.config)

    def _set_threads(self, request):
        if request.get("threads"):
            self.torch.set_num_threads(request["threads"])

    def _what_ran(self):
        torch, weight = self.torch, next(self.model.parameters())
        device = weight.device.type
        precision = next(name for name, dtype in DTYPES.items()
                         if getattr(torch, dtype) is weight.dtype)
        kernels = [self.model.config._attn_implementation, self.kv_cache + " cache",
                   self.padding + " padding", self.score,
                   "fp32 products " + torch.get_float32_matmul_precision()]
        if device == "cuda":
            kernels.append(torch.cuda.get_device_name())
        return {"chunks": 1, "threads": torch.get_num_threads(), "device": device,
                "precision": precision, "kv": "exact", "kernels": ", ".join(kernels),
                "library": isobit_exec.loaded_library(f"libtorch_{device}.so")}


def installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"the package {package} is not installed: "
                          f"pip install {package}") from None


def machine() -> dict:
    """What rows on a GPU depend on: the packages that have kernels, and the GPU."""
    words = [f"transformers {installed('transformers')}", f"torch {installed('torch')}"]
    for short, names in (("cudnn", ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12")),
                         ("cublas", ("nvidia-cublas", "nvidia-cublas-cu12"))):
        words += [f"{short} {v}" for v in (maybe_installed(name) for name in names) if v]
    try:
        gpus = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                              capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    names = gpus.split("\n")
    return {"cuda": ", ".join(words + [names[0].strip()])} if names[0].strip() else {}


def maybe_installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    isobit_exec.serve(Transformers())
