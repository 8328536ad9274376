"""kill -9 at random points. Of `isobit run`: nothing finished is lost, no half cell, and the
resumed run ends with the rows of an undisturbed one. Of `isobit bless`: the golden file is the old
one or the new one, to the byte, no event stands for a block that is not there, and the next
blessing works.

ISOBIT_KILLS: how many points of each (default 10 and 4; 200 by hand)
ISOBIT_SEED: their seed (default 1, printed)
"""
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

ISOBIT = os.environ.get("ISOBIT", "")
KILLS = int(os.environ.get("ISOBIT_KILLS", "10"))
BLESS_KILLS = int(os.environ.get("ISOBIT_KILLS", "4"))
SEED = int(os.environ.get("ISOBIT_SEED", "1"))

SCENARIO = """version: 1
name: kill
question: Does a killed run lose or invent a row?
model: model
prompts: {file: prompts.jsonl, take: 2}
decode: {strategy: greedy, max_new_tokens: 8, ignore_eos: true}
observe: layers
axes: {precision: [fp32, bf16], batch: [1, 3], cache: [on, off, {chunked: 17}], threads: [1, 2]}
expect: [{same_bits: {across: [batch, cache, threads]}}]
"""
CELLS = 24

# Everything of a run that is no time, number or date.
ROWS = {
    "cells": """SELECT c.name, c.hash, c.class_hash, c.axes, hex(c.key), hex(c.root), c.status,
                       c.level, c.verdict, c.attempt, c.state
                FROM cell c WHERE c.run = ? ORDER BY c.name""",
    "prompts": """SELECT c.name, p.prompt, p.id, hex(p.tokens_digest), p.token_count,
                         hex(p.root), p.ended
                  FROM cell c JOIN prompt p ON p.cell = coalesce(c.source, c.id)
                  WHERE c.run = ? ORDER BY c.name, p.prompt""",
    "tokens": """SELECT c.name, t.prompt, t.position, t.id, t.fed, hex(t.digest), t.margin,
                        hex(t.top)
                 FROM cell c JOIN token t ON t.cell = coalesce(c.source, c.id)
                 WHERE c.run = ? ORDER BY c.name, t.prompt, t.position""",
    "observations": """SELECT c.name, o.prompt, o.position, hex(o.root), hex(o.digests)
                       FROM cell c JOIN observation o ON o.cell = coalesce(c.source, c.id)
                       WHERE c.run = ? ORDER BY c.name, o.prompt, o.position""",
}


def rows_of_last_run(database):
    db = sqlite3.connect(database)
    run = db.execute("SELECT max(id) FROM run").fetchone()[0]
    rows = {name: db.execute(sql, (run,)).fetchall() for name, sql in ROWS.items()}
    db.close()
    return rows


def half_cells(db):
    """Finished cells without their rows, pending ones with some."""
    return db.execute("""
        SELECT count(*) FROM cell c WHERE c.source IS NULL AND (
          (c.state = 'done' AND (SELECT count(*) FROM token t WHERE t.cell = c.id) <>
             (SELECT coalesce(sum(p.token_count), -1) FROM prompt p WHERE p.cell = c.id)) OR
          (c.state = 'pending' AND EXISTS (SELECT 1 FROM prompt p WHERE p.cell = c.id)))
        """).fetchone()[0]


