"""Seeded procedural tasks: recall, lists, instructions, tables, chat; and the train/test split.

`sample(task, rng, split)` draws until the sample's key falls into the split, so no question of
the test split is ever trained on. Called by the training pipeline and by scenarios/prompts.
"""

import json
import zlib

from arithmetic import (Sample, addition2, chat, direct, equations, worked, word_problem)
from words import (ANIMALS, CITIES, COLORS, GOODS, ITEMS, JOBS, NAMES, PLACES, PLAIN_VERBS, WORDS)

TEST_SHARE = 16  # one key in sixteen is held back


def is_test(key):
    """Whether a question is held back; a pure function of its key."""
    return zlib.crc32(key.encode()) % TEST_SHARE == 0


def sample(task, rng, split):
    """A sample of `task` from "train" or "test"."""
    while True:
        drawn = TASKS[task](rng)
        if drawn.key is None:
            if split == "train":
                lines = [line for line in drawn.text if not is_test(line[2])]
                if lines:
                    return drawn._replace(text=lines)
            continue
        if is_test(drawn.key) == (split == "test"):
            return drawn


# --- recall -------------------------------------------------------------------------------------

def recall_value(rng, style):
    """A value of one of three looks."""
    if style == "number":
        return str(rng.randint(100, 999))
    if style == "word":
        return rng.choice(WORDS)
    return f"{rng.choice('ABCDEFGHKLMNPRST')}{rng.randint(10, 99)}"


def recall(rng, entries=None, style=None, turns=None):
    """A list of keys and values, then questions about some of them."""
    style = style or rng.choice(("number", "number", "word", "code"))
    entries = entries or rng.choice((rng.randint(2, 20), rng.randint(5, 60), rng.randint(40, 120)))
    keys = rng.sample(UNIQUE_WORDS, entries)
    values = [recall_value(rng, style) for _ in keys]
    lines = "\n".join(f"{key}: {value}" for key, value in zip(keys, values))
    turns = turns or rng.randint(4, 10)
    asked = [rng.randrange(entries) for _ in range(turns)]
    messages = []
    for turn, index in enumerate(asked):
        head = f"Remember this list.\n{lines}\n" if turn == 0 else ""
        messages.append(("user", f"{head}Look up:\n{keys[index]}"))
        messages.append(("assistant", f"{keys[index]}: {values[index]}"))
    return Sample("recall", messages, None, messages[-1][1], lines[:64])


UNIQUE_WORDS = sorted(set(WORDS + ITEMS + COLORS + ANIMALS + GOODS + PLACES))


# --- lists --------------------------------------------------------------------------------------

def listing(rng):
    """Copy, reverse, sort: words, letters or numbers."""
    what = rng.choice(("words", "words", "letters", "numbers"))
    n = rng.randint(2, 8)
    if what == "words":
        items = rng.sample(UNIQUE_WORDS, n)
    elif what == "letters":
        items = rng.sample("abcdefghijklmnopqrstuvwxyz", n)
    else:
        items = [str(i) for i in rng.sample(range(1, 100), min(n, 7))]
    kind = rng.choice(("copy", "reverse", "sort", "sort"))
    asks = {"copy": ("Copy these {}: {}", "Repeat these {}: {}"),
            "reverse": ("Reverse these {}: {}", "Write these {} in reverse order: {}"),
            "sort": ("Sort these {}: {}", "Put these {} in order: {}")}[kind]
    result = list(items)
    if kind == "reverse":
        result.reverse()
    if kind == "sort":
        result.sort(key=int if what == "numbers" else None)
    return chat("list", rng.choice(asks).format(what, " ".join(items)), " ".join(result))


# --- instructions with one right answer ---------------------------------------------------------

def sentence(rng):
    """A short plain sentence."""
    return (f"the {rng.choice(COLORS)} {rng.choice(ANIMALS)} {rng.choice(PLAIN_VERBS)} "
            f"the {rng.choice(WORDS)}")


def spell(rng):
    word = rng.choice(UNIQUE_WORDS)
    return chat("instruction", f"Spell the word {word} with dashes.", "-".join(word))


