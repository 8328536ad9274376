#!/usr/bin/env python3
"""Compares the tiny models of architectures/ with Hugging Face transformers on more than their own
prompts, and with the same weights as a GGUF. By hand; needs torch, transformers 5 and gguf.
Exit 0: within the bound, 1: not.

  check_architectures.py --isobit build/release/isobit [name ...] > tests/bench/architectures.txt

make_architectures.py makes the models and runs them there. Isobit generates 64 tokens greedily for
each prompt, in fp32; every row of logits is compared with transformers' for the same ids: the
distance is at most 2e-5 of the row's range, and the token is transformers' argmax. A GGUF, renamed
by the gguf package's own table and with llama.cpp's order of rows, must give the same bits.
"""
import argparse
import pathlib
import platform
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers

import check_transformers
import make_architectures
from make_architectures import NEW_TOKENS, distance, prompt_of

BOUND = 2e-5            # of the row's range
LENGTHS = (1, 6, 23)    # of the prompts, next to the model's own
# The GGUF's architecture, of models that one can hold: it cannot say which layers slide.
GGUF = {"llama-biases": "LLAMA", "llama-linear": "LLAMA", "smollm": "LLAMA", "mistral": "LLAMA",
        "qwen3": "QWEN3"}


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
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
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
        _, theirs, _, _ = make_architectures.run(model, ids, tokens)
        assert len(tokens) == len(ours) == NEW_TOKENS and sorted(ours) == sorted(theirs)
        for token, (position, row) in zip(tokens, sorted(ours.items())):
            worst = max(worst, distance(theirs[position], row))
            wrong += int(np.argmax(theirs[position])) != token
            rows += 1
        seen.update(tokens)
    return rows, len(seen), worst, wrong


def same_bits(made, other):
    return all(made[name][0] == other[name][0] and
               all(row.tobytes() == other[name][1][at].tobytes()
                   for at, row in made[name][1].items()) for name in made)


def check(arguments, name):
    """The line of a model, and whether it is good."""
    folder = make_architectures.HERE / name
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager",
        experts_implementation="eager").eval()
    lengths = sorted({*LENGTHS, *make_architectures.MODELS[name][2]})
    prompts = [(f"n{n}", prompt_of(n, model.config.vocab_size)) for n in lengths]
    made = run(arguments, folder, prompts)
    stored = "none"
    if name in GGUF:
        with tempfile.TemporaryDirectory() as place:
            path = pathlib.Path(place) / "model.gguf"
            write_gguf(model, GGUF[name], path)
            same = same_bits(made, run(arguments, path, prompts))
        stored = "same bits" if same else "OTHER BITS"
    rows, different, worst, wrong = compare(model, prompts, made)
    line = (f"{name:18} {sum(p.numel() for p in model.parameters()):10} {rows:5} {different:17} "
            f"{worst:15.2e} {wrong:13}  {stored}")
    return line, worst <= BOUND and wrong == 0 and stored != "OTHER BITS"


def processor():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", type=pathlib.Path, default=pathlib.Path("build/isobit"))
    parser.add_argument("names", nargs="*", metavar="name", help="of the models; all by default")
    return parser.parse_args()


def main():
    arguments = parse()
    arguments.isobit = arguments.isobit.resolve()
    print("tests/integration/check_architectures.py --isobit build/release/isobit")
    print(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, "
          f"{processor()}")
    print(f"fp32, prompts of {', '.join(map(str, LENGTHS))} tokens and the model's own, "
          f"{NEW_TOKENS} greedy tokens each; bound {BOUND:g} of a row's range\n")
    print("model              parameters  rows  different tokens  worst distance  other tokens  "
          "as GGUF")
    good = True
    for name in arguments.names or make_architectures.MODELS:
        line, fine = check(arguments, name)
        print(line, flush=True)
        good &= fine
    print(f"\n{'within' if good else 'NOT within'} the bound")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
