"""Acceptance of a default model: prints every check of its card, met or missed.

    python3 tests/integration/default_model/accept.py --model scenarios/models/default-7m [--write]

Needs torch, tokenizers, safetensors, and transformers for the part `transformers`. Exit 0 when
every check is met, 1 otherwise. The part `flips` *simulates* a library that splits K (fp32 partial
sums, one rounding); `vendor` takes the same numbers from a JSON file that vendor_flips.py made with
the real vendor engine (`--isobit FILE`). `--write` keeps the checks of parts that are not run.
"""

import argparse
import json
import pathlib
import sys

import torch
import torch.nn.functional as F

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scenarios" / "models" / "train"))
import evaluate  # noqa: E402
import model as llama  # noqa: E402
import tokens  # noqa: E402

SPLITS = (1, 3)         # K-slices of the two simulated schedules
PARTS = ("language", "transformers", "flips", "vendor")
FLIP_NEW = 304          # enough to see a median of 300


def load(folder, compute):
    """Our PyTorch model with the weights of a Hugging Face folder."""
    from safetensors.torch import load_file
    config = json.loads((folder / "config.json").read_text())
    shape = llama.Config(folder.name, config["vocab_size"], config["hidden_size"],
                         config["num_hidden_layers"], config["num_attention_heads"],
                         config["num_key_value_heads"], config["head_dim"],
                         config["intermediate_size"], config["max_position_embeddings"],
                         config["torch_dtype"], config["rms_norm_eps"], config["rope_theta"])
    model = llama.Model(shape, compute)
    tensors = load_file(str(folder / "model.safetensors"))
    model.load_state_dict({name.removeprefix("model.").replace("embed_tokens.weight",
                                                               "embed_tokens"): value.float()
                           for name, value in tensors.items()})
    return model


def check(name, value, wanted, met):
    return {"name": name, "value": value, "wanted": wanted, "met": bool(met)}


def language(model, folder, quick):
    """Accuracy, near ties, looping."""
    m = evaluate.measure(model, folder / "tokenizer.json", quick)
    add2 = m["arithmetic"]["accuracy"].get("add2", 0.0)
    gsm = m["gsm-like"]["accuracy"].get("gsm", 0.0)
    recall = m["recall"]["accuracy"].get("recall-400", 0.0)
    distinct = m["prose"]["distinct_4grams"]
    ties = m["prose"]["gap_share"]
    return m, [
        check("two-digit addition, exact", add2, ">= 0.95", add2 >= 0.95),
        check("held-back word problems", gsm, ">= 0.60", gsm >= 0.60),
        check("key-value recall at 400 tokens", recall, ">= 0.90", recall >= 0.90),
        check("distinct 4-grams, prose", distinct, "> 0.6", distinct > 0.6),
        check("gap below 1/16, prose", ties, "0.02 .. 0.10", 0.02 <= ties <= 0.10),
        check("gap below 1/16, all sets", m["gap_share_all"], "(for information)", True)]


class SplitLinear:
    """F.linear in bf16 as a library with `parts` K-slices does it: fp32 sums, one rounding."""

    def __init__(self, parts):
        self.parts = parts

    def __call__(self, x, weight):
        if x.dtype != torch.bfloat16:
            return F.linear(x, weight)
        total = None
        for a, b in zip(x.float().chunk(self.parts, -1), weight.float().chunk(self.parts, -1)):
            part = a @ b.mT
            total = part if total is None else total + part
        return total.to(torch.bfloat16)


@torch.no_grad()
def logits_with(model, ids, parts):
    """fp32 logits of whole sequences in bf16 under a K-split; attention in fp32."""
    linear = SplitLinear(parts)
    plain = llama.Linear.forward
    llama.Linear.forward = lambda self, x: linear(x, self.weight.to(x.dtype))
    try:
        def attend(q, k, v):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True,
                                                  enable_gqa=True).to(q.dtype)
        hidden = model.hidden(ids, attend)
    finally:
        llama.Linear.forward = plain
    return hidden.float() @ model.embed_tokens.to(torch.bfloat16).float().mT


