"""Surroundings that are not as they should be: each is one clear line with the way out, exit code
2, and nothing is written outside what was named.
"""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import tiny_project

SPILLS = tiny_project.SCENARIO.replace("name: tiny", "name: spills").replace(
    "- same_bits: {across: [batch, cache]}", "- within: {across: [batch, cache], max_abs: 1}")


def one_line(done):
    """The only line on standard error, without its line end."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("isobit: "), done.stderr
    return lines[0]


@contextlib.contextmanager
def mounted(folder, options):
    """A tmpfs there, or a skipped test where this user may not mount."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "isobit-test", str(folder)],
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise unittest.SkipTest("no tmpfs can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


class Folders(tiny_project.Case):
    def tree(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))

    def refused(self, *words, **more):
        """One line, exit code 2, no file made."""
        before = self.tree()
        line = one_line(self.isobit(*words, code=2, **more))
        self.assertEqual(self.tree(), before)
        return line

    def test_mistyped_folders_are_not_made(self):
        for words, env, told in (
                (["--golden", "typo"], {}, '--golden: there is no folder "typo"'),
                ([], {"ISOBIT_GOLDEN": "typo"}, 'ISOBIT_GOLDEN: there is no folder "typo"'),
                (["--golden", "tiny.yaml"], {}, '"tiny.yaml" is no folder'),
                (["--db", "typo/x.db"], {}, '--db: there is no folder "typo"'),
                ([], {"ISOBIT_DB": "typo/x.db"}, 'ISOBIT_DB: there is no folder "typo"'),
                (["--report", "md=typo/x.md"], {}, '--report: there is no folder "typo"')):
            with self.subTest(words=words, env=env):
                self.assertIn(told, self.refused("check", "tiny.yaml", *words, env=env))
        self.isobit("bless", "tiny.yaml", "--golden", "made", "--reason", "first")
        self.assertTrue((self.folder / "made/tiny.golden").exists())
        self.isobit("check", "tiny.yaml", "--golden", "made")
        shutil.rmtree(self.folder / "made")

    def test_own_folder_ignores_itself(self):
        self.isobit("check", "tiny.yaml", "-q", code=5)
        self.assertEqual((self.folder / ".isobit/.gitignore").read_text(), "*\n")
        git = ["git", "-C", str(self.folder)]
        subprocess.run([*git, "init", "-q"], check=True)
        status = subprocess.run([*git, "status", "--short"], check=True, capture_output=True,
                                text=True)
        self.assertNotIn(".isobit", status.stdout)
        shutil.rmtree(self.folder / ".git")
        with tempfile.TemporaryDirectory() as other:
            self.isobit("check", "tiny.yaml", "-q", "--db", f"{other}/x.db", code=5)
            self.assertFalse((pathlib.Path(other) / ".gitignore").exists())

    def test_read_only_folders(self):
        locked = self.folder / "locked"
        locked.mkdir()
        with mounted(locked, "ro"):
            for words, told in (
                    (["--db", "locked/x.db"], "Read-only file system"),
                    (["--db", "locked/.isobit/x.db"], "Read-only file system"),
                    (["--report", "md=locked/x.md"], "Read-only file system")):
                with self.subTest(words=words):
                    self.assertIn(told, self.refused("check", "tiny.yaml", *words))
            done = self.isobit("bless", "tiny.yaml", "--golden", "locked", "--reason", "x", code=2)
            self.assertIn("Read-only file system", done.stderr)
        locked.rmdir()

    def test_full_disk(self):
        small = self.folder / "small"
        small.mkdir()
        with mounted(small, "size=64k"):
            line = one_line(self.isobit("check", "tiny.yaml", "-q", "--db", "small/x.db", code=2))
            self.assertIn("the disk is full", line)
            self.assertIn("--db", line)
        small.rmdir()

    def test_limit_of_file_size_is_a_full_disk(self):
        done = subprocess.run([tiny_project.program(), "check", "tiny.yaml", "-q", "--fresh"],
                              cwd=self.folder, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                    (8192, 8192)))
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn("database", one_line(done))

    def test_reports_to_standard_output(self):
        (self.folder / "golden").mkdir()
        for kind, begin in (("md", "## "), ("junit", "<?xml"), ("json", "{")):
            with self.subTest(kind=kind):
                done = self.isobit("check", "tiny.yaml", "--report", f"{kind}=-", code=5)
                self.assertTrue(done.stdout.startswith(begin), done.stdout[:200])
                again = self.isobit("report", "last", "--report", f"{kind}=-", code=5)
                self.assertTrue(again.stdout.startswith(begin), again.stdout[:200])
        json.loads(self.isobit("check", "tiny.yaml", "--report", "json=-", code=5).stdout)
        for words in (["--json", "--report", "md=-"], ["--report", "md=-", "--report", "json=-"]):
            self.assertIn("standard output takes one document",
                          self.refused("check", "tiny.yaml", *words))
        self.assertFalse((self.folder / "-").exists())

    def test_goldens_with_crlf(self):
        self.isobit("bless", "tiny.yaml", "--reason", "first")
        golden = self.folder / "golden/tiny.golden"
        golden.write_bytes(golden.read_bytes().replace(b"\n", b"\r\n"))
        line = one_line(self.isobit("check", "tiny.yaml", code=2))
        for word in ("golden/tiny.golden:1:", "CRLF", "*.golden text eol=lf", ".gitattributes"):
            self.assertIn(word, line)
        self.assertIn("CRLF", self.isobit("doctor", code=6).stdout)


