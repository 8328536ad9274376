"""adapters/record_transformers.py: what compare says of records and shown cells made by hand; and,
where ISOBIT_ENGINES_PYTHON (default python3) has torch and transformers, that a recording has the
rows that Isobit has."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import tiny_project

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "runtime/backends/exec/adapters/record_transformers.py"
PYTHON = os.environ.get("ISOBIT_ENGINES_PYTHON", sys.executable)
LAYERS = 2
IN_LAYERS = ("norm1", "q", "k", "v", "attn", "o", "h1", "norm2", "act", "down", "h2")


def has(*packages):
    code = f"import importlib.util as u; exit(not all(map(u.find_spec, {packages!r})))"
    return subprocess.run([PYTHON, "-c", code], check=False).returncode == 0


def rows_of(prompt, tokens, generated, layers=range(LAYERS)):
    """{(prompt, position, layer, site): digest}: each of its own."""
    keys = []
    for position in range(tokens + generated - 1):
        keys.append((prompt, position, -1, "embed"))
        keys += [(prompt, position, layer, site) for layer in layers for site in IN_LAYERS]
        if position >= tokens - 1:
            keys += [(prompt, position, LAYERS, site) for site in ("final_norm", "logits")]
    return {key: f"{number:032x}" for number, key in enumerate(keys)}


class Compare(unittest.TestCase):
    """Two prompts of three and two tokens, two generated tokens each."""

    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = pathlib.Path(held.name)
        self.rows = rows_of("a", 3, 2) | rows_of("b", 2, 2)
        self.record, self.shown = dict(self.rows), dict(self.rows)

    def write(self, level="ops", cells=1, layers=None):
        record = [{"isobit_record": 1, "layers": layers, "prompts": {"a": 3, "b": 2},
                   "rows": len(self.record)}]
        record += [dict(zip(("prompt", "position", "layer", "site", "digest"), (*key, digest)))
                   for key, digest in self.record.items()]
        (self.folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in record))
        prompts = []
        for name in sorted({key[0] for key in self.shown}):
            own = {key: digest for key, digest in self.shown.items() if key[0] == name}
            prompts.append({
                "prompt": name, "answer": "", "text": "",
                "observations": [[*key[1:], digest] for key, digest in own.items()
                                 if key[3] != "logits"],
                "tokens": [{"position": key[1], "id": 1, "digest": digest, "margin": 0, "top": []}
                           for key, digest in own.items() if key[3] == "logits"]})
        shown = {"format": 1, "cells": [
            {"name": f"cell{number} / twin", "hash": f"{number}abc", "level": level,
             "prompts": prompts} for number in range(cells)]}
        (self.folder / "s.json").write_text(json.dumps(shown))

    def compare(self, *more, code):
        done = subprocess.run([sys.executable, str(SCRIPT), "compare", "r.jsonl", "s.json", *more],
                              cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code < 2 else done.stderr

    def test_equal_rows(self):
        self.write()
        text = self.compare(code=0)
        self.assertIn("prompt a: all 96 rows are equal\nprompt b: all 73 rows are equal\n", text)
        self.assertIn("attn       14 of 14 equal\n", text)
        self.assertIn("logits     4 of 4 equal\n", text)
        self.assertEqual([line.split()[0] for line in text.splitlines()[2:]],
                         ["embed", *IN_LAYERS, "final_norm", "logits"])

    def change(self, *keys):
        for key in keys:
            self.shown[key] = "f" * 32

    def test_the_first_difference_is_that_of_the_pass(self):
        # A prompt is one pass: layer 0 of its last position comes before layer 1 of its first.
        self.change(("a", 0, 1, "q"), ("a", 2, 0, "act"), ("a", 1, 0, "down"),
                    ("a", 3, -1, "embed"))
        self.write()
        text = self.compare(code=1)
        digest = self.rows["a", 2, 0, "act"]
        self.assertIn("prompt a: 4 of 96 rows differ, first at position 2, layer 0, act: "
                      f"recorded {digest}, shown {'f' * 32}\n", text)
        self.assertIn("prompt b: all 73 rows are equal\n", text)
        self.assertIn("act        13 of 14 equal\n", text)
        self.assertIn("embed      6 of 7 equal\n", text)

    def test_sites_of_a_layer_have_an_order(self):
        for earlier, later in zip(IN_LAYERS, IN_LAYERS[1:]):
            self.shown = dict(self.rows)
            self.change(("b", 1, 1, later), ("b", 1, 1, earlier))
            self.write()
            self.assertIn(f"first at position 1, layer 1, {earlier}:", self.compare(code=1))

    def test_a_step_comes_after_the_prompt(self):
        self.change(("a", 3, 0, "norm1"), ("a", 2, LAYERS, "logits"))
        self.write()
        self.assertIn(f"first at position 2, layer {LAYERS}, logits:", self.compare(code=1))

    def test_missing_rows_differ(self):
        del self.shown["a", 1, 0, "v"]
        del self.record["b", 1, 1, "h1"]
        self.write()
        text = self.compare(code=1)
        self.assertIn("prompt a: 1 of 96 rows differ, first at position 1, layer 0, v: "
                      "only the record has it\n", text)
        self.assertIn("layer 1, h1: only the cell has it\n", text)

    def test_a_prompt_of_one_side_differs(self):
        self.shown = {key: digest for key, digest in self.shown.items() if key[0] == "a"}
        self.shown |= {("c", *key[1:]): digest for key, digest in self.shown.items()}
        self.write()
        text = self.compare(code=1)
        self.assertIn("prompt b: 73 of 73 rows differ", text)
        self.assertIn("prompt c: 96 of 96 rows differ", text)
        self.assertIn("only the cell has it", text)

    def test_layers_that_were_not_recorded_are_left_out(self):
        self.record = rows_of("a", 3, 2, [1]) | rows_of("b", 2, 2, [1])
        self.shown = rows_of("a", 3, 2) | rows_of("b", 2, 2)
        self.shown |= self.record
        self.write(layers=[1])
        self.assertIn("attn       7 of 7 equal\n", self.compare(code=0))
        self.write()
        self.assertIn("layer 0, norm1: only the cell has it", self.compare(code=1))

    def test_the_cell_is_named(self):
        self.write(cells=2)
        self.assertIn("2 cells are meant; --cell names one of: cell0 / twin, cell1 / twin",
                      self.compare(code=2))
        self.compare("--cell", "cell1", code=0)
        self.compare("--cell", "/1a", code=0)
        self.assertIn("0 cells are meant", self.compare("--cell", "cell9", code=2))

    def test_bad_files_are_named(self):
        self.write(level="logits")
        self.assertIn("the cell recorded logits; the scenario needs observe: ops",
                      self.compare(code=2))
        self.write()
        record, good = self.folder / "r.jsonl", (self.folder / "r.jsonl").read_text()
        lines = good.splitlines(keepends=True)
        for text, says in (
                ("", "r.jsonl:1: no record"), ("{}\n", "r.jsonl:1: no record"),
                (good.replace('"isobit_record": 1', '"isobit_record": 2'), "r.jsonl:1: no record"),
                ("".join(lines[:-1]), "168 rows, 169 were written: the file is not whole"),
                (good + lines[-1], "r.jsonl:171: no row, or one that is there twice"),
                (good.replace('"site": "q"', '"site": "queries"', 1), "no row"),
                (good.replace('"digest": "0', '"digest": "', 1), "r.jsonl:2: no row"),
                (good.replace('"prompt": "b"', '"prompt": "d"', 1), "no row"),
                (good.replace('{"prompt"', '"prompt"', 1), "r.jsonl:2: no row")):
            record.write_text(text)
            self.assertIn(says, self.compare(code=2))
        record.write_text(good)
        shown = self.folder / "s.json"
        text = shown.read_text()
        for bad, says in (("{", "not the output of isobit show"), ("[]", "not the output"),
                          (text.replace("observations", "rows"), "a prompt without rows")):
            shown.write_text(bad)
            self.assertIn(says, self.compare(code=2))
        shown.unlink()
        self.assertIn("s.json", self.compare(code=2))


@unittest.skipUnless("ISOBIT" in os.environ, "ISOBIT does not name the program")
@unittest.skipUnless(has("torch", "transformers", "numpy"),
                     f"{PYTHON} has no transformers with torch and numpy")
class Recorded(tiny_project.Case):
    """The tiny model in fp32: its embedding has one value, so those rows are equal; the others are
    of the same places."""

    def record(self, *words, code=0):
        done = subprocess.run([PYTHON, str(SCRIPT), "record", "model", "r.jsonl", "--prompts",
                               "prompts.jsonl", "--device", "cpu", *words],
                              cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr

    def compared(self, cache):
        scenario = tiny_project.SCENARIO.split("axes:")[0].replace("name: tiny", "name: ops")
        scenario += f"axes: {{precision: [fp32], batch: [3], cache: ['{cache}']}}\nobserve: ops\n"
        (self.folder / "ops.yaml").write_text(scenario)
        database = f"{cache}.db"
        tiny_project.run(["run", "ops.yaml", "--db", database, "--update", "none"], self.folder)
        shown = tiny_project.run(["show", "1", "--db", database, "--json"], self.folder)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        (self.folder / "s.json").write_text(shown.stdout)
        done = subprocess.run([sys.executable, str(SCRIPT), "compare", "r.jsonl", "s.json"],
                              cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.stdout

    def test_a_record_has_the_rows_of_isobit(self):
        for cache in ("on", "off"):
            self.record("--precision", "fp32", "--batch", "3", "--max-new", "10", "--cache", cache)
            text = self.compared(cache)
            self.assertNotIn("has it", text)
            self.assertIn("embed      43 of 43 equal\n", text)
            for site in IN_LAYERS:
                self.assertIn(f" of {43 * tiny_project.LAYERS} equal",
                              next(line for line in text.splitlines() if line.startswith(site)))
            self.assertIn(" of 20 equal", text.splitlines()[-1])

    def test_layers_are_chosen_and_mistakes_are_told(self):
        self.record("--precision", "bf16", "--batch", "1", "--max-new", "2", "--layers", "1")
        rows = [json.loads(row) for row in (self.folder / "r.jsonl").read_text().splitlines()]
        self.assertEqual({row["layer"] for row in rows[1:]}, {-1, 1, tiny_project.LAYERS})
        self.assertEqual((rows[0]["precision"], rows[0]["layers"]), ("bf16", [1]))
        self.assertIn("the model has layers 0 to 1",
                      self.record("--precision", "fp32", "--layers", "2", code=2))
        (self.folder / "prompts.jsonl").write_text('{"id": "a"}\n')
        self.assertIn("prompts.jsonl:1: a line is", self.record("--precision", "fp32", code=2))


if __name__ == "__main__":
    if not has("torch", "transformers", "numpy"):
        print(f"skipped: what records ({PYTHON} has no transformers with torch and numpy)")
    unittest.main()