def flips(model, folder, quick):
    """Flip rate a step on greedy prose and the median first flip, under SPLITS."""
    tokenizer = tokens.load_tokenizer(folder / "tokenizer.json")
    prompts = [evaluate.prompt_ids(tokenizer, p)
               for p in evaluate.read_prompts("prose", 8 if quick else None)]
    outputs, _ = evaluate.generate(model, prompts, FLIP_NEW)
    flipped, first = [], []
    for prompt, output in zip(prompts, outputs):
        if len(output) < 8:
            continue
        ids = torch.tensor([prompt + output])
        a, b = (logits_with(model, ids, parts)[0, len(prompt) - 1:-1].argmax(-1)
                for parts in SPLITS)
        different = (a != b).nonzero()[:, 0].tolist()
        flipped.append((len(different), len(output)))
        first.append(different[0] if different else None)
    rate = sum(f for f, _ in flipped) / max(1, sum(n for _, n in flipped))
    known = sorted(f if f is not None else 10**6 for f in first)
    median = known[len(known) // 2] if known else 10**6
    shown = median if median < 10**6 else f"> {FLIP_NEW}"
    return [check("bf16 flip rate a step, simulated split-K", round(rate, 5), "0.002 .. 0.015",
                  0.002 <= rate <= 0.015),
            check("median first flip, simulated split-K", shown, "20 .. 300",
                  20 <= median <= 300)]


@torch.no_grad()
def against_transformers(model, folder, quick):
    """fp32 logits and greedy tokens against transformers on the same files, RoPE in fp64."""
    from transformers import AutoModelForCausalLM
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    patch_rope(theirs, model)
    tokenizer = tokens.load_tokenizer(folder / "tokenizer.json")
    worst, differ, ties, compared = 0.0, 0, [], 0
    for name in ("gsm-like", "instructions", "prose", "recall", "mixed-lengths", "lengths"):
        for prompt in evaluate.read_prompts(name, 2 if quick else 12):
            ids = evaluate.prompt_ids(tokenizer, prompt)[:1000]
            row = torch.tensor([ids])
            a = theirs(row).logits[0]
            b = model.logits(model.hidden(row, llama.causal))[0]
            spread = b.max(-1).values - b.min(-1).values
            worst = max(worst, float(((a - b).abs().max(-1).values / spread).max()))
            top = b.topk(2, -1).values
            for at in (a.argmax(-1) != b.argmax(-1)).nonzero()[:, 0].tolist():
                gap = float(top[at, 0] - top[at, 1])
                (ties.append(f"{prompt['id']}@{at} gap {gap:.2g}") if gap < 1e-4 else None)
                differ += gap >= 1e-4
            compared += len(ids)
    return [check("fp32 logits of the training code against transformers, of the row's range",
                  f"{worst:.2e}",
                  "<= 5e-6", worst <= 5e-6),
            check(f"its argmax against transformers, {compared} positions, near ties "
                  f"{ties or 'none'}", differ, "0", differ == 0)]


def patch_rope(theirs, model):
    """transformers makes its angles in fp32; these tables come from fp64, as ours do."""
    def tables(x, position_ids):
        cos = model.cos[position_ids].repeat(1, 1, 2)
        sin = model.sin[position_ids].repeat(1, 1, 2)
        return cos.to(x.dtype), sin.to(x.dtype)
    theirs.model.rotary_emb.forward = tables


def vendor(real):
    """Checks of the real vendor engine's numbers."""
    rate, median = real["flip_rate"], real["median_divergence"]
    return [check(f"bf16 flip rate a step, {real['engine']}, batch 1 and 8, teacher-forced",
                  round(rate, 5), "0.002 .. 0.015", 0.002 <= rate <= 0.015),
            check(f"median first divergence, {real['engine']}, batch 1 and 8",
                  median if median is not None else f"> {real['max_new']}", "20 .. 300",
                  median is not None and 20 <= median <= 300)]


def write(folder, checks, measured):
    """acceptance.json: new parts replace old ones; measured numbers go to training.json."""
    path = folder / "acceptance.json"
    old = json.loads(path.read_text())["checks"] if path.exists() else {}
    old.update(checks)
    path.write_text(json.dumps({"format": 1, "checks": {p: old[p] for p in PARTS if p in old}},
                               indent=1) + "\n")
    if measured is not None:
        facts = json.loads((folder / "training.json").read_text())
        facts["measured"] = measured
        facts["evaluated_on"] = f"CPU, fp32, torch {torch.__version__.split('+')[0]}"
        (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--isobit", type=pathlib.Path, help="numbers of the real vendor engine")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="acceptance.json in the model folder")
    arguments = parser.parse_args()
    folder, quick = arguments.model, arguments.quick
    model = load(folder, torch.float32)
    checks, measured = {}, None
    if "language" in arguments.parts:
        measured, checks["language"] = language(model, folder, quick)
    if "transformers" in arguments.parts:
        checks["transformers"] = against_transformers(model, folder, quick)
    if "flips" in arguments.parts and model.c.dtype == "bfloat16":
        model.compute = torch.bfloat16
        checks["flips"] = flips(model, folder, quick)
    if "vendor" in arguments.parts and arguments.isobit:
        checks["vendor"] = vendor(json.loads(arguments.isobit.read_text()))
    for c in (c for part in checks.values() for c in part):
        print(f"{'met   ' if c['met'] else 'MISSED'} {c['name']}: {c['value']} ({c['wanted']})")
    if arguments.write:
        write(folder, checks, measured)
    sys.exit(0 if all(c["met"] for part in checks.values() for c in part) else 1)


if __name__ == "__main__":
    main()
