"""A GGUF of every family is the model that its folder is: digests of tensors, config and tokens.

The tiny models of architectures/ are written as GGUF the way llama.cpp's converter writes them:
its names and keys, F32 for vectors, routers and positions, BF16 for other matrices; a tokenizer is
left out. GGUF cannot tell some of what their config.json says; `told` and `layers` of a family make
a folder of which it can tell everything. Every wrong conversion must be another model. A reader's
fault is the same as a writer's: reading rows in a wrong order is reading right what was so written.
"""
import dataclasses
import json
import pathlib
import re
import struct
import sys
import unittest

import tiny_project
from gguf_files import (F32, LAYER, OUTPUT_NORMS, STRING, U32, entry, floats, gguf_name,
                        interleaved, read_safetensors, rows_of, write_gguf_file, write_safetensors)

HERE = pathlib.Path(__file__).resolve().parent / "architectures"
TYPE_F32, TYPE_BF16 = 0, 30  # ggml's numbers
PROMPT = [(7 * i + 3) % 97 for i in range(24)]  # longer than the windows
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.+)")


@dataclasses.dataclass
class Family:
    """How llama.cpp writes a family."""
    architecture: str
    names: dict = dataclasses.field(default_factory=dict)  # of its own, see gguf_name()
    norms_add_one: bool = False
    interleaved: bool = False
    transposed: tuple = ()  # matrices of which the folder's file has (inputs, outputs)
    told: dict = dataclasses.field(default_factory=dict)  # over config.json
    layers: tuple = ()  # of the folder's, in the order in which they are used; none: all


FAMILIES = {
    # The scale of queries is the head's size (but for 27B).
    "gemma2": Family("gemma2", OUTPUT_NORMS, norms_add_one=True,
                     told={"query_pre_attn_scalar": 16}),
    "gemma3": Family("gemma3", OUTPUT_NORMS, norms_add_one=True,
                     told={"query_pre_attn_scalar": 8}),
    "mixtral": Family("llama", interleaved=True),
    # Every fourth layer has no RoPE.
    "smollm3": Family("smollm3", interleaved=True, layers=(0, 1, 2, 0),
                      told={"no_rope_layers": [1, 1, 1, 0], "no_rope_layer_interval": 4,
                            "layer_types": ["full_attention"] * 4}),
    "phi3": Family("phi3"),
    "olmo2": Family("olmo2", OUTPUT_NORMS),
    "gpt2": Family("gpt2", transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight")),
    "qwen3": Family("qwen3"),
    # Every layer has experts.
    "qwen3_moe": Family("qwen3moe", layers=(0, 2), told={"mlp_only_layers": []}),
}


def widened(tensors):
    """F32 of the BF16 that the folders hold."""
    return {name: (shape, b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2)))
            for name, (shape, data) in tensors.items()}


def chosen(tensors, layers):
    """The tensors outside of layers, and those layers, numbered anew."""
    out = {name: tensor for name, tensor in tensors.items() if not LAYER.fullmatch(name)}
    for number, layer in enumerate(layers):
        prefix = f"model.layers.{layer}."
        out |= {f"model.layers.{number}.{name.removeprefix(prefix)}": tensor
                for name, tensor in tensors.items() if name.startswith(prefix)}
    return out


def plus(data, addend):
    return b"".join(struct.pack("<f", x + addend) for x in floats(data))


def transposed(shape, data):
    rows, columns = shape
    return [columns, rows], b"".join(data[4 * (r * columns + c):][:4]
                                     for c in range(columns) for r in range(rows))


def stacked(tensors):
    """The matrices of a layer's experts as one of three dimensions."""
    out, experts = {}, {}
    for name, tensor in tensors.items():
        expert = EXPERT.fullmatch(name)
        if expert:
            experts.setdefault(f"{expert[1]}.{expert[3]}", {})[int(expert[2])] = tensor
        else:
            out[name] = tensor
    for name, each in experts.items():
        out[name] = ([len(each), *each[0][0]], b"".join(each[i][1] for i in range(len(each))))
    return out


