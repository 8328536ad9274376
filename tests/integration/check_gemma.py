#!/usr/bin/env python3
"""Compares Gemma 3 from a GGUF file with Hugging Face transformers reading the same file: fp32
logits, greedy tokens, token ids. By hand; needs torch, transformers, gguf and sentencepiece.
Exit 0: within the bounds, 1: not.

  check_gemma.py --isobit build/isobit --model gemma-3-270m-q4_k_m.gguf [--max-new 48]

Rows: five prompts, one of them longer than the window of 512, greedy. Every row of Isobit is
compared with transformers' (float32, eager attention, one thread), the distance divided by the
row's range. transformers makes RoPE's angles in fp32, whose error grows with the position; rows
from position 256 on are therefore asked a second time with tables made in fp64, and the bound is
for those. Both worst distances are printed.

transformers keeps a norm's weight less one (a GGUF holds it whole) and adds the one again: two
roundings of fp32 that neither llama.cpp nor Isobit makes. They are part of the distance.

Ids: texts of scenarios/prompts and of check_tokens.py. Besides transformers' tokenizer of the file,
SentencePiece itself is asked, as a model built from the file's pieces, scores and types.
Texts that hold U+2581 themselves are counted apart and not judged: a GGUF keeps the user-defined
runs of spaces as spaces, so that llama.cpp, and Isobit with it, does not find them in a run of
U+2581; SentencePiece and transformers turn spaces into U+2581 first and cannot tell the two.
SentencePiece finds no <bos> in a text; transformers and llama.cpp do, and are followed.
"""
import argparse
import json
import pathlib
import platform
import sys
import tempfile

import numpy as np
import torch

import check_tokens
import check_transformers
from check_transformers import PATCHED_FROM

BOUND = 2e-5            # of the row's range
ROOT = pathlib.Path(__file__).parents[2]
PROMPTS = [("plain", "The capital of France is", None),
           ("code", "def fibonacci(n):\n    if n < 2:\n        return n\n", None),
           ("tongues", "Die Hauptstadt von Österreich ist Wien. 日本の首都は", None),
           ("window-edge", None, 500),      # its new tokens cross position 512
           ("beyond-window", None, 600)]
TEXTS = 500


def long_text():
    lines = (ROOT / "scenarios/prompts/prose.jsonl").read_text(encoding="utf-8").splitlines()
    return " ".join(json.loads(line)["text"] for line in lines)


def our_ids(arguments, texts):
    """With <bos>, as a run begins."""
    out = check_transformers.isobit(arguments, "model", "tokenize", arguments.model, "--json",
                                    stdin="".join(json.dumps(t) + "\n" for t in texts))
    return [json.loads(line) for line in out.splitlines()]


def make_prompts(arguments):
    texts = [text if text is not None else long_text() for _, text, _ in PROMPTS]
    made = our_ids(arguments, texts)
    return [(name, ([2] + ids)[:length]) for (name, _, length), ids in zip(PROMPTS, made)]


