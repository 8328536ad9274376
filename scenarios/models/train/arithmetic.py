"""Arithmetic and word problems with checkable answers.

A task is `f(rng) -> Sample`. Word problems answer in steps and end with "#### N", as GSM8K's
answers do. Called by procedural.py; nothing here knows about tokens.
"""

from collections import namedtuple

from words import CONTAINERS, GOODS, HE, ITEMS, NAMES, PLACES

# messages: [(role, content)], the last one is the assistant's reply. text: (prompt, reply) without
# chat form. answer: what a scorer looks for. key: what decides train or test.
Sample = namedtuple("Sample", "task messages text answer key")


def chat(task, question, reply, answer=None, key=None, system=None):
    """A one-turn chat sample."""
    messages = [("system", system)] if system else []
    messages += [("user", question), ("assistant", reply)]
    return Sample(task, messages, None, answer if answer is not None else reply, key or question)


def operands(rng):
    """(a, operator, b, result), small enough to be answered at once."""
    op = rng.choice("+++--*/")
    if op == "+":
        top = rng.choice((20, 99, 99, 99, 999))
        a, b = rng.randint(0, top), rng.randint(0, rng.choice((99, top)))
        return a, op, b, a + b
    if op == "-":
        top = rng.choice((20, 99, 99, 999))
        a = rng.randint(0, top)
        b = rng.randint(0, rng.choice((min(a, 99), a)))
        return a, op, b, a - b
    a, b = rng.randint(2, 12), rng.randint(0, rng.choice((12, 40, 99)))
    if rng.random() < 0.5:
        a, b = b, a
    if op == "*":
        return a, op, b, a * b
    if a == 0 or b == 0:
        return 0, "/", max(a, b), 0
    return a * b, "/", a, b


def pair_key(a, op, b):
    """Sums and products are held back with their mirror image."""
    return f"{min(a, b)}{op}{max(a, b)}" if op in "+*" else f"{a}{op}{b}"


def direct(rng):
    """One operation, answered with the number alone."""
    a, op, b, result = operands(rng)
    question = rng.choice(("What is {}?", "Compute {}.", "Calculate {}.", "{} ="))
    return chat("arithmetic", question.format(f"{a} {op} {b}"), str(result),
                key=pair_key(a, op, b))


def addition2(rng):
    """Two-digit addition, the accuracy that acceptance asks for."""
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    question = rng.choice(("What is {}?", "Compute {}.", "Calculate {}.", "{} ="))
    return chat("addition2", question.format(f"{a} + {b}"), str(a + b), key=pair_key(a, "+", b))


def equations(rng):
    """Plain lines `a + b = c`. The key is the first; callers that hold back use `direct`."""
    lines = []
    for _ in range(rng.randint(4, 16)):
        a, op, b, result = operands(rng)
        lines.append((f"{a} {op} {b} =", f" {result}\n", pair_key(a, op, b)))
    return Sample("equations", None, lines, None, None)


def worked(rng):
    """Column addition and subtraction with carries, and two-digit products by parts."""
    kind = rng.choice("++-*")
    a, b = rng.randint(100, 9999), rng.randint(10, 9999)
    if kind == "*":
        a, b = rng.randint(11, 99), rng.randint(11, 99)
        tens, ones = b // 10 * 10, b % 10
        steps = [f"{a} * {tens} = {a * tens}", f"{a} * {ones} = {a * ones}",
                 f"{a * tens} + {a * ones} = {a * b}"]
        result = a * b
    elif kind == "+":
        steps, result = add_steps(a, b), a + b
    else:
        a, b = max(a, b), min(a, b)
        steps, result = subtract_steps(a, b), a - b
    question = rng.choice(("Work out {} step by step.", "Show the steps: {}."))
    reply = "\n".join(steps) + f"\n#### {result}"
    return chat("worked", question.format(f"{a} {kind} {b}"), reply, str(result))


def add_steps(a, b):
    """Lines of a column addition, ones first."""
    x, y = str(a)[::-1], str(b)[::-1]
    steps, carry = [], 0
    for i in range(max(len(x), len(y))):
        p, q = int(x[i]) if i < len(x) else 0, int(y[i]) if i < len(y) else 0
        total = p + q + carry
        steps.append(f"{p} + {q} + {carry} = {total}, write {total % 10}, carry {total // 10}")
        carry = total // 10
    if carry:
        steps.append(f"write {carry}")
    return steps


