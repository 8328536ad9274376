"""`isobit gc` beside a run in progress: the run keeps its cells and ends as it would have."""
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

import tiny_project

LONG = tiny_project.SCENARIO.replace("name: tiny", "name: long").replace(
    "max_new_tokens: 10", "max_new_tokens: 200").replace(
    "[fp32, bf16]", "[fp32, bf16, fp16, fp64]").replace("[on, {", "[on, off, {")
CELLS = 24


class Gc(tiny_project.Case):
    def database(self):
        return sqlite3.connect(self.folder / ".isobit" / "isobit.db", timeout=0.2)

    def rows(self, sql):
        """Its rows; none as long as the tables are not there."""
        try:
            with self.database() as db:
                return db.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []

    def stop_between_two_cells(self, process):
        """Stops the run when it has stored a cell, and not while it holds the database."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            self.assertIsNone(process.poll(), "the run ended before it could be stopped")
            if not self.rows("SELECT 1 FROM cell WHERE state = 'done'"):
                time.sleep(0.002)
                continue
            process.send_signal(signal.SIGSTOP)
            try:
                with self.database() as db:
                    db.execute("BEGIN IMMEDIATE")
                    db.rollback()
                return
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
        self.fail("the run could not be stopped")

    def test_a_run_in_progress_is_spared(self):
        (self.folder / "long.yaml").write_text(LONG)
        (self.folder / ".isobit").mkdir()
        process = subprocess.Popen(
            [tiny_project.program(), "check", "long.yaml", "--json"], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"ISOBIT_CACHE": str(pathlib.Path(self.folder) / "cache")})
        try:
            self.stop_between_two_cells(process)
            self.assertTrue(self.rows("SELECT 1 FROM cell WHERE state = 'pending'"))
            self.isobit("check", "tiny.yaml", code=5)
            self.isobit("check", "tiny.yaml", code=5)
            self.isobit("gc", "--keep", 1)
        finally:
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 5, out + err)  # there is no golden
        report = json.loads(out)
        self.assertEqual((len(report["cells"]), report["cells_executed"]), (CELLS, CELLS))
        self.assertEqual(self.rows("SELECT scenario FROM run ORDER BY id"),
                         [("long",), ("tiny",), ("tiny",)])
        self.isobit("gc", "--keep", 1)  # now it has ended
        self.assertNotIn(("long",), self.rows("SELECT scenario FROM run"))

    def test_what_a_kill_left_goes_after_a_week(self):
        self.isobit("check", "tiny.yaml", code=5)
        with self.database() as db:
            db.execute("UPDATE run SET exit_code = NULL, finished = NULL")
        self.isobit("check", "wrong.yaml", "--fresh", code=1)
        self.isobit("gc", "--keep", 1)
        self.assertEqual(len(self.rows("SELECT 1 FROM run")), 2)
        with self.database() as db:
            db.execute("UPDATE run SET started = '2020-01-01T00:00:00Z' WHERE id = 1")
        self.isobit("gc", "--keep", 1)
        self.assertEqual(self.rows("SELECT id FROM run"), [(2,)])


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
