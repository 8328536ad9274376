"""What is said of a run: how much a filter cut, what became of cells, ids instead of numbers, one
line for one reason, bounds with their rules, names that lead back to a cell, and what agreement
can have missed. Every output says it, also later from the database."""
import json
import re
import struct
import sys
import unittest
import xml.etree.ElementTree as ET

import tiny_project

HEAD = 'version: 1\nname: {name}\nmodel: model\nprompts: prompts.jsonl\n' \
       'decode: {{strategy: greedy, max_new_tokens: 10, ignore_eos: true}}\n'
KINDS = ("json", "junit", "md")


class Told(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)

    def scenario(self, name, body):
        (self.folder / f"{name}.yaml").write_text(HEAD.format(name=name) + body)
        return f"{name}.yaml"

    def outputs(self, *words, code):
        """One run by every output: terminal, JSON, JUnit, Markdown; the same from the store."""
        files = [f"--report={kind}=a.{kind}" for kind in KINDS]
        told = self.isobit(*words, *files, code=code).stdout
        style = [word for word in words if word in ("-q", "-v")]
        again = self.isobit("report", "last", *style, *[f.replace("a.", "b.") for f in files],
                            code=code)
        self.assertEqual(again.stdout, told)
        out = {"terminal": told}
        for kind in KINDS:
            out[kind] = (self.folder / f"a.{kind}").read_text()
            self.assertEqual((self.folder / f"b.{kind}").read_text(), out[kind], kind)
        return out

    def break_model(self):
        """A weight that is no number: every cell FAILs at its first row."""
        path = self.folder / "model/model.safetensors"
        data = bytearray(path.read_bytes())
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + length])
        begin = header["model.norm.weight"]["data_offsets"][0]
        data[8 + length + begin:8 + length + begin + 4] = struct.pack("<f", float("nan"))
        path.write_bytes(data)

    def test_a_filter_that_cuts_a_group_says_what_is_missing(self):
        cut = "2 of 4 cells were not selected"
        out = self.outputs("check", "tiny.yaml", "-k", "batch=3", code=5)
        for kind, text in out.items():
            self.assertIn(cut, text, kind)
            self.assertIn("4 of 8 cells were not selected", text, kind)
        group = json.loads(out["json"])["groups"][0]
        self.assertEqual((group["verdict"], group["reason"], group["unselected_cells"]),
                         ("NOT-RUN", f"not exercised: batch; what was compared agrees; {cut}", 2))
        # Both axes still vary: it holds, and every output says of how many cells.
        out = self.outputs("check", "tiny.yaml", "-k", "not (batch=3 and cache=on)", code=5)
        for kind, text in out.items():
            self.assertIn("1 of 4 cells were not selected", text, kind)
        self.assertEqual(json.loads(out["json"])["groups"][1]["verdict"], "PASS")
        out = self.outputs("check", "tiny.yaml", "-k", "batch=3 and cache=on", code=7)
        for kind, text in out.items():
            self.assertIn("vacuous: 1 of 1 cell of the group has a result; 3 of 4 cells were not "
                          "selected", text, kind)
        whole = self.outputs("check", "tiny.yaml", code=5)
        for kind, text in whole.items():
            self.assertNotIn("not selected", text, kind)

    def test_a_rule_is_not_green_for_an_axis_that_varies_in_no_group(self):
        name = self.scenario("tied", "zip: [{precision: [fp32, bf16], batch: [1, 3]}]\n"
                             "axes: {cache: [on, off]}\n"
                             "expect: [{same_bits: {across: [batch, cache]}}]\n")
        out = self.outputs("check", name, code=5)
        for group in json.loads(out["json"])["groups"]:
            self.assertEqual((group["verdict"], group["reason"]),
                             ("NOT-RUN", "not exercised: batch; what was compared agrees"))
        self.isobit("validate", name, code=2)

    def test_a_vacuous_group_says_what_became_of_the_others(self):
        name = self.scenario("failed", "axes:\n  threads: [1, 2]\n  device: [cpu, cuda]\n"
                             "expect:\n  - same_bits: {across: [threads, device]}\n")
        self.break_model()
        out = self.isobit("check", name, code=1).stdout
        self.assertIn("vacuous: 0 of 4 cells of the group have a result (2 not finite, 2 skipped)",
                      out)

    def test_prompts_are_named_by_their_ids_and_one_reason_is_told_once(self):
        self.break_model()
        out = self.outputs("check", "tiny.yaml", "--set",
                           "prompts={file: prompts.jsonl, skip: 1}", code=1)
        for kind, text in out.items():
            self.assertIn("prompt long/er, position 19: non-finite logit", text, kind)
            self.assertNotIn("prompt 0", text, kind)
        for kind in ("terminal", "md"):
            self.assertIn("and 7 more cells with the same reason", out[kind])
        self.assertEqual(out["terminal"].count("non-finite logit"), 1)
        self.assertEqual(len(ET.fromstring(out["junit"]).findall(".//error")), 8)
        verbose = self.isobit("report", "last", "-v", code=1).stdout
        self.assertEqual(verbose.count("repro   isobit repro"), 8)

    def test_a_teacher_that_fails_fails_its_cells_alone(self):
        tiny_project.write_model(self.folder / "model", last_norm=1e5)  # beyond fp16, not fp32
        name = self.scenario("taught", "axes: {precision: [fp16, fp32], batch: [1, 2]}\n"
                             "expect:\n  - same_bits: {across: [batch]}\n")
        out = json.loads(self.isobit("check", name, "--set", "decode.teacher_forced=true", "--json",
                                     code=1).stdout)
        self.assertEqual(len(out["cells"]), 4)
        for cell in out["cells"]:
            half = "precision=fp16" in cell["name"]
            self.assertEqual(cell["verdict"], "FAIL" if half else "NOGOLD", cell["name"])
            self.assertEqual("the teacher failed: prompt short, position 4: non-finite logit"
                             in cell["reason"], half, cell["reason"])

    def test_prompts_without_a_bos_are_one_note(self):
        (self.folder / "prompts.jsonl").write_text("".join(
            json.dumps({"id": f"p{n}", "tokens": [50 + n, 6]}) + "\n" for n in range(7)))
        name = self.scenario("bos", "axes: {batch: [1, 3]}\n"
                             "expect: [{same_bits: {across: [batch]}}]\n")
        out = self.isobit("check", name, "--set", "model=nano-300k", "--json", code=5).stdout
        notes = [note for note in json.loads(out)["notes"] if "BOS" in note]
        self.assertEqual(notes, ["7 prompts do not begin with the model's BOS: p0, p1, p2, p3, p4, "
                                 "…"])

    def test_bounds_are_part_of_a_rule(self):
        name = self.scenario("bounds", "axes:\n  precision: [fp32, bf16]\nexpect:\n"
                             "  - within: {across: [precision], max_kl: 1e-6}\n"
                             "  - within: {across: [precision], max_kl: 1.0e+3,"
                             " max_ulp: 1000000000, token_match: 0.0}\n")
        out = self.outputs("check", name, "--update", "none", code=1)
        rules = [group["rule"] for group in json.loads(out["json"])["groups"]]
        self.assertEqual(rules, ["within max_kl 1e-06 across precision",
                                 "within token_match 0, max_kl 1000, max_ulp 1000000000 across "
                                 "precision"])
        for kind in ("terminal", "junit"):
            self.assertIn("within max_kl 1e-06 across precision", out[kind])

    def test_only_verdicts_that_were_given_are_counted(self):
        out = self.outputs("check", "tiny.yaml", code=5)
        for kind in ("terminal", "junit", "md"):
            self.assertIn("8 cells: 0 PASS, 8 NOGOLD", out[kind])
            self.assertNotRegex(out[kind], r"\b0 (DIFF|NONDET|FAIL|SKIP)")
        self.assertEqual(json.loads(out["json"])["counts"]["NONDET"], 0)

    def test_sums_over_cells_are_called_so(self):
        out = self.outputs("check", "tiny.yaml", "-j", "2", code=5)
        self.assertRegex(out["terminal"], r"% of the cells' .* \(summed over cells\)")
        report = json.loads(out["json"])
        suite = ET.fromstring(out["junit"]).find("testsuite")
        self.assertEqual(suite.get("time"), f"{report['seconds']:.3f}")  # wall clock

    def test_agreement_says_what_it_can_have_missed(self):
        seen = "% of executions would have been seen (95 %)"
        self.isobit("bless", "tiny.yaml", "--reason", "one")
        rows = json.loads(self.isobit("check", "tiny.yaml", "--json").stdout)["tokens_compared"]
        out = self.outputs("check", "tiny.yaml", "--fresh", code=0)
        self.assertNotIn("flip", out["terminal"])  # all bits are equal: there is no rate of flips
        for kind, text in out.items():
            self.assertIn(f"0 of {rows} rows differ; each cell was executed once: a fault in more "
                          f"than 95 {seen}", text, kind)
        out = self.outputs("check", "tiny.yaml", "--repeat", "3", "-q", code=0)
        for kind, text in out.items():
            self.assertIn(f"0 of {rows} rows differ; 3 executions of each cell agree: a fault in "
                          f"more than 63.2 {seen}", text, kind)
        report = json.loads(out["json"])
        self.assertEqual({c["executions"] for c in report["cells"]}, {3})
        self.assertEqual(report["independent_executions"], 3)
        self.assertAlmostEqual(report["seen_fault_rate"], 1 - 0.05 ** (1 / 3))
        last = int(json.loads(out["json"])["run"])
        told = self.isobit("diff", last - 1, last).stdout
        self.assertIn("0 of 160 rows differ; 2 executions of each cell agree: a fault in more than "
                      f"77.6 {seen}", told)
        cells = [c["hash"] for c in json.loads(out["json"])["cells"]]
        one = self.isobit("diff", f"{last - 1}:/{cells[0]}", f"{last}:/{cells[0]}").stdout
        self.assertIn(f"0 of 20 rows differ; 2 executions agree: a fault in more than 77.6 {seen}",
                      one)
        two = self.isobit("diff", f"{last}:/{cells[0]}", f"{last}:/{cells[1]}").stdout
        self.assertIn("each cell was executed once: a fault in more than 95 " + seen, two)
        # What differs is no agreement.
        self.isobit("check", "wrong.yaml", "--update", "none", code=1)
        red = self.isobit("report", "last", code=1).stdout
        self.assertNotIn("rows differ;", red)
        self.assertRegex(red, r"flips? \(rate below [0-9.]+ of [0-9,]+ rows, 95 %\)")

    def test_runs_told_together_end_as_they_did(self):
        self.isobit("bless", "tiny.yaml", "--reason", "one")
        self.isobit("check", "tiny.yaml")
        self.isobit("check", "tiny.yaml", "--set", "axes.device=[cuda]", code=77)
        self.isobit("report", "last", "last~1")
        self.isobit("report", "last", code=77)
        self.isobit("report", "last", "last", code=77)