def start(folder, database):
    pathlib.Path(database).parent.mkdir(exist_ok=True)
    return subprocess.Popen([ISOBIT, "run", "kill.yaml", "--db", str(database), "--quiet"],
                            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def wait_for(process, database, cells):
    """Until a run has finished so many cells, or has ended: a loaded machine does not matter."""
    while process.poll() is None and cells > 0:
        try:
            db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
            done = db.execute("SELECT count(*) FROM cell WHERE state = 'done'").fetchone()[0]
            db.close()
            if done >= cells:
                return
        except sqlite3.OperationalError:
            pass  # not there yet
        time.sleep(0.001)


def one_kill(folder, number, cells, after, expected):
    """Kills a run some time after so many cells, resumes it; gives (finished cells, problem)."""
    database = folder / f"db-{number}" / "isobit.db"
    process = start(folder, database)
    wait_for(process, database, cells)
    time.sleep(after)
    process.kill()
    finish(process)
    finished = 0
    if database.exists():
        db = sqlite3.connect(database)
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        if "cell" in tables:
            finished = db.execute("SELECT count(*) FROM cell WHERE state = 'done'").fetchone()[0]
            if half_cells(db) != 0:
                return finished, "a half cell after the kill"
        db.close()
    code, text = finish(start(folder, database))
    if code not in (0, 5):  # 5: no golden
        return finished, f"the resumed run ended with {code}: {text}"
    if rows_of_last_run(database) != expected:
        return finished, "the resumed run's rows differ from an undisturbed run's"
    db = sqlite3.connect(database)
    run = db.execute("SELECT max(id) FROM run").fetchone()[0]
    reused = db.execute("SELECT count(*) FROM cell WHERE run = ? AND source IS NOT NULL",
                        (run,)).fetchone()[0]
    broken = db.execute("PRAGMA integrity_check").fetchone()[0]
    halves = half_cells(db)
    db.close()
    shutil.rmtree(database.parent)
    if reused != finished:
        return finished, f"{finished} cells were finished, {reused} were taken from the store"
    if broken != "ok" or halves != 0:
        return finished, f"integrity {broken}, {halves} half cells after the resume"
    return finished, ""


def bless(folder, where):
    return subprocess.Popen([ISOBIT, "bless", "kill.yaml", "--db", str(where / "isobit.db"),
                             "--golden", str(where / "golden"), "--by", "x", "--reason", "new"],
                            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def events_without_a_line(where):
    """Golden events of the database that the golden file's ledger does not have."""
    if not (where / "isobit.db").exists():
        return 0
    db = sqlite3.connect(where / "isobit.db")
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    events = db.execute("SELECT block_hash, parent_hash FROM golden_event").fetchall() \
        if "golden_event" in tables else []
    db.close()
    ledger = (where / "golden/kill.golden").read_text()
    return sum(f" {block} {parent} " not in ledger for block, parent in events)


def one_killed_blessing(folder, number, after, old, new):
    """Kills a blessing that would replace `old`; gives (whether it had written, problem)."""
    where = folder / f"bless-{number}"
    (where / "golden").mkdir(parents=True)
    golden = where / "golden/kill.golden"
    golden.write_bytes(old)
    process = bless(folder, where)
    time.sleep(after)
    process.kill()
    finish(process)
    left = golden.read_bytes()
    if left not in (old, new):
        return False, "the golden file is neither the old nor the new one"
    if events_without_a_line(where) != 0:
        return False, "an event stands for a block that is not there"
    code, text = finish(bless(folder, where))
    if code != 0:
        return left == new, f"the next blessing ended with {code}: {text}"
    if golden.read_bytes() != new:
        return left == new, "the next blessing gave another file"
    shutil.rmtree(where)
    return left == new, ""


def kill_blessings(folder):
    """Blessings of nine tokens over goldens of eight; gives what went wrong, or nothing."""
    def blessed(where, scenario, old=b""):
        (folder / "kill.yaml").write_text(scenario)
        (where / "golden").mkdir(parents=True)
        if old:
            (where / "golden/kill.golden").write_bytes(old)
        code, text = finish(bless(folder, where))
        assert code == 0, text
        return (where / "golden/kill.golden").read_bytes()
    old = blessed(folder / "old", SCENARIO)
    begin = time.monotonic()
    new = blessed(folder / "new", SCENARIO.replace("max_new_tokens: 8", "max_new_tokens: 9"), old)
    seconds = time.monotonic() - begin
    assert old != new
    written = 0
    for number in range(BLESS_KILLS):
        # Half of them near the end, where the file is written.
        after = seconds * random.choice([random.uniform(0, 1), random.uniform(0.9, 1.1)])
        was_written, problem = one_killed_blessing(folder, number, after, old, new)
        written += was_written
        if problem:
            return f"FAIL: seed {SEED}, killed blessing {number}: {problem}"
    print(f"{BLESS_KILLS} killed blessings: {written} had written the new file, the others left "
          "the old one; every next one gave the new file")
    return ""


def main():
    if not ISOBIT or not os.access(ISOBIT, os.X_OK):
        print("skipped: ISOBIT does not name the built program")
        return 77
    folder = pathlib.Path(tempfile.mkdtemp(prefix="isobit-kill-"))
    try:
        made = subprocess.run([ISOBIT, "selftest", "one-cell-left", "--work", str(folder)],
                              capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        (folder / "kill.yaml").write_text(SCENARIO)
        begin = time.monotonic()
        code, text = finish(start(folder, folder / "whole" / "isobit.db"))
        seconds = time.monotonic() - begin
        assert code in (0, 5), text
        expected = rows_of_last_run(folder / "whole" / "isobit.db")
        assert len(expected["cells"]) == CELLS and len(expected["tokens"]) == CELLS * 16, \
            {name: len(rows) for name, rows in expected.items()}
        random.seed(SEED)
        reached = []
        for number in range(KILLS):
            cells = random.randrange(CELLS)
            after = random.uniform(0, 2 * seconds / CELLS)
            finished, problem = one_kill(folder, number, cells, after, expected)
            reached.append(finished)
            if problem:
                print(f"FAIL: seed {SEED}, kill {number}, {finished} cells finished: {problem}")
                return 1
        inside = sum(0 < n < CELLS for n in reached)
        print(f"{KILLS} kills (seed {SEED}): every resume gave the undisturbed rows; {inside} "
              f"kills left some of {CELLS} cells finished, {reached.count(0)} none, "
              f"{reached.count(CELLS)} all")
        problem = kill_blessings(folder)
        if problem:
            print(problem)
        return 1 if problem else 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
