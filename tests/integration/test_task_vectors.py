#!/usr/bin/env python3
"""Merged models from the outside: identities, files of task vectors, one digest, bad input."""
import hashlib
import json
import pathlib
import random
import shutil
import struct
import unittest

import tiny_project

SCENARIO = """version: 1
name: merged
model: MODEL
prompts: prompts.jsonl
decode: {max_new_tokens: 6, ignore_eos: true}
axes: {precision: [fp32, bf16], batch: [1, 3], gpus: [1, 2], cache: [on, {chunked: 5}]}
golden: none
min_tokens: 6
expect:
  - same_bits: {across: [batch, gpus, cache]}
  - differ: {across: [precision]}
"""


def read_tensors(path):
    """{name: (shape, fp32 values)}."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, what in json.loads(data[8:8 + size]).items():
        begin, end = what["data_offsets"]
        values = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])
        out[name] = (what["shape"], values)
    return out


def write_tensors(path, tensors):
    header, blobs, offset = {}, [], 0
    for name, (shape, values) in tensors.items():
        blobs.append(struct.pack(f"<{len(values)}f", *values))
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [offset, offset + len(blobs[-1])]}
        offset += len(blobs[-1])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def fp32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def digest(shape, values):
    """Of one tensor, as harness/models/content_digest.h says."""
    cols = shape[-1]
    rows = [struct.pack(f"<{cols}f", *values[i:i + cols]) for i in range(0, len(values), cols)]
    return hashlib.sha256(b"".join(hashlib.sha256(r).digest() for r in rows)).hexdigest()


SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "scenarios/models/longer/longer.tasks"
# Of the fine-tuned models in the same store in memory, merged at 1; those tensors are NumPy's bit
# for bit (check_task_vectors.py).
SHIPPED_CONTENT = "4156f7eb72963218607aa343c2f3bdb8d8ac29ead0b7a7866fd3f76664a683bc"


class TaskVectors(tiny_project.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = read_tensors(cls.folder / "model/model.safetensors")
        cls.tuned = {}
        for number, name in enumerate(("a", "b", "c"), 1):
            draw = random.Random(number)
            cls.tuned[name] = {
                tensor: (shape, [fp32(v + 0.02 * draw.gauss(0, 1)) for v in values])
                for tensor, (shape, values) in cls.base.items()}
            write_tensors(cls.folder / f"{name}.safetensors", cls.tuned[name])
        shutil.copytree(cls.folder / "model", cls.folder / "tuned")
        shutil.copy(cls.folder / "a.safetensors", cls.folder / "tuned/model.safetensors")

    def merged(self, tasks=tuple(f"{t}.safetensors" for t in "abc"), scale=0.5, **more):
        merge = {"merge": {"arithmetic": scale}} if tasks else {}
        return json.dumps({"base": "model", "tasks": list(tasks)} | merge | more)

    def content(self, model):
        return json.loads(self.isobit("model", "digest", "--json", model).stdout)

    def info(self, model, env=None):
        return json.loads(self.isobit("model", "info", "--json", model, env=env).stdout)

    def test_no_task_is_the_base(self):
        self.assertEqual(self.content(self.merged(()))["tensors"], self.content("model")["tensors"])
        self.assertEqual(self.info(self.merged(()))["digest"], self.info("model")["digest"])

    def test_one_task_at_scale_one_is_the_fine_tuned_model(self):
        tuned = self.content("tuned")["content_digest"]
        for task in ("a.safetensors", "tuned"):
            self.assertEqual(self.content(self.merged((task,), 1.0))["content_digest"], tuned)

    def test_the_sum_is_the_page_s(self):
        theirs = self.content(self.merged(scale=-0.3))["tensors"]
        self.assertEqual(len(theirs), len(self.base))
        for name, (shape, pre) in self.base.items():
            values = []
            for i, x in enumerate(pre):
                total = 0.0
                for task in ("a", "b", "c"):
                    total += self.tuned[task][name][1][i] - x
                values.append(fp32(x + -0.3 * total))
            self.assertEqual(theirs[name], digest(shape, values), name)

    def test_a_file_gives_what_the_store_gives(self):
        for store, bits in (({"rtvq": [3, 2]}, 3.0), ({"tvq": 4}, 4.0)):
            name = f"{next(iter(store))}.tasks"
            self.isobit("model", "store", self.merged(store=store), "--out", name, "--dry-run")
            self.assertFalse((self.folder / name).exists())
            self.isobit("model", "store", self.merged(store=store), "--out", name)
            again = self.isobit("model", "store", self.merged(store=store), "--out", name, code=2)
            self.assertIn(f"{name}: is there already", again.stderr)
            stored, read = self.info(self.merged(store=store)), self.info(self.merged((name,)))
            self.assertEqual(stored["content_digest"], read["content_digest"])
            self.assertNotEqual(stored["digest"], read["digest"])  # other files
            self.assertEqual(read["metadata"]["merged.tasks"], "a, b, c")
            self.assertEqual(float(read["metadata"]["merged.bits_per_value"]), bits)
            parts = self.content(self.merged((f"{name}:a", f"{name}:b", f"{name}:c")))
            self.assertEqual(parts["content_digest"], read["content_digest"])
            one = self.content(self.merged((f"{name}:b",), 1.0))["content_digest"]
            other = self.content(self.merged((f"{name}:c",), 1.0))["content_digest"]
            self.assertNotEqual(one, other)

    @unittest.skipUnless(SHIPPED.exists(), "longer.tasks is not here")
    def test_the_shipped_file_is_the_one_that_was_measured(self):
        merged = json.dumps({"base": "default-7m", "tasks": [str(SHIPPED)],
                             "merge": {"arithmetic": 1}})
        told = self.info(merged, {"ISOBIT_MODELS": str(SHIPPED.parents[1])})
        self.assertEqual(told["content_digest"], SHIPPED_CONTENT)
        self.assertEqual(told["metadata"]["merged.tasks"], "reverse, numbers, sentence")
        self.assertEqual(told["metadata"]["merged.store"], "rtvq 3+2")

    def test_every_part_of_the_map_is_in_the_digest(self):
        a, b = "a.safetensors", "b.safetensors"
        stores = [{"tvq": 4}, {"tvq": 3}, {"rtn": 4}, {"rtvq": [4, 4]}]
        models = [self.merged(), self.merged((a, b)), self.merged((b, a)), self.merged((a, b), 0.4),
                  *(self.merged((a, b), store=store) for store in stores),
                  self.merged(("tuned", b)), self.merged(())]
        digests = [self.info(model)["digest"] for model in models]
        self.assertEqual(len(set(digests)), len(models))
        self.assertEqual(digests[0], self.info(models[0])["digest"])
        shutil.copy(self.folder / "c.safetensors", self.folder / "d.safetensors")
        before = self.info(self.merged(("d.safetensors",)))["digest"]
        shutil.copy(self.folder / "b.safetensors", self.folder / "d.safetensors")
        self.assertNotEqual(before, self.info(self.merged(("d.safetensors",)))["digest"])

    def scenario(self, model, code, *words):
        (self.folder / "m.yaml").write_text(SCENARIO.replace("MODEL", model))
        return self.isobit("run", "m.yaml", "--json", "-q", *words, code=code)

    def test_one_class_over_batch_ranks_and_cache(self):
        model = ("{base: model, tasks: [a.safetensors, b.safetensors], merge: {arithmetic: 0.5}, "
                 "store: {rtvq: [3, 2]}}")
        told = json.loads(self.scenario(model, 0).stdout)
        self.assertEqual(told["counts"]["PASS"], 16)
        none = json.loads(self.scenario(model, 0, "--set", "model.store=none").stdout)
        self.assertEqual(none["counts"]["PASS"], 16)
        self.assertEqual(none["cells_reused"] if "cells_reused" in none else 0, 0)

    def refused(self, model, *texts):
        done = self.scenario(model, 2)
        for text in texts:
            self.assertIn(text, done.stderr)

    def test_bad_maps_are_refused_with_their_place(self):
        one = "{base: model, tasks: [a.safetensors], merge: {arithmetic: %s}, store: %s}"
        self.refused(one % ("1", "{tvq: 9}"), "m.yaml:3:83: tvq must be a whole number from 1 to 8")
        self.refused(one % ("1", "{tqv: 4}"), "m.yaml:3:78:", 'did you mean "tvq"?')
        self.refused(one % (".inf", "none"), "m.yaml:3:66: arithmetic must be a number")
        self.refused(one % ("0", "none"), "m.yaml:3:", "with a number that is not 0")
        self.refused("{base: model, tasks: [a.safetensors]}", "m.yaml:3:8: model: merge must be")
        self.refused(one % ("1e-30", "none"), "is so small that no weight changes")
        self.refused("{base: nowhere, tasks: []}", "nowhere")

    def test_tasks_of_another_model_are_refused(self):
        def one(task, scale="1"):
            return f"{{base: model, tasks: [{task}], merge: {{arithmetic: {scale}}}}}"
        cut = dict(self.tuned["a"])
        cut["model.norm.weight"] = ([32], cut["model.norm.weight"][1][:32])
        write_tensors(self.folder / "cut.safetensors", cut)
        self.refused(one("cut.safetensors"), "cut.safetensors: tensor \"model.norm.weight\" is 32, "
                     "the base model's is 64")
        del cut["model.norm.weight"]
        write_tensors(self.folder / "less.safetensors", cut)
        self.refused(one("less.safetensors"), 'has no tensor "model.norm.weight"')
        write_tensors(self.folder / "more.safetensors",
                      self.tuned["a"] | {"model.extra.weight": ([1], [1.0])})
        self.refused(one("more.safetensors"), 'has a tensor "model.extra.weight" that the base')
        broken = dict(self.tuned["a"])
        broken["model.norm.weight"] = ([64], [float("nan")] * 64)
        write_tensors(self.folder / "nan.safetensors", broken)
        self.refused(one("nan.safetensors"), 'tensor "model.norm.weight": element 0 is not finite')
        self.refused(one("none.safetensors"), 'model: task "none.safetensors": no such file')
        self.refused(one("prompts.jsonl.tasks"), "no such file")
        huge = {name: (shape, [3e38] * len(values)) for name, (shape, values) in self.base.items()}
        write_tensors(self.folder / "huge.safetensors", huge)
        self.refused(one("huge.safetensors", "1e6"), "is not finite after the merge")

    def test_files_of_task_vectors_are_checked(self):
        def one(task, more=""):
            return f"{{base: model, tasks: [{task}], merge: {{arithmetic: 1}}{more}}}"
        self.isobit("model", "store", self.merged(store={"rtvq": [3, 2]}), "--out", "x.tasks")
        self.refused(one("x.tasks", ", store: {tvq: 4}"), "x.tasks: is a store of task vectors")
        self.refused(one("x.tasks:z"), 'x.tasks: has no task "z"', "known: a, b, c")
        other = one("x.tasks").replace("base: model", "base: tuned")
        self.refused(other, "x.tasks: its base has content digest")
        data = bytearray((self.folder / "x.tasks").read_bytes())
        data[-100] ^= 4
        (self.folder / "y.tasks").write_bytes(data)
        self.refused(one("y.tasks"), "y.tasks: byte", "changed or damaged")
        (self.folder / "z.tasks").write_bytes(data[:999])
        self.refused(one("z.tasks"), "z.tasks: byte")
        done = self.isobit("model", "store", self.merged(), "--out", "w.tasks", code=2)
        self.assertIn("store must be", done.stderr)
        done = self.isobit("model", "store", self.merged(store={"tvq": 2}), code=2)
        self.assertIn("--out must name the new file", done.stderr)
        twice = self.merged(("a.safetensors", "a.safetensors"), store={"tvq": 2})
        self.assertIn("another task's name too",
                      self.isobit("model", "store", twice, "--out", "w.tasks", code=2).stderr)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
