"""Somebody's kernels as an engine: examples in C, built as the README says and judged by `check`;
what a broken plugin does to its own cell, and to no other."""
import os
import pathlib
import re
import shlex
import shutil
import sqlite3
import subprocess
import time
import unittest

import tiny_project

SOURCE = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", ".")).resolve()
BUILD = pathlib.Path(os.environ.get("ISOBIT_BUILD_DIR", "build/dev")).resolve()
PLUGIN = SOURCE / "runtime/backends/plugin"

SCENARIO = """version: 1
name: NAME
question: Has this kernel the bits of the reference?
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 10, ignore_eos: true}
axes:
  precision: [fp32, bf16]
  engine: [reference, ENGINES]
expect:
EXPECT
golden: none
time_limit: 30
"""
ALLOWED = "--allow-external"


def compile_line():
    """The words of the line by which the README compiles C, without its files."""
    text = (PLUGIN / "README.md").read_text()
    line = re.search(r"^cc .*$", text, re.M).group(0)
    return [word for word in line.split() if not word.startswith("mygemm")]


def compiled(name, folder):
    words = compile_line()
    at = words.index("-o")
    words[at + 1:at + 1] = [str(folder / f"{name}.so")]
    words[at:at] = [str(PLUGIN / "examples" / f"{name}.c"), "-Wall", "-Wextra", "-Werror",
                    "-pedantic"]
    subprocess.run(words, cwd=SOURCE, check=True)


