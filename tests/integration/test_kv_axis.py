"""Axis kv as it is written: every form in several spellings gives one canonical text, filters and
repro lines take that text through a shell, and bad input names what is wrong with it."""
import json
import os
import pathlib
import re
import subprocess
import unittest
import unittest.mock
import xml.etree.ElementTree

import tiny_project

# Canonical text, and spellings of it in YAML: options in any order, defaults written out.
FORMS = [
    ("exact", "exact", "exact"),
    ("bits:7", "{bits: 7, round: nearest}", "{at: after_rope, of: both, bits: 7}"),
    ("bits:7+at:before_rope+layers:0/3+of:k+round:down",
     "{bits: 7, round: down, of: k, at: before_rope, layers: [0, 3]}",
     "{layers: [3, 0], at: before_rope, of: k, round: down, bits: 7}"),
    ("bits:5+of:v", "{bits: 5, of: v}", "{at: before_rope, of: v, bits: 5}"),  # V is not turned
    ("uniform:-0.5/0.5", "{uniform: [-0.5, 0.5]}", "{seed: 0, uniform: [-5e-1, 0.50]}"),
    ("normal:0/0.25+of:k", "{normal: [0, 0.25], of: k}", "{of: k, normal: [-0.0, 2.5e-1]}"),
    ("lognormal:0.5+of:v", "{lognormal: 0.5, of: v}", "{of: v, lognormal: 5.0e-1}"),
    ("normal:0/0.001+keep_sign:true+layers:0/1+seed:7",
     "{normal: [0, 0.001], seed: 7, keep_sign: true, layers: [0, 1]}",
     "{layers: [1, 0], keep_sign: yes, seed: 7, normal: [0, 1e-3]}"),
    ("uniform:-1e300/1e05", "{uniform: [-1e300, 100000]}", "{uniform: [-1.0e300, 1e5]}"),
    ("q8_0", "q8_0", "{ggml: q8_0}"),
    ("q4_0", "q4_0", "{rotate: false, ggml: q4_0}"),
    ("q4_1", "q4_1", "{ggml: {v: q4_1, k: q4_1}}"),
    ("q5_0", "q5_0", "{ggml: q5_0}"),
    ("q5_1", "q5_1", "{ggml: q5_1}"),
    ("iq4_nl", "iq4_nl", "{ggml: iq4_nl}"),
    ("q8_0+rotate:true", "{ggml: q8_0, rotate: true}", "{rotate: on, ggml: {k: q8_0, v: q8_0}}"),
    ("ggml:(k:q8_0+v:q4_0)", "{ggml: {k: q8_0, v: q4_0}}", "{ggml: {v: q4_0, k: q8_0}}"),
    ("ggml:(k:q8_0+v:q4_0)+rotate:true", "{ggml: {k: q8_0, v: q4_0}, rotate: true}",
     "{rotate: true, ggml: {v: q4_0, k: q8_0}}"),
    ("rtn:4", "{rtn: 4}", "{rotate: none, group: 32, per: token, rtn: 4}"),
    ("rtn:4+group:8+rotate:hadamard", "{rtn: 4, group: 8, rotate: hadamard}",
     "{rotate: hadamard, per: token, group: 8, rtn: 4}"),
    ("rtn:8+per:channel", "{rtn: 8, per: channel}", "{when: prompt, per: channel, rtn: 8}"),
    ("rtn:3+group:64+per:channel+when:block", "{rtn: 3, per: channel, group: 64, when: block}",
     "{when: block, group: 64, per: channel, rtn: 3}"),
    ("kivi:2", "{kivi: 2}", "{when: prompt, kivi: 2}"),
    ("kivi:4+when:block", "{kivi: 4, when: block}", "{when: block, kivi: 4}"),
    ("kvarn:k4v2", "{kvarn: k4v2}",
     "{iterations: 8, sink: 128, group: 128, form: paper, kvarn: k4v2}"),
    ("kvarn:k4v4+group:64", "{kvarn: k4v4, group: 64}", "{group: 64, kvarn: k4v4}"),
    ("kvarn:k2v2+group:64+iterations:3+sink:64",
     "{kvarn: k2v2, group: 64, sink: 64, iterations: 3}",
     "{iterations: 3, sink: 64, group: 64, kvarn: k2v2}"),
    ("kvarn:k4v2+form:shipped", "{kvarn: k4v2, form: shipped}", "{form: shipped, kvarn: k4v2}"),
    ("window:9", "{window: 9}", "{sinks: 0, streaming: 9}"),
    ("streaming:9", "{streaming: 9}", "{positions: original, sinks: 4, streaming: 9}"),
    ("streaming:9+positions:in_cache+sinks:2", "{streaming: 9, sinks: 2, positions: in_cache}",
     "{positions: in_cache, sinks: 2, streaming: 9}"),
    ("h2o:9", "{h2o: 9}", "h2o:9"),
    ("tova:9", "{tova: 9}", "tova:9"),
    ("snapkv:128", "{snapkv: 128}", "{pool: max, kernel: 7, window: 32, snapkv: 128}"),
    ("snapkv:12+kernel:5+pool:avg+window:4", "{snapkv: 12, window: 4, kernel: 5, pool: avg}",
     "{pool: avg, kernel: 5, window: 4, snapkv: 12}"),
    ("knorm:9", "{knorm: 9}", "knorm:9"),
    ("expected_attention:9", "{expected_attention: 9}", "expected_attention:9"),
    ("chain:snapkv:128>q8_0", "{chain: [{snapkv: 128}, q8_0]}",
     "{chain: [{ggml: q8_0}, {window: 32, snapkv: 128}]}"),
    ("chain:(snapkv:12+window:4)>q4_0", "{chain: [{snapkv: 12, window: 4}, q4_0]}",
     "{chain: [q4_0, {window: 4, snapkv: 12}]}"),
    ("chain:tova:9>(normal:0/0.25+of:k)", "{chain: [{tova: 9}, {normal: [0, 0.25], of: k}]}",
     "{chain: [{of: k, normal: [0, 0.25]}, tova:9]}"),
    ("chain:h2o:9>(ggml:(k:q8_0+v:q4_0)+rotate:true)",
     "{chain: [{h2o: 9}, {ggml: {k: q8_0, v: q4_0}, rotate: true}]}",
     "{chain: [{rotate: true, ggml: {v: q4_0, k: q8_0}}, {h2o: 9}]}"),
    ("residual:every_layer", "{residual: every_layer}", "{budget: 0, residual: {every: 1}}"),
    ("residual:embedding+budget:8", "{residual: embedding, budget: 8}",
     "{budget: 8, residual: embedding}"),
    ("residual:(every:2)+budget:5", "{residual: {every: 2}, budget: 5}",
     "{budget: 5, residual: {every: 2}}"),
    ("quanto:2+axis:-1", "{quanto: 2, axis: -1}", "{residual: 128, axis: -1, quanto: 2}"),
    ("quanto:4+residual:64", "{quanto: 4, residual: 64}",
     "{residual: 64, group: 64, axis: 0, quanto: 4}"),
    ("hqq:4+axis:1+group:32+residual:1", "{hqq: 4, axis: 1, group: 32, residual: 1}",
     "{residual: 1, group: 32, axis: 1, hqq: 4}"),
]