class NotAFile(tiny_project.Case):
    """A pipe, a socket, a device or a folder in the place of a file ends at once."""

    def setUp(self):
        super().setUp()
        self.places = []
        pipe, device, folder = "odd.pipe", "odd.device", "odd.folder"
        os.mkfifo(self.folder / pipe)
        os.symlink("/dev/zero", self.folder / device)
        (self.folder / folder).mkdir()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / "odd.socket"))
        self.addCleanup(listener.close)
        self.kinds = {pipe: "a pipe", device: "a device", folder: "a folder",
                      "odd.socket": "a socket"}
        self.addCleanup(self.clean)

    def clean(self):
        for name in self.kinds:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()

    def ends(self, *words, kind, code=2):
        begun = time.monotonic()
        done = self.isobit(*words, code=code)
        self.assertLess(time.monotonic() - begun, 60, "it waited for a reader or writer")
        self.assertIn(f"is {kind}, not a regular file", done.stderr + done.stdout)

    def test_scenario_and_prompts(self):
        text = tiny_project.SCENARIO
        for name, kind in self.kinds.items():
            with self.subTest(kind=kind):
                self.ends("check", name, kind=kind)
                self.ends("validate", name, kind=kind)
                (self.folder / "odd.yaml").write_text(text.replace("prompts.jsonl", name))
                self.ends("check", "odd.yaml", kind=kind)

    def test_golden_and_database(self):
        (self.folder / "golden").mkdir()
        for name, kind in self.kinds.items():
            with self.subTest(kind=kind):
                os.symlink(self.folder / name, self.folder / "golden/tiny.golden")
                self.ends("check", "tiny.yaml", kind=kind)
                (self.folder / "golden/tiny.golden").unlink()
                if kind == "a folder":
                    self.assertIn("is a folder, not a database",
                                  self.isobit("history", "--db", name, code=2).stderr)
                else:
                    self.ends("history", "--db", name, kind=kind)
                    self.ends("check", "tiny.yaml", "--db", name, kind=kind)

    def test_models_and_manifests(self):
        (self.folder / "models").mkdir()
        self.addCleanup(shutil.rmtree, self.folder / "models")
        for name, kind in self.kinds.items():
            with self.subTest(kind=kind):
                gguf = self.folder / "odd.gguf"
                if kind != "a folder":
                    os.symlink(self.folder / name, gguf)
                    self.ends("model", "info", "odd.gguf", kind=kind)
                    gguf.unlink()
                manifest = self.folder / "models/odd.json"
                os.symlink(self.folder / name, manifest)
                self.ends("model", "info", "odd", kind=kind)
                manifest.unlink()
                tokenizer = self.folder / "model/tokenizer.json"
                os.symlink(self.folder / name, tokenizer)
                self.ends("model", "info", "model", kind=kind)
                tokenizer.unlink()

    def test_standard_input_is_no_scenario(self):
        done = self.isobit("check", "/dev/stdin", code=2, stdin=tiny_project.SCENARIO)
        self.assertIn("is a pipe, not a regular file; write what it gives into a file first",
                      one_line(done))

    def test_a_report_into_a_pipe_that_nobody_reads(self):
        done = self.isobit("check", "tiny.yaml", "-q", "--report", "md=odd.pipe", code=2)
        self.assertIn("nobody reads", one_line(done))