def subtract_steps(a, b):
    """Lines of a column subtraction, ones first. REQUIRES: a >= b."""
    x, y = str(a)[::-1], str(b)[::-1]
    steps, borrow = [], 0
    for i in range(len(x)):
        p, q = int(x[i]), int(y[i]) if i < len(y) else 0
        digit, owed = (p - q - borrow) % 10, int(p - q - borrow < 0)
        steps.append(f"{p} - {q} - {borrow}, write {digit}, borrow {owed}")
        borrow = owed
    return steps


# --- word problems ------------------------------------------------------------------------------

def pronouns(name):
    return ("he", "him", "his") if name in HE else ("she", "her", "her")


def finish(story, question, steps, result):
    """The sample of a word problem."""
    reply = "\n".join(steps) + f"\n#### {result}"
    return chat("word_problem", " ".join(story + [question]), reply, str(result))


def chain(rng):
    """A quantity that grows and shrinks."""
    name, other = rng.sample(NAMES, 2)
    he, him, _ = pronouns(name)
    item, place = rng.choice(ITEMS), rng.choice(PLACES)
    now = rng.randint(5, 90)
    story = [rng.choice((f"{name} has {now} {item}.", f"There are {now} {item} in {name}'s bag.",
                         f"{name} starts the day with {now} {item}."))]
    steps = []
    for _ in range(rng.randint(2, 4)):
        if rng.random() < 0.5 or now < 6:
            n = rng.randint(2, 60)
            story.append(rng.choice((f"{he.title()} buys {n} more at the {place}.",
                                     f"{other} gives {him} {n} more.",
                                     f"Then {he} finds {n} {item} near the {place}.",
                                     f"{he.title()} gets {n} from a friend.")))
            steps.append(f"{now} + {n} = {now + n}")
            now += n
        else:
            n = rng.randint(2, min(now - 1, 60))
            story.append(rng.choice((f"{he.title()} gives {n} to {other}.",
                                     f"Then {he} loses {n} of them.",
                                     f"{he.title()} sells {n} at the {place}.",
                                     f"{n} of them break.")))
            steps.append(f"{now} - {n} = {now - n}")
            now -= n
    question = rng.choice((f"How many {item} does {name} have now?",
                           f"How many {item} are left in the end?"))
    return finish(story, question, steps, now)


def groups(rng):
    """Containers of equal size, then a change."""
    name = rng.choice(NAMES)
    he = pronouns(name)[0]
    item, container = rng.choice(ITEMS), rng.choice(CONTAINERS)
    g, n = rng.randint(2, 12), rng.randint(3, 20)
    total = g * n
    story = [rng.choice((f"{name} has {g} {container} with {n} {item} in each.",
                         f"{name} fills {g} {container}. Each holds {n} {item}.",
                         f"There are {g} {container} and every one of them has {n} {item}. "
                         f"They belong to {name}."))]
    steps = [f"{g} * {n} = {total}"]
    if rng.random() < 0.5:
        m = rng.randint(2, min(total - 1, 80))
        story.append(rng.choice((f"{he.title()} gives away {m} {item}.",
                                 f"{m} of the {item} are lost.", f"{he.title()} sells {m}.")))
        steps.append(f"{total} - {m} = {total - m}")
        total -= m
    else:
        m = rng.randint(2, 80)
        story.append(rng.choice((f"{he.title()} also has {m} loose {item}.",
                                 f"{he.title()} buys {m} more {item}.")))
        steps.append(f"{total} + {m} = {total + m}")
        total += m
    return finish(story, f"How many {item} does {name} have?", steps, total)


def shopping(rng):
    """Prices, and at times the change."""
    name = rng.choice(NAMES)
    he = pronouns(name)[0]
    first, second = rng.sample(GOODS, 2)
    n, p, q = rng.randint(2, 9), rng.randint(2, 15), rng.randint(2, 40)
    cost, total = n * p, n * p + q
    story = [rng.choice((f"A {first} costs {p} dollars and a {second} costs {q} dollars.",
                         f"At the shop a {first} is {p} dollars. A {second} is {q} dollars.")),
             f"{name} buys {n} of the first and one of the second." if rng.random() < 0.3 else
             f"{name} buys {n} {first}s and one {second}."]
    steps = [f"{n} * {p} = {cost}", f"{cost} + {q} = {total}"]
    if rng.random() < 0.5:
        paid = total + rng.randint(1, 50)
        story.append(f"{he.title()} pays with {paid} dollars.")
        steps.append(f"{paid} - {total} = {paid - total}")
        return finish(story, rng.choice((f"How much change does {he} get?",
                                         "How many dollars come back?")), steps, paid - total)
    return finish(story, rng.choice((f"How much does {he} pay?",
                                     "How many dollars is that altogether?")), steps, total)


