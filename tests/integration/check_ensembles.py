"""An ensemble of default-7m measured a second time: weights changed by the NumPy code beside the
conformance tests, logits by transformers in fp32, metrics in NumPy fp64. Shares no code with
isobit.

    ISOBIT=build/release/isobit python3 tests/integration/check_ensembles.py \\
        [--scenario scenarios/papers/ensembles.yaml] [--take N] [--only bsr:5] [--db FILE]

Compares every number of the scenario's ensembles with precision fp32 (--only: those whose rule has
the text; --db: of the first run in a database, instead of a new one). Logits of two programs
agree to about 1e-5, so sums over targets agree to about as much, and a count may differ where two
tokens tie: each line has both numbers. The last line has the greatest distance of the NLLs. Exit
code: 0 below --limit, 1 above. Needs torch, transformers, numpy and xxhash.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "conformance" / "oracle"))
import changed_weights  # noqa: E402


def reported(scenario, take, database):
    if database:
        words = [os.environ["ISOBIT"], "report", "1", "--db", database, "--json"]
        return json.loads(subprocess.run(words, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory() as folder:
        words = [os.environ["ISOBIT"], "run", str(scenario), "--db", f"{folder}/d.db", "--json",
                 "--update", "none", "-j", str(os.cpu_count())]
        if take:
            words += ["--set", f"prompts.take={take}"]
        done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in (0, 1, 7):
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def targets_of(tokenizer, prompts):
    for prompt in prompts:
        ids = tokenizer.encode(prompt["text"]).ids
        answer = tokenizer.encode(prompt["answer"], add_special_tokens=False).ids
        yield ids, answer


def log_probabilities(model, sequences, change):
    """[targets, vocabulary] in fp64 of a model whose matrices are changed."""
    import torch
    state = {name: value.float() for name, value in model.state_dict().items()}
    own = dict(state)
    for name, value in state.items():
        own_head = name == "lm_head.weight" and not model.config.tie_word_embeddings
        if change != "stored" and ("proj" in name or own_head):
            own[name] = torch.from_numpy(changed_weights.changed(value.numpy(), change, name))
    rows = []
    with torch.no_grad():
        for ids, answer in sequences:
            logits = torch.func.functional_call(model, own, (torch.tensor([ids + answer[:-1]]),),
                                                tie_weights=False).logits[0, len(ids) - 1:]
            x = logits.double().numpy()
            x = x - x.max(-1, keepdims=True)
            rows.append(x - np.log(np.exp(x).sum(-1, keepdims=True)))
    return np.concatenate(rows)


def metrics(log_p, target, bins):
    """Of members stacked first: NLL, error, ECE, member NLL."""
    p = np.exp(log_p).mean(0)
    at = np.arange(len(target))
    right, confidence = p.argmax(-1) == target, p.max(-1)
    b = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1)
    ece = sum(abs(right[b == k].sum() - confidence[b == k].sum()) for k in set(b)) / len(target)
    return {"nll": -np.log(p[at, target]).mean(), "error": 1 - right.mean(), "ece": ece,
            "member_nll": -log_p[:, at, target].mean()}


def tempered(stack, target, prompt_of):
    """NLL of the mean probabilities at a temperature: for the prompts of even number the one that
    is best for those of odd number, and the other way about. What is left is no matter of
    calibration (Ashukha et al., ICLR 2020)."""
    mean = np.log(np.exp(stack).mean(0))

    def nll(temperature, chosen):
        x = mean[chosen] / temperature
        x = x - x.max(-1, keepdims=True)
        x -= np.log(np.exp(x).sum(-1, keepdims=True))
        return -x[np.arange(len(x)), target[chosen]]

    total = 0
    for half in (0, 1):
        chosen = prompt_of % 2 == half
        best = min(np.arange(0.8, 2.5, 0.1), key=lambda t: nll(t, ~chosen).mean())
        total += nll(best, chosen).sum()
    return total / len(target)


def against_stored(stack, stored, target, prompt_of):
    """NLL and error of an ensemble minus those of the stored weights, each with its standard error
    over prompts."""
    at = np.arange(len(target))
    ensemble = np.log(np.exp(stack[:, at, target]).mean(0))
    wrong = np.exp(stack).mean(0).argmax(-1) != target
    more_wrong = wrong.astype(float) - (stored.argmax(-1) != target)
    return (over_prompts(stored[at, target] - ensemble, prompt_of)
            + over_prompts(more_wrong, prompt_of))


def over_prompts(difference, prompt_of):
    """The mean over targets, and its standard error as a ratio of sums over prompts."""
    sums = np.bincount(prompt_of, difference)
    counts = np.bincount(prompt_of)
    mean = sums.sum() / counts.sum()
    residual = sums - mean * counts  # of a ratio of sums over prompts
    n = len(counts)
    return mean, np.sqrt((residual ** 2).sum() * n / (n - 1)) / counts.sum()


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--scenario", type=pathlib.Path,
                       default=ROOT / "scenarios/papers/ensembles.yaml")
    parse.add_argument("--take", type=int)
    parse.add_argument("--only", default="")
    parse.add_argument("--db")
    parse.add_argument("--limit", type=float, default=1e-4)
    arguments = parse.parse_args()
    import tokenizers
    import transformers
    report = reported(arguments.scenario, arguments.take, arguments.db)
    folder = ROOT / "scenarios/models/default-7m"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompts = [json.loads(line) for line in
               (ROOT / "scenarios/prompts/continuations.jsonl").read_text().splitlines()]
    worst, known, used = 0, {}, 0
    for group in report["groups"]:
        found = group["ensemble"]
        if found is None or "precision=bf16" in group["key"] or arguments.only not in group["rule"]:
            continue
        used += 1
        sequences = list(targets_of(tokenizer, prompts[:found["prompts"]]))
        target = np.array([token for _, answer in sequences for token in answer])
        prompt_of = np.repeat(np.arange(len(sequences)), [len(a) for _, a in sequences])
        if "stored" not in known:
            known["stored"] = log_probabilities(model, sequences, "stored")
        assert len(target) == found["targets"], (len(target), found["targets"])
        for member in found["alone"]:
            text = member["weights"]
            if text not in known:
                known[text] = log_probabilities(model, sequences, text)
        stack = np.stack([known[member["weights"]] for member in found["alone"]])
        print(f"{group['rule']} [{group['key']}]: {len(target)} targets")
        for size in found["sizes"]:
            own = metrics(stack[:size["members"]], target, found["bins"])
            worst = max(worst, abs(own["nll"] - size["nll"]))
            line = "  ".join(f"{key} {size[key]:.6f} {own[key]:.6f}" for key in own)
            some = stack[:size["members"]]
            print(f"  {size['members']:2} members: isobit, transformers: {line}")
            print("      minus stored: NLL {:+.4f} +- {:.4f}, error {:+.4f} +- {:.4f}; NLL at a "
                  "temperature {:.4f}".format(
                      *against_stored(some, known["stored"], target, prompt_of),
                      tempered(some, target, prompt_of)))
        for member, log_p in zip(found["alone"], stack):
            own = metrics(log_p[None], target, found["bins"])
            worst = max(worst, abs(own["nll"] - member["nll"]))
            print(f"  {member['weights']}: NLL {member['nll']:.6f} {own['nll']:.6f}")
        deviation = (-stack[:, np.arange(len(target)), target].mean(-1)).std(ddof=1)
        print(f"  deviation of NLL over members {found['members']['nll']:.6f} {deviation:.6f}")
    print(f"{used} ensembles, greatest distance of an NLL {worst:.3g}")
    return 0 if used and worst < arguments.limit else 1


if __name__ == "__main__":
    sys.exit(main())