class BrokenLibrary(tiny_project.Case):
    """An OpenBLAS that loads and lacks what is called."""

    def test_doctor_and_run_name_symbol_and_file(self):
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            self.skipTest("no C compiler")
        folder = self.folder / "blas"
        folder.mkdir()
        (folder / "x.c").write_text("void cblas_sgemm(void) {}\n"
                                    "void openblas_set_num_threads(int n) { (void)n; }\n"
                                    "int openblas_get_num_threads(void) { return 1; }\n"
                                    "char* openblas_get_corename(void) { return \"x\"; }\n")
        library = folder / "libopenblas.so.0"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "x.c"], check=True)
        env = {"LD_LIBRARY_PATH": str(folder)}
        told = self.isobit("doctor", env=env, code=6).stdout
        for word in ("bad  engine openblas", str(library), "cblas_dgemm, openblas_get_config",
                     "fix: install it again (apt-get install --reinstall libopenblas0-pthread)"):
            self.assertIn(word, told)
        done = self.isobit("check", "tiny.yaml", "--set", "axes.engine=[openblas]", "--set",
                           "axes.precision=[fp32]", env=env, code=1)
        self.assertIn(f"{library}: lacks cblas_dgemm, openblas_get_config", done.stdout)


class ProgramAlone(tiny_project.Case):
    """The program copied out of its checkout: adapters of other engines are not there."""

    def test_each_engine_says_its_own_fix(self):
        alone = self.folder / "bin/isobit"
        alone.parent.mkdir()
        shutil.copy(tiny_project.program(), alone)
        told = subprocess.run([alone, "doctor"], cwd=self.folder, text=True, capture_output=True,
                              check=False).stdout
        fix = told.split("bad  engine exec: ")[1].splitlines()[1]
        self.assertIn("run the program from its checkout or its installation", fix)


class Models(tiny_project.Case):
    """Where a model's name is looked up; what a fetch says before it begins."""

    def scenario(self, model, place="named.yaml"):
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(pathlib.PurePath(place).parts) - 1)
        path.write_text(tiny_project.SCENARIO.replace("model: model", f"model: {model}").replace(
            "prompts.jsonl", up + "prompts.jsonl"))
        return place

    def test_the_cache_needs_a_place(self):
        env = {"ISOBIT_CACHE": "", "XDG_CACHE_HOME": "", "HOME": ""}
        self.isobit("check", "tiny.yaml", "-q", env=env, code=5)  # needs no cache
        line = one_line(self.isobit("check", self.scenario("smollm2-135m"), "--offline", env=env,
                                    code=2))
        for word in ("ISOBIT_CACHE", "XDG_CACHE_HOME", "HOME"):
            self.assertIn(word, line)
        self.assertIn("ISOBIT_CACHE", self.isobit("model", "fetch", "smollm2-135m", "--dry-run",
                                                  env=env, code=2).stderr)

    def test_beside_the_scenario_and_above_it(self):
        (self.folder / ".git").mkdir()
        self.addCleanup(shutil.rmtree, self.folder / ".git")
        models = self.folder / "models"
        models.mkdir()
        self.addCleanup(shutil.rmtree, models)
        shutil.copytree(self.folder / "model", models / "files")
        (models / "own.json").write_text(json.dumps(
            {"format": 1, "name": "own", "kind": "directory", "path": "files"}))
        place = self.scenario("own", "a/b/c/deep.yaml")
        self.addCleanup(shutil.rmtree, self.folder / "a")
        # No digest is in this manifest: found, and refused for that.
        done = self.isobit("check", place, code=2)
        self.assertIn("is not in the manifest's sha256", done.stderr)
        line = one_line(self.isobit("check", self.scenario("owm", "a/b/c/deep.yaml"), code=2))
        self.assertIn('did you mean "own"?', line)
        for where in (self.folder / "a/b/c/models", self.folder / "a/b/models", models,
                      self.folder / "cache/models"):
            self.assertIn(str(where), line)

    def test_shipped_models_are_found_from_any_folder(self):
        self.isobit("model", "info", "default-7m")

    def test_a_moved_program_takes_no_build_tree_with_it(self):
        with tempfile.TemporaryDirectory() as place:
            program = shutil.copy(tiny_project.program(), place)
            done = subprocess.run([program, "model", "info", "default-7m"], cwd=self.folder,
                                  capture_output=True, text=True, check=False,
                                  env={**os.environ, "ISOBIT_MODELS": ""})
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn("looked in", done.stderr)

    def test_offline_names_size_and_digest(self):
        line = one_line(self.isobit("check", self.scenario("smollm2-135m"), "--offline", code=2))
        for word in ("--offline forbids", "MiB", "SHA-256"):
            self.assertIn(word, line)


