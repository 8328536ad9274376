#!/usr/bin/env python3
"""The shipped models: data, prompts, manifests and cards agree. Standard library only.

    python3 tests/integration/test_default_model.py
"""

import json
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "scenarios" / "models"
sys.path.insert(0, str(MODELS))
sys.path.insert(0, str(ROOT / "tests" / "integration" / "default_model"))
import card  # noqa: E402
from data_test import Files, Samples, Split  # noqa: E402,F401  (run here as well)

TRAINED = ("default-7m", "nano-300k")


class Cards(unittest.TestCase):
    def test_manifest_is_of_these_files(self):
        for name in TRAINED:
            facts = json.loads((MODELS / name / "training.json").read_text())
            self.assertEqual(json.loads((MODELS / f"{name}.json").read_text()),
                             card.manifest(name, facts), name)

    def test_card_is_made_from_these_numbers(self):
        for name in TRAINED:
            facts = json.loads((MODELS / name / "training.json").read_text())
            self.assertEqual((MODELS / name / "README.md").read_text(), card.card(name, facts),
                             f"{name}: run scenarios/models/card.py")

    def test_a_missed_check_is_explained(self):
        for name in TRAINED:
            checks = json.loads((MODELS / name / "acceptance.json").read_text())["checks"]
            self.assertIn("language", checks)
            if not all(c["met"] for part in checks.values() for c in part):
                self.assertIn("**Missed", card.notes(MODELS / name), name)


if __name__ == "__main__":
    unittest.main()
