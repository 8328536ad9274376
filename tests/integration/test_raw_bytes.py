"""No output carries a character that a terminal obeys or that reorders a line, whatever ids, texts,
names, options, files and paths hold.
"""
import json
import os
import pathlib
import shutil
import unittest

import tiny_project

BIDI = "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]))
C1 = "\x85\x9b31m\x9d"
SHOWN = "x" + BIDI + C1                              # what one line of text may hold
RAW = "y\x1b[31mred\x1b]0;title\x07\r\x08\x7f\nFORGED " + SHOWN  # … a path, an option, a text
FORBIDDEN = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *BIDI} - {"\n", "\t"}


class RawBytes(tiny_project.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.name = f"evil {RAW}.yaml"
        prompts = [{"id": "id" + SHOWN, "tokens": [1, 5, 9, 33, 12], "answer": RAW},
                   {"id": "text", "tokens": [1, 7, 3]}]
        (cls.folder / f"p{RAW}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
        text = tiny_project.WRONG.replace("prompts.jsonl", json.dumps(f"p{SHOWN}.jsonl"))
        os.rename(cls.folder / f"p{RAW}.jsonl", cls.folder / f"p{SHOWN}.jsonl")
        cls.text = text.replace("question: ", "question: " + SHOWN.replace("\x85", "") + " ")
        (cls.folder / cls.name).write_text(cls.text)

    def sweep(self, *words, env=None, codes=range(0, 131)):
        """Runs a command and looks at every character that it printed."""
        done = tiny_project.run([str(w) for w in words], self.folder, env=env)
        self.assertIn(done.returncode, codes, f"{words}\n{done.stdout}\n{done.stderr}")
        self.assertNotEqual(done.returncode, 3, done.stderr)
        self.clean(done.stdout + done.stderr, words)
        return done

    def clean(self, text, what):
        self.assertNotIn("\nFORGED", text, f"{what}: a line of somebody else's making")
        for at, character in enumerate(text):
            if character in FORBIDDEN:
                self.fail(f"{what} printed {character!r} in {text[max(0, at - 60):at + 20]!r}")

    def test_every_verb(self):
        name = self.name
        self.sweep("validate", name, codes=[0])
        self.sweep("list", name, codes=[0])
        self.sweep("check", name, "-v", codes=[1])
        self.sweep("check", name, "--dry-run", codes=[0])
        for form in ([], ["--json"]):
            for words in (["check", name], ["list", name], ["validate", name], ["history"],
                          ["show", "last"], ["report"], ["env"], ["doctor"], ["pending"],
                          ["review"], ["diff", "1", "last"], ["model", "info", "model"],
                          ["model", "list"], ["repro", name, "--cell", "batch=3"],
                          ["gc", "--dry-run"], ["prune", "."]):
                with self.subTest(words=words, form=form):
                    self.sweep(*words, *form, env={"OMP_NUM_THREADS": RAW, "CUDA_PATH": RAW})
        cell = json.loads(self.sweep("show", "last", "--json").stdout)["cells"][0]["hash"]
        for words in (["show", "/" + cell, "-v"], ["history", "/" + cell],
                      ["repro", name, "--cell", "/" + cell, "--dry-run"]):
            self.sweep(*words, codes=[0, 1, 5])

    def test_what_a_person_types(self):
        for words in ([RAW], ["help", RAW], ["check", RAW], ["check", "tiny.yaml", RAW],
                      ["check", "tiny.yaml", "--" + RAW], ["check", "tiny.yaml", "-k", RAW],
                      ["check", "tiny.yaml", "--cell", RAW], ["check", "tiny.yaml", "--set", RAW],
                      ["check", "tiny.yaml", "--set", f"axes.batch=[{RAW}]"],
                      ["check", "tiny.yaml", "--set", f"{RAW}=1"],
                      ["check", "tiny.yaml", "--report", RAW],
                      ["check", "tiny.yaml", "--report", f"md={RAW}/x"],
                      ["check", "tiny.yaml", "--golden", RAW], ["history", "--db", RAW],
                      ["check", "tiny.yaml", "--db", f"{RAW}/x.db"],
                      ["check", "tiny.yaml", "--golden-from", RAW],
                      ["check", "tiny.yaml", "--require", RAW], ["check", "tiny.yaml", "-j", RAW],
                      ["check", "tiny.yaml", "--max-time", RAW], ["show", RAW], ["history", RAW],
                      ["diff", RAW, "last"], ["env", "diff", RAW, "here"], ["report", RAW],
                      ["repro", RAW], ["reject", RAW], ["review", RAW], ["model", "info", RAW],
                      ["model", "fetch", RAW], ["model", RAW, "x"], ["selftest", RAW],
                      ["completion", RAW], ["prune", RAW], ["bench", RAW], ["validate", RAW],
                      ["bless", "tiny.yaml", "--reason", RAW, "--by", RAW, "--dry-run"]):
            with self.subTest(words=words):
                self.sweep(*words)

    def test_goldens_and_their_ledger(self):
        self.sweep("bless", "tiny.yaml", "--reason", "r" + SHOWN, "--by", "b" + SHOWN)
        golden = self.folder / "golden/tiny.golden"
        if golden.exists():
            self.sweep("check", "tiny.yaml")
            for old, new in (("short", RAW), ("batch", RAW), ("isobit-golden 1", RAW),
                             ("scenario", RAW)):
                golden.write_text(golden.read_text().replace(old, new, 1))
                self.sweep("check", "tiny.yaml")
                self.sweep("doctor")

    def test_broken_files(self):
        for text in (RAW, f"name: {RAW}\n", f"version: 1\n\"{SHOWN}\": 1\n",
                     self.text.replace("model: model", f"model: {json.dumps(SHOWN)}"),
                     self.text.replace("axes:", f"axes:\n  {json.dumps(SHOWN)}: [1]"),
                     self.text.replace("expect:", f"tags: [{json.dumps(SHOWN)}]\nexpect:")):
            (self.folder / "broken.yaml").write_text(text)
            self.sweep("validate", "broken.yaml")
            self.sweep("check", "broken.yaml")
        for line in (RAW, json.dumps({"id": RAW, "tokens": [1]}), json.dumps({RAW: 1}),
                     json.dumps({"id": "a", "tokens": [RAW]}),
                     json.dumps({"id": SHOWN, "tokens": [1]}) * 2):
            (self.folder / "broken.jsonl").write_text(line + "\n" + line + "\n")
            self.sweep("check", "tiny.yaml", "--set", "prompts=broken.jsonl")
        model = self.folder / f"m{RAW}"
        shutil.copytree(self.folder / "model", model)
        self.addCleanup(shutil.rmtree, model)
        self.sweep("model", "info", model.name)
        (model / "config.json").write_text(json.dumps(
            tiny_project.CONFIG | {"model_type": RAW, "architectures": [RAW]}))
        self.sweep("model", "info", model.name)
        (model / "tokenizer.json").write_text(json.dumps({"model": {"type": RAW}}))
        self.sweep("model", "info", model.name)

    def test_report_files(self):
        summary = self.folder / "summary.md"
        summary.write_text("")
        out = {kind: self.folder / f"r.{kind}" for kind in ("junit", "json")}
        done = self.sweep("check", self.name, "--report", f"md={summary}",
                          *(word for kind, path in out.items()
                            for word in ("--report", f"{kind}={path}")),
                          env={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)})
        self.assertIn("::error", done.stderr)
        for path in (summary, *out.values()):
            self.clean(path.read_text(), path.name)
        self.sweep("report", "last", "--report", "md=-")

    def test_texts_of_tokens(self):
        models = pathlib.Path(__file__).parents[2] / "scenarios/models/nano-300k"
        if not models.is_dir():
            self.skipTest("no nano-300k here")
        (self.folder / "t.jsonl").write_text(json.dumps({"id": SHOWN, "text": RAW}) + "\n")
        (self.folder / "t.yaml").write_text(tiny_project.WRONG.replace(
            "model: model", f"model: {models}").replace("prompts.jsonl", "t.jsonl"))
        self.sweep("check", "t.yaml", "-v", codes=[1])
        self.sweep("show", "last", "-v")
        done = tiny_project.run(["model", "tokenize", str(models)], self.folder,
                                RAW.replace("\n", " ") + "\n")
        self.clean(done.stdout + done.stderr, "tokenize")


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