def comparison(rng):
    """One person against another, then both."""
    name, other = rng.sample(NAMES, 2)
    item, a = rng.choice(ITEMS), rng.randint(4, 60)
    kind = rng.choice(("more", "fewer", "times"))
    if kind == "times":
        k = rng.randint(2, 6)
        b, text, step = a * k, f"{k} times as many as {name}", f"{a} * {k} = {a * k}"
    elif kind == "more":
        k = rng.randint(2, 50)
        b, text, step = a + k, f"{k} more than {name}", f"{a} + {k} = {a + k}"
    else:
        k = rng.randint(1, a - 1)
        b, text, step = a - k, f"{k} fewer than {name}", f"{a} - {k} = {a - k}"
    story = [f"{name} has {a} {item}.", f"{other} has {text}."]
    if rng.random() < 0.75:
        return finish(story, rng.choice((f"How many {item} do they have together?",
                                         f"How many {item} do {name} and {other} have in all?")),
                      [step, f"{a} + {b} = {a + b}"], a + b)
    return finish(story, f"How many {item} does {other} have?", [step], b)


def pages(rng):
    """A steady rate over days."""
    name = rng.choice(NAMES)
    p, d, left = rng.randint(3, 30), rng.randint(2, 9), rng.randint(5, 90)
    done = p * d
    verb, thing = rng.choice((("reads", "pages"), ("writes", "lines"), ("walks", "miles"),
                              ("paints", "doors"), ("plants", "trees")))
    story = [f"{name} {verb} {p} {thing} a day for {d} days."]
    if rng.random() < 0.6:
        total = done + left
        story.append(rng.choice((f"The goal is {total} {thing}.",
                                 f"There are {total} {thing} in all.")))
        return finish(story, f"How many {thing} are left?",
                      [f"{p} * {d} = {done}", f"{total} - {done} = {left}"], left)
    story.append(f"On the next day it is {left} {thing}.")
    return finish(story, f"How many {thing} is that in all?",
                  [f"{p} * {d} = {done}", f"{done} + {left} = {done + left}"], done + left)


def sharing(rng):
    """Equal shares, then a change."""
    name, other = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    k, each = rng.randint(2, 9), rng.randint(3, 20)
    total, n = k * each, rng.randint(2, 40)
    story = [rng.choice((f"{name} shares {total} {item} equally among {k} friends.",
                         f"{total} {item} are shared equally by {k} friends of {name}."))]
    if rng.random() < 0.6:
        story.append(f"One of them, {other}, already had {n} {item}.")
        return finish(story, f"How many {item} does {other} have now?",
                      [f"{total} / {k} = {each}", f"{each} + {n} = {each + n}"], each + n)
    eaten = rng.randint(1, each - 1)
    story.append(f"One of them, {other}, then gives {eaten} away.")
    return finish(story, f"How many {item} does {other} keep?",
                  [f"{total} / {k} = {each}", f"{each} - {eaten} = {each - eaten}"], each - eaten)


def ages(rng):
    """Ages of two or three people."""
    a, b, c = rng.sample(NAMES, 3)
    first, k, m = rng.randint(5, 40), rng.randint(2, 20), rng.randint(2, 4)
    story = [f"{a} is {first} years old.", f"{b} is {k} years older than {a}."]
    second = first + k
    steps = [f"{first} + {k} = {second}"]
    if rng.random() < 0.5:
        story.append(f"{c} is {m} times as old as {b}.")
        steps.append(f"{second} * {m} = {second * m}")
        return finish(story, f"How old is {c}?", steps, second * m)
    story.append(f"{c} is {m} years younger than {b}.")
    steps.append(f"{second} - {m} = {second - m}")
    return finish(story, f"How old is {c}?", steps, second - m)


PROBLEMS = (chain, chain, groups, shopping, comparison, pages, sharing, ages)


def word_problem(rng):
    """A word problem of any kind."""
    return rng.choice(PROBLEMS)(rng)