class Numbers(tiny_project.Case):
    """What YAML, a shell and a person read as different numbers is none."""

    def refused(self, *words):
        return one_line(self.isobit(*words, code=2))

    def test_in_a_scenario(self):
        for value, told in (("batch: [\"3\"]", "7:11: \"3\" is a text because of its quotes"),
                            ("batch: [{size: '3'}]", "7:18: \"3\" is a text because of its quotes"),
                            ("cache: [{chunked: \"5\"}]", "7:21: \"5\" is a text"),
                            ("batch: [010]", "write 10, or 8 if it is octal"),
                            ("threads: [1e1]", "write 10"), ("threads: [0x4]", "write 4"),
                            ("threads: [1_000]", "write 1000"),
                            ("cache: [{chunked: 017}]", "write 17, or 15 if it is octal"),
                            ("kv: [{tova: 08}]", "write 8")):
            with self.subTest(value=value):
                head, _, rest = tiny_project.SCENARIO.partition("axes:\n")
                text = head + "axes:\n  " + value + "\n" + rest[rest.index("expect:"):]
                (self.folder / "n.yaml").write_text(
                    text.replace("[batch, cache]", "[" + value.split(":")[0] + "]"))
                line = self.refused("list", "n.yaml")
                self.assertIn(told.replace("7:", "n.yaml:8:", 1) if told[0] == "7" else told, line)
        self.assertIn("not \"010\"; write 10, or 8 if it is octal",
                      self.refused("list", "tiny.yaml", "--set", "decode.max_new_tokens=010"))
        self.assertIn("in quotes, which make it a text",
                      self.refused("list", "tiny.yaml", "--set", "decode.max_new_tokens='3'"))
        self.assertIn("--set", self.refused("list", "tiny.yaml", "--set", "axes.batch=[\"1\",3]"))

    def test_on_the_command_line(self):
        for words, told in ((["-j", "010"], "write 10, or 8"), (["--repeat", "1e3"], "write 1000"),
                            (["--partition", "02/4"], "is not a partition"),
                            (["--maxfail", "+3"], "write 3"), (["--shuffle=007"], "write 7"),
                            (["--max-time", "010m"], "is not a duration"),
                            (["-k", "batch=03"], "write 3"), (["-k", "batch>01"], "write 1")):
            with self.subTest(words=words):
                self.assertIn(told, self.refused("check", "tiny.yaml", *words))
        self.isobit("check", "tiny.yaml", "-q", "--max-time", "1h05m", code=5)
        self.assertIn("write 1", self.refused("show", "01"))


