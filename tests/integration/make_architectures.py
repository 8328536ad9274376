#!/usr/bin/env python3
"""Makes the tiny models of architectures/ and what Hugging Face transformers computes with them.
By hand; needs torch, transformers 5 and safetensors, not Isobit.

  make_architectures.py [--out tests/integration/architectures] [name ...]

Each model is drawn from a seed, with sizes that nothing divides, and rounded to bf16, so that its
file is small and its values are the same in fp32. transformers runs it in fp32 on a CPU, eager, the
prompt at once and then token by token with its own cache, greedily. A folder holds config.json,
model.safetensors and

  expected.json  {"cases": [{"prompt": ids, "tokens": ids, "logits": positions,
                 "hidden": positions}]}
  logits.f32     for each case and position of "logits": (vocabulary)
  hidden.f32     for each case and position of "hidden": (layers, hidden), the residual stream that
                 enters each layer

all little-endian fp32. The seed is the first with which every text is lively, no choice is near
(the first token over the second by more than 1e-3 of the row's range, the last chosen expert over
the next), and fp64 gives the same rows within a quarter of the tests' bound.
"""
import argparse
import copy
import json
import pathlib
import sys
import warnings

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
warnings.simplefilter("ignore", FutureWarning)  # a parameter that is about to change its name
HERE = pathlib.Path(__file__).resolve().parent / "architectures"
NEW_TOKENS = 64
LEAST_DIFFERENT = 20     # tokens of a text, so that none is one token again and again
LEAST_MARGIN = 1e-3      # of a row's range
LEAST_ROUTING = 1e-3     # between the logits of the last chosen expert and the next one
MOST_NOISE = 5e-6        # of a row's range, between fp32 and fp64
KEPT_ROWS = 5
MOST_SEEDS = 60

SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 51, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
         "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": None,
         "pad_token_id": None}
LATE = {"use_sliding_window": True, "sliding_window": 9}
ORIGINAL = {"original_max_position_embeddings": 32}
MOE = {"num_local_experts": 6, "num_experts_per_tok": 2}


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


# Folder: family, what differs from SIZES (None: the key is not given), lengths of the prompts. A
# short prompt crosses the window, or the original context, while it generates.
MODELS = {
    "llama": ("Llama", {"num_attention_heads": 6, "hidden_size": 48,
                        **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                               **ORIGINAL)}, (11,)),
    "llama-linear": ("Llama", rope("linear", factor=4.0), (23,)),
    "llama-dynamic": ("Llama", {**rope("dynamic", factor=4.0), "max_position_embeddings": 32},
                      (11, 43)),
    "llama-yarn": ("Llama", rope("yarn", factor=4.0, **ORIGINAL), (11,)),
    "llama-yarn-mscale": ("Llama", rope(
        "yarn", factor=4.0, mscale=1.2, mscale_all_dim=0.8, beta_fast=4.0, beta_slow=0.5,
        truncate=False, **ORIGINAL), (11,)),
    "llama-biases": ("Llama", {"head_dim": 24, "attention_bias": True, "mlp_bias": True}, (11,)),
    "smollm": ("Llama", {"tie_word_embeddings": True, "vocab_size": 101}, (11,)),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 3, "no_rope_layer_interval": 2,
                            "tie_word_embeddings": True}, (11,)),
    "mistral": ("Mistral", {"head_dim": 24, "sliding_window": 20}, (11,)),
    "qwen2": ("Qwen2", {**LATE, "num_hidden_layers": 3, "max_window_layers": 1, "head_dim": None,
                        "tie_word_embeddings": True}, (23,)),
    "qwen3": ("Qwen3", {}, (23,)),
    "qwen3-windows": ("Qwen3", {**LATE, "num_hidden_layers": 3, "attention_bias": True,
                                "layer_types": ["sliding_attention", "full_attention",
                                                "sliding_attention"]}, (23,)),
    "gemma2": ("Gemma2", {"num_hidden_layers": 3, "query_pre_attn_scalar": 24,
                          "attn_logit_softcapping": 6.0, "final_logit_softcapping": 9.0,
                          "sliding_window": 16}, (11,)),
    "gemma3": ("Gemma3Text", {"num_hidden_layers": 7, "head_dim": 8, "intermediate_size": 37,
                              "query_pre_attn_scalar": 12, "sliding_window": 16,
                              "rope_parameters": {
                                  "full_attention": {"rope_type": "linear", "factor": 8.0,
                                                     "rope_theta": 1000000.0},
                                  "sliding_attention": {"rope_type": "default",
                                                        "rope_theta": 10000.0}}}, (11,)),
    "phi3": ("Phi3", {"hidden_size": 64, "intermediate_size": 35, "head_dim": None,
                      "sliding_window": 20}, (11,)),
    "phi3-longrope": ("Phi3", {
        "hidden_size": 64, "intermediate_size": 35, "head_dim": None, "tie_word_embeddings": True,
        **ORIGINAL, **rope(
            "longrope", partial_rotary_factor=0.75, **ORIGINAL,
            short_factor=[1.0, 1.05, 1.1, 1.3, 1.6, 2.0],
            long_factor=[1.0, 1.4, 2.1, 3.5, 5.5, 8.0])}, (11, 43)),
    "olmo2": ("Olmo2", {"head_dim": None, "hidden_size": 48, "num_attention_heads": 6}, (11,)),
    "gpt2": ("GPT2", {"hidden_size": 48, "num_attention_heads": 6, "n_inner": 51,
                      "intermediate_size": None, "num_key_value_heads": None, "head_dim": None},
             (11,)),
    "mixtral": ("Mixtral", {**MOE, "intermediate_size": 21}, (11,)),
    "qwen3_moe": ("Qwen3Moe", {**MOE, "moe_intermediate_size": 19, "norm_topk_prob": True,
                               "num_hidden_layers": 3, "mlp_only_layers": [1]}, (11,)),
    "qwen3_moe-step": ("Qwen3Moe", {**MOE, "moe_intermediate_size": 19, "norm_topk_prob": False,
                                    "num_hidden_layers": 3, "decoder_sparse_step": 2}, (11,)),
}