class Case(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        fake = BUILD / "tests/libisobit_fake_plugin.so"
        shutil.copy(fake, cls.folder / "fake.so")
        shutil.copy(BUILD / "tests/libisobit_fake_plugin_9.so", cls.folder / "nine.so")

    def scenario(self, name, engines, expect):
        rules = "\n".join(f"  - {rule}" for rule in expect)
        text = SCENARIO.replace("NAME", name).replace("ENGINES", engines).replace("EXPECT", rules)
        (self.folder / f"{name}.yaml").write_text(text)
        return f"{name}.yaml"

    def cells(self, *columns):
        """Columns of each cell of the last run, by its name."""
        with sqlite3.connect(self.folder / ".isobit/isobit.db") as db:
            rows = db.execute(f"SELECT name, {', '.join(columns)} FROM cell WHERE run = "
                              "(SELECT max(id) FROM run)").fetchall()
        return {row[0]: row[1:] for row in rows}


class Examples(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in "gemm_other_order", "gemm_reference_order", "rms_norm":
            compiled(name, cls.folder)

    def test_the_references_order_has_its_bits_and_another_has_not(self):
        same = ", ".join(['"plugin:gemm_reference_order.so"', '"plugin:rms_norm.so+sum:lanes"'])
        rules = [f"same_bits: {{where: 'engine in (reference, {same})', across: [engine]}}"]
        other = '"plugin:gemm_other_order.so"'
        rules.append(f"differ: {{where: 'engine in (reference, {other})', across: [engine]}}")
        name = self.scenario(
            "orders", "{plugin: gemm_reference_order.so}, {plugin: ./gemm_other_order.so}, "
                      "{sum: lanes, plugin: rms_norm.so}", rules)
        self.isobit("check", name, ALLOWED, "--update", "none")
        shown = self.isobit("show", "1").stdout
        self.assertIn("plugin: gemm; reference: attention, rms_norm, ", shown)

    def test_another_order_is_red(self):
        for wrong in "gemm_other_order.so", "rms_norm.so":
            name = self.scenario("red", f"{{plugin: {wrong}}}", ["same_bits: {across: [engine]}"])
            said = self.isobit("check", name, ALLOWED, "--update", "none", code=1).stdout
            self.assertEqual(set(self.cells("status").values()), {("ok",)})
            again = re.search(r"repro +isobit (.*)$", said, re.M).group(1)
            self.isobit(*shlex.split(again), code=1)

    def test_the_scenario_of_the_readme_runs(self):
        text = re.search(r"```yaml\n(.*?)```", (PLUGIN / "README.md").read_text(), re.S).group(1)
        (self.folder / "readme.yaml").write_text(text.replace("default-7m", "model"))
        shutil.copy(self.folder / "gemm_reference_order.so", self.folder / "mygemm.so")
        self.isobit("check", "readme.yaml", ALLOWED)
        shutil.copy(self.folder / "gemm_other_order.so", self.folder / "mygemm.so")
        said = self.isobit("check", "readme.yaml", ALLOWED, code=1).stdout
        self.assertRegex(said, r"PASS +same_bits across batch +\[engine=plugin:mygemm.so")

    def test_an_unchanged_plugin_is_executed_again(self):
        name = self.scenario("again", "{plugin: gemm_reference_order.so}",
                             ["same_bits: {across: [engine]}"])
        self.isobit("check", name, ALLOWED, "--update", "none")
        self.isobit("check", name, ALLOWED, "--update", "none")
        for cell, (source,) in self.cells("source").items():
            self.assertEqual(source is None, "plugin" in cell, cell)


class Broken(Case):
    FAULTS = {
        "behind": ("failed", "wrote outside its output: 1 byte behind its end"),
        "scratch": ("failed", "wrote outside scratch block 2: 1 byte behind its end"),
        "nan": ("failed", "gave NaN from finite inputs"),
        "unwritten": ("failed", "left output unwritten"),
        "rounding": ("failed", "rounding is not to nearest even"),
        "input": ("failed", "wrote into its input"),
        "error": ("failed", "failed: the tile\\x1b of 7 rows is too wide"),
        "open_silent": ("failed", "it does not open: it gave 5 and no reason"),
        "crash": ("crashed", "worker process killed by Aborted"),
    }

    def test_a_fault_fails_its_own_cells_with_one_line(self):
        engines = ", ".join(f"{{plugin: fake.so, fault: {fault}}}" for fault in self.FAULTS)
        name = self.scenario("broken", engines + ", {plugin: fake.so}", [
            "same_bits: {across: [engine]}"])
        self.isobit("check", name, ALLOWED, "--update", "none", code=1)
        cells = self.cells("status", "status_reason")
        self.assertEqual(len(cells), 2 * (len(self.FAULTS) + 2))
        for cell, (status, reason) in cells.items():
            fault = re.search(r"fault:(\w+)", cell)
            wanted, text = self.FAULTS[fault.group(1)] if fault else ("ok", "")
            self.assertEqual(status, wanted, cell)
            self.assertIn(text, reason, cell)
            self.assertNotIn("\n", reason)

    def test_names_and_options_are_any_text(self):
        shutil.copy(self.folder / "fake.so", self.folder / "my own+.so")
        name = self.scenario("text", "{plugin: 'my own+.so', fault: 'a + b: \"c\"'}, "
                                     "{plugin: 'my own+.so', 'tile': 'a +: \"b\"'}",
                             ["same_bits: {across: [engine]}"])
        self.isobit("check", name, ALLOWED, "--update", "none", code=1)
        told = {status for status, _ in self.cells("status", "status_reason").values()}
        self.assertEqual(told, {"ok", "failed"})

    def test_a_hang_is_ended(self):
        name = self.scenario("hang", "{plugin: fake.so, fault: hang}, {plugin: fake.so}",
                             ["same_bits: {across: [engine]}"])
        started = time.monotonic()
        self.isobit("check", name, ALLOWED, "--update", "none", "-k", "precision=fp32", "--set",
                    "time_limit=2", code=1)
        self.assertLess(time.monotonic() - started, 15)
        cells = self.cells("status", "status_reason")
        self.assertEqual(sorted(cells.values()),
                         [("ok", ""), ("ok", ""), ("timed_out", "no result within 2 s")])


class Refused(Case):
    RULE = ["same_bits: {across: [engine]}"]

    def refused(self, engine, *words):
        name = self.scenario("refused", engine, self.RULE)
        return self.isobit("check", name, *words, code=2).stderr

    def test_nothing_is_loaded_without_permission(self):
        said = self.refused("{plugin: fake.so}")
        self.assertRegex(said, r"refused\.yaml:9:23: .*--allow-external allows it")

    def test_a_wrong_file_is_a_mistake_at_its_place(self):
        (self.folder / "text.so").write_text("no library\n" * 100)
        for engine, text in (("{plugin: gone.so}", "there is no such file"),
                             ("{plugin: text.so}", "it cannot be loaded"),
                             ("{plugin: nine.so}", "it was built for version 9 of the plug-in"),
                             ("plugin", "engine plugin needs the file of a plugin")):
            said = self.refused(engine, ALLOWED)
            self.assertRegex(said, r"refused\.yaml:9:23: .*" + re.escape(text))

    def test_a_softmax_of_a_plugin_is_a_mistake_at_its_place(self):
        (self.folder / "rows.jsonl").write_text('{"id": "row", "width": 33}\n')
        (self.folder / "softmax.yaml").write_text(
            "version: 1\nname: s\nmodel: {op: softmax, shapes: rows.jsonl}\n"
            "axes:\n  engine: [reference, {plugin: fake.so}]\n  rows: [1, 3]\ngolden: none\n"
            "expect: [{same_bits: {across: [rows, engine]}}]\n")
        said = self.isobit("check", "softmax.yaml", ALLOWED, code=2).stderr
        self.assertRegex(said, r"softmax\.yaml:5:23: engine \"plugin:fake\.so\" has no softmax")

    def test_a_first_cell_that_cannot_run_hides_no_mistake(self):
        said = self.refused("{plugin: gone.so}]\n  device: [cuda, cpu", ALLOWED)
        self.assertRegex(said, r"refused\.yaml:9:23: .*there is no such file")


if __name__ == "__main__":
    tiny_project.program()
    if shutil.which("cc") is None:
        print("skipped: there is no C compiler to build the examples with")
        raise SystemExit(77)
    unittest.main()
