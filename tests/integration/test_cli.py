"""The program from outside: exit codes, typos, wrong files, and what every verb prints."""
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

import tiny_project


class Cli(tiny_project.Case):
    def isobit_json(self, *words, code=0, **more):
        out = json.loads(self.isobit(*words, "--json", code=code, **more).stdout)
        self.assertEqual(out["format"], 1)
        return out

    def test_no_words_and_help(self):
        self.assertIn("usage: isobit VERB", self.isobit().stdout)
        self.assertIn("Example:", self.isobit("check", "--help").stdout)
        self.assertEqual(self.isobit("help", "run").stdout, self.isobit("run", "-h").stdout)
        self.assertIn("numerics F", self.isobit("--version").stdout)

    def test_typos_name_the_nearest_word(self):
        for words, hint in [(["chek", "x"], 'did you mean "check"?'),
                            (["check", "--jbos", "2", "x"], "did you mean --jobs?"),
                            (["check", "x", "--color", "alwys"], 'did you mean "always"?'),
                            (["env", "dif", "1", "2"], 'did you mean "diff"?'),
                            (["--jobs", "check"], "the verb comes first"),
                            (["completion", "fish"], "known: bash, zsh"),
                            (["help", "shwo"], 'did you mean "show"?')]:
            done = self.isobit(*words, code=2)
            self.assertIn(hint, done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_wrong_arguments(self):
        for words in [["check"], ["diff", "1"], ["check", "tiny.yaml", "--jobs", "0"],
                      ["check", "tiny.yaml", "--partition", "3/2"],
                      ["check", "tiny.yaml", "--max-time", "soon"],
                      ["check", "tiny.yaml", "-k", "batch>"],
                      ["check", "tiny.yaml", "--set", "axes.bach=[1]"],
                      ["check", "tiny.yaml", "--report", "pdf=x"],
                      ["check", "none.yaml"], ["show", "/12345678"], ["diff", "1", "/abcd1234"],
                      ["report"], ["diff", "1", "2"], ["gc"],
                      ["bless", "tiny.yaml"], ["model", "info"],
                      ["model", "info", "no-model"], ["model", "fetch", "no-model"]]:
            with self.subTest(words=words):
                self.assertNotEqual(self.isobit(*words, code=2).stderr, "")

    def test_wrong_files(self):
        broken = self.folder / "broken.yaml"
        broken.write_text((self.folder / "tiny.yaml").read_text().replace("axes:", "axs:"))
        done = self.isobit("validate", "tiny.yaml", broken, code=2)
        self.assertIn("tiny.yaml: valid, 8 cells, 2 groups, 2 prompts", done.stdout)
        self.assertRegex(done.stderr, r"broken\.yaml:7:1: .*axes")
        self.assertIn("axes", self.isobit("check", broken, code=2).stderr)
        out = self.isobit_json("validate", "tiny.yaml", broken, code=2)
        self.assertEqual([f["valid"] for f in out["files"]], [True, False])
        (self.folder / "not.db").write_text("this is no database" * 100)
        for words in [["history"], ["show", "last"], ["check", "tiny.yaml"]]:
            self.assertIn("not.db", self.isobit(*words, "--db", "not.db", code=2).stderr)
        (self.folder / "golden").mkdir()
        (self.folder / "golden/tiny.golden").write_text("rubbish\n")
        self.assertIn("tiny.golden:1", self.isobit("check", "tiny.yaml", code=2).stderr)
        self.isobit("doctor", code=6)

    def test_a_stored_cell_has_the_ids_and_answers_of_the_prompt_file(self):
        first = self.isobit_json("check", "tiny.yaml", code=5)
        self.assertEqual({cell["scored"] for cell in first["cells"]}, {0})
        lines = (self.folder / "prompts.jsonl").read_text().splitlines()
        (self.folder / "answered.jsonl").write_text("".join(
            json.dumps(json.loads(line) | {"id": f"new{i}", "answer": "7"}) + "\n"
            for i, line in enumerate(lines)))
        again = self.isobit_json("check", "tiny.yaml", "--set", "prompts=answered.jsonl", code=5)
        self.assertEqual(again["cells_cached"], 8)
        self.assertEqual({cell["scored"] for cell in again["cells"]}, {2})
        self.assertEqual({c["reason"] for c in again["cells"]}, {"no golden for prompt new0"})

    def test_an_axis_of_across_must_vary(self):
        for across, axes, axis, value in [("[batch, cache, threads]", "", "threads", "1"),
                                          ("[batch, cache]", "axes.batch=[3]", "batch", "3")]:
            scenario = (self.folder / "tiny.yaml").read_text().replace("[batch, cache]", across)
            (self.folder / "vacuous.yaml").write_text(scenario)
            words = ["--set", axes] if axes else []
            done = self.isobit("validate", "vacuous.yaml", *words, code=2)
            self.assertEqual(done.stderr, "isobit: vacuous.yaml:12:5: same_bits across "
                             f"{across[1:-1]}: axis {axis} does not vary: it is {value} in every "
                             "cell of the rule\n")

    def test_validate_refuses_rules_that_compare_nothing(self):
        base = (self.folder / "tiny.yaml").read_text()
        tied = base.replace("axes:\n  precision: [fp32, bf16]\n  batch: [1, 3]\n",
                            "zip: [{precision: [fp32, bf16], batch: [1, 3]}]\naxes:\n")
        alone = base.replace("expect:", "exclude: [{precision: bf16, batch: 3}, "
                                        "{precision: bf16, cache: chunked}]\nexpect:")
        for text, words in [
                (tied, "axis batch does not vary: it is the same in all cells of each group, such "
                       "as [precision=fp32]; an axis that changes with it is not in across"),
                (alone, "group [precision=bf16] is the one cell tiny%batch=1,cache=on,precision="
                        "bf16 /")]:
            (self.folder / "vacuous.yaml").write_text(text)
            done = self.isobit("validate", "vacuous.yaml", code=2)
            self.assertIn("isobit: vacuous.yaml:1", done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_validate_refuses_requirements_that_nobody_can_enforce(self):
        (self.folder / "needs.yaml").write_text(
            (self.folder / "tiny.yaml").read_text().replace("expect:", "requires:\n  batch: avx2\n"
                                                                       "expect:"))
        self.isobit("validate", "needs.yaml")
        for requires, words in [
                ("{gpus: gpux}", 'requires={gpus: gpux}, column 17: nobody can enforce the '
                                 'requirement "gpux"; did you mean "gpu"? (known: gpu, nccl, mpi'),
                ("{batch: [avx2, tpm]}", 'nobody can enforce the requirement "tpm"'),
                ("gpu", "requires must be a map of an axis or a value to what it needs"),
                ("{gpus: avx2}", "requires gpus: avx2: applies to no cell; none has gpus beyond "
                                 "its default"),
                ("{openblas: openblas}", "requires openblas: openblas: applies to no cell; none "
                                         "has openblas"),
                ("{batch: [avx2, real]}", "requires batch: real: no machine can meet it: its cells "
                                          "have device cpu"),
                ("{bf16: gpu}", "requires bf16: gpu: no machine can meet it")]:
            with self.subTest(requires=requires):
                done = self.isobit("validate", "needs.yaml", "--set", "requires=" + requires,
                                   code=2)
                self.assertIn(words, done.stderr)
                self.assertIn("requires", done.stderr.split(": ")[1])
        self.assertIn('(known: gpu, nccl)',
                      self.isobit("check", "tiny.yaml", "--require", "gpux", code=2).stderr)
        self.isobit("validate", "needs.yaml", "--set", "axes.device=[cpu, cuda]",
                    "--set", "requires={batch: gpu}")

    def test_reading_needs_no_write_access(self):
        self.isobit("check", "tiny.yaml", code=5)
        words = (["history"], ["show", "last"], ["list", "tiny.yaml"])
        with_access = [self.isobit(*w).stdout for w in words]
        database = self.folder / ".isobit"
        for left in database.glob("isobit.db-*"):  # by readers, who may not delete them
            if left.name.endswith("-wal"):
                self.assertEqual(left.stat().st_size, 0)
            left.unlink()
        modes = {path: path.stat().st_mode for path in (self.folder, database,
                                                        database / "isobit.db")}
        # Root may write everywhere: whoever runs this as root reads as somebody else.
        other = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        if other and subprocess.run(["test", "-x", tiny_project.program()], **other).returncode:
            self.skipTest("only root can execute the program")
        try:
            self.folder.chmod(0o555)
            database.chmod(0o555)
            (database / "isobit.db").chmod(0o444)
            for w, expected in zip(words, with_access):
                done = subprocess.run([tiny_project.program(), *w], cwd=self.folder, text=True,
                                      capture_output=True, timeout=300, **other)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, expected, ""), w)
        finally:
            for path, mode in modes.items():
                path.chmod(mode)

    def test_prompts_that_the_model_cannot_take(self):
        """A line of the prompt file and exit code 2 before anything is computed or stored."""
        good = '{"id": "good", "tokens": [1, 5]}\n\n'
        long = [1] + [5] * (tiny_project.CONFIG["max_position_embeddings"] - 10)
        for tokens, words in [
                ([1, 64], "prompt bad: token id 64 is outside the vocabulary of 64"),
                (long, "prompt bad has 247 tokens; with max_new_tokens 10 that is more than the "
                       "model's context of 256")]:
            (self.folder / "bad.jsonl").write_text(
                good + json.dumps({"id": "bad", "tokens": tokens}) + "\n")
            for verb in ("validate", "list", "check", "run"):
                with self.subTest(words=words, verb=verb):
                    done = self.isobit(verb, "tiny.yaml", "--set", "prompts=bad.jsonl", code=2)
                    self.assertEqual(done.stderr, f"isobit: bad.jsonl:3: {words}\n")
                    self.assertEqual(done.stdout, "")
                    self.assertFalse((self.folder / ".isobit").exists())
        (self.folder / "bad.jsonl").write_text(
            good + json.dumps({"id": "fits", "tokens": long[1:]}) + "\n")
        self.isobit("validate", "tiny.yaml", "--set", "prompts=bad.jsonl")
        self.isobit("check", "tiny.yaml", "--set", "prompts=bad.jsonl", code=5)
        self.isobit("validate", "tiny.yaml", "--set", "prompts={file: prompts.jsonl, pad_to: 247}",
                    code=2)

    def test_list(self):
        cells = self.isobit_json("list", "tiny.yaml")["scenarios"][0]["cells"]
        self.assertEqual(len(cells), 8)
        self.assertEqual({c["cached"] for c in cells}, {None})
        self.assertFalse((self.folder / ".isobit").exists(), "list writes nothing")
        self.isobit("check", "tiny.yaml", code=5)
        cells = self.isobit_json("list", "tiny.yaml", "-k", "batch=3")["scenarios"][0]["cells"]
        self.assertEqual(len(cells), 4)
        self.assertNotIn(None, {c["cached"] for c in cells})
        self.isobit("list", "tiny.yaml", "-k", "batch=7", code=4)
        engines = ["list", "tiny.yaml", "--set", "axes.engine=[reference,{openblas: Haswell}]"]
        self.assertEqual(len(self.isobit_json(*engines)["scenarios"][0]["cells"]), 16)

    def test_exit_codes_of_a_life(self):
        self.isobit("check", "tiny.yaml", "-q", code=5)                      # no goldens yet
        self.assertEqual(len(self.isobit_json("pending")["scenarios"][0]["blocks"]), 4)
        self.isobit("bless", "tiny.yaml", "--reason", "first", "--by", "a test")
        self.assertEqual(self.isobit_json("pending")["scenarios"], [])
        done = self.isobit_json("check", "tiny.yaml")
        self.assertEqual(done["cells_cached"], 8)
        self.isobit("check", "wrong.yaml", code=1)                           # contract broken
        self.isobit("check", "tiny.yaml", "-k", "batch=3 and cache=on", code=7)  # vacuous
        self.isobit("check", "tiny.yaml", "-k", "batch=7", code=4)
        here = self.folder / "env.json"
        here.write_text(self.isobit("env", "--json").stdout)
        self.isobit("check", "tiny.yaml", "--require-env", here)
        changed = json.loads(here.read_text())
        changed["environment"]["cpu"] = "another"
        here.write_text(json.dumps(changed))
        refused = self.isobit("check", "tiny.yaml", "--require-env", here, code=6)
        self.assertIn("cpu", refused.stderr)
        self.isobit("env", "diff", here, "here", code=1)
        self.isobit("env", "diff", "last", "here")
        files = ["--report", "junit=r.xml", "--report", "md=r.md"]
        again = self.isobit("report", "last", *files, code=6)
        self.assertIn("ENVIRONMENT MISMATCH", again.stdout)
        self.assertTrue((self.folder / "r.xml").stat().st_size > 100)

    def test_ci_fills_no_pending(self):
        self.isobit("check", "tiny.yaml", code=5, env={"CI": "true"})
        self.assertEqual(self.isobit_json("pending")["scenarios"], [])

    def test_review_and_reject(self):
        self.isobit("check", "tiny.yaml", code=5)
        self.assertIn("did you mean", self.isobit("review", "tny", code=2).stderr)
        self.assertIn("new", self.isobit("review", "tiny.yaml").stdout)
        self.assertEqual(self.isobit_json("reject", "--dry-run")["blocks"], 4)
        self.assertEqual(self.isobit_json("reject", "tiny", "--reason", "no")["blocks"], 4)
        self.assertEqual(self.isobit("pending").stdout, "nothing is pending\n")

    def test_diff_of_runs(self):
        self.isobit("check", "tiny.yaml", code=5)
        self.isobit("check", "tiny.yaml", code=5)           # everything from the first run
        self.assertEqual(self.isobit_json("diff", 1, 2, code=4)["cells_reused"], 8)
        self.isobit("check", "tiny.yaml", "--fresh", code=5)
        out = self.isobit_json("diff", "1", "last")
        self.assertEqual((out["rows"], out["cells_differing"]), (160, 0))
        self.isobit("diff", "1", "1", code=2)

    def test_diff_of_cells(self):
        self.isobit("check", "tiny.yaml", code=5)
        cells = {c["name"].split()[0]: "/" + c["hash"]
                 for c in self.isobit_json("list", "tiny.yaml")["scenarios"][0]["cells"]}
        a = cells["tiny%batch=1,cache=on,precision=fp32"]
        b = cells["tiny%batch=1,cache=on,precision=bf16"]
        same = cells["tiny%batch=3,cache=on,precision=fp32"]
        out = self.isobit_json("diff", a, b, code=1)
        self.assertGreater(out["values"]["distance"]["max_abs"], 0)
        self.assertGreater(out["values"]["distance"]["kl"], 0)
        self.assertTrue(out["values"]["same_bits"])
        self.assertEqual(out["values"]["location"]["site"], "embed")
        bits_only = self.isobit_json("diff", a, b, "--bits-only", code=1)
        self.assertNotIn("distance", bits_only["values"])
        self.assertTrue(self.isobit_json("diff", a, same)["equal"])
        self.isobit("diff", a, a, code=4)

    def test_show_and_logits(self):
        self.isobit("check", "tiny.yaml", code=5)
        cell = self.isobit_json("list", "tiny.yaml")["scenarios"][0]["cells"][0]
        shown = self.isobit_json("show", "/" + cell["hash"][:8], "--logits", "rows")["cells"][0]
        self.assertEqual((shown["name"], shown["hash"]), (cell["name"], cell["hash"]))
        self.assertEqual([p["prompt"] for p in shown["prompts"]], ["short", "long/er"])
        for prompt in shown["prompts"]:
            self.assertEqual(len(prompt["tokens"]), 10)
            for token in prompt["tokens"]:
                name = f"{prompt['prompt'].replace('/', '%2F')}-{token['position']}.f32"
                row = struct.unpack(f"<{tiny_project.VOCAB}f",
                                    (self.folder / "rows" / name).read_bytes())
                self.assertEqual(max(range(len(row)), key=lambda i: (row[i], -i)), token["id"])
                self.assertEqual([row[i] for i, _ in token["top"]], [v for _, v in token["top"]])
                self.assertEqual(len(token["digest"]), 32)
        self.assertEqual(len(self.isobit_json("show", "last")["cells"]), 8)

    def test_report_prints_what_check_printed(self):
        """Reasons, differences, groups, notes, overrides: all from the database, byte for byte."""
        (self.folder / "many.yaml").write_text(tiny_project.MANY)
        kinds = ["json", "junit", "md"]
        for words, code in [(["tiny.yaml"], 5), (["wrong.yaml"], 1),
                            (["many.yaml", "--update", "none"], 1),
                            (["many.yaml", "--set", "axes.batch=[1, 2, 3]", "-k", "device=cpu"], 1),
                            (["wrong.yaml", "-j", "2", "--repeat", "2"], 1)]:
            for style in ([], ["-v"], ["-q"], ["--color", "always"], ["--json"]):
                files = [f"--report={k}=a.{k}" for k in kinds]
                told = self.isobit("check", *words, *style, *files, code=code)
                again = self.isobit("report", "last", *style,
                                    *[f"--report={k}=b.{k}" for k in kinds], code=code)
                self.assertEqual(again.stdout, told.stdout)
                for kind in kinds:
                    self.assertEqual((self.folder / f"b.{kind}").read_bytes(),
                                     (self.folder / f"a.{kind}").read_bytes(), kind)
        self.assertIn("isobit repro wrong.yaml --cell /", told.stdout)

    def test_a_tree_with_changes_is_recorded_as_dirty(self):
        git = ["git", "-C", str(self.folder), "-c", "user.name=t", "-c", "user.email=t@t",
               "-c", "commit.gpgsign=false"]
        if not shutil.which("git"):
            self.skipTest("git is not there")
        (self.folder / ".gitignore").write_text(".isobit\ncache\n__pycache__\n")
        try:
            for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
                subprocess.run(git + words, check=True, capture_output=True)
            states = []
            for change in ("", "# changed\n"):
                with (self.folder / "tiny.yaml").open("a") as file:
                    file.write(change)
                self.isobit("run", "tiny.yaml", "--update", "none", code=5)
                run = self.isobit_json("history")["runs"][0]
                states.append((len(run["commit"]), run["dirty"]))
            self.assertEqual(states, [(40, False), (40, True)])
        finally:
            shutil.rmtree(self.folder / ".git", ignore_errors=True)
            (self.folder / "tiny.yaml").write_text(tiny_project.SCENARIO)

    def test_history_repro_gc(self):
        self.isobit("check", "wrong.yaml", code=1)
        red = [c for c in self.isobit_json("report", code=1)["cells"] if c["verdict"] == "DIFF"][0]
        line = self.isobit("repro", "/" + red["hash"], "--dry-run").stdout.split()
        self.assertEqual(line[:2], ["isobit", "repro"])
        self.isobit(*line[1:], code=1)                       # the printed line repeats the failure
        self.assertGreaterEqual(len(self.isobit_json("history", "/" + red["hash"])["history"]), 2)
        self.assertEqual(len(self.isobit_json("history")["runs"]), 2)
        self.assertEqual(self.isobit_json("gc", "--keep", 1, "--dry-run")["runs_removed"], 1)
        self.assertEqual(self.isobit_json("gc", "--keep", 1)["runs_removed"], 1)
        self.assertEqual(len(self.isobit_json("history")["runs"]), 1)

    def test_model(self):
        info = self.isobit_json("model", "info", "model")
        self.assertEqual(info["config"]["layers"], tiny_project.LAYERS)
        self.assertIn("tokenizer", self.isobit("model", "tokenize", "model", code=2).stderr)
        done = self.isobit("model", "fetch", "smollm2-135m", "--offline", code=2)
        self.assertIn("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                      done.stderr)
        self.assertFalse((self.folder / "cache").exists(), "a refused fetch leaves nothing")

    def test_bench(self):
        told = self.isobit_json("bench", "model", "--new-tokens", 200, "--prompt-tokens", 8,
                               "--batch", 3, "--context", 16, "--threads", 2)
        self.assertEqual((told["format"], told["device"], told["engine"]), (1, "cpu", "reference"))
        self.assertEqual((told["batch"], told["context"]), (3, 16))
        self.assertIn("scalar", [row["isa"] for row in told["rows"]])
        for row in told["rows"]:
            for key in ("prefill_tokens_per_second", "decode_tokens_per_second", "gemm_gflops",
                        "fma_peak_gflops", "load_to_first_token_seconds", "peak_rss_bytes"):
                self.assertGreater(row[key], 0, key)
        for words, hint in ((["--precision", "bf61"], "bf16"), (["--engine", "cublass"], "cublas"),
                            (["--engine", "openblas", "--device", "cuda"], "needs device cpu"),
                            (["--layers", 2], "synthetic-8b"), (["--batch", 0], "--batch"),
                            (["--device", "tpu"], "cpu"), (["--engine", "openblas:Zen9"], "Zen"),
                            (["--context", 100000], "positions"), (["--contxt", 5], "--context")):
            self.assertIn(hint, self.isobit("bench", "model", *words, code=2).stderr)
        self.assertIn("synthetic-8b", self.isobit("bench", "synthetic-9b", code=2).stderr)

    def test_dry_run_and_interrupt_of_output(self):
        dry = ["run", "tiny.yaml", "--dry-run"]
        self.assertEqual(self.isobit(*dry).stdout, "tiny: 8 cells: 8 would be executed, 0 reused, "
                                                   "0 skipped; nothing was run\n")
        self.assertFalse((self.folder / ".isobit").exists(), "a dry run writes nothing")
        self.isobit("run", "tiny.yaml", "-k", "batch=3", "-q", code=5)
        for more, counts in (([], (4, 4, 0)), (["--fresh"], (8, 0, 0)),
                             (["--repeat", 2], (8, 0, 0)),
                             (["--set", "axes.device=[cuda]"], (0, 0, 8))):
            told = self.isobit_json(*dry, *more, env={"CUDA_VISIBLE_DEVICES": ""})["scenarios"][0]
            self.assertEqual((told["execute"], told["reuse"], told["skip"]), counts)
        self.isobit(*dry, "-k", "batch=7", code=4)
        if os.path.exists("/dev/full"):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([tiny_project.program(), "list", "tiny.yaml"], stdout=full,
                                      cwd=self.folder, stderr=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn(b"is its disk full?", done.stderr)
        piped = subprocess.run(["bash", "-c", '"$0" help run | head -1; exit ${PIPESTATUS[0]}',
                                tiny_project.program()], check=False, capture_output=True)
        self.assertEqual(piped.returncode, 0)

    def test_completion(self):
        for shell in ["bash", "zsh"]:
            script = self.isobit("completion", shell).stdout
            if shutil.which(shell):
                done = subprocess.run([shell, "-n"], input=script, text=True, check=False,
                                      capture_output=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
        script = self.isobit("completion", "bash").stdout
        done = subprocess.run(
            ["bash", "-c", script + "\nCOMP_WORDS=(isobit check --ma); COMP_CWORD=2; _isobit; "
             'echo "${COMPREPLY[*]}"'], text=True, check=True, capture_output=True)
        self.assertEqual(done.stdout.split(), ["--max-time", "--maxfail", "--max-skip"])


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
