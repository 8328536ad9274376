#!/usr/bin/env python3
"""Engines in other processes, from outside: permission, refusals, verdicts by evidence, repeats.

The engine is `isobit serve`, or a small program of this test. ISOBIT is the program under test.
"""
import json
import os
import pathlib
import sys
import time
import unittest

import tiny_project

HEAD = """version: 1
name: served
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 10, ignore_eos: true}
golden: none
"""

# Answers with tokens that depend on how many requests its process has served.
FORGETFUL = r"""
import json, sys
served = 0
for line in sys.stdin:
    asked = json.loads(line)
    if asked["ask"] == "hello":
        reply = {"isobit_exec": 1, "reply": "hello", "engine": "forgetful", "version": "1",
                 "evidence": "tokens", "batching": "static", "axes": {"batch": True}}
        if asked["options"].get("mood") == "missing":
            reply = {"isobit_exec": 1, "reply": "unavailable", "reason": "no package is installed"}
        elif asked["options"].get("mood", "fine") != "fine":
            reply = {"isobit_exec": 1, "reply": "error", "message": "mood is fine or missing"}
        print(json.dumps(reply), flush=True)
    elif asked["ask"] == "load":
        print(json.dumps({"reply": "loaded"}), flush=True)
    elif asked["ask"] == "generate":
        served += 1
        for i, one in enumerate(asked["sequences"]):
            for k in range(asked["max_new_tokens"]):
                row = {"reply": "row", "id": asked["id"], "sequence": i, "token": (k * served) % 64,
                       "position": len(one["prompt"]) - 1 + k}
                print(json.dumps(row))
        print(json.dumps({"reply": "done", "id": asked["id"], "observed": {
            "live_rows": len(asked["sequences"])}}), flush=True)
    else:
        break
"""