class Bounds(tiny_project.Case):
    """Work is bounded, and ends when it is told to."""

    @staticmethod
    def with_address_space(command, folder, limit=1 << 30):
        """Runs it with so much address space that a small cell fits and a large one does not."""
        program = pathlib.Path(command[0]).read_bytes()
        if b"__asan_init" in program or b"__tsan_init" in program:
            raise unittest.SkipTest("a sanitizer needs more address space than any limit leaves")
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS,
                                                                    (limit, limit)))

    def limited(self, *words):
        command = [tiny_project.program(), "check", "tiny.yaml", "-q", "--fresh", *words]
        return self.with_address_space(command, self.folder)

    def test_a_batch_that_does_not_fit(self):
        long = ("--set", "prompts={file: prompts.jsonl, pad_to: 200}")
        done = self.limited("--set", "axes.batch=[1,4096]", *long)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        line = one_line(done)
        for word in ("batch=4096", "GiB of memory", "available are", "--allow-large"):
            self.assertIn(word, line)
        self.assertFalse((self.folder / ".isobit").exists())
        done = self.limited("--set", "axes.batch=[1,4]", *long)
        self.assertIn(done.returncode, (5, 7), done.stdout + done.stderr)
        done = self.limited("--set", "axes.batch=[1,4096]", *long, "--allow-large", "-k", "batch=1")
        self.assertNotEqual(done.returncode, 2, done.stdout + done.stderr)

    def test_more_jobs_need_more(self):
        many = ("--set", "axes.batch=[1000]", "--set", "prompts={file: prompts.jsonl, pad_to: 60}",
                "--set", "expect=[{same_bits: {across: [cache]}}]")
        one = self.limited(*many, "-j", "1")
        self.assertIn(one.returncode, (5, 7), one.stdout + one.stderr)
        several = self.limited(*many, "-j", "8")
        self.assertEqual(several.returncode, 2, several.stdout + several.stderr)
        self.assertIn("4 jobs at once", one_line(several))

    def test_a_matrix_that_no_number_holds(self):
        lists = [f"axes.{axis}=[{','.join(map(str, range(1, most + 1)))}]"
                 for axis, most in (("batch", 4000), ("threads", 1000))]
        sets = [w for each in lists for w in ("--set", each)]
        line = one_line(self.isobit("list", "tiny.yaml", *sets, code=2))
        self.assertIn("16,000,000 cells are more than the limit of 4,096", line)

    def test_a_matrix_that_memory_cannot_name(self):
        axes = ",".join(map(str, range(1, 1001)))
        command = [tiny_project.program(), "list", "tiny.yaml", "--allow-large", "-q", "--set",
                   f"axes={{batch: [{axes}], threads: [{axes}]}}", "--set",
                   "expect=[{same_bits: {across: [batch]}}]"]
        done = self.with_address_space(command, self.folder)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("1,000,000 cells need about", one_line(done))

    def test_spilled_rows_of_a_killed_run_go(self):
        (self.folder / "spills.yaml").write_text(SPILLS)
        old = self.folder / ".isobit/spill-killed"
        old.mkdir(parents=True)
        (old / "0").write_bytes(b"rows")
        os.utime(old, (time.time() - 3600,) * 2)
        young = self.folder / ".isobit/spill-young"
        young.mkdir()
        self.isobit("run", "spills.yaml", "-q", code=5)
        left = sorted(p.name for p in (self.folder / ".isobit").glob("spill-*"))
        self.assertEqual(left, ["spill-young"])

    def test_tokenising_hears_signals(self):
        models = pathlib.Path(__file__).parents[2] / "scenarios/models/nano-300k"
        if not models.is_dir():
            self.skipTest("no nano-300k here")
        shutil.copytree(models, self.folder / "nano")  # with a context that such prompts fit into
        config = json.loads((models / "config.json").read_text())
        (self.folder / "nano/config.json").write_text(
            json.dumps(config | {"max_position_embeddings": 1 << 24}))
        text = "".join(f"{{\"id\": \"{i}\", \"text\": \"{'ab ' * 400000}\"}}\n" for i in range(99))
        (self.folder / "long.jsonl").write_text(text)
        (self.folder / "long.yaml").write_text(
            tiny_project.SCENARIO.replace("model: model", "model: nano").replace(
                "prompts.jsonl", "long.jsonl"))
        for kind in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen([tiny_project.program(), "check", "long.yaml"], cwd=self.folder,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
                time.sleep(1)
                child.send_signal(kind)
                _, told = child.communicate(timeout=60)
                self.assertEqual(child.returncode, 130, told)
                # Not at the end of the tokenising, where the flag is looked at again.
                self.assertRegex(told, rb"interrupted while (prompts were tokenised|it was read)")


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
