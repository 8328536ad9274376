#!/usr/bin/env python3
"""Measures the memory that a bf16 checkpoint of Llama-3-8B's proportions takes while it is loaded.

  peak_memory.py PROGRAM FOLDER [--precision bf16 ...]

FOLDER gets a synthetic model: half of 8B's width, half of its layers, a vocabulary as large in
proportion (1.1 billion parameters, 2.3 GB), every matrix from one pattern of 2^20 numbers. The
program generates two tokens; every 5 ms the resident memory of it and its workers is read from
/proc. Counted are anonymous and shared pages (RssAnon, RssShmem): pages of the mapped checkpoint
(RssFile) are the page cache's, which the system takes back when it needs them. Linux only.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import time

HIDDEN, MLP, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 2048, 7168, 16, 16, 4, 128, 64128
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": MLP,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}
SCENARIO = """version: 1
name: peak
model: model
prompts: prompts.jsonl
decode: {{strategy: greedy, max_new_tokens: 2, ignore_eos: true}}
axes: {{precision: [{precision}]}}
"""


def shapes():
    query, cached = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    yield "lm_head.weight", (VOCAB, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{name}.weight", (HIDDEN,)
        for name, rows, cols in (("self_attn.q_proj", query, HIDDEN),
                                 ("self_attn.k_proj", cached, HIDDEN),
                                 ("self_attn.v_proj", cached, HIDDEN),
                                 ("self_attn.o_proj", HIDDEN, query),
                                 ("mlp.gate_proj", MLP, HIDDEN), ("mlp.up_proj", MLP, HIDDEN),
                                 ("mlp.down_proj", HIDDEN, MLP)):
            yield f"{prefix}{name}.weight", (rows, cols)


def write_model(folder):
    """Bytes of the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    header, at = {}, 0
    for name, shape in shapes():
        size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    draw = random.Random(1)
    pattern = b"".join(struct.pack("<f", draw.gauss(0, 0.02))[2:] for _ in range(1 << 20))
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes():
            begin, left = header[name]["data_offsets"]
            left -= begin
            data = b"\x80\x3f" * shape[0] if len(shape) == 1 else pattern  # norms are ones
            while left > 0:
                file.write(data[:left])
                left -= len(data)
    return at


def family(pid):
    """A process and its children, and theirs."""
    out = [pid]
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                out += family(int(child))
    except OSError:
        pass  # it has ended
    return out


def resident(pid, keys):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.split(":")[0] in keys)


def peak(program, folder, precision):
    (folder / "s.yaml").write_text(SCENARIO.format(precision=precision))
    (folder / "prompts.jsonl").write_text('{"id": "p", "tokens": [1, 5, 9]}\n')
    (folder / "d.db").unlink(missing_ok=True)
    process = subprocess.Popen([program, "run", "s.yaml", "--db", "d.db", "--update", "none"],
                               cwd=folder, stdout=subprocess.DEVNULL)
    most = mapped = 0
    while process.poll() is None:
        pids = family(process.pid)
        most = max(most, sum(resident(pid, ("RssAnon", "RssShmem")) for pid in pids))
        mapped = max(mapped, sum(resident(pid, ("RssFile",)) for pid in pids))
        time.sleep(0.005)
    return most, mapped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--precision", nargs="+", default=["bf16"])
    options = parser.parse_args()
    size = write_model(options.folder / "model")
    for precision in options.precision:
        most, mapped = peak(options.program.resolve(), options.folder, precision)
        print(f"{precision}: peak {most / 2**20:.0f} MiB, {most / size:.3f} of the checkpoint's "
              f"{size / 2**20:.0f} MiB; mapped pages besides: {mapped / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