# A value, the column of line 9 where the error points (the value begins at 7), what it says.
MALFORMED = [
    ("{window: 0}", 7, "window is a whole number from 1 to"),
    ("{window: 08}", 7, "from 1 to 1073741824; write 8\n"),
    ("{h2o: 0}", 7, "h2o is a whole number from 1 to"),
    ("{tova: 0}", 7, "tova is a whole number from 1 to"),
    ("{knorm: -1}", 7, "knorm is a whole number from 1 to"),
    ("{expected_attention: 4}", 7, "expected_attention is a whole number from 5 to"),
    ("{snapkv: 0}", 7, "snapkv is a whole number from 1 to"),
    ("{streaming: 4}", 7, "a budget of 4 has no room besides 4 sinks"),
    ("{streaming: 8, sinks: 9}", 7, "a budget of 8 has no room besides 9 sinks"),
    ("{snapkv: 32}", 7, "a budget of 32 has no room besides a window of 32"),
    ("{snapkv: 12, window: 12}", 7, "a budget of 12 has no room besides a window of 12"),
    ("{snapkv: 64, kernel: 6}", 7, "a kernel has a middle; 6 is even"),
    ("{chain: [q8_0, {kivi: 2}]}", 7, "a chain has at most one that codes, not q8_0 and kivi"),
    ("{chain: [{h2o: 9}, {tova: 9}]}", 7, "a chain has at most one that evicts, not h2o and tova"),
    ("{chain: [{h2o: 9}]}", 7, "a chain has one that evicts and one that codes"),
    ("{chain: [{h2o: 9}, {quanto: 4}]}", 7, "quanto is no member of a chain"),
    ("{chain: [{streaming: 9, positions: in_cache}, q8_0]}", 7, "keeps keys before RoPE"),
    ("{chain: [{knorm: 9}, {kivi: 2, when: block}]}", 7, "kivi needs when: prompt beside it"),
    ("{chain: [{snapkv: 64, kernal: 5}, q8_0]}", 7, 'no option "kernal" of snapkv; did you mean '
     '"kernel"?'),
    ("{kvarn: k4v2, grup: 64}", 7, 'did you mean "group"?'),
    ("{rtn: 4, per: chanel}", 7, 'did you mean "channel"?'),
    ("{ggml: q9_0}", 7, 'no block type "q9_0"; did you mean "q8_0"?'),
    ("{snapk: 128}", 7, 'unknown value "snapk" for axis kv; did you mean "snapkv"?'),
    ("{h2o: 9, tova: 9}", 7, "h2o and tova are two policies"),
    ("{rtn: 4, per: channel, group: 24}", 7, "a group of tokens is a power of two from 8 to 256"),
    ("{kvarn: k4v2, sink: 100}", 7, "sink of kvarn is whole groups of 128 tokens, not 100"),
    ("{window: [8, 9]}", 7, "window is a whole number"),
    ("{streaming: 9, sinks: [1, 2]}", 7, "option sinks of streaming is a whole number"),
    ("{normal: 0.25}", 7, "normal has two finite numbers"),
    ("{lognormal: -1}", 7, "lognormal has a standard deviation from 0 to 1000"),
    ("{lognormal: 0.5, keep_sign: true}", 7, "keep_sign"),
    ("{normal: [0, .inf]}", 7, "normal has two finite numbers"),
    ("{normal: [0, 1], layers: [1, 1]}", 7, "layer 1 is given twice"),
    ("{residual: {every: 0}}", 7, "every is a number of layers from 1"),
    ('{window: "8"}', 16, '"8" is a text because of its quotes'),
    ("{chain: []}", 15, "chain is an empty list"),
    ("{knorm: }", 8, "knorm must be a value, not nothing"),
    ("[window, 8]", 7, "a value of axis kv must be a value, not a list"),
    ("{snapkv: 128, snapkv: 129}", 21, 'duplicate key "snapkv"'),
    ("{chain: [{h2o: {a: {b: {c: {d: 9}}}}}, q8_0]}", 34, "c is nested too deeply"),
]

