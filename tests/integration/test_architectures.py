"""Families against transformers, without transformers, and a GGUF's tensors one by one.

architectures/ holds tiny models made by make_architectures.py, which says what the files are. Every
folder is a test. What enters the layers is compared by tests/unit/runtime/model/oracle_test.cc.
"""
import json
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

import tiny_project
from gguf_files import floats, read_safetensors, write_gguf, write_safetensors

HERE = pathlib.Path(__file__).resolve().parent / "architectures"
BOUND = 2e-5  # of a row's range


class Architectures(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="isobit-families-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def isobit(self, *words, code):
        done = tiny_project.run([str(w) for w in words], self.folder)
        self.assertIn(done.returncode, code, f"{words}\n{done.stdout}\n{done.stderr}")
        return done

    def generate(self, model, prompt, count):
        return tiny_project.generate(self.folder, model, prompt, count)

    def check_family(self, name):
        model = HERE / name
        self.assertLessEqual((model / "model.safetensors").stat().st_size, 150_000)
        cases = json.loads((model / "expected.json").read_text())["cases"]
        width = json.loads((model / "config.json").read_text())["vocab_size"]
        theirs = floats((model / "logits.f32").read_bytes())
        self.assertEqual(len(theirs), width * sum(len(case["logits"]) for case in cases))
        kept = iter(theirs[i:i + width] for i in range(0, len(theirs), width))
        for case in cases:
            self.assertEqual(len(case["tokens"]), 64)
            self.assertGreater(len(set(case["tokens"])), 10, "a text of one token shows nothing")
            tokens, rows = self.generate(model, case["prompt"], len(case["tokens"]))
            self.assertEqual([t["id"] for t in tokens], case["tokens"])
            for position in case["logits"]:
                ours = floats((rows / f"p-{position}.f32").read_bytes())
                row = next(kept)
                self.assertEqual(len(ours), width)
                distance = max(abs(a - b) for a, b in zip(ours, row)) / (max(row) - min(row))
                self.assertLessEqual(distance, BOUND, f"{name} at position {position}")

    def test_what_is_told_of_a_qwen2(self):
        told = self.isobit("model", "info", HERE / "qwen2", code=(0,)).stdout
        self.assertRegex(told, r"architecture +qwen2")
        self.assertRegex(told, r"special +bias of self_attn.q_proj, bias of self_attn.k_proj, "
                               r"bias of self_attn.v_proj, window of 9 in 2 of 3 layers\n")

    def test_what_is_told_of_a_qwen3(self):
        told = json.loads(self.isobit("model", "info", HERE / "qwen3", "--json", code=(0,)).stdout)
        self.assertEqual(told["config"]["architecture"], "qwen3")
        self.assertEqual(told["special"], ["QK-norm"])

    def test_what_is_told_of_ropes(self):
        for name, special in (("llama", "llama3 RoPE"), ("llama-dynamic", "dynamic RoPE"),
                              ("llama-yarn", "yarn RoPE"), ("smollm", "nothing")):
            told = self.isobit("model", "info", HERE / name, code=(0,)).stdout
            self.assertRegex(told, rf"special +{special}\n")
        told = self.isobit("model", "info", HERE / "llama-dynamic", code=(0,)).stdout
        self.assertRegex(told, r"context +128\n")

    def test_biases_of_a_gguf_one_by_one(self):
        """A bias that the file does not hold is one of zeros."""
        tiny_project.write_model(self.folder / "model")
        tensors = read_safetensors(self.folder / "model/model.safetensors")
        prompt = [1, 5, 9, 33, 12]
        plain, _ = self.generate("model", prompt, 8)
        sizes = {"q_proj": 64, "k_proj": 64, "v_proj": 64, "o_proj": 64}
        zeros = {f"model.layers.{layer}.self_attn.{name}.bias": ([size], bytes(4 * size))
                 for layer in range(tiny_project.LAYERS) for name, size in sizes.items()}
        (self.folder / "model/config.json").write_text(
            json.dumps(tiny_project.CONFIG | {"attention_bias": True}))
        for some in (["v_proj"], ["q_proj", "k_proj", "v_proj"], ["o_proj"]):
            with self.subTest(biases=some):
                # In the second layer alone.
                held = {f"model.layers.1.self_attn.{name}.bias": (
                    [64], struct.pack("<64f", *(0.01 * (i * 7 % 64) - 0.3 for i in range(64))))
                        for name in some}
                write_safetensors(self.folder / "model/model.safetensors", tensors | zeros | held)
                write_gguf(self.folder / "some.gguf", tensors | held)
                want, _ = self.generate("model", prompt, 8)
                got, _ = self.generate("some.gguf", prompt, 8)
                self.assertEqual([t["digest"] for t in got], [t["digest"] for t in want])
                self.assertNotEqual([t["digest"] for t in got], [t["digest"] for t in plain])
                told = json.loads(self.isobit("model", "info", "some.gguf", "--json",
                                              code=(0,)).stdout)
                self.assertEqual(told["special"],
                                 [f"bias of self_attn.{n} in 1 of 2 layers" for n in some])

    def test_names_of_a_base_model(self):
        """A file saved without the prefix of the base model, as the published GPT-2 is."""
        for family, prefix in (("gpt2", "transformer."), ("llama", "model.")):
            with self.subTest(family=family):
                folder = self.folder / family
                shutil.copytree(HERE / family, folder)
                data = (folder / "model.safetensors").read_bytes()
                size = struct.unpack_from("<Q", data)[0]
                short = data[8:8 + size].replace(f'"{prefix}'.encode(), b'"')
                self.assertLess(len(short), size)
                short += b" " * (size - len(short))
                (folder / "model.safetensors").write_bytes(data[:8] + short + data[8 + size:])
                digest = [self.isobit("model", "digest", m, code=(0,)).stdout.split()[0]
                          for m in (HERE / family, folder)]
                self.assertEqual(digest[0], digest[1])

    def test_tensors_that_nothing_reads(self):
        tiny_project.write_model(self.folder / "model")
        tensors = read_safetensors(self.folder / "model/model.safetensors")
        write_gguf(self.folder / "one.gguf", tensors, layers=1)
        done = self.isobit("model", "info", "one.gguf", code=(2,))
        self.assertRegex(done.stderr, r'one\.gguf: tensor "blk\.1\..*" is read by no operation: '
                                      r"block_count is 1\n")
        extra = "model.layers.2.input_layernorm.weight"
        write_safetensors(self.folder / "model/model.safetensors",
                          tensors | {extra: tensors["model.norm.weight"]})
        done = self.isobit("model", "info", "model", code=(2,))
        self.assertIn(f'tensor "{extra}" is read by no operation', done.stderr)


def test_of(name):
    return lambda self: self.check_family(name)


for folder in sorted(HERE.iterdir()):
    setattr(Architectures, "test_family_" + folder.name.replace("-", "_"), test_of(folder.name))


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
