#!/usr/bin/env python3
"""Compares every family of the architecture table with Hugging Face transformers on tiny models.
By hand; needs torch, transformers and gguf. Exit 0: within the bound, 1: not.

  check_architectures.py --isobit build/release/isobit > tests/bench/architectures.txt
  check_architectures.py --isobit build/release/isobit --keep tests/integration/architectures

Each model is made here from a seed, with sizes that nothing divides, and run in fp32 on a CPU.
Isobit generates 64 tokens greedily for each prompt; every row of logits is compared with
transformers' for the same ids: the distance is at most 2e-5 of the row's range, and the token is
transformers' argmax. The same weights as a GGUF, renamed by the gguf package's own table and with
llama.cpp's order of rows, must give the same bits. --keep writes the models and the rows that
test_architectures.py needs.
"""
import argparse
import json
import pathlib
import platform
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers

import check_transformers

transformers.utils.logging.disable_progress_bar()
BOUND = 2e-5            # of the row's range
NEW_TOKENS = 64
LENGTHS = (1, 6, 23)    # of the prompts; the windows are shorter than the longest
LEAST_DIFFERENT = 20    # tokens of a model, so that no text is one token again and again
KEPT_ROWS = 6
KEPT_FAMILIES = ("qwen2", "qwen3")

SIZES = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 51, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
         "bos_token_id": None, "eos_token_id": None}
LATE = {"use_sliding_window": True, "sliding_window": 9}
# Name, family, what differs from SIZES, architecture of the GGUF. A GGUF cannot say which layers
# slide, so two models have none.
MODELS = [
    ("llama", "Llama", {"num_attention_heads": 6, "hidden_size": 48}, "LLAMA"),
    ("llama-biases", "Llama", {"attention_bias": True, "mlp_bias": True}, "LLAMA"),
    ("mistral", "Mistral", {"head_dim": 24, "sliding_window": 9}, "LLAMA"),
    ("qwen2", "Qwen2", {**LATE, "num_hidden_layers": 3, "max_window_layers": 1,
                        "tie_word_embeddings": True}, None),
    ("qwen2-full", "Qwen2", {"vocab_size": 101}, "QWEN2"),
    ("qwen3", "Qwen3", {"head_dim": 16}, "QWEN3"),
    ("qwen3-windows", "Qwen3", {**LATE, "num_hidden_layers": 3, "head_dim": 24,
                                "attention_bias": True, "layer_types": [
                                    "sliding_attention", "full_attention", "sliding_attention"]},
     None),
]


def make_model(family, changes, seed):
    """A model in which every tensor matters: no weight is near 0, no norm is 1, no bias is 0."""
    config = getattr(transformers, family + "Config")(**(SIZES | changes))
    config._attn_implementation = "eager"
    model = getattr(transformers, family + "ForCausalLM")(config).float().eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            values = torch.randn(tensor.shape, generator=draw)
            if tensor.dim() == 2:
                tensor.copy_(values * (0.3 if "embed" in name else 2 * tensor.shape[1] ** -0.5))
            else:
                tensor.copy_((0.0 if name.endswith("bias") else 1.0) + 0.3 * values)
    return model


def interleaved(values, heads):
    """llama.cpp's order of q's and k's rows, for a RoPE on neighbours."""
    rest = values.shape[1:]
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *rest).swapaxes(1, 2).reshape(
        values.shape)


def write_gguf(model, architecture, path):
    config = model.config
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[architecture]])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if architecture == "LLAMA" and getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    # Isobit wants a tokenizer in a GGUF, though the prompts are token ids.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["a", *(f"t{i}" for i in range(1, config.vocab_size))])
    writer.add_token_types([gguf.TokenType.NORMAL] * config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture], config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if architecture == "LLAMA" and ".q_proj." in name:
            values = interleaved(values, config.num_attention_heads)
        if architecture == "LLAMA" and ".k_proj." in name:
            values = interleaved(values, config.num_key_value_heads)
        if not (config.tie_word_embeddings and name == "lm_head.weight"):
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")),
                              np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def prompts_of(vocabulary):
    return [(f"n{length}", [(i * 31 + 7 * length) % vocabulary for i in range(length)])
            for length in LENGTHS]