def prompt_of(length, vocabulary):
    return [(i * 31 + 7 * length) % vocabulary for i in range(length)]


def make_model(name, seed):
    """A model in which every tensor matters: no weight is near 0, no norm is 1, no bias is 0."""
    family, changes, _ = MODELS[name]
    given = {k: v for k, v in (SIZES | copy.deepcopy(changes)).items()
             if v is not None or k.endswith("token_id")}
    config = getattr(transformers, family + "Config")(**given)
    config._attn_implementation = config._experts_implementation = "eager"
    model_class = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(
        family, family + "ForCausalLM")
    model = getattr(transformers, model_class)(config).float().eval()
    draw = torch.Generator().manual_seed(seed)
    norm = 0.0 if "gemma" in name else 1.0  # Gemma's norms multiply by 1 + w
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            values = torch.randn(tensor.shape, generator=draw)
            if tensor.dim() == 1:
                values = (0.0 if key.endswith("bias") else norm) + 0.3 * values
            elif "embed" in key or "wte" in key or "wpe" in key:
                values = (0.07 if "gemma" in name else 0.3) * values  # Gemma multiplies them
            else:  # GPT-2's matrices are (inputs, outputs)
                inputs = tensor.shape[0 if family == "GPT2" else -1]
                values = 2 * inputs ** -0.5 * values
            tensor.copy_(values.bfloat16().float())
    return model


def layers_of(model):
    return model.transformer.h if hasattr(model, "transformer") else model.model.layers


def routers_of(model):
    """(number of experts chosen, the modules whose output is the logits of the experts)"""
    return getattr(model.config, "num_experts_per_tok", 0), [
        m for n, m in model.named_modules() if n.endswith((".mlp.gate", "block_sparse_moe.gate"))
        and not hasattr(m, "gate_proj")]


class Watch:
    """While it is open, keeps what enters each layer and the nearest choice of experts."""

    def __init__(self, model):
        self.entered = [[] for _ in layers_of(model)]  # by layer: (positions of a step, hidden)
        self.routing = float("inf")
        self.hooks = [layer.register_forward_pre_hook(self.keep(i), with_kwargs=True)
                      for i, layer in enumerate(layers_of(model))]
        chosen, routers = routers_of(model)
        self.hooks += [r.register_forward_hook(self.route(chosen)) for r in routers]

    def keep(self, index):
        def hook(_, arguments, keywords):
            x = arguments[0] if arguments else keywords["hidden_states"]
            self.entered[index].append(x[0].detach().clone())
        return hook

    def route(self, chosen):
        def hook(_, __, output):
            logits = output[0] if isinstance(output, tuple) else output
            best = torch.sort(logits.double(), descending=True).values
            self.routing = min(self.routing, float((best[:, chosen - 1] - best[:, chosen]).min()))
        return hook

    def close(self):
        for hook in self.hooks:
            hook.remove()

    def hidden(self):
        """(positions, layers, hidden)"""
        return torch.stack([torch.cat(each) for each in self.entered], dim=1).numpy()


