#!/usr/bin/env python3
"""Metrics of pairs from the scenario to every output: KL recomputed from `show --logits`, the
identity control, layer tables, errors of K, the database, bad input; and, where NumPy is there,
the digits that the unit test expects. Otherwise standard library only."""
import array
import json
import math
import pathlib
import sqlite3
import subprocess
import sys
import unittest

import tiny_project

HEAD = """version: 1
name: pairs
model: model
prompts: prompts.jsonl
decode: {{strategy: greedy, max_new_tokens: 12, ignore_eos: true{decode}}}
observe: {observe}
axes: {{kv: [exact, {{rtn: 4, group: 8}}, {{window: 6}}], batch: [1, 3]}}
expect: [{{same_bits: {{across: [batch]}}}}]
measure:
  - {measure}
"""
VALUES = "{level: layers, values: {sites: [h2, h1, k_seen, v_seen]}}"
ALL = ("token_divergence, first_divergence, token_match, flip_rate, kl, kl_median, kl_p99, kl_max,"
       " js, total_variation, max_abs, mean_abs, max_ulp, margin_law, layer_drift, k_error,"
       " v_error, kv_bytes, weight_bytes, tokens_per_second")
MEASURE = "{across: [kv, batch], against: {kv: exact}, metrics: [" + ALL + "]}"


def log_softmax(row):
    top = max(row)
    total = math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - top - total for x in row]


def kl(a, b):
    p, q = log_softmax(a), log_softmax(b)
    return math.fsum(math.exp(x) * (x - y) for x, y in zip(p, q))


def digits(value):
    return f"{value:.9g}"