def repeat_word(rng):
    word, n = rng.choice(UNIQUE_WORDS), rng.randint(2, 9)
    return chat("instruction", f"Write the word {word} {n} times.", " ".join([word] * n))


def count_range(rng):
    a, n = rng.randint(1, 90), rng.randint(2, 9)
    if rng.random() < 0.5:
        numbers, ask = range(a, a + n), f"Count from {a} to {a + n - 1}."
    else:
        numbers, ask = range(a + n - 1, a - 1, -1), f"Count down from {a + n - 1} to {a}."
    return chat("instruction", ask, ", ".join(map(str, numbers)))


def pick_word(rng):
    words = rng.sample(UNIQUE_WORDS, rng.randint(3, 6))
    index, name = rng.choice(((0, "first"), (1, "second"), (2, "third"), (-1, "last")))
    return chat("instruction", f"What is the {name} word here? {' '.join(words)}", words[index])


def count_words(rng):
    words = rng.sample(UNIQUE_WORDS, rng.randint(1, 9))
    return chat("instruction", f"How many words are here? {' '.join(words)}", str(len(words)))


def compare_numbers(rng):
    numbers = rng.sample(range(1, 1000 if rng.random() < 0.5 else 100), rng.randint(2, 5))
    kind = rng.choice(("largest", "smallest"))
    result = max(numbers) if kind == "largest" else min(numbers)
    return chat("instruction", f"Which number is the {kind}? {', '.join(map(str, numbers))}",
                str(result))


def yes_or_no(rng):
    a, b = rng.randint(1, 99), rng.randint(1, 99)
    kind = rng.choice(("greater", "less"))
    truth = a > b if kind == "greater" else a < b
    return chat("instruction", f"Answer yes or no. Is {a} {kind} than {b}?",
                "yes" if truth else "no")


def join_words(rng):
    words = rng.sample(UNIQUE_WORDS, rng.randint(2, 6))
    name, sign = rng.choice((("commas", ", "), ("dashes", " - "), ("slashes", " / "),
                             ("new lines", "\n")))
    return chat("instruction", f"Write these words with {name} between them: {' '.join(words)}",
                sign.join(words))


def replace_word(rng):
    words = rng.sample(UNIQUE_WORDS, rng.randint(3, 7))
    old, new = rng.choice(words[:-1]), words.pop()
    text = " ".join(words)
    if old not in words:
        return replace_word(rng)
    return chat("instruction", f"Replace {old} by {new}: {text}",
                " ".join(new if word == old else word for word in words))


def only_word(rng):
    word = rng.choice(UNIQUE_WORDS)
    ask = rng.choice((f"Reply with the word {word} and nothing else.", f"Say only {word}.",
                      f"Answer with one word: {word}."))
    return chat("instruction", ask, word)


def ending(rng):
    """A rule in the system message and another task in the user's."""
    inner = rng.choice((pick_word, count_words, compare_numbers, only_word))(rng)
    end = rng.choice(("done", "over", "thanks", "end"))
    rule, reply = rng.choice(((f"End every answer with the word {end}.", "{} " + end),
                              (f"Begin every answer with the word {end}.", end + " {}"),
                              ("Put every answer in brackets.", "[{}]")))
    text = reply.format(inner.answer)
    return chat("instruction", inner.messages[0][1], text, system=rule)


def who_did(rng):
    """A question about a short story."""
    names, verbs = rng.sample(NAMES, 3), rng.sample(PLAIN_VERBS, 3)
    things = rng.sample(WORDS, 3)
    story = " ".join(f"{n} {v} the {t}." for n, v, t in zip(names, verbs, things))
    i = rng.randrange(3)
    if rng.random() < 0.5:
        return chat("instruction", f"{story} Who {verbs[i]} the {things[i]}?", names[i])
    return chat("instruction", f"{story} What is the thing that {names[i]} {verbs[i]}?",
                f"the {things[i]}")


def upper(rng):
    text = sentence(rng)
    return chat("instruction", f"Write with a capital first letter and a full stop: {text}",
                text[0].upper() + text[1:] + ".")


