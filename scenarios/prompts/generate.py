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


def retrieval(tokenizer, length, count):
    """Lists of keys with different values, one of which is asked for; at most `length` tokens."""
    rng, lines = random.Random(f"{SEED}/retrieval/{length}"), []
    while len(lines) < count:
        keys = rng.sample(procedural.UNIQUE_WORDS, min(length // 6, 170))
        values = [str(value) for value in rng.sample(range(100, 1000), len(keys))]
        for entries in range(len(keys), 3, -1):
            listed = "\n".join(f"{k}: {v}" for k, v in zip(keys[:entries], values))
            asked = rng.randrange(entries)
            text = f"Remember this list.\n{listed}\nLook up:\n{keys[asked]}"
            if len(tokenizer.encode(tokens.chat_prompt([("user", text)])).ids) <= length:
                break
        if not procedural.is_test(listed[:64]):
            continue
        lines.append({"id": f"retrieval-{length}-{len(lines):03d}",
                      "messages": [{"role": "user", "content": text}],
                      "answer": values[asked], "values": values[:entries]})
    return lines


def places(heldout, group):
    """Beginnings of sentences in held-back prose, as (source, words to the end of the document),
    evenly over the sources and at random, without end."""
    rng, by_source = random.Random(f"{SEED}/{group}"), {}
    for source, text in heldout:
        by_source.setdefault(source, []).append(text)
    while True:
        for source in ("austen", "bible", "jargon", "sqlite"):
            text = rng.choice(by_source[source])
            starts = [m.end() for m in re.finditer(r"[.!?]\s+(?=[A-Z])", text)]
            if starts:
                yield source, re.findall(r"\S+", text[rng.choice(starts):])


def is_plain(words):
    return all(re.fullmatch(r"[\x21-\x7e]+", word) for word in words)


def next_string(heldout, count):
    """Ten strings in a row, the tenth withheld."""
    lines = []
    for _, words in places(heldout, "next-string"):
        if len(words) >= 10 and is_plain(words[:10]):
            lines.append({"id": f"next-string-{len(lines):03d}", "text": " ".join(words[:9]),
                          "answer": words[9]})
        if len(lines) == count:
            return lines


def choice(heldout, count):
    """Thirty words, and which twelve come next: the right ones, and three from other places of the
    same source."""
    rng, lines, others = random.Random(f"{SEED}/choice/order"), [], {}
    for source, words in places(heldout, "choice"):
        if len(words) < 42 or not is_plain(words[:42]):
            continue
        known = others.setdefault(source, [])
        right = " " + " ".join(words[30:42])
        if len(known) >= 12 and right not in known:
            choices = rng.sample(known, 3) + [right]
            rng.shuffle(choices)
            lines.append({"id": f"choice-{len(lines):03d}", "text": " ".join(words[:30]),
                          "choices": choices, "answer": choices.index(right)})
        if right not in known:
            known.append(right)
        if len(lines) == count:
            return lines


def likelihood(tokenizer, heldout, count):
    """Prose of 40 to 60 words, and the text behind it, 256 to 512 tokens of it."""
    rng, lines = random.Random(f"{SEED}/likelihood/lengths"), []
    for _, words in places(heldout, "likelihood"):
        begin, size = rng.randint(40, 60), rng.randint(256, 512)
        if len(words) < begin + size or not is_plain(words[:begin + size]):
            continue
        text, end = " ".join(words[:begin]), begin
        while True:
            longer_text = " " + " ".join(words[begin:end + 1])
            if len(tokenizer.encode(longer_text, add_special_tokens=False).ids) > size:
                break
            end += 1
        lines.append({"id": f"likelihood-{len(lines):03d}", "text": text,
                      "continuation": " " + " ".join(words[begin:end])})
        if len(lines) == count:
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
        "retrieval": [line for n in (200, 400, 900) for line in retrieval(tokenizer, n, 16)],
        "next-string": next_string(heldout, 160),
        "choice": choice(heldout, 60),
        "likelihood": likelihood(tokenizer, heldout, 24),
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