class Names(tiny_project.Case):
    """Words that name cells, and files that are named after ids."""

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)
        self.isobit("check", "tiny.yaml", code=5)
        listed = json.loads(self.isobit("list", "tiny.yaml", "--json").stdout)
        self.cells = listed["scenarios"][0]["cells"]

    def shown(self, word):
        return json.loads(self.isobit("show", word, "--json").stdout)["cells"][0]["hash"]

    def unique_start(self, hash_):
        others = [c["hash"] for c in self.cells if c["hash"] != hash_]
        return next(hash_[:n] for n in range(1, 17)
                    if not any(o.startswith(hash_[:n]) for o in others))

    def test_names_and_starts_of_hashes(self):
        for cell in self.cells:
            bare, hash_ = cell["name"].split(" /")[0], cell["hash"]
            start = self.unique_start(hash_)
            for word in (bare, cell["name"], f"{bare} /{hash_}", f"{bare} /{start}", hash_,
                         "/" + hash_, "/" + start, "/" + hash_[:8], hash_[:12]):
                with self.subTest(word=word):
                    self.assertEqual(self.shown(word), hash_)
            if not re.fullmatch("[0-9]", start):
                self.assertEqual(self.shown(start), hash_)
        cell = self.cells[3]
        bare, start = cell["name"].split(" /")[0], self.unique_start(cell["hash"])
        for word in (bare, "/" + start):
            history = json.loads(self.isobit("history", word, "--json").stdout)
            self.assertEqual(history["name"], cell["name"])
            self.assertIn("/" + cell["hash"], self.isobit("repro", word, "--dry-run").stdout)
            self.assertIn("/" + cell["hash"], self.isobit("repro", "tiny.yaml", "--cell", word,
                                                          "--dry-run").stdout)
            listed = json.loads(self.isobit("list", "tiny.yaml", "--cell", word, "--json").stdout)
            self.assertEqual([c["hash"] for c in listed["scenarios"][0]["cells"]], [cell["hash"]])
            self.isobit("diff", word, self.cells[0]["name"].split(" /")[0],
                        code=0 if "precision=fp32" in bare else 1)
        # The newest of two cells with one name.
        self.isobit("check", "tiny.yaml", "--set", "decode.max_new_tokens=9", code=5)
        self.assertNotEqual(self.shown(bare), cell["hash"])
        self.assertEqual(self.shown(f"{bare} /{cell['hash'][:8]}"), cell["hash"])
        # The name must be right where it is given with a hash.
        self.isobit("show", f"tiny%other=1 /{cell['hash'][:8]}", code=2)

    def test_a_start_of_several_hashes_lists_them(self):
        by_digit = {}
        for cell in self.cells:
            by_digit.setdefault(cell["hash"][0], []).append(cell)
        digit, several = next((d, c) for d, c in by_digit.items() if len(c) > 1)
        for words in (["show", "/" + digit], ["history", "/" + digit],
                      ["diff", "/" + digit, "/" + several[0]["hash"]],
                      ["repro", "/" + digit, "--dry-run"],
                      ["repro", "tiny.yaml", "--cell", "/" + digit, "--dry-run"],
                      ["check", "tiny.yaml", "--cell", "/" + digit],
                      ["list", "tiny.yaml", "--cell", digit]):
            with self.subTest(words=words):
                error = self.isobit(*words, code=2).stderr
                self.assertIn("names more than one cell: ", error)
                for cell in several:
                    self.assertIn(f"{cell['name'].split(' /')[0]} /{cell['hash']}", error)

    def test_digits_that_name_no_run_can_be_a_hash(self):
        self.isobit("show", "4711", code=2)
        self.assertIn('no run "4711"', self.isobit("show", "4711", code=2).stderr)
        for n in range(1, 400):  # a scenario with a cell whose hash begins with digits
            text = (self.folder / "tiny.yaml").read_text().replace("name: tiny", f"name: d{n}")
            (self.folder / "digits.yaml").write_text(text)
            cells = json.loads(self.isobit("list", "digits.yaml", "--json").stdout)
            found = [c["hash"] for c in cells["scenarios"][0]["cells"]
                     if re.match("[1-9][0-9]{3}", c["hash"])]
            if found:
                break
        self.isobit("check", "digits.yaml", code=5)
        self.assertEqual(self.shown(found[0][:4]), found[0])
        self.isobit("diff", found[0][:4], "/" + found[0], code=4)

    def test_what_ran_is_in_the_json_of_show(self):
        cell = json.loads(self.isobit("show", self.cells[0]["hash"], "--json").stdout)["cells"][0]
        self.assertEqual((cell["observed"]["engine"], cell["observed"]["ranks"],
                          cell["observed"]["steps"]), ("reference", 1, 20))
        self.assertEqual((cell["verdict"], cell["severity"], cell["reason"]),
                         ("NOGOLD", "", "no golden for prompt short"))
        self.assertEqual(cell["groups"], [{"rule": "same_bits across batch, cache",
                                           "key": "precision=fp32", "verdict": "PASS",
                                           "reason": ""}])

    def test_files_named_after_ids_never_meet(self):
        ids = ["a/b", "a_b", "a%2Fb", "a b", "A", "a", ".a", "%2Ea", "é", "x" * 300,
               "x" * 299 + "y", "a-4", "a-5"]
        (self.folder / "ids.jsonl").write_text(
            "".join(json.dumps({"id": i, "tokens": [1, 5 + n]}) + "\n" for n, i in enumerate(ids)))
        self.isobit("check", "tiny.yaml", "--set", "prompts=ids.jsonl", "--set",
                    "axes={batch: [1, 3]}", "--set", "expect.0.same_bits.across=[batch]", code=5)
        run = json.loads(self.isobit("show", "last", "--json").stdout)["cells"][0]
        self.isobit("show", "/" + run["hash"], "--logits", "rows")
        files = sorted(f.name for f in (self.folder / "rows").iterdir())
        self.assertEqual(len(files), sum(len(p["tokens"]) for p in run["prompts"]))
        self.assertEqual(len({f.lower() for f in files}), len(files))
        self.assertLess(max(map(len, files)), 120)
        for name in ("a%2Fb-1.f32", "a_b-1.f32", "a%252%46b-1.f32", "%41-1.f32", "%2Ea-1.f32"):
            self.assertIn(name, files)
        rows = {f: (self.folder / "rows" / f).read_bytes() for f in files if "-1." in f}
        self.assertEqual(len(set(rows.values())), len(ids))

    def test_names_that_differ_in_case_alone_share_no_golden(self):
        text = (self.folder / "tiny.yaml").read_text()
        (self.folder / "upper.yaml").write_text(text.replace("name: tiny", "name: Tiny"))
        for verb in (["check"], ["bless", "--reason", "x"]):
            done = self.isobit(*verb, "tiny.yaml", "upper.yaml", code=2)
            self.assertIn("upper.yaml: is named 'Tiny' like tiny.yaml", done.stderr)


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