INSTRUCTIONS = (spell, repeat_word, count_range, pick_word, count_words, compare_numbers, yes_or_no,
                join_words, replace_word, only_word, ending, who_did, upper)


def instruction(rng):
    """Any instruction with one right answer."""
    return rng.choice(INSTRUCTIONS)(rng)


# --- tables -------------------------------------------------------------------------------------

def people(rng, n):
    names = rng.sample(NAMES, n)
    return [{"name": name, "age": rng.randint(18, 80), "job": rng.choice(JOBS),
             "city": rng.choice(CITIES)} for name in names]


def table(rng):
    """CSV to JSON, a field of a JSON record, SQL from a request, a filter over CSV."""
    rows = people(rng, rng.randint(2, 5))
    fields = ["name"] + rng.sample(["age", "job", "city"], rng.randint(1, 3))
    rows = [{field: row[field] for field in fields} for row in rows]
    csv = "\n".join([",".join(fields)] + [",".join(str(r[f]) for f in fields) for r in rows])
    kind = rng.choice(("csv", "json", "sql", "filter"))
    if kind == "csv":
        return chat("table", f"Turn this CSV into JSON.\n{csv}",
                    "\n".join(json.dumps(row) for row in rows))
    row, field = rng.choice(rows), rng.choice(fields[1:])
    if kind == "json":
        lines = "\n".join(json.dumps(r) for r in rows)
        return chat("table", f"{lines}\nWhat is the {field} of {row['name']}?", str(row[field]))
    if kind == "filter":
        found = [r["name"] for r in rows if r[field] == row[field]]
        return chat("table", f"{csv}\nWhose {field} is {row[field]}?", ", ".join(found))
    return sql(rng, field, row)


def sql(rng, field, row):
    """A SELECT from a request in words."""
    name, want = rng.choice(("people", "staff", "users", "members")), rng.choice(("name", "age"))
    value = row[field] if field == "age" else f"'{row[field]}'"
    kind = rng.choice(("where", "count", "order"))
    if kind == "where":
        return chat("table", f"SQL: the {want} of all {name} whose {field} is {row[field]}.",
                    f"SELECT {want} FROM {name} WHERE {field} = {value};")
    if kind == "count":
        return chat("table", f"SQL: how many {name} have the {field} {row[field]}?",
                    f"SELECT count(*) FROM {name} WHERE {field} = {value};")
    return chat("table", f"SQL: the {want} of all {name}, sorted by {field}.",
                f"SELECT {want} FROM {name} ORDER BY {field};")


# --- chat ---------------------------------------------------------------------------------------

def talk(rng):
    """Greetings and questions about a person told before; two or three turns."""
    name, city, job = rng.choice(NAMES), rng.choice(CITIES), rng.choice(JOBS)
    facts = [(f"My name is {name}.", f"Nice to meet you, {name}.", "What is my name?",
              f"Your name is {name}."),
             (f"I live in {city}.", f"{city} is a fine place.", "Where do I live?",
              f"You live in {city}."),
             (f"I am a {job}.", f"It must be good to be a {job}.", "What is my job?",
              f"You are a {job}.")]
    rng.shuffle(facts)
    messages = []
    if rng.random() < 0.4:
        messages += [("user", rng.choice(("Hello!", "Hi.", "Good morning."))),
                     ("assistant", "Hello! How can I help you?")]
    told = facts[:rng.randint(1, 3)]
    for said, reply, _, _ in told:
        messages += [("user", said), ("assistant", reply)]
    _, _, ask, answer = rng.choice(told)
    messages += [("user", ask), ("assistant", answer)]
    return Sample("chat", messages, None, answer, " ".join(m[1] for m in messages))


TASKS = {"arithmetic": direct, "addition2": addition2, "equations": equations, "worked": worked,
         "word_problem": word_problem, "recall": recall, "list": listing,
         "instruction": instruction, "table": table, "chat": talk}

# Share of documents by task in the training mixture (prose is added by the packer).
MIXTURE = {"arithmetic": 8, "addition2": 6, "equations": 4, "worked": 6, "word_problem": 30,
           "recall": 7, "list": 10, "instruction": 16, "table": 8, "chat": 4}
