"""The result store cannot lie: what it may reuse, what it must not, and what it never makes up.

Runs the program from outside on the selftest's own model: unchanged cells come from the store; an
edited program, even by one byte, executes again; an edited kernel is red against the golden; a
deleted golden is NOGOLD and stays deleted; one cell alone is MISTRUSTED.
"""
import json
import os
import pathlib
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

ISOBIT = os.environ.get("ISOBIT", "")

SCENARIO = """version: 1
name: truth
question: Does the store tell the truth?
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 8, ignore_eos: true}
axes: {batch: [1, 3], cache: [on, {chunked: 17}], threads: [1, 2]}
expect: [{same_bits: {across: [batch, cache, threads]}}]
"""
CELLS = 8

# The leading coefficient of exp in fp32 (NUMERICS.md), and the same number 2^-9 larger.
KERNEL_CONSTANT = struct.pack("<f", float.fromhex("0x1.6a2466p-10"))
EDITED_CONSTANT = struct.pack("<f", float.fromhex("0x1.6af876p-10"))


class StoreTruth(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = pathlib.Path(tempfile.mkdtemp(prefix="isobit-truth-"))
        made = subprocess.run([ISOBIT, "selftest", "one-cell-left", "--work", str(cls.base)],
                              capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.base)

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="case-", dir=self.base))
        shutil.copytree(self.base / "model", self.folder / "model")
        shutil.copy(self.base / "prompts.jsonl", self.folder)
        (self.folder / "truth.yaml").write_text(SCENARIO)
        (self.folder / "golden").mkdir()
        self.golden = self.folder / "golden" / "truth.golden"

    def isobit(self, *words, program=ISOBIT):
        return subprocess.run([str(program), *words], capture_output=True, text=True,
                              cwd=self.folder, timeout=300)

    def check(self, *words, program=ISOBIT):
        """(exit code, report) of a check."""
        done = self.isobit("check", "truth.yaml", "--json", *words, program=program)
        self.assertTrue(done.stdout.strip(), done.stderr)
        return done.returncode, json.loads(done.stdout)

    def bless(self):
        done = self.isobit("bless", "truth.yaml", "--reason", "the first golden", "--by", "test")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(self.golden.exists())

    def verdicts(self, report):
        return sorted({cell["verdict"] for cell in report["cells"]})

    def copy_of_program(self, change):
        """An executable file with the program's bytes, changed."""
        path = self.folder / "edited-isobit"
        path.write_bytes(change(pathlib.Path(ISOBIT).read_bytes()))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def database(self, sql):
        with sqlite3.connect(self.folder / ".isobit" / "isobit.db") as db:
            return db.execute(sql).fetchall()

    def test_unchanged_cells_come_from_the_store(self):
        self.bless()
        code, first = self.check("--fresh")
        self.assertEqual((code, first["cells_executed"]), (0, CELLS))
        code, second = self.check()
        self.assertEqual((code, second["cells_executed"], second["cells_cached"]), (0, 0, CELLS))
        self.assertEqual(self.verdicts(second), ["PASS"])

    def test_one_more_byte_in_the_program_executes_everything_again(self):
        self.bless()
        self.check()
        other = self.copy_of_program(lambda program: program + b"\0")
        code, report = self.check(program=other)
        self.assertEqual((code, report["cells_executed"], report["cells_cached"]), (0, CELLS, 0))

    def test_an_edited_kernel_is_red_on_the_next_check(self):
        """No commit, no new scenario: only the machine code's constant of exp."""
        self.bless()
        self.assertEqual(self.check()[0], 0)
        count = pathlib.Path(ISOBIT).read_bytes().count(KERNEL_CONSTANT)
        self.assertGreater(count, 0, "the program holds exp's constant nowhere")
        edited = self.copy_of_program(
            lambda program: program.replace(KERNEL_CONSTANT, EDITED_CONSTANT))
        code, report = self.check(program=edited)
        self.assertEqual(code, 1, report["cells"])
        self.assertEqual((report["cells_executed"], report["cells_cached"]), (CELLS, 0))
        self.assertEqual(self.verdicts(report), ["DIFF"])
        for cell in report["cells"]:  # all kernels agree with each other: only the golden tells
            self.assertIn("golden", cell["reason"])
        code, report = self.check()  # and the old program's results were not replaced
        self.assertEqual((code, report["cells_cached"]), (0, CELLS))

    def test_a_deleted_golden_is_not_made_again(self):
        self.bless()
        self.assertEqual(self.check()[0], 0)
        self.golden.unlink()
        for _ in range(2):
            code, report = self.check()
            self.assertEqual(code, 5)
            self.assertEqual(self.verdicts(report), ["NOGOLD"])
            self.assertFalse(self.golden.exists())

    def test_a_golden_edited_by_hand_is_red_or_refused(self):
        self.bless()
        lines = self.golden.read_text().splitlines(keepends=True)
        changed = 0
        for i, line in enumerate(lines):
            words = line.split()
            wide = [w for w in words if len(w) == 32 and set(w) <= set("0123456789abcdef")]
            if wide:
                flipped = ("0" if wide[0][0] != "0" else "1") + wide[0][1:]
                lines[i] = line.replace(wide[0], flipped, 1)
                changed += 1
                break
        self.assertEqual(changed, 1, "no digest in the golden file")
        self.golden.write_text("".join(lines))
        done = self.isobit("check", "truth.yaml")
        self.assertIn(done.returncode, (1, 2), done.stdout + done.stderr)
        self.assertEqual(self.golden.read_text(), "".join(lines))

    def test_one_cell_alone_is_mistrusted(self):
        self.bless()
        code, report = self.check("-k", "batch=3 and threads=2 and cache=on")
        self.assertEqual(len(report["cells"]), 1)
        self.assertEqual(code, 7, report)
        self.assertEqual(self.verdicts(report), ["MISTRUSTED"])

    def test_what_was_changed_in_the_database_is_executed_again(self):
        """Whatever the verdict would be: the rows of a cell that is reused give its roots."""
        damages = {
            "token rows": "UPDATE token SET digest = zeroblob(16) WHERE cell = ? AND prompt = 0",
            "token_count": "UPDATE prompt SET token_count = token_count - 1 WHERE cell = ?",
            "prompt root": "UPDATE prompt SET root = zeroblob(32) WHERE cell = ? AND prompt = 0",
            "cell root": "UPDATE cell SET root = zeroblob(32) WHERE id = ?",
            "a row less": "DELETE FROM token WHERE cell = ? AND prompt = 1",
        }
        self.bless()
        self.assertEqual(self.check()[0], 0)
        for what, sql in damages.items():
            with self.subTest(what):
                # Of two executions under one key the newer one is found.
                ids = [row[0] for row in self.database(
                    "SELECT max(id) FROM cell WHERE source IS NULL AND status = 'ok' GROUP BY key"
                    " ORDER BY key LIMIT 2")]
                self.assertEqual(len(ids), 2)
                with sqlite3.connect(self.folder / ".isobit" / "isobit.db") as db:
                    for cell in ids:
                        db.execute(sql, (cell,))
                code, report = self.check()
                self.assertEqual((code, self.verdicts(report)), (0, ["PASS"]), report)
                self.assertEqual((report["cells_executed"], report["cells_cached"]),
                                 (2, CELLS - 2))
                note = [n for n in report["notes"] if "damaged" in n]
                self.assertEqual(len(note), 1, report["notes"])
                self.assertTrue(note[0].startswith(
                    "2 stored cells were damaged and were executed again: "), note)
                for cell in ids:
                    name = self.database(f"SELECT name FROM cell WHERE id = {cell}")[0][0]
                    self.assertIn(name, note[0])
                code, report = self.check()
                self.assertEqual((code, report["cells_executed"], report["cells_cached"]),
                                 (0, 0, CELLS))
                self.assertEqual([n for n in report["notes"] if "damaged" in n], [])

    def test_show_and_diff_name_damage(self):
        for _ in range(2):
            self.check("--fresh")
        name, cell = self.database("SELECT name, id FROM cell WHERE run = 1 ORDER BY id")[0]
        self.assertEqual(self.isobit("show", f"1:{name}").returncode, 0)
        with sqlite3.connect(self.folder / ".isobit" / "isobit.db") as db:
            db.execute("UPDATE token SET digest = zeroblob(16) WHERE cell = ? AND prompt = 0",
                       (cell,))
            db.execute("UPDATE prompt SET root = zeroblob(32) WHERE cell = ? AND prompt = 0",
                       (cell,))
        shown = self.isobit("show", f"1:{name}")
        self.assertEqual(shown.returncode, 1, shown.stdout + shown.stderr)
        self.assertIn("do not give its root", shown.stderr)
        compared = self.isobit("diff", "1", "2")
        self.assertEqual(compared.returncode, 1, compared.stdout + compared.stderr)
        self.assertIn("what run 1 stored of", compared.stderr)
        self.assertNotIn("what run 2 stored of", compared.stderr)


if __name__ == "__main__":
    if not ISOBIT or not os.access(ISOBIT, os.X_OK):
        print("skipped: ISOBIT does not name the built program")
        sys.exit(77)
    unittest.main(verbosity=1)
