"""One model in every format it can come in: `model digest` says that it is one."""
import json
import struct
import sys
import unittest

import tiny_project
from gguf_files import read_safetensors, string, write_gguf, write_safetensors


def write_typed(path, tensors, dtype, convert):
    header, blob = {}, b""
    for name, (shape, data) in tensors.items():
        data = convert(data)
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


def upper_halves(data):
    """bf16 of fp32 numbers that are exact in it."""
    return b"".join(data[i + 2:i + 4] for i in range(0, len(data), 4))


def exact_in_bf16(tensors):
    return {name: (shape, b"".join(b"\0\0" + data[i + 2:i + 4] for i in range(0, len(data), 4)))
            for name, (shape, data) in tensors.items()}


class ModelFormats(tiny_project.Case):
    def setUp(self):
        super().setUp()
        tiny_project.write_model(self.folder / "model")
        self.tensors = exact_in_bf16(read_safetensors(self.folder / "model/model.safetensors"))
        write_safetensors(self.folder / "model/model.safetensors", self.tensors)

    def digest(self, model):
        return self.isobit("model", "digest", model).stdout.strip()

    def other_folder(self, name, config=None):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(tiny_project.CONFIG | (config or {})))
        return folder

    def parts(self, count):
        """The tensors in `count` shares."""
        names = sorted(self.tensors)
        return [{name: self.tensors[name] for name in names[i::count]} for i in range(count)]

    def test_one_model_has_one_digest(self):
        want = self.digest("model")
        self.assertRegex(want, r"^[0-9a-f]{64}$")
        turned = self.other_folder("turned")
        write_safetensors(turned / "model.safetensors", dict(reversed(self.tensors.items())))
        narrow = self.other_folder("narrow")
        write_typed(narrow / "model.safetensors", self.tensors, "BF16", upper_halves)
        sharded = self.other_folder("sharded")
        index = {}
        for number, share in enumerate(self.parts(3)):
            file = f"model-{number}.safetensors"
            write_safetensors(sharded / file, share)
            index |= {name: file for name in share}
        (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        untied = self.other_folder("untied", {"tie_word_embeddings": False})
        write_safetensors(untied / "model.safetensors", self.tensors | {
            "lm_head.weight": self.tensors["model.embed_tokens.weight"]})
        for version in (2, 3):
            write_gguf(self.folder / f"v{version}.gguf", self.tensors, version=version)
        split = [f"split-{i + 1:05}-of-00003.gguf" for i in range(3)]
        for number, share in enumerate(self.parts(3)):
            write_gguf(self.folder / split[number], share, part=(number, 3))
        for other in ["turned", "narrow", "sharded", "untied", "v2.gguf", "v3.gguf", *split]:
            self.assertEqual(self.digest(other), want, other)
        told = json.loads(self.isobit("model", "digest", "narrow", "--json").stdout)
        self.assertEqual(told["content_digest"], want)
        self.assertEqual(set(told["tensors"]), set(self.tensors))

    def test_another_model_has_another(self):
        want = self.digest("model")
        found = {want}
        for name in ("model.norm.weight", "model.layers.1.self_attn.k_proj.weight"):
            shape, data = self.tensors[name]
            changed = self.other_folder("changed")
            write_safetensors(changed / "model.safetensors", self.tensors | {
                name: (shape, data[:-1] + bytes([data[-1] ^ 0x80]))})  # the last number's sign
            found.add(self.digest("changed"))
        for key, value in (("rope_theta", 10001.0), ("rms_norm_eps", 2e-5),
                           ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
                           ("isobit_segments", 16)):
            changed = self.other_folder("changed", {key: value})
            write_safetensors(changed / "model.safetensors", self.tensors)
            found.add(self.digest("changed"))
        self.assertEqual(len(found), 7)

    def test_a_part_that_is_missing_is_named(self):
        write_gguf(self.folder / "lone-00001-of-00002.gguf", self.parts(2)[0], part=(0, 2))
        told = self.isobit("model", "info", "lone-00001-of-00002.gguf", code=2).stderr
        self.assertRegex(told, r"lone-00002-of-00002\.gguf: part 2 of 2 of a split model: cannot")
        write_gguf(self.folder / "renamed.gguf", self.parts(2)[0], part=(0, 2))
        told = self.isobit("model", "info", "renamed.gguf", code=2).stderr
        self.assertIn("it is one of 2 parts, not of 1; its name must end in", told)

    def test_scaled_fp8(self):
        """Codes times a scale a channel: the same numbers as that product in fp32."""
        name = "model.layers.0.mlp.up_proj.weight"
        shape, _ = self.tensors[name]
        codes = bytes(i * 7 % 120 for i in range(shape[0] * shape[1]))
        scales = [0.01 * (i + 1) for i in range(shape[0])]

        def value(code):  # e4m3, positive
            exponent, fraction = code >> 3, code & 7
            return (fraction * 2.0 ** -9 if exponent == 0
                    else (8 + fraction) * 2.0 ** (exponent - 10))

        def single(x):
            return struct.unpack("<f", struct.pack("<f", x))[0]

        product = b"".join(struct.pack("<f", value(c) * single(scales[i // shape[1]]))
                           for i, c in enumerate(codes))
        plain = self.other_folder("plain")
        write_safetensors(plain / "model.safetensors", self.tensors | {name: (shape, product)})
        weights = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True,
                   "dynamic": False}
        quantised = self.other_folder("fp8", {"quantization_config": {
            "quant_method": "compressed-tensors", "format": "float-quantized",
            "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": {"dynamic": False}}}}})
        header, blob = {}, b""
        for each, (dims, data) in self.tensors.items():
            dtype = "F32"
            if each == name:
                dtype, data = "F8_E4M3", codes
            header[each] = {"dtype": dtype, "shape": dims,
                            "data_offsets": [len(blob), len(blob) + len(data)]}
            blob += data
        for each, dims, values in ((name + "_scale", [shape[0], 1], scales),
                                   (name.replace(".weight", ".input_scale"), [1], [0.5])):
            header[each] = {"dtype": "F32", "shape": dims,
                            "data_offsets": [len(blob), len(blob) + 4 * len(values)]}
            blob += struct.pack(f"<{len(values)}f", *values)
        text = json.dumps(header).encode()
        (quantised / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + blob)
        self.assertEqual(self.digest("fp8"), self.digest("plain"))
        told = json.loads(self.isobit("model", "info", "fp8", "--json").stdout)
        self.assertEqual(told["scales"], "one a channel; activations are not quantised")
        self.assertEqual(told["unused"], ["model.layers.0.mlp.up_proj.input_scale"])

    def test_info_of_a_model_that_runs(self):
        told = self.isobit("model", "info", "model").stdout
        self.assertIn(self.digest("model"), told)
        self.assertRegex(told, r"memory on the CPU +fp64 [0-9.]+ MiB, fp32 ")
        self.assertRegex(told, r"stop set +2 \(config.json\)\n")

    def test_info_of_a_model_that_does_not_run(self):
        folder = self.other_folder("foreign", {"architectures": ["FooForCausalLM"],
                                               "model_type": "foo"})
        write_safetensors(folder / "model.safetensors", self.tensors)
        done = self.isobit("model", "info", "foreign", code=2)
        self.assertRegex(done.stdout, r"architecture +FooForCausalLM\n")
        self.assertRegex(done.stdout, rf"tensors +{len(self.tensors)} F32\n")
        self.assertRegex(done.stdout, r"cannot be run +.*FooForCausalLM.* is not supported")
        self.assertIn("is not supported", done.stderr)
        told = json.loads(self.isobit("model", "info", "foreign", "--json", code=2).stdout)
        self.assertFalse(told["runs"])
        self.assertEqual(told["tensors"], {"F32": len(self.tensors)})
        write_gguf(self.folder / "odd.gguf", self.tensors)
        data = (self.folder / "odd.gguf").read_bytes()
        record = string("blk.0.attn_v.weight") + struct.pack("<IQQ", 2, 64, 64)
        self.assertIn(record + struct.pack("<I", 0), data)
        (self.folder / "odd.gguf").write_bytes(
            data.replace(record + struct.pack("<I", 0), record + struct.pack("<I", 39)))
        done = self.isobit("model", "info", "odd.gguf", code=2)
        self.assertRegex(done.stdout, r"architecture +llama\n")
        self.assertRegex(done.stdout, rf"tensors +{len(self.tensors) - 1} F32, 1 MXFP4\n")
        self.assertIn('"blk.0.attn_v.weight" has type MXFP4, which is not supported',
                      done.stderr)
        (self.folder / "cut.gguf").write_bytes(data[:7])
        self.assertEqual(self.isobit("model", "info", "cut.gguf", code=2).stdout, "")


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
