#!/usr/bin/env python3
"""Compares fp32 logits and greedy tokens with Hugging Face transformers. By hand; needs torch,
transformers (and gguf for a .gguf file). Exit 0: within the bounds, 1: not.

  check_transformers.py --isobit build/isobit --model scenarios/models/default-7m \\
      --prompts scenarios/prompts/*.jsonl [--count 50] [--length 64] [--max-new 16]

Isobit generates greedily; its rows (`show --logits`) are compared with transformers' rows for the
same ids, each distance divided by the row's range (largest less smallest logit). A token that is
not transformers' argmax is a near tie if that row's gap is below twice the bound, else an error.
Both get token ids; for a folder the script first compares the two tokenizers. (transformers
converts a GGUF's vocabulary with GPT-2's digit rule, so its tokenizer is not asked there.)

transformers makes RoPE's angles in fp32. Rows from position 256 on are therefore compared with
its tables replaced by ones made in fp64.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

BOUND = 5e-6            # of the row's range
PATCHED_FROM = 256      # positions
PER_RUN = 32            # prompts of one scenario: bounds the disk space of the rows


def isobit(arguments, *words, stdin=None, codes=(0,)):
    """Standard output of the program."""
    done = subprocess.run([str(arguments.isobit), *map(str, words)], input=stdin, text=True,
                          capture_output=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"isobit {words[0]}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def load_theirs(path):
    """(model, tokenizer or None)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    if path.suffix == ".gguf":
        return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name,
                                                    dtype=torch.float32).eval(), None
    return (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(),
            AutoTokenizer.from_pretrained(path))


def read_texts(arguments, tokenizer):
    """[(id, text or ids)] of the prompt files; chats in the template's form."""
    prompts = []
    for file in arguments.prompts:
        for line in file.read_text(encoding="utf-8").splitlines():
            p = json.loads(line)
            if "messages" in p and tokenizer is not None:
                value = tokenizer.apply_chat_template(p["messages"], tokenize=False,
                                                      add_generation_prompt=True)
            elif "messages" in p:
                value = "\n".join(m["content"] for m in p["messages"])
            else:
                value = p.get("tokens", p.get("text"))
            prompts.append((f"{file.stem}/{p['id']}", value))
    return prompts


def encode(arguments, prompts, tokenizer):
    """[(id, ids)], made by Isobit; stops when transformers' tokenizer disagrees."""
    texts = [value for _, value in prompts if isinstance(value, str)]
    lines = isobit(arguments, "model", "tokenize", arguments.model, "--json",
                  stdin="".join(json.dumps(t) + "\n" for t in texts)).splitlines()
    begin = [tokenizer.bos_token_id] if tokenizer is not None else []
    made = iter(begin + json.loads(line) for line in lines)
    encoded = [(name, next(made) if isinstance(value, str) else value) for name, value in prompts]
    if tokenizer is not None:
        for (name, value), (_, ids) in zip(prompts, encoded):
            if isinstance(value, str) and tokenizer(value).input_ids != ids:
                raise RuntimeError(f"{name}: transformers' tokenizer gives other ids")
    if arguments.length:
        encoded = [(name, (ids * arguments.length)[:arguments.length]) for name, ids in encoded]
    return encoded


def generate(arguments, prompts, folder):
    """{id: (generated ids, {position: row})}, greedy, fp32, by Isobit."""
    names = {f"p{i}": name for i, (name, _) in enumerate(prompts)}
    with open(folder / "prompts.jsonl", "w", encoding="utf-8") as file:
        for short, (_, ids) in zip(names, prompts):
            file.write(json.dumps({"id": short, "tokens": ids}) + "\n")
    (folder / "scenario.yaml").write_text(
        f"version: 1\nname: check-transformers\nmodel: {arguments.model.resolve()}\n"
        "prompts: prompts.jsonl\ntime_limit: 3600\n"
        f"decode: {{strategy: greedy, max_new_tokens: {arguments.max_new}}}\n"
        f"axes: {{precision: [fp32], batch: [{arguments.batch}]}}\n")
    database = ("--db", folder / "isobit.db")
    isobit(arguments, "run", folder / "scenario.yaml", *database, "--update", "none",
          codes=(0, 4, 5, 7))  # one cell: nothing to compare with
    shown = json.loads(isobit(arguments, "show", "1", *database, "--json", "--logits", folder))
    cell = shown["cells"][0]
    result = {}
    for prompt in cell["prompts"]:
        rows = {t["position"]: np.fromfile(
            folder / cell["hash"] / f"{prompt['prompt']}-{t['position']}.f32", "<f4")
            for t in prompt["tokens"]}
        result[names[prompt["prompt"]]] = ([t["id"] for t in prompt["tokens"]], rows)
    return result