def gone(pid, patience=5.0):
    """Whether a process has ended, or does so within a few seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


class Exec(tiny_project.Case):
    def scenario(self, axes, rules, head=HEAD):
        (self.folder / "s.yaml").write_text(head + f"axes: {{{axes}}}\nexpect:\n" + "".join(
            f"  - {rule}\n" for rule in rules))
        (self.folder / "forgetful.py").write_text(FORGETFUL)

    def check(self, *words, code=0):
        done = self.isobit("check", "s.yaml", "--allow-external", "--json", "--fresh", *words,
                           code=code)
        return json.loads(done.stdout)

    @property
    def served(self):
        return f'{{exec: ["{tiny_project.program()}", serve]}}'

    def test_a_scenario_cannot_start_a_program_by_itself(self):
        self.scenario(f"engine: [reference, {self.served}]", ["{same_bits: {across: [engine]}}"])
        done = self.isobit("check", "s.yaml", code=2)
        self.assertRegex(done.stderr, r"s\.yaml:7:28: engine .* runs code that is not Isobit's "
                                      "own; --allow-external allows it")
        self.assertFalse((self.folder / ".isobit").exists())
        listed = json.loads(self.isobit("list", "s.yaml", "--json").stdout)
        self.assertIn("--allow-external", json.dumps(listed))

    def test_the_same_engine_in_another_process_gives_the_same_bits(self):
        axes = f"engine: [reference, {self.served}], precision: [fp32, bf16], batch: [1, 3]"
        self.scenario(axes,
                      ["{same_bits: {across: [engine, batch]}}"])
        report = self.check()
        self.assertEqual(report["counts"]["PASS"], 8)
        self.assertEqual(report["tokens_compared"], 2 * 3 * 2 * 10)
        again = self.isobit("check", "s.yaml", "--allow-external", "--json")
        cached = [c["name"] for c in json.loads(again.stdout)["cells"] if c.get("cached")]
        self.assertTrue(cached)
        self.assertFalse([name for name in cached if "exec" in name])

    def test_values_of_an_external_engine_can_be_bounded(self):
        self.scenario(f"engine: [reference, {self.served}], precision: [fp32, bf16]",
                      ["{within: {across: [precision, engine], max_kl: 10}}"])
        self.assertEqual(self.check()["counts"]["PASS"], 4)
        self.scenario(f"engine: [reference, {self.served}], precision: [fp32, bf16]",
                      ["{within: {across: [precision], max_abs: 1e-9}}"])
        self.assertEqual(self.check(code=1)["counts"]["DIFF"], 2)

    def test_less_than_rows_is_not_taken_for_rows(self):
        tokens = self.served.replace("}", ", evidence: tokens}")
        self.scenario(f"engine: [reference, {tokens}]", ["{same_bits: {across: [engine]}}"])
        report = self.check(code=7)
        self.assertIn("one engine gave logits, the other tokens", json.dumps(report))
        self.scenario(f"engine: [reference, {tokens}]",
                      ["{same_bits: {across: [engine], of: tokens}}"])
        self.assertEqual(self.check()["counts"]["PASS"], 2)

    def test_a_repeated_attempt_is_a_new_process(self):
        self.scenario("engine: [{exec: [python3, forgetful.py]}], batch: [1, 2]",
                      ["{measure: {across: [batch]}}"])
        # One process for both attempts would tell the second other tokens than the first.
        self.assertEqual(self.check("--repeat", "2")["counts"]["PASS"], 2)

    def test_mistakes_and_missing_packages(self):
        self.scenario("engine: [{exec: [python3, forgetful.py], mood: blue}], batch: [1, 2]",
                      ["{same_bits: {across: [batch], of: tokens}}"])
        done = self.isobit("check", "s.yaml", "--allow-external", code=2)
        self.assertRegex(done.stderr, r"s\.yaml:7:17: python3: mood is fine or missing")
        self.scenario("engine: [reference, {exec: [python3, forgetful.py], mood: missing}], "
                      "batch: [1, 2]", ["{same_bits: {across: [batch]}}"])
        report = self.check()
        self.assertEqual(report["counts"]["SKIP"], 2)
        self.assertIn("no package is installed", json.dumps(report))
        self.scenario("engine: [{exec: [python3, forgetful.py]}], gpus: [1, 2]",
                      ["{same_bits: {across: [gpus], of: tokens}}"])
        self.assertIn("forgetful does not understand gpus 2", json.dumps(self.check(code=7)))

    def test_a_program_that_is_not_there(self):
        self.scenario("engine: [{exec: [./engine]}], batch: [1, 2]",
                      ["{same_bits: {across: [batch]}}"])
        done = self.isobit("check", "s.yaml", "--allow-external", code=2)
        self.assertRegex(done.stderr, r"s\.yaml:7:17: \./engine: cannot be started: No such file")

    def test_other_cells_go_on_after_one_that_crashed(self):
        crash = f'{{exec: ["{tiny_project.program()}", serve, --fault, crash]}}'
        self.scenario(f"engine: [reference, {crash}], batch: [1, 2, 3]",
                      ["{same_bits: {across: [engine, batch]}}"])
        report = self.check(code=1)
        self.assertEqual(report["counts"]["FAIL"], 2)
        self.assertEqual(report["counts"]["PASS"], 4)

    def test_nothing_is_left_running(self):
        # The engine's own child outlives it unless somebody ends it.
        (self.folder / "wrap.sh").write_text(
            "sleep 987 & echo $! >> left.txt; python3 forgetful.py; echo ended >> ended.txt\n")
        slow = FORGETFUL.replace("served += 1", "served += 1; import time; time.sleep(60)")
        rules, axes = ["{measure: {across: [batch]}}"], "batch: [1, 2]"
        for program, code, head in ((FORGETFUL, 0, HEAD), (slow, 1, HEAD + "time_limit: 1\n")):
            self.scenario("engine: [{exec: [sh, wrap.sh]}], " + axes, rules, head)
            (self.folder / "forgetful.py").write_text(program)
            (self.folder / "left.txt").unlink(missing_ok=True)
            self.isobit("check", "s.yaml", "--allow-external", "--fresh", code=code)
            left = [int(word) for word in (self.folder / "left.txt").read_text().split()]
            self.assertTrue(left)
            for pid in left:
                self.assertTrue(gone(pid), f"process {pid} runs on")
        self.assertTrue((self.folder / "ended.txt").exists(), "no engine was ended in good order")

    def test_babble_instead_of_hello(self):
        self.scenario("engine: [{exec: [yes]}], batch: [1, 2]", ["{measure: {across: [batch]}}"])
        report = self.check(code=1)
        self.assertIn("its standard output, which is the protocol's, holds", json.dumps(report))

    def test_an_unknown_fault(self):
        done = self.isobit("serve", "--fault", "swaped-rows", code=2)
        self.assertIn('did you mean "swapped-rows"?', done.stderr)


if __name__ == "__main__":
    if not os.environ.get("ISOBIT"):
        print("skipped: ISOBIT does not name the program")
        sys.exit(77)
    unittest.main(verbosity=1)
