"""Writes a trained model's card (README.md) and manifest from its files and training.json.

    python3 scenarios/models/card.py default-7m nano-300k

Promise: every number comes from the training output, from acceptance.json (made by
tests/integration/default_model/accept.py --write) or from the files themselves.
"""

import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "train"))
import procedural  # noqa: E402
import sources  # noqa: E402

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
         "tokenizer_config.json")
LICENCE = "public-domain data; weights under the project's licence"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(name, facts):
    """What the model loader reads; the keys are described in scenarios/models/README.md."""
    folder = HERE / name
    files = [f for f in FILES if (folder / f).exists()]
    return {"format": 1, "name": name, "kind": "directory", "path": name, "version": "1",
            "file": "model.safetensors", "size": (folder / "model.safetensors").stat().st_size,
            "sha256": {f: digest(folder / f) for f in files}, "licence": LICENCE,
            "source": "trained by scenarios/models/train/train.py",
            "parameters": facts["parameters"]}


def command(facts):
    """The training command."""
    arguments = facts["command"] + ["--out", "OUT"]
    return "python3 scenarios/models/train/train.py " + " ".join(arguments)


def table(rows):
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in body])


def measured_rows(measured):
    rows = [("prompt set", "prompts", "tokens", "gap below 1/16", "distinct 4-grams", "accuracy")]
    for name, entry in measured.items():
        if isinstance(entry, dict) and "prompts" in entry:
            groups = entry.get("accuracy", {}).items()
            accuracy = ", ".join(f"{group} {100 * share:.1f} %" for group, share in groups)
            rows.append((name, entry["prompts"], entry["tokens"],
                         f"{100 * entry['gap_share']:.2f} %", entry.get("distinct_4grams", ""),
                         accuracy))
    return table(rows)


def acceptance_rows(folder):
    path = folder / "acceptance.json"
    if not path.exists():
        return "Not measured yet: run `tests/integration/default_model/accept.py --write`."
    checks = [c for part in json.loads(path.read_text())["checks"].values() for c in part]
    return table([("check", "measured", "wanted", "")] +
                 [(c["name"], c["value"], c["wanted"], "met" if c["met"] else "**missed**")
                  for c in checks])


def notes(folder):
    """What a person says about the numbers: misses and their reasons."""
    path = folder / "notes.md"
    return path.read_text().strip() if path.exists() else ""


def card(name, facts):
    """The text of README.md."""
    folder = HERE / name
    config = json.loads((folder / "config.json").read_text())
    shape = [(k, config[k]) for k in ("hidden_size", "num_hidden_layers", "num_attention_heads",
                                      "num_key_value_heads", "head_dim", "intermediate_size",
                                      "vocab_size", "max_position_embeddings", "rope_theta",
                                      "rms_norm_eps", "tie_word_embeddings", "torch_dtype")]
    curve = facts["loss_curve"]
    thin = curve[::max(1, len(curve) // 24)]
    hyper = {k: v for k, v in facts["arguments"].items() if k not in ("quick", "log_every")}
    parts = [
        f"# {name}",
        f"A small trained language model, {facts['parameters']:,} parameters, Llama form. It is "
        "here so that a fresh clone compares bits on something that behaves like a language "
        "model. It answers short arithmetic, word problems, recall and list tasks and writes "
        "period prose; it knows nothing, and it is not meant to be useful.",
        "## Shape", table([("key", "value")] + shape),
        "BOS (id 0) is always first. One channel of its embedding is a fixed 512: a massive "
        "activation and an attention sink, as large models grow them. The final norm's weight is "
        "0 in that channel.",
        "The chat template writes no BOS. With transformers, apply it with `tokenize=False` and "
        "give the text to the tokenizer, which adds it; a run without BOS is not this model.",
        "## Data and licence",
        table([("source", "licence")] + sorted(sources.LICENCES.items())),
        "Prose from the Debian packages " + ", ".join(sources.PACKAGES) + "; about 2.5 % of the "
        "documents are held back. The rest of the text is procedural, drawn fresh by "
        "`scenarios/models/train/procedural.py`; one question in sixteen, by the hash of its key, "
        "is held back for `scenarios/prompts/`. The hash of a sum covers its mirror image; sums "
        "inside a word problem's steps are not held back.",
        "Mixture of documents: " + ", ".join(f"{k} {v}" for k, v in procedural.MIXTURE.items())
        + "; 45 % of the rows begin with prose.",
        "## Training",
        f"    {command(facts)}",
        f"{facts['steps']:,} steps, {facts['tokens'] / 1e6:,.0f} million tokens, "
        f"{facts['seconds']:.0f} s on one {facts['device']}, torch {facts['torch']}, attention "
        f"inside documents ({facts['attention']}). Muon for the matrices, AdamW for embedding and "
        "norms, linear decay to zero; in the last part a sequence-level unlikelihood term against "
        "loops. A training run on a GPU does not repeat bit for bit: the files below are the "
        "model, and they are frozen.",
        table([("argument", "value")] + sorted(hyper.items())),
        "### Loss curve (weighted, in nats)",
        "```csv\n" + ",".join(facts["loss_columns"]) + "\n"
        + "\n".join(",".join(map(str, row)) for row in thin) + "\n```",
        f"## Measured on the saved weights ({facts.get('evaluated_on', facts['device'])})",
        measured_rows(facts["measured"]),
        f"Share of all greedy steps with a top1-top2 gap below 1/16: "
        f"{100 * facts['measured']['gap_share_all']:.2f} %. Mean attention to BOS by layer: "
        f"{facts['measured']['sink']['attention_to_bos_by_layer']}.",
        "## Acceptance", acceptance_rows(folder), notes(folder),
        "## Files",
        table([("file", "SHA-256")] + [(f, f"`{digest(folder / f)}`") for f in FILES
                                       if (folder / f).exists()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main():
    for name in sys.argv[1:] or ("default-7m", "nano-300k"):
        facts = json.loads((HERE / name / "training.json").read_text())
        (HERE / f"{name}.json").write_text(json.dumps(manifest(name, facts), indent=2) + "\n")
        (HERE / name / "README.md").write_text(card(name, facts))
        print(f"{name}: card and manifest written")


if __name__ == "__main__":
    main()
