#!/usr/bin/env python3
"""`score` from the scenario to every output, on the embedded model: likelihoods and choices against
those recomputed from `show --json`, rules and their reference cell, reuse of stored cells, the
report from the store, and bad input. Standard library only."""
import json
import math
import sqlite3
import unittest

import tiny_project

HEAD = """version: 1
name: {name}
model: default-7m
prompts: prompts.jsonl
decode: {{max_new_tokens: 12, teacher_forced: {taught}}}
axes: {{precision: [fp32, bf16], batch: [1, 3]}}
golden: none
"""

LINES = [
    {"id": "c0", "text": "It was a truth", "choices": [" that she", " zebra, qqq", " of the house"],
     "answer": 0},
    {"id": "c1", "text": "In the beginning", "choices": [" xx yy zz", " God created"],
     "answer": " God created"},
    {"id": "t0", "text": "He said that", "continuation": " they had been to the house"}]


def log_p(prompt):
    return [t["fed_logit"] - t["log_sum"] for t in prompt["tokens"]]


class Scores(tiny_project.Case):
    def write(self, name, body, taught="continuation", lines=None):
        text = HEAD.format(name=name, taught=taught) + body
        (self.folder / f"{name}.yaml").write_text(text)
        (self.folder / "prompts.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines or LINES))
        return f"{name}.yaml"

    def json_of(self, *words, code=0):
        return json.loads(self.isobit(*words, "--json", code=code).stdout)

    def values(self, report, cell=0):
        return {f"{v['score']}.{v['name']}": v for v in report["cells"][cell]["scores"]}

    def test_values_are_those_of_the_recorded_rows(self):
        path = self.write("taught", "score: [choice, likelihood]\n"
                          "expect:\n  - same_bits: {across: [batch]}\n"
                          "  - score: {of: likelihood, across: [batch], rise: 0}\n"
                          "min_tokens: 1\n")
        # What `validate` says of it is what `run` does.
        self.isobit("validate", path)
        told = self.isobit("run", path, "--report", "md=a.md").stdout
        self.assertEqual(self.isobit("report", "1").stdout, told)
        report = self.json_of("report", "1")
        for number, cell in enumerate(self.json_of("show", "1")["cells"]):
            prompts = {p["prompt"]: p for p in cell["prompts"]}
            self.assertEqual(list(prompts), ["c0#0", "c0#1", "c0#2", "c1#0", "c1#1", "t0"])
            values = self.values(report, number)
            sums = {name: math.fsum(log_p(p)) for name, p in prompts.items()}
            texts = {f"{line['id']}#{c}": text for line in LINES
                     for c, text in enumerate(line.get("choices", []))}
            for key, per in (("sum", lambda name: 1), ("per_byte", lambda n: len(texts[n]))):
                right = 0
                for line, wanted in (("c0", 0), ("c1", 1)):
                    names = [name for name in texts if name.startswith(line)]
                    best = max(names, key=lambda name: sums[name] / per(name))
                    right += best == f"{line}#{wanted}"
                self.assertEqual(values[f"choice.{key}"]["right"], right)
                self.assertEqual(values[f"choice.{key}"]["n"], 2)
            tokens = sum(len(p["tokens"]) for p in prompts.values())
            nll = -math.fsum(sums.values()) / tokens
            self.assertEqual(values["likelihood.nll"]["n"], tokens)
            self.assertAlmostEqual(values["likelihood.nll"]["value"], nll, delta=1e-12)
            self.assertAlmostEqual(values["likelihood.perplexity"]["value"], math.exp(nll),
                                   delta=1e-9)
            size = sum(map(len, texts.values())) + len(LINES[2]["continuation"])
            self.assertAlmostEqual(values["likelihood.bits_per_byte"]["value"],
                                   nll * tokens / math.log(2) / size, delta=1e-12)
        # A likely text is more likely than an unlikely one: the choices are not read as one.
        self.assertGreater(sums["c1#1"], sums["c1#0"])
        for text in (told, (self.folder / "a.md").read_text()):
            self.assertIn("likelihood.perplexity", text)
            self.assertIn("reference:", text)
        rows = sqlite3.connect(self.folder / ".isobit" / "isobit.db").execute(
            "SELECT count(*), sum(right) FROM score_value WHERE score = 'choice'").fetchone()
        self.assertEqual(rows[0], 8)

    def test_the_reference_is_the_default_cell_of_the_group(self):
        path = self.write("rule", "score: [likelihood]\nexpect:\n"
                          "  - score: {of: likelihood, across: [precision], rise: 0}\n"
                          "min_tokens: 1\n")
        text = (self.folder / path).read_text().replace("bf16", "fp8-e5m2")
        (self.folder / path).write_text(text)
        report = self.json_of("run", path, code=1)
        worse = [c for c in report["cells"] if c["verdict"] == "DIFF"]
        by_name = {c["name"]: c for c in report["cells"]}
        for cell in report["cells"]:
            nll = next(v for v in cell["scores"] if v["name"] == "nll")
            if cell["axes"]["precision"] == "fp32":
                self.assertEqual(nll["reference"], "")
                self.assertIsNone(nll["difference"])
            else:
                self.assertIn("precision=fp32", nll["reference"])
                self.assertIn(f"batch={cell['axes']['batch']}", nll["reference"])
        self.assertTrue(all(c["axes"]["precision"] == "fp8-e5m2" for c in worse), by_name)
        self.assertIn("score likelihood", worse[0]["reason"])

    def test_a_stored_cell_without_log_probabilities_is_executed_again(self):
        rule = "expect: [{same_bits: {across: [batch]}}]\nmin_tokens: 1\n"
        self.isobit("run", self.write("again", rule))
        path = self.write("again", rule + "score: [likelihood]\n")
        first, second = self.json_of("run", path), self.json_of("run", path)
        self.assertEqual((first["cells_executed"], first["cells_cached"]), (4, 0))
        self.assertEqual((second["cells_executed"], second["cells_cached"]), (0, 4))
        plain, asked = self.json_of("show", "1")["cells"], self.json_of("show", "2")["cells"]
        self.assertNotIn("fed_logit", plain[0]["prompts"][0]["tokens"][0])
        self.assertEqual([c["root"] for c in plain], [c["root"] for c in asked])
        self.assertEqual(self.values(first), self.values(second))

    def test_replies_by_their_rules(self):
        lines = [{"id": "n", "text": "Count: 1 2 3 4", "answer": "5"},
                 {"id": "v", "text": "a: 390\nb: 725\nc:", "answer": "390",
                  "values": ["390", "725"]},
                 {"id": "i", "text": "Write", "instruction_id_list":
                  ["punctuation:no_comma", "change_case:english_capital"], "kwargs": [{}, {}]}]
        body = ("score: [answer, last_number, next_string, retrieval, ifeval]\n"
                "expect:\n  - same_bits: {across: [batch]}\n"
                "  - score: {of: answer, across: [batch], drop: 0}\n")
        path = self.write("replies", body, taught="false", lines=lines)
        report = self.json_of("run", path)
        text = {p["prompt"]: p["text"].split("<|")[0]
                for p in self.json_of("show", "1")["cells"][0]["prompts"]}
        values = self.values(report)
        self.assertEqual(values["answer.exact"]["n"], 2)
        self.assertEqual(values["answer.exact"]["right"],
                         sum(text[k].split("####")[-1].strip() == a
                             for k, a in (("n", "5"), ("v", "390"))))
        self.assertEqual(values["retrieval.exact"]["n"], 1)
        self.assertEqual(values["ifeval.instruction_strict"]["right"],
                         int("," not in text["i"] and bool(text["i"].strip())))
        self.assertEqual(values["ifeval.prompt_strict"]["left_out"], 1)
        self.assertIsNone(values["ifeval.prompt_strict"]["value"])
        self.assertTrue(any("change_case:english_capital 1; of 1 prompts" in note
                            for note in report["notes"]), report["notes"])

    def test_bad_input_is_refused_with_its_place(self):
        def error(body, taught="continuation", lines=None):
            path = self.write("bad", body, taught, lines)
            return self.isobit("run", path, code=2).stderr
        rule = "expect: [{same_bits: {across: [batch]}}]\n"
        self.assertIn("bad.yaml:8:9: unknown score \"likelyhood\"; did you mean \"likelihood\"?",
                      error("score: [likelyhood]\n" + rule))
        self.assertIn("no prompt has an instruction of IFEval", error("score: [ifeval]\n" + rule))
        self.assertIn("no cell is fed the choices", error("score: [choice]\n" + rule, "false"))
        self.assertIn("prompts.jsonl:1: prompt p has no continuation, and teacher_forced is "
                      "continuation", error(rule, lines=[{"id": "p", "text": "x"}]))
        self.assertIn("max_new_tokens is 12", error(rule, lines=[
            {"id": "p", "text": "x", "continuation": " a b c d e f g h i j k l m n o"}]))
        path = self.write("bad", rule)
        text = (self.folder / path).read_text().replace("golden: none\n", "")
        (self.folder / path).write_text(text)
        self.assertIn("needs golden: none", self.isobit("run", path, code=2).stderr)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