def fp64_tables(config, length):
    """{layer type: (cos, sin)}, fp32 values of fp64 angles; (1, length, head_dim)."""
    tables = {}
    for kind, rope in config.rope_parameters.items():
        d = config.head_dim
        inverse = rope["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
        angle = torch.arange(length, dtype=torch.float64)[:, None] * inverse
        tables[kind] = [f(angle).float().repeat(1, 2)[None] for f in (torch.cos, torch.sin)]
    return tables


@torch.no_grad()
def their_rows(model, ids, positions, exact_tables):
    """(positions, vocabulary)"""
    rotary = model.model.rotary_emb
    plain = rotary.forward
    if exact_tables:
        tables = fp64_tables(model.config, len(ids))
        rotary.forward = lambda x, position_ids, layer_type: (
            tables[layer_type][0][:, position_ids[0]], tables[layer_type][1][:, position_ids[0]])
    logits = model(torch.tensor([ids]), use_cache=False,
                   logits_to_keep=torch.tensor(positions)).logits[0].numpy()
    rotary.forward = plain
    return logits


def distances(ours, theirs):
    """Largest difference of each row, over the row's range."""
    spread = ours.max(axis=1).astype(np.float64) - ours.min(axis=1)
    return np.abs(ours.astype(np.float64) - theirs).max(axis=1) / spread


def compare_rows(arguments, model):
    """Whether every row is within the bound and every argmax equal."""
    worst, wrong, rows = 0.0, 0, 0
    for name, ids in make_prompts(arguments):
        with tempfile.TemporaryDirectory() as folder:
            made = check_transformers.generate(arguments, [(name, ids)], pathlib.Path(folder))
        tokens, captured = made[name]
        positions = sorted(captured)
        ours = np.stack([captured[p] for p in positions])
        plain = their_rows(model, ids + tokens, positions, False)
        at_plain = distances(ours, plain)
        judged, at = plain, at_plain
        if positions[-1] >= PATCHED_FROM:
            judged = their_rows(model, ids + tokens, positions, True)
            at = distances(ours, judged)
        other = int((judged.argmax(axis=1) != tokens).sum())
        print(f"  {name}: {len(ids)} tokens, positions {positions[0]} to {positions[-1]}, "
              f"{len(positions)} rows, worst {at.max():.3g}"
              + (f" (angles in fp32: {at_plain.max():.3g})" if judged is not plain else "")
              + f", other argmax: {other}", flush=True)
        worst, wrong, rows = max(worst, float(at.max())), wrong + other, rows + len(positions)
    print(f"rows: {rows}, worst distance over range {worst:.3g} (bound {BOUND:g}), "
          f"other argmax: {wrong}")
    return rows > 0 and worst <= BOUND and wrong == 0


def sentencepiece_of(path):
    """SentencePiece itself, with the pieces, scores and types of the file."""
    import gguf
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    fields = gguf.GGUFReader(path).fields
    tokens, scores, types = (fields[f"tokenizer.ggml.{key}"].contents()
                             for key in ("tokens", "scores", "token_type"))
    proto = sentencepiece_model_pb2.ModelProto()
    proto.trainer_spec.model_type = 2               # BPE
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.vocab_size = len(tokens)
    proto.trainer_spec.pad_id, proto.trainer_spec.eos_id = 0, 1
    proto.trainer_spec.bos_id, proto.trainer_spec.unk_id = 2, 3
    proto.trainer_spec.pad_piece, proto.trainer_spec.eos_piece = tokens[:2]
    proto.trainer_spec.bos_piece, proto.trainer_spec.unk_piece = tokens[2:4]
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    for at, (token, score, kind) in enumerate(zip(tokens, scores, types)):
        # A GGUF calls every added token "control"; in SentencePiece only these three are that,
        # and what is user defined is matched in a text.
        kind = {0: 3, 1: 3, 2: 3, 3: 2}.get(at, 4 if kind == 3 else kind)
        if kind == 4:
            token = token.replace(" ", "\u2581")    # converters to GGUF turn these round
        proto.pieces.add(piece=token, score=score, type=kind)
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def compare_ids(arguments):
    """Whether no text has other ids than both oracles give."""
    from transformers import AutoTokenizer
    files = sorted((ROOT / "scenarios/prompts").glob("*.jsonl"))
    lines = [json.loads(line) for f in files for line in f.read_text(encoding="utf-8").splitlines()]
    texts = check_tokens.hand_made()
    texts += ["<start_of_turn>user\nhi<end_of_turn>\n", "<bos>a<eos>", "<unused3>x", "▁a▁ b", "▁▁"]
    texts += check_tokens.mixtures(200)
    texts += [line["text"] for line in lines if "text" in line][::5]
    texts = list(dict.fromkeys(texts))
    ours = our_ids(arguments, texts)
    theirs = AutoTokenizer.from_pretrained(arguments.model.parent, gguf_file=arguments.model.name)
    pieces = sentencepiece_of(arguments.model)
    good = len(texts) >= TEXTS
    for name, encode in (
            ("transformers", lambda t: theirs(t, add_special_tokens=False).input_ids),
            ("SentencePiece", pieces.encode)):
        different = [(t, ids, encode(t)) for t, ids in zip(texts, ours) if ids != encode(t)]
        apart = [each for each in different if "\u2581" in each[0]]
        different = [each for each in different if "\u2581" not in each[0] and
                     (name == "transformers" or "<bos>" not in each[0])]
        print(f"ids of {len(texts)} texts, {sum(map(len, ours))} ids, other than {name}'s: "
              f"{len(different)}, and of texts with U+2581: {len(apart)}")
        for text, mine, other in different[:arguments.show]:
            print(f"  {text[:60]!r}: {mine[:12]}, {name} {other[:12]}")
        good = good and not different
    return good


def machine():
    import transformers
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    return (f"{cpu}; transformers {transformers.__version__}, torch "
            f"{torch.__version__.split('+')[0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", type=pathlib.Path, default=ROOT / "build/isobit")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--max-new", type=int, default=48)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--show", type=int, default=10, help="so many different texts")
    parser.add_argument("--only", choices=["rows", "ids"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"model: {arguments.model.name}, fp32; {machine()}", flush=True)
    good = True
    if arguments.only != "rows":
        good = compare_ids(arguments)
    if arguments.only != "ids":
        from transformers import AutoModelForCausalLM
        model = AutoModelForCausalLM.from_pretrained(
            arguments.model.parent, gguf_file=arguments.model.name, dtype=torch.float32,
            attn_implementation="eager").eval()
        good = compare_rows(arguments, model) and good
    print("within the bounds" if good else "NOT within the bounds")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