class MeasurePairs(tiny_project.Case):
    def write(self, name="pairs", decode="", observe=VALUES, measure=MEASURE):
        text = HEAD.format(decode=decode, observe=observe, measure=measure)
        (self.folder / f"{name}.yaml").write_text(text.replace("name: pairs", f"name: {name}"))
        return f"{name}.yaml"

    def json_of(self, *words, code=0):
        return json.loads(self.isobit(*words, "--json", code=code).stdout)

    def rows(self):
        """Logits rows of run 1 by axes: {(kv, batch): {(prompt, position): row}}."""
        shown = self.json_of("show", "1", "--logits", "rows")["cells"]
        axes = {c["hash"][:8]: c["axes"] for c in self.json_of("report", "1", code=5)["cells"]}
        out = {}
        for cell in shown:
            mine = out.setdefault(tuple(axes[cell["hash"][:8]][a] for a in ("kv", "batch")), {})
            for prompt in cell["prompts"]:
                name = prompt["prompt"].replace("/", "%2F")
                for token in prompt["tokens"]:
                    row = array.array("f")
                    file = self.folder / "rows" / cell["hash"] / f"{name}-{token['position']}.f32"
                    row.frombytes(file.read_bytes())
                    mine[name, token["position"]] = (list(row), token["id"])
        return out

    @staticmethod
    def aligned(a, b):
        """Keys of rows up to and including the first of a prompt whose tokens differ."""
        gone = set()
        for key in sorted(a):
            if key[0] in gone or key not in b:
                continue
            yield key
            if a[key][1] != b[key][1]:
                gone.add(key[0])

    def test_numbers_are_those_of_the_rows(self):
        told = self.isobit("run", self.write(), "--update", "none", "--report", "md=a.md",
                           code=5).stdout
        self.assertEqual(self.isobit("report", "1", code=5).stdout, told)
        (group,) = self.json_of("report", "1", code=5)["measured"]
        self.assertEqual(group["identity_control"], {"pairs": 3, "exact": 3, "problem": ""})
        self.assertEqual([p["configuration"] for p in group["pairs"]],
                         ["kv=group:8+rtn:4,batch=1", "kv=group:8+rtn:4,batch=3",
                          "kv=window:6,batch=1", "kv=window:6,batch=3"]
                         if "group:8+rtn:4" in group["pairs"][0]["configuration"] else
                         ["kv=rtn:4+group:8,batch=1", "kv=rtn:4+group:8,batch=3",
                          "kv=window:6,batch=1", "kv=window:6,batch=3"])
        rows = self.rows()
        for pair in group["pairs"]:
            kv, batch = (word.split("=", 1)[1] for word in pair["configuration"].split(","))
            self.assertEqual(pair["reference"], f"kv=exact,batch={batch}")
            a, b = rows["exact", batch], rows[kv, batch]
            keys = list(self.aligned(a, b))
            self.assertEqual(pair["rows"], len(keys))
            values = {v["metric"]: v for v in pair["values"]}
            each = [kl(a[key][0], b[key][0]) for key in keys]
            self.assertGreater(max(each), 0, "nothing differs: nothing is tested")
            self.assertEqual(digits(values["kl"]["value"]), digits(math.fsum(each) / len(each)))
            self.assertEqual(digits(values["kl_max"]["value"]), digits(max(each)))
            far = max(abs(x - y) for key in keys for x, y in zip(a[key][0], b[key][0]))
            self.assertEqual(values["max_abs"]["value"], far)
            match = sum(a[key][1] == b[key][1] for key in a if key in b) / len(a)
            self.assertEqual(digits(values["token_match"]["value"]), digits(100 * match))
            self.assertEqual(values["margin_law"]["parts"]["unexplained"], 0)
            self.assertIsNone(values["flip_rate"]["value"])
            self.assertIn("free-running", values["flip_rate"]["reason"])
            self.assertEqual([(x["layer"], x["site"]) for x in pair["layers"]],
                             [(layer, site) for layer in (0, 1)
                              for site in ("h1", "h2", "k_seen", "v_seen")])
            drift = {(x["layer"], x["site"]): x for x in pair["layers"]}
            self.assertEqual(values["layer_drift"]["value"], drift[1, "h2"]["relative"])
            self.assertEqual(drift[1, "h1"]["added"],
                             drift[1, "h1"]["mean_distance"] - drift[0, "h2"]["mean_distance"])
            error = values["k_error"]
            if kv.startswith("window"):
                self.assertGreater(error["parts"]["evicted"], 0)
            else:
                self.assertGreater(error["value"], 0)
                self.assertEqual(error["parts"]["evicted"], 0)
                self.assertAlmostEqual(error["parts"]["magnitude_share"]
                                       + error["parts"]["direction_share"], 1, 12)
            self.assertGreater(values["kv_bytes"]["value"], 0)
            self.assertGreater(values["tokens_per_second"]["value"], 0)
        for text in (told, (self.folder / "a.md").read_text()):
            self.assertIn("identity control: 3 of 3 pairs exactly 0", text)
            self.assertIn("mean distance", text)
            self.assertIn("a fact of this execution", text)
        self.stored(group)

    def stored(self, group):
        """What the database holds of them."""
        with sqlite3.connect(self.folder / ".isobit" / "isobit.db") as db:
            count = db.execute("SELECT pair, length(row_bytes) FROM measured_pair ORDER BY pair")
            self.assertEqual(count.fetchall(),
                             [(i, 73 * pair["rows"]) for i, pair in enumerate(group["pairs"])])
            value = db.execute("SELECT value FROM pair_value WHERE pair = 1 AND metric = 'kl'")
            kept = {v["metric"]: v["value"] for v in group["pairs"][1]["values"]}
            self.assertEqual(value.fetchone()[0], kept["kl"])
            layers = db.execute("SELECT count(*) FROM pair_layer WHERE site = 'h2'").fetchone()
            self.assertEqual(layers[0], 2 * len(group["pairs"]))
        leftovers = [p.name for p in (self.folder / ".isobit").iterdir()
                     if p.name.startswith("spill-")]
        self.assertEqual(leftovers, [])

    def test_teacher_forced_cells_have_a_flip_rate_with_its_bound(self):
        path = self.write("forced", decode=", teacher_forced: true", observe="logits",
                          measure="{across: [kv], metrics: [flip_rate, kl]}")
        self.isobit("run", path, "--update", "none", code=5)
        groups = self.json_of("report", "1", code=5)["measured"]
        self.assertEqual([g["key"] for g in groups],
                         ["batch=1,teacher_forced=true", "batch=3,teacher_forced=true"])
        for pair in groups[0]["pairs"]:
            self.assertEqual(pair["reference"], "kv=exact")
            self.assertEqual(pair["rows"], 24)
            rate = pair["values"][0]
            self.assertEqual(rate["parts"]["rows"], 24)
            self.assertEqual(rate["value"], 100 * rate["parts"]["flips"] / 24)
            self.assertGreater(rate["parts"]["bound_95"], rate["value"])

    def test_metrics_of_tokens_need_no_rows_and_take_stored_cells(self):
        path = self.write("tokens", observe="logits",
                          measure="{across: [kv], metrics: [token_match, div_percent]}")
        self.isobit("run", path, "--update", "none", code=5)
        again = self.json_of("run", path, "--update", "none", code=5)
        self.assertEqual((again["cells_executed"], again["cells_cached"]), (0, 6))
        group = again["measured"][0]
        self.assertEqual([v["metric"] for v in group["values"]], ["div_percent"])
        self.assertEqual([v["metric"] for v in group["pairs"][0]["values"]], ["token_match"])
        self.assertNotIn("identity_control", group)

    def test_bad_input(self):
        one = "{across: [kv], metrics: [kl], against: %s}"
        for words, kwargs in [
                ("which no cell has", {"measure": one % "{kv: q8_0}"}),
                ("unknown key", {"measure": one % "{batch: 1}"}),
                ("no metric here is of pairs",
                 {"measure": "{across: [kv], metrics: [div_index], against: {kv: exact}}"}),
                ("need values of h2", {"observe": "layers",
                                       "measure": "{across: [kv], metrics: [layer_drift]}"}),
                ("need values of k_seen", {"observe": "{values: {sites: [h2]}}",
                                           "measure": "{across: [kv], metrics: [k_error]}"}),
                ("must have the axis patch",
                 {"measure": "{across: [kv], metrics: [recovery]}"}),
                ("did you mean \"h2\"", {"observe": "{values: {sites: [h_2]}}"}),
                ("given twice", {"observe": "{values: {sites: [h2, h2]}}"}),
                ("values needs sites", {"observe": "{values: {prompts: 1}}"}),
                ("counted from 0", {"observe": "{values: {sites: [h2, k_seen, v_seen],"
                                               " layers: [0, 7]}}"})]:
            path = self.write("bad", **kwargs)
            verb = "run" if words == "counted from 0" else "validate"
            done = self.isobit(verb, path, code=2)
            self.assertIn(words, done.stderr + done.stdout)
            self.assertIn("bad.yaml", done.stderr + done.stdout)

    def test_numpy_gives_the_digits_of_the_unit_test(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            self.skipTest("no numpy")
        script = pathlib.Path(__file__).with_name("check_pair_metrics.py")
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
