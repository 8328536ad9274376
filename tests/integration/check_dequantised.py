#!/usr/bin/env python3
"""Prints the digest of a GGUF Llama's values, made without Isobit.

By hand; needs gguf, numpy, xxhash.

  check_dequantised.py model.gguf [--tensors]

Every tensor is dequantised by gguf-py, q and k rows are put back into Hugging Face's order, and the
fp32 bytes of all tensors, sorted by Hugging Face name, go through one XXH3-128. The unit test
LoadModel.SmolLm2 compares what the loader gives with the line that this script printed.
Also counts the Q4_1 elements whose two-rounding value (gguf-py's) is not the single fma.
"""
import argparse

import gguf
import numpy as np
import xxhash

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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--tensors", action="store_true", help="one line a tensor as well")
    options = parser.parse_args()
    reader = gguf.GGUFReader(options.model)
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