def run(arguments, model, prompts):
    """{id: (tokens, {position: row})} by Isobit."""
    asked = argparse.Namespace(isobit=arguments.isobit, model=model, max_new=NEW_TOKENS, batch=2)
    with tempfile.TemporaryDirectory() as folder:
        return check_transformers.generate(asked, prompts, pathlib.Path(folder))


def compare(model, prompts, made):
    """(rows, different tokens, worst distance over the row's range, tokens that are not
    transformers')."""
    rows, worst, wrong, seen = 0, 0.0, 0, set()
    for name, ids in prompts:
        tokens, ours = made[name]
        theirs = check_transformers.their_rows(model, ids + tokens, sorted(ours))
        assert len(tokens) == len(ours) == NEW_TOKENS
        for token, (position, row) in zip(tokens, sorted(ours.items())):
            spread = float(row.max()) - float(row.min())
            distance = np.abs(row.astype(np.float64) - theirs[position]).max() / spread
            worst = max(worst, float(distance))
            wrong += int(np.argmax(theirs[position])) != token
            rows += 1
            seen.add(token)
    return rows, len(seen), worst, wrong


def same_bits(made, other):
    return all(made[name][0] == other[name][0] and
               all(row.tobytes() == other[name][1][at].tobytes()
                   for at, row in made[name][1].items()) for name in made)


def keep(model, prompts, made, folder):
    """The model and what transformers gives for its longest prompt."""
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    name, ids = prompts[-1]
    tokens, rows = made[name]
    positions = sorted(rows)[::NEW_TOKENS // KEPT_ROWS]
    theirs = check_transformers.their_rows(model, ids + tokens, positions)
    np.concatenate([theirs[p] for p in positions]).astype("<f4").tofile(folder / "logits.f32")
    (folder / "expected.json").write_text(json.dumps(
        {"prompt": ids, "tokens": tokens, "positions": positions}) + "\n")


def processor():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", type=pathlib.Path, default=pathlib.Path("build/isobit"))
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the models of "
                        "test_architectures.py")
    return parser.parse_args()


def main():
    arguments = parse()
    arguments.isobit = arguments.isobit.resolve()
    print("tests/integration/check_architectures.py --isobit build/release/isobit")
    print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, "
          f"{processor()}")
    print(f"fp32, {len(LENGTHS)} prompts of {', '.join(map(str, LENGTHS))} tokens, {NEW_TOKENS} "
          f"greedy tokens each; bound {BOUND:g} of a row's range\n")
    print("model          parameters  rows  different tokens  worst distance  other tokens  "
          "as GGUF")
    good = True
    for number, (name, family, changes, architecture) in enumerate(MODELS):
        model = make_model(family, changes, 1000 + number)
        prompts = prompts_of(model.config.vocab_size)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model.save_pretrained(folder / "model")
            made = run(arguments, folder / "model", prompts)
            stored = "none"
            if architecture:
                write_gguf(model, architecture, folder / "model.gguf")
                same = same_bits(made, run(arguments, folder / "model.gguf", prompts))
                stored = "same bits" if same else "OTHER BITS"
        rows, different, worst, wrong = compare(model, prompts, made)
        good &= worst <= BOUND and wrong == 0 and stored != "OTHER BITS"
        good &= different >= LEAST_DIFFERENT
        print(f"{name:14} {sum(p.numel() for p in model.parameters()):10} {rows:5} {different:17} "
              f"{worst:15.2e} {wrong:13}  {stored}")
        if arguments.keep and name in KEPT_FAMILIES:
            keep(model, prompts, made, arguments.keep / name)
    print(f"\n{'within' if good else 'NOT within'} the bound")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
