"""Fine-tunes default-7m on one of its own tasks, on one CPU thread.

    python3 scenarios/models/train/finetune.py --task reverse --out OUT

The tasks are longer.py's: kinds of question that the base knows, at lengths that it never had.
Promise: every draw is seeded and the arithmetic is fp32 on one thread, so one machine with one
build of torch gives the same bits again; another may not. The questions come from the training
side of procedural.py's split, so none of them is a prompt of scenarios/prompts/. The result is a
safetensors file in fp32 whose distance from the base is the task vector; nothing is rounded.
"""

import argparse
import json
import pathlib
import random
import time

import torch
from safetensors.torch import load_file, save_file

import longer
import model as llama
import tokens

HERE = pathlib.Path(__file__).resolve().parent
BASE = HERE.parent / "default-7m"
SEED = "finetune/1"


def load(path, config):
    """A model in fp32 with the tensors of a safetensors file."""
    model = llama.Model(config, torch.float32)
    names = {name.removeprefix("model.").replace("embed_tokens.weight", "embed_tokens"): value
             for name, value in load_file(str(path)).items()}
    model.load_state_dict({name: value.float() for name, value in names.items()})
    return model


def batch(tokenizer, task, rng, size):
    """`size` documents, padded on the right: ids and loss weights, (size, longest)."""
    documents = tokens.encode_samples(
        tokenizer, [longer.sample(task, rng, "train") for _ in range(size)])
    longest = max(len(ids) for ids, _ in documents)
    ids = torch.full((size, longest), tokens.END_ID)
    weights = torch.zeros((size, longest))
    for row, (document, weight) in enumerate(documents):
        ids[row, :len(document)] = torch.tensor(document)
        weights[row, :len(document)] = torch.tensor(weight, dtype=torch.float32)
    return ids, weights


def schedule(step, steps):
    """Warm-up for a twentieth, then linear to zero."""
    warm = max(1, steps // 20)
    return min(1.0, (step + 1) / warm) * min(1.0, (steps - step) / (steps - warm))


def finetune(model, tokenizer, arguments):
    """The loop. Returns [step, loss] of some steps."""
    rng, curve, begun = random.Random(f"{SEED}/{arguments.task}"), [], time.perf_counter()
    adam = torch.optim.AdamW(model.parameters(), lr=arguments.lr, betas=(0.9, 0.95),
                             weight_decay=0.0)
    for step in range(arguments.steps):
        loss = model.loss(*batch(tokenizer, arguments.task, rng, arguments.rows), llama.causal)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = arguments.lr * schedule(step, arguments.steps)
        adam.step()
        model.zero_grad(set_to_none=True)
        model.fix_sink()
        if step % 20 == 0 or step + 1 == arguments.steps:
            curve.append([step, round(float(loss.detach()), 4)])
            print(f"{arguments.task} step {step} loss {curve[-1][1]} "
                  f"{time.perf_counter() - begun:.0f} s", flush=True)
    return curve


def save(model, path):
    """Every parameter in fp32 under its Hugging Face name."""
    tensors = {"model." + (name if name != "embed_tokens" else "embed_tokens.weight"):
               value.detach().float().contiguous() for name, value in model.named_parameters()}
    save_file(tensors, str(path), metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=sorted(longer.TASKS), required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rows", type=int, default=8, help="documents of a step")
    parser.add_argument("--lr", type=float, default=1e-4, help="AdamW's, at its highest")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)  # nothing draws from it but the initial weights, which are replaced
    torch.use_deterministic_algorithms(True)
    model = load(BASE / "model.safetensors", llama.CONFIGS["default-7m"])
    tokenizer = tokens.load_tokenizer(BASE / "tokenizer.json")
    curve = finetune(model, tokenizer, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save(model, arguments.out / f"{arguments.task}.safetensors")
    facts = {"task": arguments.task, "steps": arguments.steps, "rows": arguments.rows,
             "lr": arguments.lr, "torch": torch.__version__, "loss": curve}
    (arguments.out / f"{arguments.task}.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