# Values that are right by themselves: other axes, the model, what is wrong together.
UNFIT = [
    ("{rtn: 4, group: 7}", "", "wide", "head_dim 64 is no multiple of it"),
    ("{kivi: 2}", "", "odd", "a group of 32 channels stays inside one head, and head_dim 24"),
    ("q8_0", "", "odd", "a block of 32 channels stays inside one head, and head_dim 24"),
    ("{chain: [{h2o: 9}, q8_0]}", "", "odd", "a block of 32 channels stays inside one head"),
    ("{rtn: 4, group: 8, rotate: hadamard}", "", "odd",
     "rotate: hadamard turns a whole head, a power of two"),
    ("{kvarn: k4v2}", "", "odd", "kvarn turns a whole head, a power of two"),
    ("{bits: 3, layers: [0, 4]}", "", "wide", "there is no layer 4 of 4"),
    ("{residual: {every: 5}}", "", "wide", "every 5 layers is more than the model's 4"),
    ("{quanto: 4}", "gpus: [2]", "wide", "it has gpus: 1 only"),
    ("{hqq: 4}", "cache: [recomputed]", "wide", "cache: recomputed is not for it"),
    ("{kvarn: k4v2, form: shipped}", "cache: [{speculative: 2}]", "wide",
     "cache: speculative is not for it"),
    ("{tova: 9}", "cache: [prefix]", "wide", "it acts when the prompt has ended, so cache: prefix"),
    ("{chain: [{h2o: 9}, {bits: 3}]}", "cache: [prefix]", "wide", "it acts when the prompt has"),
    ("{residual: embedding}", "cache: [prefix]", "wide", "so cache: prefix cannot share"),
    ("{window: 9}", "cache: [{speculative: 2}]", "wide", "cache: speculative cannot verify drafts"),
    ("{tova: 9}", "cache: [{speculative: 2}]", "wide", "cache: speculative cannot verify drafts"),
]