def fp64_tables(model, length):
    """A replacement of the rotary module's forward."""
    config = model.config
    d = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = getattr(config, "rope_parameters", None) or {"rope_theta": config.rope_theta}
    if rope.get("rope_type", "default") != "default":
        raise RuntimeError("only plain RoPE has fp64 tables here")
    inverse = rope["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * inverse
    cos, sin = (f(angle).float().repeat(1, 2) for f in (torch.cos, torch.sin))
    return lambda x, position_ids, *_, **__: (cos[position_ids], sin[position_ids])


@torch.no_grad()
def their_rows(model, ids, positions):
    """{position: row}; fp64 tables from PATCHED_FROM on."""
    rows = {}
    rotary = model.model.rotary_emb
    plain = rotary.forward
    low = [p for p in positions if p < PATCHED_FROM]
    high = [p for p in positions if p >= PATCHED_FROM]
    for part, patched in ((low, False), (high, True)):
        if not part:
            continue
        end = part[-1] + 1
        rotary.forward = fp64_tables(model, end) if patched else plain
        logits = model(torch.tensor([ids[:end]]), use_cache=False,
                       logits_to_keep=torch.tensor(part)).logits[0].numpy()
        rows.update(zip(part, logits))
    rotary.forward = plain
    return rows


class Tally:
    """What is printed in the end."""

    def __init__(self):
        self.prompts = self.tokens = self.near = 0
        self.worst = {"below": (0.0, ""), "from": (0.0, "")}
        self.rows = {"below": 0, "from": 0}
        self.ties, self.wrong = [], []

    def add(self, name, tokens, ours, theirs):
        self.prompts += 1
        for (position, row), token in zip(ours.items(), tokens):
            other = theirs[position]
            spread = float(row.max()) - float(row.min())
            distance = float(np.abs(row.astype(np.float64) - other).max()) / spread
            side = "below" if position < PATCHED_FROM else "from"
            place = f"{name}@{position}"
            self.rows[side] += 1
            self.worst[side] = max(self.worst[side], (distance, place))
            self.tokens += 1
            first, second = np.argsort(-other, kind="stable")[:2]
            gap = (float(other[first]) - float(other[second])) / spread
            self.near += gap < 2 * BOUND
            if int(first) != token:
                (self.ties if gap < 2 * BOUND else self.wrong).append(
                    f"{place}: {token}, transformers {int(first)}, gap {gap:.2g} of the range")

    def report(self, arguments):
        import transformers
        below, beyond = self.worst["below"], self.worst["from"]
        print(f"model: {arguments.model.name}, fp32, transformers {transformers.__version__}, "
              f"torch {torch.__version__.split('+')[0]}")
        print(f"prompts: {self.prompts}, greedy tokens: {self.tokens}, "
              f"rows with a gap below {2 * BOUND:g} of the range: {self.near}")
        print(f"worst distance over range, positions below {PATCHED_FROM}: {below[0]:.3g} "
              f"({self.rows['below']} rows, worst at {below[1] or '-'})")
        print(f"worst distance over range, from {PATCHED_FROM} on, RoPE tables in fp64: "
              f"{beyond[0]:.3g} ({self.rows['from']} rows, worst at {beyond[1] or '-'})")
        print(f"different tokens that are near ties: {len(self.ties)}")
        print("".join(f"  {line}\n" for line in self.ties), end="")
        print(f"different tokens that are not: {len(self.wrong)}")
        print("".join(f"  {line}\n" for line in self.wrong), end="")
        good = not self.wrong and max(below[0], beyond[0]) <= BOUND and self.tokens > 0
        print(f"{'within' if good else 'NOT within'} {BOUND:g}")
        return good


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", type=pathlib.Path, default=pathlib.Path("build/isobit"))
    parser.add_argument("--model", type=pathlib.Path, required=True, help="folder or .gguf file")
    parser.add_argument("--prompts", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, help="only the first N prompts of all")
    parser.add_argument("--length", type=int, help="cut or repeat each prompt to so many tokens")
    parser.add_argument("--max-new", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    return parser.parse_args()


def main():
    arguments = parse()
    model, tokenizer = load_theirs(arguments.model)
    context = model.config.max_position_embeddings - arguments.max_new
    encoded = encode(arguments, read_texts(arguments, tokenizer), tokenizer)
    prompts = [(n, ids) for n, ids in encoded
               if len(ids) <= context and max(ids) < model.config.vocab_size][:arguments.count]
    if not arguments.count and len(prompts) < len(encoded):
        print(f"left out, longer than the context or outside the vocabulary: "
              f"{len(encoded) - len(prompts)}")
    tally = Tally()
    for at in range(0, len(prompts), PER_RUN):
        part = prompts[at:at + PER_RUN]
        with tempfile.TemporaryDirectory() as folder:
            made = generate(arguments, part, pathlib.Path(folder))
        for name, ids in part:
            tokens, rows = made[name]
            tally.add(name, tokens, rows, their_rows(model, ids + tokens, sorted(rows)))
    sys.exit(0 if tally.report(arguments) else 1)


if __name__ == "__main__":
    main()
