#!/usr/bin/env python3
"""Prints the digest of a GGUF Llama's values, made without Isobit; or holds Isobit against it.

By hand; needs gguf, numpy, xxhash.

  check_dequantised.py model.gguf [--tensors] [--isobit PROGRAM]
  check_dequantised.py --isobit PROGRAM     on whole files of its own, one for each block format

Every tensor is dequantised by gguf-py, q and k rows are put back into Hugging Face's order, and the
fp32 bytes of all tensors, sorted by Hugging Face name, go through one XXH3-128. The unit test
LoadModel.SmolLm2 compares what the loader gives with the line that this script printed.
Also counts the Q4_1 elements whose two-rounding value (gguf-py's) is not the single fma.
With a program, each tensor is compared with what `model digest --json` says of it. The files made
here have blocks of random bytes, so that scales are NaN, infinite and subnormal too.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hugging_face_name(name):
    parts = name.split(".")
    if parts[0] == "blk" and parts[2] in LAYER:
        return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.{parts[3]}"
    return f"{WHOLE[parts[0]]}.{parts[1]}" if parts[0] in WHOLE else name


def half_split(rows, heads):
    """Undoes reshape(heads, 2, d/2).swapaxes(1, 2)."""
    d = rows.shape[0] // heads
    return rows.reshape(heads, d // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def two_roundings(data, values):
    """Elements of a Q4_1 tensor that differ from round32(q * d + m) made in fp64."""
    blocks = data.reshape(-1, 20)
    d = blocks[:, 0:2].copy().view(np.float16).astype(np.float64)
    m = blocks[:, 2:4].copy().view(np.float16).astype(np.float64)
    q = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float64)
    once = (q * d + m).astype(np.float32).reshape(-1)
    return int((once.view(np.uint32) != values.reshape(-1).view(np.uint32)).sum())


def content(values):
    """As harness/models/content_digest.h has it: SHA-256 over the rows' SHA-256."""
    rows = values.reshape(1 if values.ndim == 1 else -1, values.shape[-1]).astype("<f4")
    bits = rows.view(np.uint32).copy()
    bits[np.isnan(rows)] = 0x7FC00000
    return hashlib.sha256(b"".join(hashlib.sha256(row.tobytes()).digest()
                                   for row in bits)).hexdigest()


def compare(program, model, tensors):
    done = subprocess.run([program, "model", "digest", model, "--json"], capture_output=True,
                          text=True, check=True)
    theirs = json.loads(done.stdout)["tensors"]
    wrong = [name for name, digest in theirs.items() if content(tensors[name]) != digest]
    print(f"{model}: {len(theirs)} tensors compared, {len(wrong)} differ {wrong[:3]}")
    return not wrong and len(theirs) > 0


def make(path, kind, seed):
    """A Llama of one layer whose matrices have random bytes of a block format."""
    draw = np.random.default_rng(seed)
    columns, size = gguf.GGML_QUANT_SIZES[kind]
    hidden, mlp, vocab = 256, 512, 40
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(mlp)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    for name, rows, cols in [("token_embd", vocab, hidden), ("output", vocab, hidden),
                             ("blk.0.attn_q", hidden, hidden), ("blk.0.attn_k", 128, hidden),
                             ("blk.0.attn_v", 128, hidden), ("blk.0.attn_output", hidden, hidden),
                             ("blk.0.ffn_gate", mlp, hidden), ("blk.0.ffn_up", mlp, hidden),
                             ("blk.0.ffn_down", hidden, mlp)]:
        data = draw.integers(0, 256, (rows, cols // columns * size), dtype=np.uint8)
        writer.add_tensor(name + ".weight", data, raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(name + ".weight", draw.standard_normal(hidden).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_made_files(program):
    names = ["Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
             "IQ4_NL", "IQ4_XS"]
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate(names):
            path = str(pathlib.Path(folder) / f"{name}.gguf")
            make(path, gguf.GGMLQuantizationType[name], seed)
            with np.errstate(all="ignore"):
                good = compare(program, path, read(path)[0]) and good
    return good


def read(path):
    """Tensors under Hugging Face's names, Q4_1 elements, those that two roundings change."""
    reader = gguf.GGUFReader(path)
    heads = int(reader.fields["llama.attention.head_count"].contents())
    kv_heads = int(reader.fields["llama.attention.head_count_kv"].contents())
    tensors, elements, differing = {}, 0, 0
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(n) for n in reversed(tensor.shape)])
        if tensor.tensor_type.name == "Q4_1":
            elements += values.size
            differing += two_roundings(tensor.data, values)
        name = hugging_face_name(tensor.name)
        if ".q_proj." in name:
            values = half_split(values, heads)
        if ".k_proj." in name:
            values = half_split(values, kv_heads)
        tensors[name] = np.ascontiguousarray(values)
    return tensors, elements, differing


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--tensors", action="store_true", help="one line a tensor as well")
    parser.add_argument("--isobit", help="the program to hold against")
    options = parser.parse_args()
    if not options.model:
        if not options.isobit:
            parser.error("needs a model, or --isobit")
        sys.exit(0 if check_made_files(options.isobit) else 1)
    tensors, elements, differing = read(options.model)
    if options.isobit:
        sys.exit(0 if compare(options.isobit, options.model, tensors) else 1)
    import xxhash  # not needed to compare
    whole = xxhash.xxh3_128()
    for name in sorted(tensors):
        data = tensors[name].tobytes()
        whole.update(data)
        if options.tensors:
            print(name, xxhash.xxh3_128(data).hexdigest())
    print(f"{len(tensors)} tensors, Q4_1 elements {elements}, two roundings differ in {differing}")
    print(whole.hexdigest())


if __name__ == "__main__":
    main()
