"""The default model's data: split, scoring form, determinism, prompt files. Standard library only.

    python3 tests/integration/default_model/data_test.py
"""

import json
import pathlib
import random
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROMPTS = ROOT / "scenarios" / "prompts"
sys.path.insert(0, str(ROOT / "scenarios" / "models" / "train"))
import arithmetic  # noqa: E402
import procedural  # noqa: E402


def lines(name):
    return [json.loads(line) for line in (PROMPTS / f"{name}.jsonl").read_text().splitlines()]


class Split(unittest.TestCase):
    def test_train_and_test_share_no_question(self):
        for task in ("addition2", "arithmetic", "word_problem", "instruction", "list", "table"):
            rng = random.Random(task)
            train = {procedural.sample(task, rng, "train").key for _ in range(2000)}
            test = {procedural.sample(task, rng, "test").key for _ in range(200)}
            self.assertFalse(train & test, task)

    def test_a_sum_is_held_back_with_its_mirror_image(self):
        self.assertEqual(arithmetic.pair_key(3, "+", 9), arithmetic.pair_key(9, "+", 3))

    def test_plain_equations_never_show_a_held_back_one(self):
        rng = random.Random(1)
        for _ in range(300):
            for _, _, key in procedural.sample("equations", rng, "train").text:
                self.assertFalse(procedural.is_test(key))

    def test_prompts_are_held_back(self):
        for line in lines("gsm-like"):
            self.assertTrue(procedural.is_test(line["messages"][-1]["content"]), line["id"])


class Samples(unittest.TestCase):
    def test_same_seed_same_samples(self):
        for task in procedural.TASKS:
            a, b = (procedural.sample(task, random.Random(5), "train") for _ in range(2))
            self.assertEqual(a, b)

    def test_steps_of_word_problems_are_true_and_end_in_the_answer(self):
        rng = random.Random(2)
        for _ in range(1000):
            sample = arithmetic.word_problem(rng)
            *steps, last = sample.messages[-1][1].split("\n")
            self.assertEqual(last, f"#### {sample.answer}")
            for step in steps:
                left, right = step.split(" = ")
                self.assertEqual(eval(left.replace("/", "//")), int(right), step)
            self.assertEqual(steps[-1].split(" = ")[1], sample.answer)

    def test_column_sums(self):
        rng = random.Random(3)
        for _ in range(300):
            a, b = rng.randint(0, 99999), rng.randint(0, 99999)
            text = "\n".join(arithmetic.add_steps(a, b))
            digits = [part.split()[1] for part in text.replace("\n", ", ").split(", ")
                      if part.startswith("write")]
            self.assertEqual(int("".join(reversed(digits))), a + b)


class Files(unittest.TestCase):
    def test_every_line_is_a_prompt_and_ids_are_unique(self):
        for path in sorted(PROMPTS.glob("*.jsonl")):
            prompts = lines(path.stem)
            self.assertTrue(prompts, path.name)
            self.assertEqual(len({p["id"] for p in prompts}), len(prompts), path.name)
            for p in prompts:
                self.assertEqual(len({"text", "messages", "tokens"} & set(p)), 1, p["id"])
                self.assertLessEqual(set(p), {"id", "text", "messages", "tokens", "answer",
                                              "values", "continuation", "choices"})

    def test_lengths(self):
        prompts = lines("lengths")
        self.assertEqual([len(p["tokens"]) for p in prompts], [17, 64, 255, 256, 257, 511, 520])
        for p in prompts:
            self.assertEqual(p["tokens"][0], 0)
            self.assertTrue(all(8 <= t < 500 for t in p["tokens"][1:]))

    def test_recall_asks_for_a_key_of_its_list(self):
        for p in lines("recall"):
            text = p["messages"][0]["content"]
            self.assertIn(f"\n{p['answer']}\n", text, p["id"])
            self.assertTrue(text.endswith("\n" + p["answer"].split(":")[0]))


if __name__ == "__main__":
    unittest.main()
