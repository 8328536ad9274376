"""Writes the prompt sets of this folder. Seeded: the same command gives the same bytes.

    python3 scenarios/prompts/generate.py [--corpus scenarios/models/train/corpus]

Questions come from the held-back side of the procedural tasks, prose from the held-back
documents, so no prompt is in the training text. The prose needs the corpus folder
(scenarios/models/train/corpus.py); `--check` compares with the files instead of writing.
"""

import argparse
import json
import pathlib
import random
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TRAIN = HERE.parent / "models" / "train"
sys.path.insert(0, str(TRAIN))
import longer  # noqa: E402
import procedural  # noqa: E402
import tokens  # noqa: E402

SEED = "prompts/1"


def messages(sample):
    """All turns but the last reply."""
    return [{"role": role, "content": text} for role, text in sample.messages[:-1]]


def draw(task, group, count, source=procedural):
    """`count` different held-back questions of a task of procedural.py, or of longer.py."""
    rng, seen, lines = random.Random(f"{SEED}/{group}"), set(), []
    while len(lines) < count:
        sample = source.sample(task, rng, "test")
        key = json.dumps(sample.messages[:-1])
        if key in seen:
            continue
        seen.add(key)
        lines.append({"id": f"{group}-{len(lines):03d}", "messages": messages(sample),
                      "answer": sample.answer})
    return lines


def recall(tokenizer, length, count):
    """Lists whose whole prompt has about `length` tokens, never more."""
    rng, lines = random.Random(f"{SEED}/recall/{length}"), []
    while len(lines) < count:
        for entries in range(length // 6, 3, -1):
            sample = procedural.recall(rng, entries, "number", 1)
            while not procedural.is_test(sample.key):
                sample = procedural.recall(rng, entries, "number", 1)
            if len(tokenizer.encode(tokens.chat_prompt(sample.messages[:-1])).ids) <= length:
                break
        lines.append({"id": f"recall-{length}-{len(lines):03d}", "messages": messages(sample),
                      "answer": sample.answer})
    return lines


def openings(tokenizer, heldout, count):
    """Sentence beginnings of 40 to 60 tokens from the held-back prose, evenly over the sources."""
    rng, lines = random.Random(f"{SEED}/prose"), []
    by_source = {}
    for source, text in heldout:
        by_source.setdefault(source, []).append(text)
    names = [n for n in ("austen", "bible", "jargon", "sqlite") if n in by_source]
    while len(lines) < count:
        text = rng.choice(by_source[names[len(lines) % len(names)]])
        starts = [m.end() for m in re.finditer(r"[.!?]\s+(?=[A-Z])", text)]
        if not starts:
            continue
        words = re.findall(r"\S+\s*", text[rng.choice(starts):][:600])
        piece, limit = "", rng.randint(40, 60)
        for word in words:
            if len(tokenizer.encode(piece + word).ids) > limit:
                break
            piece += word
        piece = piece.strip()
        if len(tokenizer.encode(piece).ids) >= 40 and not re.search(r"[^\x20-\x7e\n]", piece):
            lines.append({"id": f"prose-{len(lines):03d}", "text": piece})
    return lines


def continuations(prose):
    """The prose again, the first half of its words as the text and the others as the answer."""
    lines = []
    for line in prose:
        ends = [m.end() for m in re.finditer(r"\S+", line["text"])]
        end = ends[len(ends) // 2 - 1]
        lines.append({"id": line["id"].replace("prose", "continuation"),
                      "text": line["text"][:end], "answer": line["text"][end:]})
    return lines


def mixed(tokenizer, heldout):
    """Held-back prose cut to many lengths, from 3 to 700 tokens."""
    rng, lines = random.Random(f"{SEED}/mixed"), []
    long_texts = [t for s, t in heldout if s == "austen" and len(t) > 5000]
    for length in (3, 5, 8, 13, 21, 31, 32, 33, 50, 63, 64, 65, 96, 127, 128, 129, 180, 255, 256,
                   257, 320, 400, 511, 512, 513, 700):
        text = rng.choice(long_texts)
        start = text.index(" ", rng.randrange(len(text) - 4000)) + 1
        ids = tokenizer.encode(text[start:start + 4000]).ids[1:length]
        piece = tokenizer.decode(ids).strip()
        lines.append({"id": f"mixed-{length:03d}", "text": piece})
    return lines


def lengths():
    """Pseudo-random ids in [8, 500) for any model of at least 512 ids; position 0 is id 0 (BOS)."""
    lines, state = [], 12345
    for length in (17, 64, 255, 256, 257, 511, 520):
        ids = [0]
        while len(ids) < length:
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            ids.append(8 + (state >> 33) % 492)
        lines.append({"id": f"length-{length}", "tokens": ids})
    return lines


def smoke(sets):
    """Four short prompts of different kinds."""
    chosen = [sets["gsm-like"][0], sets["arithmetic"][0], sets["instructions"][0], sets["prose"][0]]
    return [dict(line, id=f"smoke-{i}") for i, line in enumerate(chosen)]


def build(corpus):
    """{file name: lines}."""
    tokenizer = tokens.load_tokenizer(corpus / "tokenizer-4096.json")
    heldout = json.loads((corpus / "heldout.json").read_text())
    sets = {
        "gsm-like": draw("word_problem", "gsm", 240),
        "arithmetic": draw("addition2", "add2", 120) + draw("arithmetic", "direct", 120),
        "recall": [line for n in (200, 400, 900) for line in recall(tokenizer, n, 60)],
        "instructions": draw("instruction", "instruction", 120) + draw("list", "list", 60)
                        + draw("table", "table", 60),
        "longer": [line for three in zip(*(draw(task, task, 100, longer) for task in longer.TASKS))
                   for line in three],
        "prose": openings(tokenizer, heldout, 64),
        "mixed-lengths": mixed(tokenizer, heldout),
        "lengths": lengths(),
    }
    sets["smoke"] = smoke(sets)
    sets["continuations"] = continuations(sets["prose"])
    return {name: "".join(json.dumps(line) + "\n" for line in lines)
            for name, lines in sets.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=pathlib.Path, default=TRAIN / "corpus")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for name, text in build(arguments.corpus).items():
        path = HERE / f"{name}.jsonl"
        if arguments.check:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"differs from what the generator makes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
