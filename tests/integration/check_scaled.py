#!/usr/bin/env python3
"""Holds Isobit's values of scaled 8-bit weights against transformers' own dequantisation.

  check_scaled.py PROGRAM     by hand; needs torch, transformers, safetensors

A Llama of one layer with random e4m3 codes (NaN among them) and random scales: per block and per
tensor as transformers' "fp8" stores them, per channel as compressed-tensors does, whose product
transformers writes as quant.to(float32) * scale.to(float32). Each tensor is compared by its digest
in `model digest --json`.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

from check_dequantised import content

HIDDEN, MLP, VOCAB, BLOCK = 128, 256, 24, (32, 64)
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
          "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": MLP,
          "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
          "head_dim": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
          "rope_theta": 1e4, "tie_word_embeddings": False}
MATRICES = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (64, HIDDEN),
            "self_attn.v_proj": (64, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (MLP, HIDDEN), "mlp.up_proj": (MLP, HIDDEN),
            "mlp.down_proj": (HIDDEN, MLP)}
WEIGHTS = {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False,
           "strategy": "channel"}
# Name, quantization_config, end of the scale's name, its shape and type.
KINDS = [
    ("block", {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": BLOCK}, "_scale_inv",
     lambda rows, cols: (rows // BLOCK[0], cols // BLOCK[1]), torch.float32),
    ("block, bf16 scales", {"quant_method": "fp8", "weight_block_size": BLOCK}, "_scale_inv",
     lambda rows, cols: (rows // BLOCK[0], cols // BLOCK[1]), torch.bfloat16),
    ("tensor", {"quant_method": "fp8", "activation_scheme": "static"}, "_scale_inv",
     lambda rows, cols: (1, 1), torch.float32),
    ("channel", {"quant_method": "compressed-tensors", "format": "float-quantized",
                 "config_groups": {"group_0": {"targets": ["Linear"], "weights": WEIGHTS}}},
     "_scale", lambda rows, cols: (rows, 1), torch.bfloat16),
]


def make(folder, config, end, shape_of, kind):
    """Writes the model; gives each tensor's fp32 values by transformers."""
    stored = {"model.embed_tokens.weight": torch.randn(VOCAB, HIDDEN),
              "lm_head.weight": torch.randn(VOCAB, HIDDEN), "model.norm.weight": torch.ones(HIDDEN)}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        stored[f"model.layers.0.{norm}.weight"] = torch.ones(HIDDEN)
    want = dict(stored)
    for name, (rows, cols) in MATRICES.items():
        name = f"model.layers.0.{name}.weight"
        codes = torch.randint(0, 256, (rows, cols), dtype=torch.uint8).view(torch.float8_e4m3fn)
        scales = (torch.rand(shape_of(rows, cols)) * 0.02).to(kind)
        stored[name], stored[name + end] = codes, scales
        if end == "_scale":
            want[name] = codes.to(torch.float32) * scales.to(torch.float32)
        else:
            want[name] = Fp8Dequantize(None)._dequantize_one(codes, scales, torch.float32)
    safetensors.torch.save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": config}))
    return {name: tensor.numpy() for name, tensor in want.items()}


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    torch.manual_seed(13)
    failed = False
    for name, *kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            want = make(pathlib.Path(folder), *kind)
            done = subprocess.run([program, "model", "digest", folder, "--json"],
                                  capture_output=True, text=True, check=True)
        got = json.loads(done.stdout)["tensors"]
        wrong = [each for each in got if content(want[each]) != got[each]]
        print(f"{name}: {len(got)} of {len(want)} tensors compared, {len(wrong)} differ")
        failed |= bool(wrong) or len(got) != len(want)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
