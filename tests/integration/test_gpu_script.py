"""ci/gpu/run.sh with programs that only pretend: its table, what it repeats, and its exit codes."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
SCRIPT = ROOT / "ci/gpu/run.sh"

TESTS = """#!/bin/sh
echo "[----------] ran $*"
echo "$*" >> "$0.calls"
[ -n "$SLOW" ] && sleep 60
[ -n "$SKIP" ] && echo "[  SKIPPED ] A.Gpu/fp32 (0 ms)"
[ -n "$FAIL" ] && echo "[  FAILED  ] A.Gpu/fp32 (0 ms)"
echo "[==========] 3 tests from 1 test suite ran. (1 ms total)"
[ -n "$FAIL" ] && exit 1
echo "[  PASSED  ] 3 tests."
"""
ISOBIT = """#!/bin/sh
echo "$*" >> "$0.calls"
[ "$1" = env ] && exit 0
echo "PASS  pretended: 2 groups, exit code 0"
echo "4 PASS, 0 DIFF"
exit ${RC:-0}
"""
SANITIZER = """#!/bin/sh
echo "$*" >> "$0.calls"
echo "========= ERROR SUMMARY: 0 errors"
"""
BENCH = "#!/bin/sh\necho line one\necho gemm: 1.0\n"


class Script(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="isobit-gpu-script-"))
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.tool("isobit_conformance", TESTS)
        self.tool("isobit", ISOBIT)
        self.tool("bench_cuda", BENCH)
        self.sanitizer = self.folder / "compute-sanitizer"
        self.sanitizer.write_text(SANITIZER)
        self.sanitizer.chmod(0o755)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def tool(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def calls(self, path):
        file = pathlib.Path(f"{path}.calls")
        return len(file.read_text().split("\n")) - 1 if file.exists() else 0

    def run_script(self, *words, code=0, **env):
        settings = os.environ | {"OUT": str(self.folder / "out"), "ISOBIT_GPU_BIN": str(self.bin),
                                 "ISOBIT_SANITIZER": str(self.sanitizer)} | env
        done = subprocess.run([str(SCRIPT), *map(str, words)], cwd="/", capture_output=True,
                              text=True, timeout=120, env=settings)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def rows(self, out):
        table = out[out.rindex("\nstep "):].strip().split("\n")[1:]
        return {line.split()[0]: line.split()[1] for line in table}

    def test_everything_ends_with_a_table_and_is_not_repeated(self):
        # What the programs count would change what steps depend on: the counts lie beside them.
        for name in ("isobit_conformance", "isobit"):
            text = (self.bin / name).read_text()
            self.tool(name, text.replace("$0.calls", f"{self.folder}/{name}.calls"))
        first = self.rows(self.run_script("all"))
        for step in ("conformance", "memcheck", "racecheck", "initcheck", "bench_cuda",
                     "migration", "vendor-gpu", "vendor-gpu-batch"):
            self.assertEqual(first.get(step), "ok", first)
        counts = [self.calls(self.folder / "isobit_conformance"), self.calls(self.sanitizer)]
        self.assertEqual(counts, [1, 3])
        self.assertEqual(self.rows(self.run_script("all")), first)
        self.assertEqual([self.calls(self.folder / "isobit_conformance"),
                          self.calls(self.sanitizer)], counts)
        self.tool("bench_cuda", BENCH + "# changed\n")  # another build: all of it again
        self.run_script("all")
        self.assertEqual(self.calls(self.sanitizer), 6)

    def test_a_failure_and_a_skipped_test_are_failures(self):
        out = self.run_script("test", code=1, FAIL="1")
        self.assertEqual(self.rows(out), {"conformance": "FAILED"})
        self.assertIn("3 tests, 1 failed, 0 skipped", out)
        out = self.run_script("test", code=1, SKIP="1")
        self.assertIn("3 tests, 0 failed, 1 skipped", out)
        self.assertEqual(self.rows(self.run_script("test")), {"conformance": "ok"})

    def test_scenarios_keep_the_meaning_of_their_exit_codes(self):
        for code, result, exit_code in (("5", "ok", 0), ("8", "time", 8), ("1", "FAILED", 1),
                                        ("77", "skipped", 0), ("0", "ok", 0)):
            out = self.run_script("scenarios", "scenarios/smoke.yaml", code=exit_code, RC=code)
            self.assertEqual(self.rows(out), {"smoke": result}, out)
            if code != "5":
                self.assertIn("PASS  pretended: 2 groups", out)
            shutil.rmtree(self.folder / "out")

    def test_a_time_limit_leaves_the_rest_for_the_next_call(self):
        out = self.run_script("all", "7", code=8, SLOW="1")
        rows = self.rows(out)
        self.assertEqual(rows["conformance"], "time", out)
        self.assertEqual(rows["memcheck"], "waits", out)
        self.assertEqual(set(self.rows(self.run_script("all")).values()) - {"skipped"}, {"ok"})

    def test_no_sanitizer_is_one_line(self):
        out = self.run_script("sanitize", "memcheck", code=1, ISOBIT_SANITIZER="",
                              PATH=os.environ["PATH"])
        if "no compute-sanitizer here" not in out:
            self.skipTest("this machine has a compute-sanitizer")

    def test_an_unknown_verb_is_usage(self):
        self.assertIn("Usage: ci/gpu/run.sh", self.run_script("tset", code=2))


if __name__ == "__main__":
    if shutil.which("bash") is None or shutil.which("timeout") is None:
        sys.exit(77)
    unittest.main()
