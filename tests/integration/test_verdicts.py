"""What a gate may rely on: nothing is green that was not compared, a blessed change comes back to
green, two blessings lose nothing, and every report says what the exit code says."""
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import time
import unittest
import xml.etree.ElementTree as ET

import tiny_project

PAIR = "axes:\n  batch: [1, 3]\nexpect:\n  - same_bits: {across: [batch]}\n"
SHORT = 'name: tiny\nquestion: x\nmodel: model\nprompts: prompts.jsonl\n' \
        'decode: {strategy: greedy, max_new_tokens: 10, ignore_eos: true}\n'


class Verdicts(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)

    def scenario(self, name, body=PAIR, head=SHORT):
        text = "version: 1\n" + head.replace("name: tiny", f"name: {name}") + body
        (self.folder / f"{name}.yaml").write_text(text)
        return f"{name}.yaml"

    def blocks(self, name):
        text = (self.folder / "golden" / f"{name}.golden").read_text()
        return len(re.findall(r"^block ", text, re.M))

    def test_an_intended_change_comes_back_to_green(self):
        name = self.scenario("change")
        self.isobit("bless", name, "--reason", "one")
        tiny_project.write_model(self.folder / "model", seed=8)
        self.isobit("check", name, code=5)  # stale
        out = self.isobit("bless", name, "--reason", "two").stdout
        self.assertEqual(out.count("retired  "), 2, out)
        self.isobit("check", name)
        prompts = (self.folder / "prompts.jsonl").read_text().replace("33, 12", "33, 13")
        (self.folder / "prompts.jsonl").write_text(prompts)
        self.isobit("bless", name, "--reason", "three")
        self.isobit("check", name)
        self.assertEqual(self.blocks("change"), 2)
        ledger = (self.folder / "golden/change.golden").read_text()
        self.assertEqual(ledger.count(" retired "), 3)  # two by the model, one by the prompt
        with sqlite3.connect(self.folder / ".isobit/isobit.db") as db:
            counts = dict(db.execute("select action, count(*) from golden_event group by action"))
        self.assertEqual(counts, {"bless": 5, "retire": 3})

    def test_a_filtered_blessing_leaves_its_siblings(self):
        name = self.scenario("siblings", "axes:\n  precision: [fp32, bf16]\n  batch: [1, 3]\n"
                                         "expect:\n  - same_bits: {across: [batch]}\n")
        self.isobit("bless", name, "--reason", "one")
        prompts = (self.folder / "prompts.jsonl").read_text().replace("33, 12", "33, 13")
        (self.folder / "prompts.jsonl").write_text(prompts)
        out = self.isobit("bless", name, "--reason", "two", "-k", "precision=fp32").stdout
        self.assertEqual(out.count("retired  "), 1, out)
        self.assertIn("sibling classes were not refreshed", out)
        self.assertEqual(self.blocks("siblings"), 4)

    def test_a_blessing_of_another_question_retires_nothing(self):
        name = self.scenario("asked")
        self.isobit("bless", name, "--reason", "one")
        text = (self.folder / "prompts.jsonl").read_text().replace("33, 12", "33, 13")
        (self.folder / "other.jsonl").write_text(text)
        self.isobit("bless", name, "--reason", "two", "--set", "prompts=other.jsonl")
        self.assertEqual(self.blocks("asked"), 3)

    def test_an_expected_failure_makes_no_golden_of_a_class_that_passed(self):
        name = self.scenario("expecting", PAIR.replace("batch: [1, 3]", "precision: [fp32, bf16]")
                             .replace("[batch]", "[precision]") +
                             "xfail:\n  - {where: precision=bf16, verdict: NONDET, reason: a}\n"
                             "  - {where: precision=bf16, reason: known}\n")
        self.isobit("bless", name, "--reason", "one")
        self.assertIn("XFAIL  1 cell: known", self.isobit("check", name).stdout)

    def test_what_did_not_run_here_still_has_its_goldens(self):
        name = self.scenario("elsewhere", "axes:\n  precision: [fp32, bf16]\n  batch: [1, 3]\n"
                                          "expect:\n  - same_bits: {across: [batch]}\n")
        self.isobit("bless", name, "--reason", "one")
        gpu = self.scenario("elsewhere", "axes:\n  batch: [1, 3]\nzip:\n"
                                         "  - {precision: [fp32, bf16], device: [cpu, cuda]}\n"
                                         "expect:\n  - same_bits: {across: [batch]}\n")
        out = self.isobit("check", gpu).stdout
        self.assertNotIn("OBSOLETE golden", out)
        out = self.isobit("check", gpu, "--max-time", "0s", "--fresh", code=8).stdout
        self.assertIn("(0 executed, 0 cached)", out)
        out = self.isobit("check", gpu, "--set", "prompts={file: prompts.jsonl, take: 1}").stdout
        self.assertNotIn("OBSOLETE golden", out)
        out = self.isobit("check", gpu, "--fresh", "--set", "time_limit=0.001", code=1).stdout
        self.assertNotIn("OBSOLETE golden", out)
        other = self.scenario("elsewhere")
        self.assertIn("OBSOLETE golden", self.isobit("check", other, code=5).stdout)

    def test_prune_shows_before_it_does(self):
        self.isobit("bless", self.scenario("keep"), "--reason", "one")
        self.isobit("bless", self.scenario("orphan"), "--reason", "one")
        (self.folder / "orphan.yaml").unlink()
        prompts = (self.folder / "prompts.jsonl").read_text().split("\n")[0] + "\n"
        (self.folder / "prompts.jsonl").write_text(prompts)
        for file in ("tiny.yaml", "wrong.yaml"):
            (self.folder / file).unlink()
        shown = self.isobit("prune", ".").stdout
        self.assertIn("3 golden blocks would be retired; --yes does it", shown)
        self.assertEqual((self.blocks("keep"), self.blocks("orphan")), (2, 2))
        self.isobit("prune", ".", "--yes", "--reason", "they went")
        self.assertEqual((self.blocks("keep"), self.blocks("orphan")), (1, 0))
        self.isobit("check", "keep.yaml")
        (self.folder / "broken.yaml").write_text("version: 9\n")
        self.isobit("prune", ".", "--yes", code=2)  # its goldens would be taken for nobody's
        (self.folder / "broken.yaml").unlink()
        (self.folder / "deep/er").mkdir(parents=True)
        text = (self.folder / "keep.yaml").read_text().replace("name: keep", "name: elsewhere")
        self.scenario("elsewhere")
        self.isobit("bless", "elsewhere.yaml", "--reason", "one")
        (self.folder / "elsewhere.yaml").unlink()
        (self.folder / "deep/er/e.yml").write_text(text.replace(": model", ": ../../model")
                                                   .replace("prompts.js", "../../prompts.js"))
        for words in (["."], ["keep.yaml"], ["deep", "./keep.yaml"]):
            self.assertIn("\n0 golden blocks would", "\n" + self.isobit("prune", *words).stdout)
        (self.folder / "golden/zzz.golden").write_text("rubbish\n")
        self.isobit("prune", ".", "--yes", code=2)
        self.assertEqual(self.blocks("elsewhere"), 1)

    def test_blessings_at_once_lose_nothing(self):
        precisions = ["fp64", "fp32", "bf16", "fp16"]
        name = self.scenario("crowd", f"axes:\n  precision: [{', '.join(precisions)}]\n"
                             "  batch: [1, 3]\nexpect:\n  - same_bits: {across: [batch]}\n")
        settings = os.environ | {"ISOBIT_CACHE": str(self.folder / "cache")}
        running = [subprocess.Popen([tiny_project.program(), "bless", name, "--reason", p,
                                     "-k", f"precision={p}"], cwd=self.folder, env=settings,
                                    stdout=subprocess.DEVNULL) for p in precisions]
        self.assertEqual([p.wait() for p in running], [0] * 4)
        self.assertEqual(self.blocks("crowd"), 8)

    def test_an_event_stands_for_a_block_that_is_there(self):
        name = self.scenario("unwritten")
        (self.folder / "golden").write_text("in the way")
        self.addCleanup((self.folder / "golden").unlink)
        self.isobit("bless", name, "--reason", "one", code=2)
        with sqlite3.connect(self.folder / ".isobit/isobit.db") as db:
            self.assertEqual(db.execute("select count(*) from golden_event").fetchone(), (0,))

    def test_a_partial_run_keeps_what_waits(self):
        name = self.scenario("waiting", "axes:\n  precision: [fp32, bf16]\n  batch: [1, 3]\n"
                                        "expect:\n  - same_bits: {across: [batch]}\n")
        self.isobit("run", name, code=5)
        self.isobit("run", name, "-k", "precision=fp32", code=5)
        waiting = json.loads(self.isobit("pending", "--json").stdout)["scenarios"][0]["blocks"]
        self.assertEqual(len(waiting), 4)
        self.isobit("bless", name, "--reason", "one", "-k", "precision=fp32")
        waiting = json.loads(self.isobit("pending", "--json").stdout)["scenarios"][0]["blocks"]
        self.assertEqual(len(waiting), 2)

    def test_a_pending_file_is_never_written_through_a_link(self):
        name = self.scenario("linked")
        precious = self.folder / "precious"
        precious.write_text("precious\n")
        (self.folder / ".isobit/pending").mkdir(parents=True)
        (self.folder / ".isobit/pending/linked.golden").symlink_to(precious)
        self.assertIn("no golden block was kept for later: .isobit/pending/linked.golden: is a "
                      "link", self.isobit("check", name, code=5).stdout)  # the verdict stands
        self.assertEqual(precious.read_text(), "precious\n")
        self.isobit("check", name, "--golden", ".isobit/pending", code=2)

    def told(self, *words, code):
        """One run's exit code as every report tells it."""
        files = ["--report", "junit=r.xml", "--report", "json=r.json", "--report", "md=r.md"]
        done = self.isobit(*words, *files, code=code)
        self.same_code(code, done.stdout)
        run = json.loads((self.folder / "r.json").read_text())["run"]
        history = json.loads(self.isobit("history", "--json").stdout)["runs"]
        self.assertEqual([r["exit_code"] for r in history if r["run"] == run], [code])
        return done.stdout

    def same_code(self, code, stdout):
        """The terminal and the reports written beside it tell this exit code."""
        self.assertIn(f"exit code {code}", stdout)
        self.assertEqual(json.loads((self.folder / "r.json").read_text())["exit_code"], code)
        self.assertIn(f"exit code {code}", (self.folder / "r.md").read_text())
        suites = ET.parse(self.folder / "r.xml").getroot()
        self.assertNotIn("skipped", suites.attrib)  # Jenkins' junit-10.xsd has it on a suite only
        bad = int(suites.get("failures")) + int(suites.get("errors"))
        self.assertEqual(bad > 0, code not in (0, 77), (code, bad))

    def test_every_report_says_what_the_exit_code_says(self):
        name = self.scenario("codes")
        self.told("check", name, code=5)
        self.isobit("bless", name, "--reason", "one")
        self.told("check", name, code=0)
        self.told("check", name, "--max-time", "0s", "--fresh", code=8)
        none = ("--golden", "model")  # a folder without goldens
        self.told("check", name, "-k", "batch=3", *none, "--update", "none", code=7)
        self.told("run", name, "--lenient", "-k", "batch=3", *none, code=4)
        env = json.loads(self.isobit("env", "--json").stdout)
        env["environment"]["cpu"] = "another"
        (self.folder / "env.json").write_text(json.dumps(env))
        self.told("check", name, "--require-env", "env.json", code=6)
        self.told("check", name, "--set", "axes.device=[cuda]", code=77)
        wrong = self.scenario("differ", PAIR.replace("batch: [1, 3]", "precision: [fp32, bf16]")
                              .replace("[batch]", "[precision]"))
        self.told("check", wrong, code=1)
        expected = self.scenario("expected", (self.folder / wrong).read_text().split("true}\n")[1] +
                                 "xfail: [{where: precision=bf16, reason: known}]\n")
        self.isobit("bless", expected, "--reason", "one")
        self.assertIn("XFAIL  same_bits", self.told("check", expected, code=0))
        ended = self.scenario("ended", PAIR + "xfail: [{where: batch=3, reason: known, "
                                              "until: 2020-01-01}]\n")
        self.told("check", ended, code=1)
        self.scenario("change")
        self.isobit("bless", "change.yaml", "--reason", "one")
        self.scenario("change", PAIR.replace("[1, 3]", "[1, 3]\n  precision: [bf16]"))
        self.isobit("bless", "change.yaml", "--reason", "two", "-k", "batch>0")
        self.told("check", "change.yaml", code=5)  # OBSOLETE and nothing else

    def test_an_interrupt_is_told_by_every_report(self):
        name = self.scenario("interrupted")
        child = subprocess.Popen(
            [tiny_project.program(), "check", name, "--repeat", "1000000", "--report",
             "junit=r.xml", "--report", "json=r.json", "--report", "md=r.md"],
            cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        stdout, _ = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 130)
        self.same_code(130, stdout)

    def test_a_scenario_that_cannot_be_read_is_in_the_reports(self):
        name = self.scenario("good")
        self.isobit("bless", name, "--reason", "one")
        self.isobit("check", name, "nosuch.yaml", "--report", "junit=r.xml", code=2)
        self.assertEqual(ET.parse(self.folder / "r.xml").getroot().get("failures"), "1")

    def test_a_group_does_not_pass_for_an_axis_that_did_not_vary(self):
        name = self.scenario("half", "axes:\n  device: [cpu, cuda]\n  batch: [1, 3]\n"
                                     "expect:\n  - same_bits: {across: [device, batch]}\n")
        self.isobit("bless", self.scenario("half"), "--reason", "one")
        name = self.scenario("half", "axes:\n  device: [cpu, cuda]\n  batch: [1, 3]\n"
                                     "expect:\n  - same_bits: {across: [device, batch]}\n")
        out = self.told("check", name, code=0)
        self.assertIn("NOT-RUN  same_bits across device, batch", out)
        self.assertIn("rests on 2 of 4 cells", out)
        self.assertIn("not exercised: device", out)
        group = json.loads((self.folder / "r.json").read_text())["groups"][0]
        self.assertEqual((group["verdict"], group["compared_cells"]), ("NOT-RUN", 2))
        self.told("check", name, "--max-skip", 0, code=6)

    def test_failed_cells_keep_their_partners(self):
        body = PAIR.replace("batch: [1, 3]", "precision: [fp32, bf16]\n  batch: [1, 3]")
        name = self.scenario("partners", body.replace("[batch]", "[precision]"))
        self.isobit("check", name, "--update", "none", code=1)
        for _ in range(2):  # red stays red, and what it is compared with stays beside it
            out = self.isobit("check", name, "--failed", "--update", "none", code=1).stdout
            self.assertIn("2 groups, 4 cells", out)

    def test_a_selection_of_nothing_says_so_and_is_no_run(self):
        name = self.scenario("nothing")
        self.isobit("bless", name, "--reason", "one")
        runs = len(json.loads(self.isobit("history", "--json").stdout)["runs"])
        self.assertIn("no cell matches what was selected: batch=7",
                      self.isobit("check", name, "-k", "batch=7", code=4).stdout)
        out = self.isobit("check", name, "--partition", "2/2").stdout
        self.assertIn("part 2 of 2 is empty", out)
        self.assertEqual(len(json.loads(self.isobit("history", "--json").stdout)["runs"]), runs)

    def test_several_scenarios_are_one_document_and_have_names_of_their_own(self):
        one, two = self.scenario("one"), self.scenario("two")
        out = json.loads(self.isobit("check", one, two, "--json", code=5).stdout)
        self.assertEqual([r["scenario"] for r in out["reports"]], ["one", "two"])
        out = json.loads(self.isobit("report", "last", "last~1", "--json", code=5).stdout)
        self.assertEqual(len(out["reports"]), 2)
        (self.folder / "same.yaml").write_text((self.folder / one).read_text())
        for verb in (["check"], ["bless", "--reason", "x"]):
            done = self.isobit(*verb, one, "same.yaml", code=2)
            self.assertIn("is named 'one' like one.yaml", done.stderr)
        self.scenario("two", PAIR.replace("[1, 3]", "[1, 4]"))
        words = ["check", one, two, "-k", "batch=4", "--report", "junit=r.xml"]
        self.isobit(*words, code=7)  # it leaves nothing of one, and half a pair of two
        self.assertEqual(len(ET.parse(self.folder / "r.xml").getroot()), 1)

    def test_answers_are_counted_cell_by_cell(self):
        prompts = "".join(json.dumps({"id": f"q{i}", "tokens": [1, 5 + i], "answer": "1"}) + "\n"
                          for i in range(3))
        (self.folder / "prompts.jsonl").write_text(prompts)
        name = self.scenario("scores", PAIR.replace("batch: [1, 3]",
                                                    "precision: [fp32, bf16]\n  batch: [1, 3]"))
        out = self.isobit("check", name, "--report", "md=r.md", code=5).stdout
        lines = re.findall(r"answers +([A-Z]) +(\d) of 3 correct +\(2 cells, the first is", out)
        self.assertEqual([letter for letter, _ in lines], ["A", "B"], out)
        self.assertEqual((self.folder / "r.md").read_text().count("of 3 correct"), 2)

    def test_a_golden_that_was_cut_or_edited_is_refused(self):
        name = self.scenario("cut")
        self.isobit("bless", name, "--reason", "one")
        golden = self.folder / "golden/cut.golden"
        whole = golden.read_text()
        blocks = re.findall(r"\nblock .*?\nend [0-9a-f]+\n", whole, re.S)
        for damaged in (whole[:whole.index("ledger ")].rstrip("\n") + "\n",
                        whole.replace(blocks[0], ""),
                        whole.replace("recipe precision=fp32", "recipe precision=fp64")):
            golden.write_text(damaged)
            self.assertIn("cut.golden", self.isobit("check", name, code=2).stderr)
        golden.write_text(whole)
        self.isobit("check", name)

    def test_short_answers_are_trusted_when_the_scenario_says_so(self):
        name = self.scenario("short", PAIR, SHORT.replace("max_new_tokens: 10",
                                                          "max_new_tokens: 1"))
        out = self.isobit("check", name, code=7).stdout
        self.assertIn("only 1 tokens compared in prompt short, min_tokens is 8", out)
        name = self.scenario("short", "min_tokens: 1\n" + PAIR,
                             SHORT.replace("max_new_tokens: 10", "max_new_tokens: 1"))
        self.isobit("bless", name, "--reason", "one")
        self.isobit("check", name)

    def test_an_empty_value_opens_no_gate(self):
        name = self.scenario("gate")
        self.isobit("bless", name, "--reason", "one")
        for option in ("--golden-from", "--db", "--golden", "--partition", "--require-env", "-k"):
            self.assertIn("value is empty", self.isobit("check", name, option, "", code=2).stderr)
        self.assertIn("keeps nothing",
                      self.isobit("check", name, "--db", ":memory:", code=2).stderr)
        self.assertIn('did you mean "gpu"',
                      self.isobit("check", name, "--require", "gpux", code=2).stderr)
        twice = ["--report", "junit=r.out", "--report", "md=./r.out"]
        self.assertIn("two reports", self.isobit("check", name, *twice, code=2).stderr)
        for path in ("golden/gate.golden", ".isobit/isobit.db"):
            before = (self.folder / path).read_bytes()
            self.isobit("check", name, "--report", f"md={path}", code=2)
            self.assertEqual((self.folder / path).read_bytes(), before)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
