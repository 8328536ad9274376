"""What cells are judged by: goldens of vendors' engines, an earlier run, or the contract alone; and
the cause that is named when bits are others: model, prompts, library, program."""
import glob
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import unittest
import xml.etree.ElementTree as ET

import tiny_project

HEAD = "version: 1\nname: NAME\nquestion: x\nmodel: model\nprompts: prompts.jsonl\n" \
       "decode: {strategy: greedy, max_new_tokens: 10, ignore_eos: true}\n"
RULE = "axes:\n  batch: [1, 3]\nexpect:\n  - same_bits: {across: [batch]}\n"
BLAS = "axes:\n  engine: [reference, openblas]\n  batch: [1, 3]\n" \
       "expect:\n  - same_bits: {where: engine=reference, across: [batch]}\n"
SHIM = pathlib.Path(__file__).parent / "blas_shim.c"


def real_openblas():
    for pattern in ("/usr/lib/*/libopenblas.so.0", "/lib/*/libopenblas.so.0"):
        for path in glob.glob(pattern):
            return os.path.realpath(path)
    return ""


class References(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)

    def scenario(self, name, body=RULE):
        (self.folder / f"{name}.yaml").write_text(HEAD.replace("NAME", name) + body)
        return f"{name}.yaml"

    def library(self, *flags):
        """The environment in which OpenBLAS is one that flips the last bit of every product."""
        real = real_openblas()
        if not real:
            self.skipTest("no OpenBLAS here")
        folder = self.folder / "lib"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", f'-DREAL="{real}"', *flags,
                        "-o", folder / "libopenblas.so.0", SHIM], check=True)
        return {"LD_LIBRARY_PATH": str(folder)}

    def change_model(self):
        """One weight becomes another: the logits move by a little."""
        path = self.folder / "model/model.safetensors"
        data = bytearray(path.read_bytes())
        data[-2] ^= 0x40
        path.write_bytes(data)

    def change_prompt(self):
        text = (self.folder / "prompts.jsonl").read_text().replace("33, 12", "33, 13")
        (self.folder / "prompts.jsonl").write_text(text)

    def reviewed(self, **settings):
        """The hash under which `review` shows what waits."""
        out = self.isobit("review", **settings).stdout
        return re.search(r"--reviewed ([0-9a-f]{16})", out)[1], out

    # Goldens of vendors' engines.

    def test_a_replaced_library_is_not_green_and_is_named(self):
        name = self.scenario("blas", BLAS)
        swapped = self.library()
        self.isobit("bless", name, "--reason", "one")
        self.isobit("check", name)
        out = self.isobit("check", name, env=swapped, code=5).stdout
        self.assertRegex(out, r"STALE  2 cells: stale, bits differ: library libopenblas\.so\.0 "
                              r"[0-9a-f]{12} -> [0-9a-f]{12}")
        here = self.isobit("env", "--json", env=swapped).stdout
        self.assertIn("lib.libopenblas.so.0", json.loads(here)["environment"])
        diff = self.isobit("env", "diff", "1", "last", code=1).stdout
        self.assertIn("lib.libopenblas.so.0", diff)

    def test_one_reviewed_blessing_settles_a_new_library(self):
        name = self.scenario("settled", "axes:\n  engine: [openblas]\n"
                                        "  precision: [fp32, fp16, bf16]\n"
                                        "  batch: [1, 2, 3, 4, 5]\n  cache: [on, off]\n"
                                        "  threads: [1, 2]\n")  # 60 cells, 120 blocks
        swapped = self.library()
        self.isobit("bless", name, "--reason", "one")
        out = self.isobit("run", name, env=swapped, code=5).stdout
        self.assertIn("60 STALE", out)
        known, shown = self.reviewed(env=swapped)
        self.assertIn("cause of 120 blocks: library libopenblas.so.0", shown)
        self.assertRegex(shown, r"there: max ULP \d+, KL \S+ over the \d stored logits of both")
        self.assertRegex(shown, r"first at position 4 \(generated token 0\): token \d+")
        refused = self.isobit("bless", name, "--reviewed", known, "--reason", "no", code=1)
        self.assertIn("120 reviewed ones not there", refused.stderr)
        self.isobit("bless", name, "--reviewed", known, "--reason", "new library", env=swapped)
        self.isobit("check", name, env=swapped)
        self.isobit("check", name)  # the other machines' goldens are still there
        out = self.isobit("prune", name).stdout
        self.assertIn("0 golden blocks", out)
        out = self.isobit("prune", name, "--foreign", "--yes", "--reason", "gone").stdout
        self.assertIn("120 golden blocks retired", out)
        self.isobit("check", name)
        self.isobit("check", name, env=swapped, code=5)

    def test_a_library_that_lacks_a_symbol_fails_its_cells_only(self):
        name = self.scenario("lacks", BLAS)
        out = self.isobit("check", name, env=self.library("-DWITHOUT_DGEMM"), code=1).stdout
        self.assertIn("FAIL", out)
        self.assertIn("cblas_dgemm", out)

    # An earlier run instead of goldens.

    def test_a_baseline_judges_by_an_earlier_run(self):
        name = self.scenario("base")
        self.isobit("run", name, code=5)
        out = self.isobit("check", name, "--baseline", "last").stdout
        self.assertIn("judged by run 1 of ", out)
        self.assertIn("2 executed, 0 cached", out)  # nothing is compared with itself
        self.assertIn("0 cached", self.isobit("check", name, "--baseline", "2").stdout)
        tiny_project.write_model(self.folder / "model", seed=8)
        out = self.isobit("check", name, "--baseline", "1", code=1).stdout
        self.assertIn("differs from the baseline, run 1, at prompt short, position 4", out)
        self.assertRegex(out, r"cause: model [0-9a-f]{12} -> [0-9a-f]{12}")
        shutil.copy(self.folder / ".isobit/isobit.db", self.folder / "other.db")
        out = self.isobit("check", name, "--baseline", "other.db:1", code=1).stdout
        self.assertIn("run 1 of other.db", out)
        out = self.isobit("check", name, "--baseline", "other.db", code=1).stdout
        self.assertIn("run 3 of other.db", out)  # the last that was not red

    def test_a_red_run_is_no_baseline(self):
        name = self.scenario("red")
        self.isobit("run", name, code=5)
        self.change_model()
        self.isobit("check", name, "--baseline", "last", code=1)
        self.isobit("check", name, "--baseline", "last", code=1)
        out = self.isobit("check", name, "--baseline", "3", code=5).stdout
        self.assertIn("was DIFF in run 3: that is no baseline for this cell", out)

    def test_a_copy_of_the_database_is_not_compared_with_itself(self):
        name = self.scenario("copy")
        self.isobit("run", name, code=5)
        shutil.copy(self.folder / ".isobit/isobit.db", self.folder / "copy.db")
        self.assertIn("2 executed, 0 cached",
                      self.isobit("check", name, "--baseline", "copy.db").stdout)

    def test_a_damaged_witness_leaves_the_verdict_alone(self):
        name = self.scenario("witness", BLAS)
        self.isobit("bless", name, "--reason", "one")
        with sqlite3.connect(self.folder / ".isobit/isobit.db") as db:
            db.execute("delete from token where position > 6")
        out = self.isobit("check", name, env=self.library(), code=5).stdout
        self.assertIn("2 STALE", out)
        self.isobit("review", env=self.library())

    def test_a_library_that_names_no_core_type_has_no_golden(self):
        rule = "  - measure: {where: engine=openblas, across: [batch]}\n"
        name = self.scenario("nameless", BLAS + rule)
        self.isobit("bless", name, "--reason", "one")
        out = self.isobit("check", name, env=self.library("-DNAMELESS"), code=5).stdout
        self.assertIn("no golden can be found", out)

    def test_two_runs_of_a_cell_under_no_rule_are_no_check(self):
        name = self.scenario("twice", "golden: {where: precision=fp32}\n"
                                      "axes: {precision: [fp32, bf16], batch: [1, 3]}\nexpect:\n"
                                      "  - same_bits: {where: precision=fp32, across: [batch]}\n")
        self.isobit("bless", name, "--reason", "x")
        self.isobit("check", name, code=7)
        self.isobit("check", name, "--repeat", "2", code=7)

    def test_a_baseline_of_a_vendor_engine(self):
        name = self.scenario("vbase", BLAS)
        self.isobit("run", name, code=5)
        self.isobit("check", name, "--baseline", "last")
        out = self.isobit("check", name, "--baseline", "1", env=self.library(), code=1).stdout
        self.assertRegex(out, r"cause: library libopenblas\.so\.0 [0-9a-f]{12} -> ")

    def test_a_cell_that_the_baseline_lacks_is_not_green(self):
        name = self.scenario("part")
        self.isobit("run", name, "-k", "batch=1", code=7)
        out = self.isobit("check", name, "--baseline", "1", code=5).stdout
        self.assertIn("has no finished execution of this cell", out)

    def test_a_baseline_that_is_none_is_an_error(self):
        name = self.scenario("none")
        self.isobit("run", name, code=5)
        other = self.scenario("another")
        for word, says in (("7", "has no run 7"), ("rum", "neither a run"),
                           ("prompts.jsonl", "not a SQLite database"), ("no.db:1", "no database"),
                           ("last~5", "no such finished run"), ("", "--baseline")):
            with self.subTest(word):
                self.assertIn(says, self.isobit("check", name, "--baseline", word, code=2).stderr)
        done = self.isobit("check", other, "--baseline", "1", code=2)
        self.assertIn("run 1 is of scenario none, not of another", done.stderr)
        done = self.isobit("check", name, "--baseline", "1", "--golden-from", "HEAD", code=2)
        self.assertIn("--golden-from", done.stderr)

    # The contract alone.

    def test_without_goldens_every_output_says_so(self):
        name = self.scenario("rules", "golden: none\n" + RULE)
        done = self.isobit("check", name, "--report", "junit=j.xml", "--report", "md=m.md",
                           "--report", "json=r.json")
        note = "golden: none: judged by the contract alone"
        self.assertIn(note, done.stdout)
        for file in ("j.xml", "m.md", "r.json"):
            self.assertIn(note, (self.folder / file).read_text(), file)
        self.assertEqual(ET.parse(self.folder / "j.xml").getroot().get("failures"), "0")
        self.assertFalse((self.folder / ".isobit/pending").exists())
        out = self.isobit("bless", name, "--reason", "x", code=2).stderr
        self.assertIn("the scenario says golden: none", out)
        out = self.isobit("check", name, "--golden-from", "HEAD", code=2).stderr
        self.assertIn("must not take its goldens away", out)

    def test_without_goldens_a_broken_rule_is_red(self):
        name = self.scenario("broken", "golden: none\naxes: {precision: [fp32, bf16]}\n"
                                       "expect:\n  - same_bits: {across: [precision]}\n")
        self.isobit("check", name, code=1)

    def test_goldens_of_some_cells(self):
        name = self.scenario("some", "golden: {where: precision=fp32}\n"
                                     "axes: {precision: [fp32, bf16], batch: [1, 3]}\n"
                                     "expect:\n  - same_bits: {across: [batch]}\n")
        self.isobit("bless", name, "--reason", "x")
        self.assertIn("goldens only where precision=fp32", self.isobit("check", name).stdout)
        self.assertNotIn("bf16", (self.folder / "golden/some.golden").read_text())

    def test_a_choice_of_goldens_that_says_nothing_is_refused(self):
        for text, says in (("golden: none\n", "nothing would be compared"),
                           ("golden: nine\n" + RULE, "did you mean \"none\""),
                           ("golden: {where: batch=7}\n" + RULE, "selects no cell"),
                           ("golden: {}\n" + RULE, "empty map")):
            with self.subTest(text):
                done = self.isobit("validate", self.scenario("refused", text), code=2)
                self.assertIn(says, done.stderr)
                self.assertIn("refused.yaml:", done.stderr)

    def test_a_cell_under_no_rule_is_blessed_by_two_runs_that_agree(self):
        name = self.scenario("norule", "axes:\n  precision: [fp32]\n")
        self.isobit("bless", name, "--reason", "x")
        self.isobit("check", name)

    # Causes.

    def test_diff_names_the_model_that_changed(self):
        name = self.scenario("models")
        self.isobit("run", name, code=5)
        self.change_model()
        self.isobit("run", name, code=5)
        out = self.isobit("diff", "1", "2", code=1).stdout
        self.assertRegex(out, r"cause of 2 cells: model [0-9a-f]{12} -> [0-9a-f]{12}")
        cell = re.search(r"models%batch=3 (/[0-9a-f]{8})", out)[1]
        out = self.isobit("diff", "1:" + cell, "2:" + cell, code=1).stdout
        self.assertRegex(out, r"cause: model [0-9a-f]{12} -> ")
        self.assertIn("what run 1 executed is not there any more: model", out)
        self.assertRegex(out, r"values at that row: max ULP [1-9]\d*, KL \S+ over the \d stored")
        self.assertNotIn("first element", out)
        self.assertNotIn("program or machine", out)

    def test_env_lists_the_models_of_scenarios(self):
        name = self.scenario("listed")
        here = json.loads(self.isobit("env", name, "--json").stdout)["environment"]
        self.assertRegex(here["model.model"], "^[0-9a-f]{64}$")
        self.isobit("run", name, code=5)
        self.change_model()
        self.isobit("run", name, code=5)
        self.assertIn("model.model", self.isobit("env", "diff", "1", "2", code=1).stdout)
        self.assertNotIn("model.", self.isobit("env", "diff", "2", "here", "--json").stdout)
        self.assertIn("did you mean", self.isobit("env", "dif", code=2).stderr)

    def test_diff_names_the_axis_that_differs(self):
        name = self.scenario("axis", "golden: none\naxes: {precision: [fp32, bf16]}\n"
                                     "expect:\n  - differ: {across: [precision]}\n")
        self.isobit("run", name)
        a, b = re.findall(r"/[0-9a-f]{8}", self.isobit("list", name).stdout)[:2]
        self.assertIn("cause: precision", self.isobit("diff", a, b, code=1).stdout)

    def test_diff_names_the_prompt_that_changed(self):
        name = self.scenario("prompts")
        self.isobit("run", name, code=5)
        self.change_prompt()
        self.isobit("run", name, code=5)
        out = self.isobit("diff", "1", "2", code=1).stdout
        self.assertIn("cause of 2 cells: prompt short has other tokens", out)

    def test_review_across_a_change_of_the_model(self):
        name = self.scenario("across")
        self.isobit("bless", name, "--reason", "one")
        self.change_model()
        self.isobit("run", name, code=5)
        known, out = self.reviewed()
        self.assertEqual(out.count("\n  changed  "), 2, out)
        self.assertRegex(out, r"of another recipe: model [0-9a-f]{12} -> ")
        self.assertRegex(out, r"cause of 2 blocks: model [0-9a-f]{12} -> ")
        self.assertIn("stored logits of both", out)
        self.isobit("bless", name, "--reviewed", known, "--reason", "the new model")
        self.isobit("check", name)
        ledger = (self.folder / "golden/across.golden").read_text()
        self.assertEqual(ledger.count(" retired "), 2)

    def test_a_changed_prompt_is_told_as_such(self):
        name = self.scenario("words")
        self.isobit("bless", name, "--reason", "one")
        self.change_prompt()
        out = self.isobit("check", name, code=5).stdout
        self.assertIn("no golden for prompt short: its tokens are not those that block", out)
        self.isobit("run", name, code=5)
        self.assertIn("of other tokens of the prompt", self.reviewed()[1])

    def test_reviewed_blocks_that_changed_meanwhile_are_refused(self):
        name = self.scenario("meanwhile")
        self.isobit("run", name, code=5)
        known, _ = self.reviewed()
        self.change_prompt()
        self.isobit("run", name, code=5)
        done = self.isobit("bless", name, "--reviewed", known, "--reason", "x", code=1)
        self.assertIn("what waits is not what was reviewed", done.stderr)
        self.isobit("bless", name, "--reviewed", self.reviewed()[0], "--reason", "x", "--dry-run")
        self.assertFalse((self.folder / "golden/meanwhile.golden").exists())


if __name__ == "__main__":
    unittest.main()