def write_model(folder, head_dim, layers):
    """A tiny model of two heads of that size."""
    config = tiny_project.CONFIG | {"head_dim": head_dim, "num_hidden_layers": layers,
                                    "num_attention_heads": 2, "num_key_value_heads": 2}
    with unittest.mock.patch.multiple(tiny_project, HEAD_DIM=head_dim, LAYERS=layers, HEADS=2,
                                      KV_HEADS=2, CONFIG=config):
        tiny_project.write_model(folder)


class KvAxis(tiny_project.Case):
    @classmethod
    def setUpClass(cls):
        tiny_project.program()  # skipped as a whole without it
        super().setUpClass()
        write_model(cls.folder / "wide", 64, 4)
        write_model(cls.folder / "odd", 24, 1)

    def scenario(self, values, axis="", model="wide", more=""):
        """Writes kv.yaml, whose first value stands in line 9, column 7."""
        text = ("version: 1\nname: kv\nmodel: " + model + "\nprompts: prompts.jsonl\n"
                "decode: {max_new_tokens: 4, ignore_eos: true}\nmin_tokens: 1\naxes:\n  kv:\n")
        text += "".join(f"    - {value}\n" for value in values)
        text += (f"  {axis}\n" if axis else "") + more
        (self.folder / "kv.yaml").write_text(text)
        return "kv.yaml"

    def cells(self, *words):
        (scenario,) = json.loads(self.isobit("list", "kv.yaml", "--json", *words).stdout)[
            "scenarios"]
        return [(cell["axes"]["kv"], cell["hash"]) for cell in scenario["cells"]]

    def texts(self, *words):
        return [text for text, _ in self.cells(*words)]

    def test_every_spelling_is_one_text_and_one_hash(self):
        canonical = [form[0] for form in FORMS]
        hashes = []
        for spelling in (1, 2):
            self.scenario([form[spelling] for form in FORMS])
            cells = self.cells()
            self.assertEqual([text for text, _ in cells], canonical)
            hashes.append([cell_hash for _, cell_hash in cells])
        self.scenario([f'"{text}"' for text in canonical])  # a text is a spelling too
        hashes.append([cell_hash for _, cell_hash in self.cells()])
        self.assertEqual(hashes[0], hashes[1])
        self.assertEqual(hashes[0], hashes[2])
        self.assertEqual(len(set(hashes[0])), len(FORMS))

    def test_two_spellings_in_a_list_are_one_value_twice(self):
        for first, again in (("{window: 10}", "{streaming: 10, sinks: 0}"),
                             ("q8_0", "{ggml: {k: q8_0, v: q8_0}}")):
            self.scenario([first, again])
            self.assertRegex(self.isobit("validate", "kv.yaml", code=2).stderr,
                             r"kv\.yaml:10:7: value \"[a-z0-9_:]+\" is twice in axis kv")

    def test_a_quoted_text_selects_its_cell(self):
        texts = [form[0] for form in FORMS]
        self.scenario([form[1] for form in FORMS])
        for text in texts:
            self.assertEqual(self.texts("-k", f'kv="{text}"'), [text])
        some = ["chain:snapkv:128>q8_0", "ggml:(k:q8_0+v:q4_0)+rotate:true",
                "residual:(every:2)+budget:5"]
        among = "kv in ('" + "', \"".join(some[:2]) + "\", '" + some[2] + "')"
        self.assertEqual(sorted(self.texts("-k", among)), sorted(some))
        self.assertEqual(self.texts("-k", f"not ({among})"), [t for t in texts if t not in some])
        other_order = "kv='rotate:true+ggml:(v:q4_0+k:q8_0)'"
        self.assertEqual(self.texts("-k", other_order), some[1:2])
        for head in ("snapkv", "rtn", "chain", "ggml", "streaming", "kvarn", "exact",
                     "window", "residual"):
            self.assertEqual(self.texts("-k", f"kv={head}"),
                             [text for text in texts if re.split("[:+]", text)[0] == head])
        for wrong, column in (("kv=chain:snapkv:128>q8_0", 4), ('kv="snapkv:64+kernal:5"', 4),
                              ("cache=on and kv=snapk", 17)):
            self.assertIn(f"-k, column {column}: ", self.isobit("list", "kv.yaml", "-k", wrong,
                                                                code=2).stderr)

    def test_rules_and_exclusions_take_the_text(self):
        chain = "chain:tova:9>(normal:0/0.25+of:k)"
        self.scenario(["exact", "{chain: [{tova: 9}, {normal: [0, 0.25], of: k}]}", "q8_0",
                       "{snapkv: 64}", "{snapkv: 65}"], "cache: [on, {paged: 16}]", "wide",
                      "exclude: [{kv: snapkv}, {kv: \"" + chain + "\", cache: paged}]\n"
                      "expect:\n  - same_bits: {where: 'kv=\"q8_0\"', across: [cache]}\n"
                      "  - measure: {where: 'cache=on and kv in (\"" + chain + "\", exact)', "
                      "across: [kv]}\n")
        self.assertEqual(sorted(self.texts()), sorted(["exact", "exact", chain, "q8_0", "q8_0"]))
        self.isobit("validate", "kv.yaml")

    def test_repro_lines_go_through_a_shell(self):
        self.scenario(["exact"], "", "model", "expect:\n  - same_bits: {across: [kv]}\n")
        values = ('axes.kv=[exact, "chain:tova:9>(normal:0/0.25+of:k)", \'bits:1+of:k\', '
                  "{rtn: 2, group: 8}]")
        run = ["--set", values, "--update", "none"]
        report = json.loads(self.isobit("run", "kv.yaml", *run, "--json", "--report",
                                        "junit=kv.xml", code=1).stdout)
        different = [cell for cell in report["cells"] if cell["verdict"] == "DIFF"]
        self.assertEqual(sorted(cell["axes"]["kv"] for cell in different),
                         ["bits:1+of:k", "chain:tova:9>(normal:0/0.25+of:k)", "rtn:2+group:8"])
        env = os.environ | {"ISOBIT_CACHE": str(self.folder / "cache"), "ISOBIT_DB": "again.db",
                            "PATH": f"{pathlib.Path(tiny_project.program()).parent}:"
                                    + os.environ["PATH"]}
        for cell in different:
            for line in cell["repro"], cell["repro"].replace("/" + cell["hash"][:8],
                                                             f"'{cell['name']}'"):
                done = subprocess.run(["sh", "-c", line + " --json"], cwd=self.folder, env=env,
                                      capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 1, f"{line}\n{done.stderr}")
                verdicts = {one["hash"]: one["verdict"] for one in json.loads(done.stdout)["cells"]}
                self.assertEqual(verdicts[cell["hash"]], "DIFF")
        names = [case.get("name") for case in
                 xml.etree.ElementTree.parse(self.folder / "kv.xml").iter("testcase")]
        self.assertTrue(any("chain:tova:9>(normal:0/0.25+of:k)" in name for name in names), names)

    def test_malformed_values_are_refused_with_their_place(self):
        for value, column, message in MALFORMED:
            with self.subTest(value):
                self.scenario([value])
                error = self.isobit("list", "kv.yaml", code=2).stderr
                self.assertIn(f"kv.yaml:9:{column}: ", error)
                self.assertIn(message, error)
                self.assertEqual(error.count("\n"), 1, error)

    def test_the_place_in_an_override(self):
        self.scenario(["exact"])
        value = "axes.kv=[exact, {chain: [q8_0, q4_0]}]"
        error = self.isobit("list", "kv.yaml", "--set", value, code=2).stderr
        self.assertIn(f"--set {value}, column {value.index('{') + 1}: ", error)

    def test_what_does_not_fit_together_is_refused_with_the_cell(self):
        for value, axis, model, message in UNFIT:
            with self.subTest(value + " " + axis):
                self.scenario([value], axis, model)
                error = self.isobit("list", "kv.yaml", code=2).stderr
                self.assertRegex(error, r"kv\.yaml:9:7: kv%.*kv=.* /[0-9a-f]{8}: kv ")
                self.assertIn(message, error)


if __name__ == "__main__":
    unittest.main()
