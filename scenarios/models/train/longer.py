"""Three tasks of procedural.py, longer than the base's training ever had them: for fine-tuning.

The base fails at all three: `reverse` (of "list": up to 8 words in training, 9 to 12 here),
`numbers` (of "list": sort up to 7 numbers, 8 to 10 here), `sentence` (of "instruction": capital and
full stop of one clause, two clauses here). Called by finetune.py, scenarios/prompts and
tests/integration/check_task_vectors.py.
"""

import procedural
from arithmetic import chat


def reverse(rng):
    words = rng.sample(procedural.UNIQUE_WORDS, rng.randint(9, 12))
    ask = rng.choice(("Reverse these words: {}", "Write these words in reverse order: {}"))
    return chat("reverse", ask.format(" ".join(words)), " ".join(reversed(words)))


def numbers(rng):
    drawn = rng.sample(range(1, 100), rng.randint(8, 10))
    ask = rng.choice(("Sort these numbers: {}", "Put these numbers in order: {}"))
    return chat("numbers", ask.format(" ".join(map(str, drawn))), " ".join(map(str, sorted(drawn))))


def sentence(rng):
    text = f"{procedural.sentence(rng)} and {procedural.sentence(rng)}"
    return chat("sentence", f"Write with a capital first letter and a full stop: {text}",
                text[0].upper() + text[1:] + ".")


TASKS = {"reverse": reverse, "numbers": numbers, "sentence": sentence}


def sample(task, rng, split):
    """A sample of one of TASKS from "train" or "test" (procedural.py's split)."""
    while True:
        drawn = TASKS[task](rng)
        if procedural.is_test(drawn.key) == (split == "test"):
            return drawn