def converted(family, config, tensors):
    """{GGUF's name: (shape, ggml type, bytes)} of F32 tensors."""
    out = {}
    for name, (shape, data) in stacked(tensors).items():
        if family.norms_add_one and name.endswith("norm.weight"):
            data = plus(data, 1.0)
        if family.interleaved and name.endswith("q_proj.weight"):
            data = interleaved(shape, data, config["num_attention_heads"])
        if family.interleaved and name.endswith("k_proj.weight"):
            data = interleaved(shape, data, config["num_key_value_heads"])
        if name.endswith(family.transposed):
            shape, data = transposed(shape, data)
        name = gguf_name(name, family.names)
        if len(shape) == 1 or "ffn_gate_inp" in name or name.startswith("position_embd"):
            out[name] = (shape, TYPE_F32, data)
        else:
            out[name] = (shape, TYPE_BF16,
                         b"".join(data[i + 2:i + 4] for i in range(0, len(data), 4)))
    return out


# GGUF's key without the architecture, its type, and where config.json has it.
KEYS = [("block_count", U32, "num_hidden_layers", "n_layer"),
        ("context_length", U32, "max_position_embeddings", "n_positions"),
        ("embedding_length", U32, "hidden_size", "n_embd"),
        ("feed_forward_length", U32, "intermediate_size", "n_inner"),
        ("attention.head_count", U32, "num_attention_heads", "n_head"),
        ("attention.head_count_kv", U32, "num_key_value_heads"),
        ("attention.key_length", U32, "head_dim"),
        ("attention.value_length", U32, "head_dim"),
        ("attention.layer_norm_rms_epsilon", F32, "rms_norm_eps"),
        ("attention.layer_norm_epsilon", F32, "layer_norm_epsilon"),
        ("attention.sliding_window", U32, "sliding_window"),
        ("attn_logit_softcapping", F32, "attn_logit_softcapping"),
        ("final_logit_softcapping", F32, "final_logit_softcapping"),
        ("expert_count", U32, "num_local_experts"),
        ("expert_used_count", U32, "num_experts_per_tok"),
        ("expert_feed_forward_length", U32, "moe_intermediate_size")]


def metadata(family, config):
    """{key: (type, value)}"""
    out = {}
    for key, kind, *places in KEYS:
        found = [config[place] for place in places if config.get(place) is not None]
        if found:
            out[key] = (kind, found[0])
    ropes = config.get("rope_parameters", {})
    rope = ropes.get("full_attention", ropes)
    if "rope_theta" in rope and family.architecture != "gemma2":  # it has no such key
        out["rope.freq_base"] = (F32, rope["rope_theta"])
    if "sliding_attention" in ropes:
        out["rope.freq_base_swa"] = (F32, ropes["sliding_attention"]["rope_theta"])
    if rope.get("rope_type") == "linear":
        out["rope.scaling.type"] = (STRING, "linear")
        out["rope.scaling.factor"] = (F32, rope["factor"])
    if family.architecture in ("llama", "smollm3"):
        out["rope.dimension_count"] = (U32, config["head_dim"])
    if family.architecture == "phi3":
        head = config["hidden_size"] // config["num_attention_heads"]
        out["rope.dimension_count"] = (U32, int(head * rope["partial_rotary_factor"]))
        out["rope.scaling.original_context_length"] = (
            U32, config["original_max_position_embeddings"])
    return out


def reordered(name, sizes, order):
    """A change for check_wrong(): the tensor's pieces of those sizes along its outermost dimension
    come in another order."""
    def change(_family, _config, _tensors, right):
        shape, kind, data = right[name]
        rows, pieces = rows_of(shape, data), []
        assert sum(sizes) == len(rows), name
        for size in sizes:
            pieces.append(b"".join(rows[:size]))
            rows = rows[size:]
        return {name: (shape, kind, b"".join(pieces[i] for i in order))}
    return change