@torch.no_grad()
def run(model, prompt, tokens=None, count=NEW_TOKENS):
    """(tokens, {position: row}, residuals (positions, layers, hidden), nearest choice of experts).
    The prompt at once, then each token; `tokens`: these instead of the largest logits."""
    model = copy.deepcopy(model)  # some kinds of RoPE remember the longest sequence
    watch = Watch(model)
    cache, feed, made, rows = None, prompt, [], {}
    for step in range(count):
        out = model(torch.tensor([feed]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        row = out.logits[0, -1].numpy()
        rows[len(prompt) + step - 1] = row
        made.append(int(np.argmax(row)) if tokens is None else tokens[step])
        feed = made[-1:]
    watch.close()
    return made, rows, watch.hidden(), watch.routing


def margin(row):
    first, second = np.sort(row)[:-3:-1]
    return (first - second) / (row.max() - row.min())


def distance(row, other):
    """Of two rows, over the first one's range."""
    return float(np.abs(row.astype(np.float64) - other).max() / (row.max() - row.min()))


def refuse(cases, model):
    """Why a seed's texts are no good, or None."""
    for tokens, rows, hidden, routing in cases:
        if len(set(tokens)) < LEAST_DIFFERENT:
            return f"{len(set(tokens))} different tokens"
        if min(map(margin, rows.values())) < LEAST_MARGIN:
            return "a near choice of tokens"
        assert routing < float("inf") or not hasattr(model.config, "num_experts_per_tok")
        if routing < LEAST_ROUTING:
            return "a near choice of experts"
    wide = copy.deepcopy(model).double()
    for length, (tokens, rows, hidden, _) in zip(model.lengths, cases):
        _, exact, residuals, _ = run(wide, prompt_of(length, model.config.vocab_size), tokens)
        if max(distance(rows[p], exact[p]) for p in rows) > MOST_NOISE:
            return "fp64 gives other rows"
        if max(distance(a, b) for a, b in zip(hidden.reshape(-1, hidden.shape[-1]),
                                              residuals.reshape(-1, hidden.shape[-1]))
               ) > MOST_NOISE:
            return "fp64 gives other residuals"
    return None


def write(model, cases, folder):
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    stored = folder / "model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(stored).items()}, stored, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}, indent=2) + "\n")
    told, logits, hidden = [], [], []
    for length, (tokens, rows, residuals, _) in zip(model.lengths, cases):
        all_rows = sorted(rows)
        at_rows = [all_rows[i * (len(rows) - 1) // (KEPT_ROWS - 1)] for i in range(KEPT_ROWS)]
        at_hidden = sorted({0, length // 2, *at_rows[:-1:2], len(residuals) - 1})
        logits += [rows[p] for p in at_rows]
        hidden += [residuals[p] for p in at_hidden]
        told.append({"prompt": prompt_of(length, model.config.vocab_size), "tokens": tokens,
                     "logits": at_rows, "hidden": at_hidden})
    np.concatenate(logits).astype("<f4").tofile(folder / "logits.f32")
    np.concatenate(hidden).astype("<f4").tofile(folder / "hidden.f32")
    (folder / "expected.json").write_text(json.dumps({"cases": told}) + "\n")


def make(name, out):
    for seed in range(1000, 1000 + MOST_SEEDS):
        model = make_model(name, seed)
        model.lengths = MODELS[name][2]
        cases = [run(model, prompt_of(length, model.config.vocab_size))
                 for length in model.lengths]
        why = refuse(cases, model)
        if why is None:
            break
        print(f"{name}: seed {seed}: {why}", file=sys.stderr)
    else:
        sys.exit(f"{name}: no seed is good")
    write(model, cases, out / name)
    print(f"{name:18} seed {seed}  {(out / name / 'model.safetensors').stat().st_size:7} bytes  "
          f"margin {min(margin(r) for _, rows, _, _ in cases for r in rows.values()):.4f}  "
          f"different tokens {min(len(set(tokens)) for tokens, *_ in cases)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("names", nargs="*", metavar="name", help="of the models; all by default")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for name in arguments.names or MODELS:
        make(name, arguments.out)


if __name__ == "__main__":
    main()
