"""Processes and threads that the system refuses or ends: a cell fails in one line and the next goes
on.
"""
import pathlib
import resource
import shutil
import sqlite3
import subprocess
import time
import unittest

import tiny_project

SCENARIO = """version: 1
name: limits
model: model
prompts: prompts.jsonl
decode: {max_new_tokens: 4, ignore_eos: true}
axes:
  AXIS:VALUES
expect:
  - measure: {across: [AXIS]}
time_limit: 20
"""


GIB = 1 << 30


def room_for_two_threads():
    """Stacks of 1 GiB in an address space of 3.5: it holds for root too, as a limit on processes
    does not."""
    for limit, size in (resource.RLIMIT_STACK, GIB), (resource.RLIMIT_AS, 7 * GIB // 2):
        resource.setrlimit(limit, (size, resource.getrlimit(limit)[1]))


class Threads(tiny_project.Case):
    def setUp(self):
        super().setUp()
        program = pathlib.Path(tiny_project.program()).read_bytes()
        if b"__asan_init" in program or b"__tsan_init" in program:
            self.skipTest("a sanitizer needs more address space than any limit leaves")

    def check(self, axis, jobs):
        """Status and reason of each cell, by the value of the axis."""
        text = SCENARIO.replace("AXIS", axis.split(":")[0]).replace("VALUES", axis.split(":")[1])
        (self.folder / "limits.yaml").write_text(text)
        shutil.rmtree(self.folder / ".isobit", ignore_errors=True)
        started = time.monotonic()
        done = subprocess.run(
            [tiny_project.program(), "check", "limits.yaml", "--jobs", str(jobs)],
            cwd=self.folder, capture_output=True, text=True, timeout=100,
            preexec_fn=room_for_two_threads)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, 1, said)
        self.assertLess(time.monotonic() - started, 15, "it waited for the cell's time limit")
        db = sqlite3.connect(self.folder / ".isobit" / "isobit.db")
        rows = db.execute("SELECT name, status, status_reason FROM cell").fetchall()
        db.close()
        return {int(name.split("=")[1].split()[0]): (status, reason)
                for name, status, reason in rows}

    def test_a_team_that_cannot_be_complete(self):
        for jobs in 1, 2:
            cells = self.check("threads: [1, 6, 2]", jobs)
            status, reason = cells.pop(6)
            self.assertEqual(status, "failed")
            self.assertRegex(reason, "^thread [2-6] of 6 could not be started: "
                                     "Resource temporarily unavailable$")
            self.assertEqual(cells, {1: ("ok", ""), 2: ("ok", "")})


if __name__ == "__main__":
    unittest.main()