class GgufFamilies(tiny_project.Case):
    def model(self, name):
        """A family, its folder, its config and its tensors in F32, of what GGUF can tell."""
        family = FAMILIES[name]
        config = json.loads((HERE / name / "config.json").read_text())
        tensors = widened(read_safetensors(HERE / name / "model.safetensors"))
        if not family.told:
            return family, HERE / name, config, tensors
        config |= family.told
        if family.layers:
            config["num_hidden_layers"] = len(family.layers)
            tensors = chosen(tensors, family.layers)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        write_safetensors(folder / "model.safetensors", tensors)
        return family, folder, config, tensors

    def write(self, file, family, tensors, keys):
        entries = [entry("general.architecture", STRING, family.architecture)]
        entries += [entry(f"{family.architecture}.{key}", kind, value)
                    for key, (kind, value) in keys.items()]
        write_gguf_file(self.folder / file, entries, tensors)

    def digests(self, model):
        return json.loads(self.isobit("model", "digest", model, "--json").stdout)

    def rows(self, model):
        """The digest of each of 8 tokens' logits."""
        tokens, _ = tiny_project.generate(self.folder, model, PROMPT, 8)
        return [token["digest"] for token in tokens]

    def check_family(self, name):
        family, folder, config, tensors = self.model(name)
        self.write(f"{name}.gguf", family, converted(family, config, tensors),
                   metadata(family, config))
        want, got = self.digests(folder), self.digests(f"{name}.gguf")
        self.assertEqual(got["tensors"], want["tensors"])
        self.assertEqual(got["content_digest"], want["content_digest"])
        want, got = self.rows(folder), self.rows(f"{name}.gguf")
        self.assertEqual(len(set(want)), 8)
        self.assertEqual(got, want)

    def check_wrong(self, name, change, differ):
        """`change`: tensors in GGUF's terms instead of the right ones, of (family, config, F32
        tensors, right ones). `differ`: a pattern of the folder's names of those that are others.
        """
        family, folder, config, tensors = self.model(name)
        right = converted(family, config, tensors)
        self.write("wrong.gguf", family, right | change(family, config, tensors, right),
                   metadata(family, config))
        want, got = self.digests(folder), self.digests("wrong.gguf")
        others = {n for n in want["tensors"] if got["tensors"][n] != want["tensors"][n]}
        self.assertEqual(others, {n for n in want["tensors"] if re.fullmatch(differ, n)})
        self.assertTrue(others)
        self.assertNotEqual(got["content_digest"], want["content_digest"])

    def test_norms_that_are_not_one_more(self):
        def with_addend(addend):
            def change(family, config, tensors, _right):
                norms = {n: (s, plus(d, addend)) for n, (s, d) in tensors.items()
                         if n.endswith("norm.weight")}
                return converted(dataclasses.replace(family, norms_add_one=False), config, norms)
            return change

        for name in ("gemma2", "gemma3"):
            # 3: a reader that adds one to the right file instead of taking it away.
            for addend in (0.0, -1.0, 3.0):
                with self.subTest(family=name, addend=addend):
                    self.check_wrong(name, with_addend(addend), r".*norm\.weight")

    def test_rows_in_another_order(self):
        def as_in_the_folder(family, config, tensors, _right):
            return converted(dataclasses.replace(family, interleaved=False), config, tensors)

        def interleaved_twice(family, config, tensors, _right):
            once = {n: (s, interleaved(s, d, s[0] // config["head_dim"]))
                    for n, (s, d) in tensors.items() if n.endswith(("q_proj.weight",
                                                                    "k_proj.weight"))}
            return converted(family, config, once)

        def interleaved_though_it_should_not(family, config, tensors, _right):
            return converted(dataclasses.replace(family, interleaved=True), config, tensors)

        for name, change in (("mixtral", as_in_the_folder), ("smollm3", as_in_the_folder),
                             ("mixtral", interleaved_twice), ("smollm3", interleaved_twice),
                             ("qwen3", interleaved_though_it_should_not),
                             ("gemma2", interleaved_though_it_should_not),
                             ("olmo2", interleaved_though_it_should_not)):
            with self.subTest(family=name, change=change.__name__):
                self.check_wrong(name, change, r".*\.[qk]_proj\.weight")

    def test_experts_that_are_swapped(self):
        for name, stack, differ in (
                ("mixtral", "blk.1.ffn_gate_exps.weight", r".*\.1\..*\.[25]\.w1\.weight"),
                ("mixtral", "blk.0.ffn_down_exps.weight", r".*\.0\.b.*\.[25]\.w2\.weight"),
                ("qwen3_moe", "blk.1.ffn_up_exps.weight",
                 r".*\.1\.mlp\.experts\.[25]\.up_proj\.weight")):
            with self.subTest(family=name, stack=stack):
                self.check_wrong(name, reordered(stack, [1] * 6, [0, 1, 5, 3, 4, 2]), differ)

    def test_gate_for_up(self):
        def change(_family, _config, _tensors, right):
            gate, up = "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"
            return {gate: right[up], up: right[gate]}

        self.check_wrong("mixtral", change, r".*layers\.0\..*\.w[13]\.weight")

    def test_parts_in_another_order(self):
        for name, fused, sizes, order, differ in (
                ("phi3", "blk.0.attn_qkv.weight", [64, 32, 32], [0, 2, 1], r"[kv]_proj"),
                ("phi3", "blk.0.ffn_up.weight", [35, 35], [1, 0], r"(gate|up)_proj"),
                ("gpt2", "blk.0.attn_qkv.weight", [48, 48, 48], [2, 1, 0], r"[qv]")):
            with self.subTest(family=name, fused=fused):
                self.check_wrong(name, reordered(fused, sizes, order),
                                 rf".*\.0\..*\.{differ}\.weight")

    def test_a_square_matrix_that_is_not_turned(self):
        def change(family, config, tensors, _right):
            name = "transformer.h.1.attn.c_proj.weight"
            return converted(dataclasses.replace(family, transposed=()), config,
                             {name: tensors[name]})

        self.check_wrong("gpt2", change, r"transformer\.h\.1\.attn\.c_proj\.weight")

    def test_keys_that_say_something_else(self):
        """The same tensors with another config are another model."""
        for name, key, value in (
                ("gemma2", "attention.sliding_window", 17),
                ("gemma2", "attn_logit_softcapping", 50),
                ("gemma2", "final_logit_softcapping", 30), ("gemma3", "rope.freq_base", 1e4),
                ("gemma3", "rope.freq_base_swa", 1e6), ("gemma3", "rope.scaling.factor", 1),
                ("gemma3", "attention.sliding_window", 17), ("phi3", "rope.dimension_count", 12),
                ("phi3", "attention.sliding_window", 0), ("mixtral", "expert_used_count", 3),
                ("qwen3_moe", "expert_used_count", 3), ("smollm3", "rope.freq_base", 1e4),
                ("gpt2", "attention.layer_norm_epsilon", 1e-6),
                ("olmo2", "attention.layer_norm_rms_epsilon", 1e-6)):
            with self.subTest(family=name, key=key):
                family, folder, config, tensors = self.model(name)
                keys = metadata(family, config)
                keys[key] = (keys[key][0], value)
                self.write("wrong.gguf", family, converted(family, config, tensors), keys)
                want, got = self.digests(folder), self.digests("wrong.gguf")
                self.assertEqual(got["tensors"], want["tensors"])
                self.assertNotEqual(got["content_digest"], want["content_digest"])

    def test_what_gguf_cannot_tell(self):
        """The folders as they are, where another config.json had to be told."""
        for name in ("gemma2", "gemma3"):
            with self.subTest(family=name):
                _, folder, _, _ = self.model(name)
                whole, told = self.digests(HERE / name), self.digests(folder)
                self.assertEqual(told["tensors"], whole["tensors"])
                self.assertNotEqual(told["content_digest"], whole["content_digest"])
                self.assertFalse(set(self.rows(HERE / name)) & set(self.rows(folder)))


def test_of(name):
    return lambda self: self.check_family(name)


for each in FAMILIES:
    setattr(GgufFamilies, "test_family_" + each, test_of(each))


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
