"""`isobit probe attention`: captures of an H200 judged, changed and broken ones, and a capture that
a program in the place of Python makes."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
RECORDED = ROOT / "tests/unit/harness/probe/attention.txt"


class Attention(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = pathlib.Path(held.name)

    def probe(self, *words, code=0, what="attention"):
        result = subprocess.run([os.environ["ISOBIT"], "probe", what, *map(str, words)],
                                cwd=self.folder, capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, code, (words, result.stdout, result.stderr))
        return result

    def script(self, text):
        """A program that stands for python3: "$3" is the capture that it is to write."""
        file = self.folder / "python"
        file.write_text("#!/bin/sh\n" + text)
        file.chmod(0o755)
        return "./python"

    def test_what_an_h200_returned(self):
        result = self.probe("--from", RECORDED)
        self.assertIn("no rule: 1 calls, 128 outputs: cudnn sm80_flash", result.stdout)
        self.assertEqual(result.stdout.splitlines()[-1], "4,864 outputs, all equal")
        self.assertEqual(result.stderr, "24 of 24 calls\n")
        twice = self.probe("--from", RECORDED, "--from", RECORDED, "--threads", 3)
        self.assertEqual(twice.stdout.splitlines()[-1], "9,728 outputs, all equal")

    def test_a_changed_bit_is_told_with_its_place(self):
        lines = RECORDED.read_text().splitlines()
        number = next(i for i, line in enumerate(lines) if line.startswith("row"))
        digits = f"{int(lines[number][-4:], 16) ^ 1:04x}"
        lines[number] = lines[number][:-4] + digits
        (self.folder / "c.txt").write_text("\n".join(lines) + "\n")
        result = self.probe("--from", "c.txt", code=1)
        self.assertIn("4,864 outputs, 1 differ (99.9794 % equal)", result.stdout)
        self.assertRegex(result.stdout, f"c.txt:{number + 1}: sequence .* {digits} came back, the "
                                        r"rule gives [0-9a-f]{4} \(one unit\)")
        told = json.loads(self.probe("--from", "c.txt", "--json", code=1).stdout)
        self.assertEqual((told["judged"]["differ"], told["judged"]["one_unit"]), (1, 1))
        self.assertEqual((told["misses"][0]["line"], told["misses"][0]["returned"]),
                         (number + 1, digits))

    def test_another_gpu_is_not_judged(self):
        (self.folder / "c.txt").write_text(RECORDED.read_text().replace("H200", "A100"))
        result = self.probe("--from", "c.txt", code=4)
        self.assertIn("no call has a rule: nothing was compared", result.stdout)

    def test_says_what_is_wrong(self):
        text = RECORDED.read_text()
        (self.folder / "cut.txt").write_text(text[:text.rindex("end")])
        (self.folder / "wrong.txt").write_text(text.replace("row ", "raw ", 1))
        (self.folder / "gemm.txt").write_text("isobit capture 1\n")
        for words, says in (
                ((), "--from FILE, or --capture FILE"),
                (("--from", "cut.txt"), "cut.txt: the capture has no end"),
                (("--from", "wrong.txt"), 'wrong.txt:6: unknown word "raw"'),
                (("--from", "gemm.txt"), "gemm.txt:1: an attention capture begins"),
                (("--from", "missing.txt"), "missing.txt"),
                (("--from", "cut.txt", "--capture", "new.txt"), "nothing runs"),
                (("--from", "cut.txt", "--calls", 3), "nothing runs"),
                (("--capture", "cut.txt"), "cut.txt: is there already"),
                (("--capture", "new.txt", "--kernels", "fa2,cudn"), 'did you mean "cudnn"'),
                (("--capture", "new.txt", "--python", "./missing"), "missing"),
                (("--capture", "new.txt", "--shape", "8,8"), "is of isobit probe gemm")):
            result = self.probe(*words, code=2)
            self.assertIn(says, result.stderr)
            self.assertEqual(result.stdout, "")
        result = self.probe("--shape", "8,8", "--calls", 3, code=2, what="gemm")
        self.assertIn("is of isobit probe attention", result.stderr)

    def test_a_capture_is_made_and_judged(self):
        python = self.script(f'echo "$@" >words; echo heard >&2; cp {RECORDED} "$3"\n')
        result = self.probe("--capture", "-new.txt", "--python", python, "--calls", 7, "--kernels",
                            "cudnn,fa2", "--seed", 5)
        self.assertIn("4,864 outputs, all equal", result.stdout)
        self.assertIn("heard", result.stderr)
        script, *words = (self.folder / "words").read_text().split()
        self.assertTrue(script.endswith("/adapters/probe_torch.py"), script)
        self.assertEqual(words, ["attention", str((self.folder / "-new.txt").resolve()), "--calls",
                                 "7", "--kernels", "cudnn,fa2", "--seed", "5"])

    def test_a_script_that_fails_is_said(self):
        result = self.probe("--capture", "new.txt", "--python", self.script("exit 3\n"), code=2)
        self.assertIn("probe_torch.py ended with status 3", result.stderr)
        self.assertIn("new.txt", self.probe("--capture", "new.txt", "--python",
                                            self.script("exit 0\n"), code=2).stderr)

    def test_an_interrupt_ends_the_script(self):
        python = self.script("echo $$ >pid; exec sleep 60\n")
        process = subprocess.Popen([os.environ["ISOBIT"], "probe", "attention", "--capture",
                                    "new.txt", "--python", python], cwd=self.folder,
                                   stderr=subprocess.PIPE, text=True)
        pid = self.folder / "pid"
        for _ in range(200):
            if pid.exists() and pid.read_text().strip():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)
        self.assertIn("interrupted", said)
        with self.assertRaises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


if __name__ == "__main__":
    unittest.main()
