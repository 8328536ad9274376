"""Axis weights and the key `ensemble`: one class for each value over ranks, batches, caches and
threads; an ensemble's report from the store alone; bad input names its place."""
import json
import struct
import unittest

import tiny_project

CLASSES = """version: 1
name: classes
model: model
prompts: prompts.jsonl
decode: {max_new_tokens: 10, ignore_eos: true}
axes:
  weights: [stored, {rtn: 4}, {bsr: 4}, {bsr: 4, seed: 1}, {bsr: 4, granularity: tensor},
            {gaussian: 0.1}]
  precision: [fp32, bf16, fp8-e4m3]
  batch: [1, 3]
  gpus: [1, 2, 4]
  cache: [on, off]
expect:
  - same_bits: {across: [batch, gpus, cache]}
  - differ_all: {where: batch=1 and gpus=1 and cache=on, across: [weights]}
golden: none
"""

ENSEMBLE = """version: 1
name: ensemble
model: model
prompts: prompts.jsonl
decode: {max_new_tokens: 10, ignore_eos: true, teacher_forced: true}
axes:
  weights: [{bsr: 4}, {bsr: 4, seed: 1}, {bsr: 4, seed: 2}, {bsr: 3}]
  batch: [1, 3]
ensemble:
  - {across: [weights, batch], where: 'weights="bsr:4"', bins: 10}
expect:
  - same_bits: {across: [batch]}
golden: none
"""


class Weights(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)

    def write(self, text):
        (self.folder / "s.yaml").write_text(text)

    def refused(self, *words):
        done = self.isobit("run", "s.yaml", *words, code=2)
        return done.stdout + done.stderr

    def test_a_value_is_one_class(self):
        self.write(CLASSES)
        report = json.loads(self.isobit("run", "s.yaml", "--json", "-j", "2").stdout)
        self.assertEqual(len(report["cells"]), 6 * 3 * 2 * 3 * 2)
        self.assertEqual({cell["verdict"] for cell in report["cells"]}, {"PASS"})
        roots = {}
        for cell in report["cells"]:
            key = cell["axes"]["weights"], cell["axes"]["precision"]
            roots.setdefault(key, set()).add(cell["root"])
        self.assertEqual({len(found) for found in roots.values()}, {1})
        self.assertEqual(len(set.union(*roots.values())), 18)
        again = json.loads(self.isobit("run", "s.yaml", "--json").stdout)
        self.assertEqual(again["cells_cached"], len(report["cells"]))

    def test_an_ensemble_is_told_from_the_store(self):
        self.write(ENSEMBLE)
        text = self.isobit("run", "s.yaml", "-q").stdout
        report = json.loads(self.isobit("run", "s.yaml", "--json").stdout)
        (group,) = (each for each in report["groups"] if each["ensemble"] is not None)
        found = group["ensemble"]
        self.assertEqual(group["rule"],
                         "ensemble bins 10 across weights, batch where weights=\"bsr:4\"")
        self.assertEqual((found["targets"], found["prompts"], found["bins"]), (20, 2, 10))
        self.assertEqual([size["members"] for size in found["sizes"]], [1, 2, 3])
        self.assertEqual([member["weights"] for member in found["alone"]],
                         ["bsr:4", "bsr:4+seed:1", "bsr:4+seed:2"])
        self.assertEqual(found["sizes"][0]["nll"], found["alone"][0]["nll"])
        mean = sum(member["nll"] for member in found["alone"]) / 3
        self.assertAlmostEqual(found["sizes"][2]["member_nll"], mean, places=12)
        self.assertGreater(found["sizes"][2]["ambiguity"], 0)
        self.assertGreater(found["members"]["nll"], 0)
        self.assertEqual((found["runtime"]["of"], found["runtime"]["nll"]), (2, 0))
        told = json.loads(self.isobit("report", str(report["run"]), "--json").stdout)
        self.assertEqual(told["groups"], report["groups"])
        terminal = self.isobit("report", str(report["run"])).stdout
        page = self.isobit("report", str(report["run"]), "--report", "md=-").stdout
        for line in ("members    NLL        error      ECE        ambiguity  member NLL",
                     "deviation over 3 members: NLL ",
                     "deviation over 2 runtime configurations: NLL 0, target's probability 0"):
            self.assertIn(line, terminal)
            self.assertIn(line, page)
        self.assertIn("PASS", text)

    def test_bad_values_name_their_place(self):
        for value, why in (("{bsr: 1}", "bsr is a whole number from 2 to 16"),
                           ("{bsr: 4, sed: 1}", "unknown option"),
                           ("{rtn: 4, seed: 1}", "rtn draws nothing"),
                           ("{gaussian: -1}", "gaussian is a deviation from 0"),
                           ("{gaussian: .inf}", "gaussian is a deviation from 0"),
                           ("int4", "unknown value"),
                           ("{bsr: 4, rtn: 4}", "changed in one way")):
            self.write(CLASSES.replace("{gaussian: 0.1}", value))
            said = self.refused()
            self.assertIn("s.yaml:8:13: ", said)
            self.assertIn(why, said)

    def test_a_bad_ensemble_names_its_place(self):
        for old, new, place, why in (
                ("[weights, batch]", "[batch]", "10:5", "across must name weights"),
                ("bins: 10", "bins: 0", "10:64", "bins must be a whole number from 1 to 1000"),
                ("bins: 10", "bin: 10", "10:58", "unknown key"),
                (", teacher_forced: true", "", "10:5", "is fed its own tokens"),
                (": true}", ": answer}", "prompts.jsonl:1", "has no answer")):
            self.write(ENSEMBLE.replace(old, new))
            said = self.refused()
            self.assertIn(place + ": ", said)
            self.assertIn(why, said)

    def test_a_step_that_underflows_is_refused(self):
        path = self.folder / "model" / "model.safetensors"
        data = bytearray(path.read_bytes())
        size = struct.unpack("<Q", data[:8])[0]
        begin = json.loads(data[8:8 + size])["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0]
        row = 8 + size + begin + 3 * 64 * 4
        data[row:row + 64 * 4] = struct.pack("<64f", *[1e-38] * 64)
        path.write_bytes(data)
        self.write(CLASSES)
        said = self.refused()
        self.assertIn("s.yaml:7:21: ", said)
        self.assertIn("the step of tensor model.layers.1.mlp.up_proj.weight, row 3 underflows",
                      said)

    def test_a_change_that_changes_nothing_is_mistrusted(self):
        self.write(CLASSES.replace("{gaussian: 0.1}", "{gaussian: 0}"))
        report = json.loads(self.isobit("run", "s.yaml", "-k", "weights=gaussian and batch=1",
                                        "--json", code=7).stdout)
        self.assertEqual({cell["verdict"] for cell in report["cells"]}, {"MISTRUSTED"})
        self.assertIn("which changed no weight", report["cells"][0]["reason"])


if __name__ == "__main__":
    unittest.main()
