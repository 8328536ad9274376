"""Builds the corpus folder: tokenizers and the prose as token files. Run once, without a GPU.

    python3 scenarios/models/train/corpus.py [--root /] [--out scenarios/models/train/corpus]

Promise: the same package versions and library version give the same files. About every fortieth
stretch of prose is held back (`heldout`): prompts come from there, training never sees it.
The procedural text is not stored; train.py draws it fresh from the same seeded generator.
"""

import argparse
import json
import pathlib
import random

import numpy as np

import procedural
import sources
import tokens

HERE = pathlib.Path(__file__).resolve().parent
HELD_OUT_EVERY = 40     # documents
TOKENIZER_SAMPLES = 40000


def split_prose(documents):
    """(train, heldout) lists of (source, text); every fortieth document of a source."""
    train, heldout, seen = [], [], {}
    for source, text in documents:
        seen[source] = seen.get(source, 0) + 1
        held = seen[source] % HELD_OUT_EVERY == HELD_OUT_EVERY // 2
        (heldout if held else train).append((source, text))
    return train, heldout


def procedural_texts(count, seed):
    """Plain text of procedural samples, for the tokenizer's statistics."""
    rng = random.Random(seed)
    names, weights = zip(*procedural.MIXTURE.items())
    for _ in range(count):
        sample = procedural.sample(rng.choices(names, weights)[0], rng, "train")
        yield "".join(text for text, _ in tokens.segments(sample))


def encode_prose(tokenizer, documents):
    """(ids of all documents joined, start offsets with the end appended)."""
    ids = [e.ids for e in tokenizer.encode_batch_fast([text for _, text in documents],
                                                      add_special_tokens=False)]
    offsets = np.cumsum([0] + [len(i) for i in ids]).astype(np.int64)
    return np.concatenate([np.array(i, np.uint16) for i in ids]), offsets


def build(out, root):
    """Writes everything; returns a summary."""
    out.mkdir(parents=True, exist_ok=True)
    train, heldout = split_prose(sources.prose_documents(root))
    (out / "heldout.json").write_text(json.dumps(heldout, indent=0))
    summary = {"documents": len(train), "heldout": len(heldout),
               "characters": sum(len(t) for _, t in train)}
    for vocab in (4096, 512):
        mixed = [text for _, text in train] + list(procedural_texts(TOKENIZER_SAMPLES, 7))
        tokenizer = tokens.train_tokenizer(mixed, vocab)
        tokenizer.save(str(out / f"tokenizer-{vocab}.json"))
        ids, offsets = encode_prose(tokenizer, train)
        held_ids, held_offsets = encode_prose(tokenizer, heldout)
        np.savez_compressed(out / f"prose-{vocab}.npz", ids=ids, offsets=offsets,
                            held_ids=held_ids, held_offsets=held_offsets)
        summary[f"tokens_{vocab}"] = int(len(ids))
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="/", help="folder that holds the packages' usr/")
    parser.add_argument("--out", default=HERE / "corpus", type=pathlib.Path)
    arguments = parser.parse_args()
    print(build(arguments.out, arguments.root))


if __name__ == "__main__":
    main()
