"""Processes and threads that the system refuses or ends: a cell fails in one line and the next goes
on.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
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


def state(pid):
    """The parent of a process and its letter, of one that is gone (0, "X")."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, "X"
    return int(fields[1]), fields[0]


def alive(pid):
    return state(pid)[1] not in "XZ"  # nobody may be there to wait for an orphan


def children(parent):
    pids = [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if state(pid)[0] == parent]


def comes(condition, seconds=10):
    """Whether it becomes true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


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

    def test_ranks_that_cannot_all_be_started(self):
        cells = self.check("gpus: [1, 8, 2]", 1)
        status, reason = cells.pop(8)
        self.assertEqual(status, "failed")
        self.assertRegex(reason, "^thread of rank [1-7] could not be started: "
                                 "Resource temporarily unavailable$")
        self.assertEqual(cells, {1: ("ok", ""), 2: ("ok", "")})


class Parent(tiny_project.Case):
    """A parent that is ended while its workers compute."""

    def setUp(self):
        super().setUp()
        self.started = []
        prompt = [1] + [(i * 7 + 3) % tiny_project.VOCAB for i in range(50)]
        (self.folder / "many.jsonl").write_text("".join(
            json.dumps({"id": str(i), "tokens": prompt}) + "\n" for i in range(4000)))
        text = SCENARIO.replace("AXIS:VALUES", "precision: [fp32, bf16]")
        text = text.replace("AXIS", "precision").replace("prompts.jsonl", "many.jsonl")
        text = text.replace("max_new_tokens: 4", "max_new_tokens: 200").replace(": 20\n", ": 600\n")
        (self.folder / "long.yaml").write_text(text)

    def tearDown(self):
        for pid in self.started:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)

    def start(self, **settings):
        """The program and its two workers."""
        program = subprocess.Popen([tiny_project.program(), "check", "long.yaml", "--jobs", "2"],
                                   cwd=self.folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, **settings)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.assertTrue(comes(lambda: len(children(program.pid)) == 2), "no two workers")
        workers = children(program.pid)
        self.started += workers
        time.sleep(0.3)  # into the computation
        self.assertTrue(all(alive(pid) for pid in workers), "the cells are too short")
        return program, workers

    def test_workers_end_with_it(self):
        for end in signal.SIGKILL, signal.SIGQUIT, signal.SIGUSR1:
            program, workers = self.start()
            program.send_signal(end)
            program.wait(timeout=10)
            self.assertTrue(comes(lambda: not any(alive(pid) for pid in workers), 3),
                            end.name)

    def test_a_hangup_is_an_interrupt(self):
        program, workers = self.start()
        program.send_signal(signal.SIGHUP)
        self.assertEqual(program.wait(timeout=10), 130)
        self.assertFalse(any(alive(pid) for pid in workers))

    def test_a_hangup_that_is_ignored_stays_so(self):
        program, workers = self.start(
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        program.send_signal(signal.SIGHUP)
        time.sleep(1.0)
        self.assertIsNone(program.poll())
        program.terminate()
        self.assertEqual(program.wait(timeout=10), 130)
        self.assertFalse(any(alive(pid) for pid in workers))


if __name__ == "__main__":
    unittest.main()
