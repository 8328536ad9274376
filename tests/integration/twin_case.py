"""A folder, the program in it, and `isobit check` of a twin by what an H200 gave."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", pathlib.Path(__file__).parents[2]))


class TwinCase(unittest.TestCase):
    scenario = None  # of check() where it is given none
    book = None      # the scenario's, among golden/schedules

    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = pathlib.Path(held.name)

    def run_program(self, *words):
        env = dict(os.environ, ISOBIT_MODELS=str(ROOT / "scenarios" / "models"))
        return subprocess.run([os.environ["ISOBIT"], *words], cwd=self.folder, env=env,
                              capture_output=True, text=True, timeout=900, check=False)

    def check(self, filter_text, *more, scenario=None):
        result = self.run_program("check", str(scenario or self.scenario), "--db", "t.db",
                                  "--golden", str(ROOT / "golden"), "--update", "none", "--json",
                                  "-q", "-j", "2", "-k", filter_text, *more)
        self.assertTrue(result.stdout, result.stderr)
        return result.returncode, json.loads(result.stdout)

    def copy_with_book(self, edit):
        """A copy of the scenario beside the edited book."""
        (self.folder / "scenarios").mkdir(exist_ok=True)
        (self.folder / "golden" / "schedules").mkdir(parents=True, exist_ok=True)
        text = (ROOT / "golden" / "schedules" / self.book).read_text()
        (self.folder / "golden" / "schedules" / self.book).write_text(edit(text))
        path = self.folder / "scenarios" / self.scenario.name
        path.write_text(self.scenario.read_text().replace(
            "prompts/", str(ROOT / "scenarios" / "prompts") + "/"))
        return path
