"""Traces recorded elsewhere as runs: what is equal stays equal, one bit is found at its token,
every report says where it comes from, and a trace that is broken or of something else stores
nothing."""
import array
import contextlib
import json
import os
import pathlib
import re
import struct
import sys
import unittest

import tiny_project

SOURCE = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", "."))
sys.path.insert(0, str(SOURCE / "harness/import"))
import isobit_trace  # noqa: E402

AXES = {"precision": "fp32", "batch": 3, "cache": "on"}
ONE_ROW = """version: 1
name: example
model: model
prompts: one.jsonl
decode: {strategy: greedy, max_new_tokens: 2, ignore_eos: true}
min_tokens: 2
axes: {precision: [fp32], batch: [1, 3]}
expect: [{same_bits: {across: [batch]}}]
"""


class Import(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "trio.yaml").write_text(
            tiny_project.SCENARIO.replace("name: tiny", "name: trio").replace(
                "[fp32, bf16]", "[fp32, bf16, fp64]"))
        done = tiny_project.run(["run", "trio.yaml", "--db", "own.db", "--update", "none"],
                                cls.folder, env=cls.env)
        assert done.returncode == 5, done.stdout + done.stderr
        shown = tiny_project.run(["show", "1", "--db", "own.db", "--json", "--logits", "rows"],
                                 cls.folder, env=cls.env)
        cls.cells = {cell["hash"]: cell for cell in json.loads(shown.stdout)["cells"]}
        lines = (cls.folder / "prompts.jsonl").read_text().splitlines()
        cls.prompts = {p["id"]: p["tokens"] for p in map(json.loads, lines)}

    def cell(self, text, scenario="trio"):
        found = [c for c in self.cells.values()
                 if c["name"].startswith(f"{scenario}%{text} /")]
        self.assertEqual(len(found), 1, text)
        return found[0]

    def rows(self, cell, prompt, wide=False):
        """The rows of a prompt as arrays, in order."""
        kind = "d" if wide else "f"
        name = prompt["prompt"].replace("/", "%2f").replace("%2F", "%2f")
        out = []
        for token in prompt["tokens"]:
            paths = [p for p in (self.folder / "rows" / cell["hash"]).iterdir()
                     if p.stem.lower() == f"{name}-{token['position']}".lower()]
            self.assertEqual(len(paths), 1, (name, token["position"]))
            out.append(array.array(kind, paths[0].read_bytes()))
        return out

    def record(self, name, cell, change=None, **header):
        """A trace of a stored cell. change(prompt id, place, row) may edit a row."""
        wide = cell["observed"]["precision"] == "fp64"
        keys = {"engine": "other", "version": "1.2", "axes": AXES} | header
        with isobit_trace.TraceWriter(self.folder / name, **keys) as trace:
            for prompt in cell["prompts"]:
                trace.prompt(prompt["prompt"], self.prompts[prompt["prompt"]])
                rows = self.rows(cell, prompt, wide)
                for place, (token, row) in enumerate(zip(prompt["tokens"], rows)):
                    if change is not None:
                        change(prompt["prompt"], place, row)
                    evidence = {"logits": row} if keys.get("evidence", "logits") == "logits" else {}
                    if keys.get("evidence") == "logprobs":
                        evidence = {"logprob": -0.25 - place, "top": [(token["id"], -0.25 - place)]}
                    trace.row(prompt["prompt"], token["id"], **evidence)
        return name

    def edit(self, name, old, new, count=1):
        text = (self.folder / name).read_text()
        self.assertIn(old, text)
        (self.folder / name).write_text(text.replace(old, new, count))

    def flip(self, prompt, at):
        """Changes the last bit of one logit of one row."""
        def change(where, place, row):
            if (where, place) == (prompt, at):
                bits = struct.unpack("<I", struct.pack("<f", row[40]))[0] ^ 1
                row[40] = struct.unpack("<f", struct.pack("<I", bits))[0]
        return change

    def test_rows_hash_to_the_digests_of_the_program(self):
        for cell in self.cells.values():
            wide = cell["observed"]["precision"] == "fp64"
            for prompt in cell["prompts"]:
                for token, row in zip(prompt["tokens"], self.rows(cell, prompt, wide)):
                    self.assertEqual(isobit_trace.digest_row(row), token["digest"])

    def test_what_is_equal_is_equal(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        self.record("same.jsonl", cell)
        out = self.isobit("import", "trio.yaml", "same.jsonl", "--db", "own.db", "-v", code=8)
        self.assertIn("imported from same.jsonl", out.stdout)
        self.assertIn("recorded by other 1.2, evidence logits", out.stdout)
        self.assertIn("(0 executed, 0 cached, 1 imported)", out.stdout)
        shown = json.loads(self.isobit("show", "last", "--db", "own.db", "--json").stdout)
        (imported,) = shown["cells"]
        self.assertEqual(imported["root"], cell["root"])
        self.assertEqual(imported["imported"], "same.jsonl")
        self.assertEqual(imported["observed"]["engine"], "other 1.2")
        self.assertRegex(imported["observed"]["imported_sha256"], "^[0-9a-f]{64}$")
        for mine, theirs in zip(imported["prompts"], cell["prompts"]):
            self.assertEqual(mine["tokens"], theirs["tokens"])
        out = self.isobit("diff", "1", "last", "--db", "own.db").stdout
        self.assertIn("imported from same.jsonl", out)
        self.assertIn("20 token rows, 0 cells differ", out)

    def test_an_import_is_a_baseline_green_and_red(self):
        self.record("good.jsonl", self.cell("batch=3,cache=on,precision=fp32"))
        self.record("bad.jsonl", self.cell("batch=3,cache=on,precision=fp32"),
                    self.flip("long/er", 7))
        for name in ("good.jsonl", "bad.jsonl"):
            self.isobit("import", "trio.yaml", name, code=8)
        check = ["check", "trio.yaml", "-k", "precision=fp32", "--update", "none", "--baseline"]
        # The baseline has one of the four cells.
        out = self.isobit(*check, "1", code=5).stdout
        self.assertIn("judged by run 1", out)
        self.assertIn("1 PASS, 3 NOGOLD", out)
        out = self.isobit(*check, "2", "--report", "json=r.json", code=1).stdout
        self.assertIn("0 PASS, 1 DIFF, 3 NOGOLD", out)
        self.assertIn("at prompt long/er, position 26", out)
        self.assertIn("imported from bad.jsonl (other 1.2)", out)  # the cause
        red = [c for c in json.loads((self.folder / "r.json").read_text())["cells"]
               if c["verdict"] == "DIFF"]
        self.assertEqual([(c["divergence"]["index"], c["divergence"]["differing"]) for c in red],
                         [(7, 1)])
        self.assertIn("isobit repro", red[0]["repro"])  # this side was executed here

    def test_one_bit_is_found_at_its_token(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        self.record("same.jsonl", self.cell("batch=1,cache=on,precision=fp32"),
                    axes=AXES | {"batch": 1})
        self.record("bit.jsonl", cell, self.flip("short", 4))
        out = self.isobit("import", "trio.yaml", "same.jsonl", "bit.jsonl", "--report",
                          "junit=j.xml", "--report", "md=r.md", "--report", "json=r.json",
                          code=1).stdout
        position = cell["prompts"][0]["tokens"][4]["position"]
        self.assertIn(f"at prompt short, position {position}", out)
        self.assertIn("imported from bit.jsonl", out)
        red = [c for c in json.loads((self.folder / "r.json").read_text())["cells"]
               if c["verdict"] == "DIFF"]
        self.assertEqual([(c["divergence"]["index"], c["divergence"]["differing"],
                           c["divergence"]["flipped"], c["repro"]) for c in red], [(4, 1, 0, "")])
        for name in ("j.xml", "r.md"):
            text = (self.folder / name).read_text()
            self.assertIn("imported from bit.jsonl", text)
            self.assertIn("imported from same.jsonl", text)
        self.assertEqual(self.isobit("report", "last", code=1).stdout, out)

    def test_history_show_and_repro_know_it(self):
        self.record("t.jsonl", self.cell("batch=3,cache=on,precision=fp32"))
        self.isobit("import", "trio.yaml", "t.jsonl", code=8)
        name = "/" + self.cell("batch=3,cache=on,precision=fp32")["hash"]
        self.assertIn("imported from t.jsonl", self.isobit("history", name).stdout)
        shown = self.isobit("show", name).stdout
        self.assertIn("other 1.2 on cpu, fp32, evidence logits, by its recorder's word", shown)
        self.assertIn("t.jsonl, SHA-256", shown)
        self.assertIn("nothing here can repeat it", self.isobit("repro", name, code=2).stderr)
        self.assertIn("cannot be executed here",
                      self.isobit("show", name, "--logits", "none", code=2).stderr)
        # A later run executes the cell: what was imported stands for no execution.
        out = self.isobit("run", "trio.yaml", "-k", "precision=fp32", "--update", "none", code=5)
        self.assertIn("4 executed, 0 cached", out.stdout)

    def test_goldens_judge_it_and_it_becomes_none(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        self.record("same.jsonl", cell)
        self.record("bit.jsonl", cell, self.flip("short", 0))
        self.isobit("import", "trio.yaml", "same.jsonl", code=8)
        self.assertFalse((self.folder / ".isobit/pending").exists())
        self.isobit("bless", "trio.yaml", "--reason", "first", "--golden", "golden")
        pick = ["-k", "precision=fp32 and batch=3 and cache=on", "--golden", "golden"]
        out = self.isobit("import", "trio.yaml", "bit.jsonl", *pick, code=1).stdout
        self.assertIn("differs from the golden at prompt short, position 4", out)
        self.assertIn("imported from bit.jsonl", out)
        out = self.isobit("import", "trio.yaml", "same.jsonl", "--golden", "golden", "-v",
                          code=8).stdout
        self.assertIn("1 PASS", out)

    def test_attempts_of_one_cell(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        self.record("a.jsonl", cell)
        self.record("b.jsonl", cell, version="1.3")
        self.record("c.jsonl", cell, self.flip("short", 2))
        self.isobit("import", "trio.yaml", "a.jsonl", "b.jsonl", code=8)
        out = self.isobit("import", "trio.yaml", "a.jsonl", "c.jsonl", code=1).stdout
        self.assertIn("attempt 2 differs from the first", out)
        self.assertIn("the same file as", self.isobit("import", "trio.yaml", "a.jsonl", "a.jsonl",
                                                      code=2).stderr)

    def test_lesser_evidence_is_never_taken_for_logits(self):
        one = self.cell("batch=1,cache=on,precision=fp32")
        three = self.cell("batch=3,cache=on,precision=fp32")
        first = AXES | {"batch": 1}
        for level in ("tokens", "logprobs"):
            self.record(f"{level}1.jsonl", one, evidence=level, axes=first)
            self.record(f"{level}3.jsonl", three, evidence=level)
            out = self.isobit("import", "trio.yaml", f"{level}1.jsonl", f"{level}3.jsonl", code=7)
            self.assertIn(f"evidence {level}", out.stdout)
            self.assertIn(f"the engine gave {level}, and logits are to be compared", out.stdout)
        self.record("logits1.jsonl", one, axes=first)
        out = self.isobit("import", "trio.yaml", "logits1.jsonl", "tokens3.jsonl", code=7).stdout
        self.assertIn("only tokens could be compared", out)
        self.isobit("import", "trio.yaml", "tokens3.jsonl", code=8)
        out = self.isobit("check", "trio.yaml", "-k", "precision=fp32 and batch=3 and cache=on",
                          "--baseline", "last", code=2)  # a run that ended with 8 is not `last`
        out = self.isobit("check", "trio.yaml", "-k", "precision=fp32", "--baseline", "4",
                          "--update", "none", code=7).stdout
        self.assertIn("only tokens could be compared", out)

    def test_tokens_are_enough_for_a_rule_of_tokens(self):
        (self.folder / "text.yaml").write_text(
            tiny_project.SCENARIO.replace("name: tiny", "name: text\ngolden: none").replace(
                "[fp32, bf16]", "[fp32]").replace("across: [batch, cache]",
                                                  "across: [batch, cache], of: tokens"))
        one = self.cell("batch=1,cache=on,precision=fp32")
        three = self.cell("batch=3,cache=on,precision=fp32")
        self.record("logits.jsonl", one, axes=AXES | {"batch": 1})
        self.record("text.jsonl", three, evidence="tokens")
        pick = ["-k", "cache=on"]
        out = self.isobit("import", "text.yaml", "logits.jsonl", "text.jsonl", *pick, "-v", code=0)
        self.assertIn("2 PASS", out.stdout)
        token = three["prompts"][0]["tokens"][9]["id"]
        with isobit_trace.TraceWriter(self.folder / "other.jsonl", engine="other", axes=AXES,
                                      evidence="tokens") as trace:
            for prompt in three["prompts"]:
                trace.prompt(prompt["prompt"], self.prompts[prompt["prompt"]])
                for place, row in enumerate(prompt["tokens"]):
                    changed = prompt["prompt"] == "short" and place == 9
                    trace.row(prompt["prompt"], token ^ 1 if changed else row["id"])
        out = self.isobit("import", "text.yaml", "logits.jsonl", "other.jsonl", *pick, code=1)
        self.assertIn("at prompt short, position 13", out.stdout)
        # The imported text is a baseline for what is executed here.
        check = ["check", "text.yaml", "-k", "cache=on", "--baseline"]
        self.isobit("import", "text.yaml", "logits.jsonl", "text.jsonl", *pick)
        self.isobit(*check, "last", code=7)  # batch=3 is compared by its tokens alone
        self.isobit("import", "text.yaml", "other.jsonl", *pick, code=8)
        out = self.isobit(*check, "5", code=1).stdout
        self.assertIn("differs from the baseline, run 5, at prompt short, position 13", out)

    def test_a_cell_of_an_external_engine(self):
        (self.folder / "engines.yaml").write_text(
            tiny_project.SCENARIO.replace("name: tiny", "name: engines").replace(
                "axes:\n", "axes:\n  engine: [reference, {exec: [vllm-server, --port]}]\n").replace(
                    "across: [", "across: [engine, "))
        cells = json.loads(self.isobit("list", "engines.yaml", "--json").stdout)
        outside = [c for c in cells["scenarios"][0]["cells"]
                   if c["axes"]["engine"] != "reference" and c["axes"]["batch"] == "3"
                   and c["axes"]["precision"] == "fp32" and c["axes"]["cache"] == "on"]
        self.assertEqual(len(outside), 1)
        cell = self.cell("batch=3,cache=on,precision=fp32")
        self.record("out.jsonl", cell, axes=AXES | {"engine": outside[0]["axes"]["engine"]})
        self.record("own.jsonl", cell, axes=AXES | {"engine": "reference"})
        # Nothing is started, so nothing needs a permission.
        out = self.isobit("import", "engines.yaml", "out.jsonl", "own.jsonl", code=8).stdout
        self.assertNotIn("DIFF", out)
        self.record("bit.jsonl", cell, self.flip("short", 1),
                    axes=AXES | {"engine": outside[0]["axes"]["engine"]})
        self.isobit("import", "engines.yaml", "bit.jsonl", "own.jsonl", code=1)

    def write_npy(self, name, rows, kind="<f4", order="False"):
        header = (f"{{'descr': '{kind}', 'fortran_order': {order}, "
                  f"'shape': ({len(rows)}, {len(rows[0])}), }}\n").encode()
        (self.folder / name).write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) +
                                         header + b"".join(row.tobytes() for row in rows))

    def by_value(self, name, cell, axes, files):
        """A trace without digests; files: prompt -> file of its rows."""
        with isobit_trace.TraceWriter(self.folder / name, engine="other", axes=axes) as trace:
            for prompt in cell["prompts"]:
                key = prompt["prompt"]
                trace.prompt(key, self.prompts[key], rows=files[key])
                for token in prompt["tokens"]:
                    trace.row(key, token["id"])
        return name

    def test_rows_by_value(self):
        for precision, kind in (("fp32", "<f4"), ("fp64", "<f8")):
            cell = self.cell(f"batch=3,cache=on,precision={precision}")
            wide = precision == "fp64"
            for i, prompt in enumerate(cell["prompts"]):
                self.write_npy(f"{i}.npy", self.rows(cell, prompt, wide), kind)
            axes = AXES | {"precision": precision}
            self.by_value("v.jsonl", cell, axes, {"short": "0.npy", "long/er": "1.npy"})
            self.isobit("import", "trio.yaml", "v.jsonl", "--db", "own.db", code=8)
            shown = json.loads(self.isobit("show", "last", "--db", "own.db", "--json").stdout)
            self.assertEqual(shown["cells"][0]["root"], cell["root"])
            self.assertEqual([p["tokens"] for p in shown["cells"][0]["prompts"]],
                             [p["tokens"] for p in cell["prompts"]])
        # The fp64 rows for a cell of fp32, and the other way round.
        self.by_value("w.jsonl", cell, AXES, {"short": "0.npy", "long/er": "1.npy"})
        self.assertIn("w.jsonl:2: 0.npy: rows of F64, and the cell's precision is fp32",
                      self.isobit("import", "trio.yaml", "w.jsonl", code=2).stderr)

    def test_sixteen_bit_rows_of_safetensors(self):
        cell = self.cell("batch=3,cache=on,precision=bf16")
        header, blob = {}, b""
        for prompt in cell["prompts"]:
            rows = self.rows(cell, prompt)
            # The upper halves of fp32 numbers are bf16; widened, they are other rows than fp32's.
            data = b"".join(struct.pack("<H", struct.unpack("<I", struct.pack("<f", x))[0] >> 16)
                            for row in rows for x in row)
            header[prompt["prompt"]] = {"dtype": "BF16", "shape": [len(rows), tiny_project.VOCAB],
                                        "data_offsets": [len(blob), len(blob) + len(data)]}
            blob += data
        text = json.dumps(header).encode()
        (self.folder / "r.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + blob)
        axes = AXES | {"precision": "bf16"}
        best = {}
        for prompt in cell["prompts"]:
            best[prompt["prompt"]] = []
            for token, row in zip(prompt["tokens"], self.rows(cell, prompt)):
                cut = [struct.unpack("<f", struct.pack("<I", struct.unpack(
                    "<I", struct.pack("<f", x))[0] & 0xFFFF0000))[0] for x in row]
                best[prompt["prompt"]].append((cut.index(max(cut)), array.array("f", cut)))
        with isobit_trace.TraceWriter(self.folder / "s.jsonl", engine="other", axes=axes) as trace:
            for prompt in cell["prompts"]:
                key = prompt["prompt"]
                trace.prompt(key, self.prompts[key], rows="r.safetensors")
                for token, _ in best[key]:
                    trace.row(key, token)
        self.isobit("import", "trio.yaml", "s.jsonl", code=8)
        shown = json.loads(self.isobit("show", "last", "--json").stdout)["cells"][0]
        for prompt in shown["prompts"]:
            self.assertEqual([t["digest"] for t in prompt["tokens"]],
                             [isobit_trace.digest_row(row) for _, row in best[prompt["prompt"]]])

    def test_rows_that_are_not_finite_fail(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        files = {"short": "0.npy", "long/er": "1.npy"}
        for i, prompt in enumerate(cell["prompts"]):
            rows = self.rows(cell, prompt)
            if i == 0:
                rows[-1][3] = float("nan")
            self.write_npy(f"{i}.npy", rows)
        self.by_value("n.jsonl", cell, AXES, files)
        out = self.isobit("import", "trio.yaml", "n.jsonl", code=1).stdout
        self.assertIn("non-finite logit", out)

    def refuse(self, part, *words):
        """An error with its place, and no database."""
        done = self.isobit("import", "trio.yaml", *words, code=2)
        self.assertIn(part, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertFalse((self.folder / ".isobit").exists())

    def test_what_is_not_of_this_scenario_stores_nothing(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")

        def edited(old, new, **header):
            self.record("x.jsonl", cell, **header)
            self.edit("x.jsonl", old, new)

        self.refuse("absent.jsonl", "absent.jsonl")
        for axes, why in (({"batch": 9}, "no cell of the scenario has batch=9"),
                          ({"batsh": 3}, 'unknown axis "batsh"; did you mean "batch"?'),
                          ({"precision": "fp31"}, 'unknown value "fp31"'),
                          ({"batch": 3}, "the header's axes fit 6 cells, which differ in cache, "
                                         "precision; let axes say these, or name the cell")):
            self.record("x.jsonl", cell, axes=axes)
            self.refuse(f"x.jsonl:1: {why}", "x.jsonl")
        self.record("x.jsonl", cell)
        other = "/" + self.cell("batch=1,cache=on,precision=fp32")["hash"]
        self.refuse("x.jsonl:1: the header says batch=3, cell", "x.jsonl", "--as", other)
        self.refuse("--as: \"/0\" is no cell", "x.jsonl", "--as", "/0")
        self.refuse("--as: names 1 of the cells of 2 traces", "x.jsonl", "x.jsonl", "--as", other)
        self.refuse("-k: the cell of x.jsonl", "x.jsonl", "-k", "batch=1")
        edited('"prompt": "short", "tokens"', '"prompt": "shirt", "tokens"')
        self.edit("x.jsonl", '"prompt": "short"', '"prompt": "shirt"', -1)
        self.refuse('x.jsonl:2: the scenario has no prompt "shirt"; did you mean "short"?',
                    "x.jsonl")
        edited("[1, 5, 9, 33, 12]", "[1, 5, 9, 34, 12]")
        self.refuse('x.jsonl:2: prompt "short": token 4 is 34, the scenario\'s prompt has 33',
                    "x.jsonl")
        edited("[1, 5, 9, 33, 12]", "[1, 5, 9, 33]")
        self.refuse('x.jsonl:2: prompt "short" has 4 tokens, the scenario\'s has 5', "x.jsonl")
        self.record("x.jsonl", cell)
        text = (self.folder / "x.jsonl").read_text()
        shifted = re.sub(r'"position": (\d+)', lambda m: f'"position": {int(m[1]) + 1}', text)
        (self.folder / "x.jsonl").write_text(shifted)
        self.refuse('x.jsonl:3: prompt "short": its first row is at position 5, not at 4',
                    "x.jsonl")
        lines = text.splitlines(True)
        (self.folder / "x.jsonl").write_text("".join(lines[:-1]))
        self.refuse('x.jsonl:22: prompt "long/er" ends after 9 rows; max_new_tokens is 10',
                    "x.jsonl")
        (self.folder / "x.jsonl").write_text("".join(lines[:12]))
        self.refuse('x.jsonl: prompt "long/er" of the scenario is not in the trace', "x.jsonl")
        (self.folder / "x.jsonl").write_text(text.replace('"digest": "', '"digest": "0', 1))
        self.refuse("x.jsonl:3: digest must be 32 hex digits", "x.jsonl")
        self.record("x.jsonl", cell, model="0" * 64)
        self.refuse("x.jsonl:1: the trace is of model 000", "x.jsonl")
        edited('"token": ', '"token": 99', evidence="tokens")
        self.refuse("x.jsonl:3: token 99", "x.jsonl")
        token = cell["prompts"][0]["tokens"][0]["id"]
        edited(f'"token": {token}', f'"token": {(token + 1) % tiny_project.VOCAB}')
        self.refuse("is not the best of its row", "x.jsonl")
        edited('"position": 4', f'"fed": {(token + 1) % tiny_project.VOCAB}, "position": 4')
        self.refuse("the cell is not teacher_forced", "x.jsonl")

    def test_files_of_rows_that_do_not_fit(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        rows = [self.rows(cell, prompt) for prompt in cell["prompts"]]
        files = {"short": "0.npy", "long/er": "1.npy"}
        self.by_value("v.jsonl", cell, AXES, files)
        self.write_npy("1.npy", rows[1])
        self.write_npy("0.npy", rows[0][:-1])
        self.refuse("v.jsonl:2: 0.npy: 9 rows by value, 10 lines", "v.jsonl")
        self.write_npy("0.npy", [row[:-1] for row in rows[0]])
        self.refuse("v.jsonl:2: 0.npy: rows of 63 numbers; the vocabulary has 64", "v.jsonl")
        self.write_npy("0.npy", rows[0], order="True")
        self.refuse("v.jsonl:2: 0.npy: byte ", "v.jsonl")
        self.write_npy("0.npy", rows[0])
        with open(self.folder / "0.npy", "r+b") as file:
            file.truncate(1000)
        self.refuse("is the file truncated", "v.jsonl")
        (self.folder / "0.npy").unlink()
        self.refuse("v.jsonl:2: 0.npy: ", "v.jsonl")
        self.by_value("v.jsonl", cell, AXES, files | {"short": "../0.npy"})
        self.refuse("leaves the folder of the trace", "v.jsonl")
        self.write_npy("0.npy", [rows[0][1], *rows[0][1:]])
        self.by_value("v.jsonl", cell, AXES, files)
        self.refuse("is not the best of its row (row 0 of the file)", "v.jsonl")

    def test_dry_run_and_a_named_cell(self):
        cell = self.cell("batch=3,cache=on,precision=fp32")
        self.record("t.jsonl", cell, axes={})
        words = ["import", "trio.yaml", "t.jsonl", "--as", "/" + cell["hash"][:10]]
        out = self.isobit(*words, "--dry-run").stdout
        self.assertEqual(out, f"t.jsonl: /{cell['hash']}, by other 1.2, 2 prompts, 20 rows, "
                              "evidence logits; nothing was stored\n")
        self.assertFalse((self.folder / ".isobit").exists())
        self.isobit(*words, code=8)

    def test_the_page_s_example(self):
        page = (SOURCE / "harness/import/FORMAT.md").read_text()
        trace = re.search(r"```json\n(.*?)```", page, re.S)[1]
        program = re.search(r"```python\n(.*?)```", page, re.S)[1]
        (self.folder / "one.jsonl").write_text('{"id": "p1", "tokens": [1, 5, 9]}\n')
        (self.folder / "example.yaml").write_text(ONE_ROW)
        (self.folder / "page.jsonl").write_text(trace)
        out = self.isobit("import", "example.yaml", "page.jsonl", "-v", code=8).stdout
        self.assertIn("imported from page.jsonl", out)
        self.assertIn("gpu: NVIDIA H200", out)
        # The program of the page, run on a recorded cell.
        rows = [array.array("f", [0.5, 2.0] + [0.0] * 62), array.array("f", [3.0] + [1.0] * 63)]
        names = {"recorded": [("p1", [1, 5, 9], [(1, rows[0]), (0, rows[1])])]}
        with contextlib.chdir(self.folder):
            exec(program, names)  # pylint: disable=exec-used
        self.isobit("import", "example.yaml", "trace.jsonl", code=8)
        shown = json.loads(self.isobit("show", "last", "--json").stdout)["cells"][0]
        self.assertEqual([t["digest"] for t in shown["prompts"][0]["tokens"]],
                         [isobit_trace.digest_row(row) for row in rows])
        self.assertEqual(shown["prompts"][0]["tokens"][0]["top"][:2], [[1, 2.0], [0, 0.5]])


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
