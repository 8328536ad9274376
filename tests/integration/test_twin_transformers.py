"""The twin of transformers on an H200, judged by what was recorded; changed books; refusals."""
import re
import unittest

from twin_case import ROOT, TwinCase


class Case(TwinCase):
    scenario = ROOT / "scenarios" / "twin-transformers.yaml"
    book = "h200-transformers.book"


class Recorded(Case):
    def test_every_digest_with_the_cache_on(self):
        """Batch 1 and 8, bf16 and fp16: 96 tokens of eight prompts each."""
        code, report = self.check("engine=twin and cache=on")
        self.assertEqual(code, 0, report["counts"])
        self.assertEqual(report["counts"]["PASS"], 4)
        self.assertGreaterEqual(report["tokens_compared"], 4 * 8 * 96)

    def test_a_prompt_with_the_cache_off(self):
        code, report = self.check("engine=twin and batch=1", "--set", "prompts.take=1")
        self.assertEqual(code, 0, report["counts"])
        self.assertEqual(report["counts"]["PASS"], 4)

    def test_the_engine_itself_runs_only_where_that_is_allowed(self):
        result = self.run_program("check", str(self.scenario), "--db", "t.db", "-k", "engine=exec")
        self.assertEqual(result.returncode, 2, result.stdout)
        self.assertIn("--allow-external", result.stderr)


class Changed(Case):
    """A copy of the scenario beside a book that is not what was proved."""

    def verdicts(self, edit, cells="precision=fp16"):
        path = self.copy_with_book(edit)
        _, report = self.check("engine=twin and cache=on and " + cells, scenario=path)
        return {str(cell["axes"]["batch"]): (cell["verdict"], cell["reason"])
                for cell in report["cells"]}

    def changed(self, pattern, to):
        def edit(text):
            out, count = re.subn(pattern, to, text)
            self.assertGreater(count, 0, pattern)
            return out
        return edit

    def test_another_kernel_of_decoding_is_seen(self):
        for kernel in ("cudnn:sm90", "efficient", "cudnn:sm80:32"):
            found = self.verdicts(self.changed(r"cudnn:sm80:64", kernel))
            self.assertEqual({v for v, _ in found.values()}, {"DIFF"}, (kernel, found))

    def test_another_kernel_of_the_prompt_is_seen(self):
        found = self.verdicts(self.changed(r"cudnn:sm90", "efficient"))
        self.assertEqual({v for v, _ in found.values()}, {"DIFF"}, found)

    def test_a_split_product_is_seen(self):
        found = self.verdicts(self.changed(r"(?m)^(fp16 256 512 \S+) sm90 ", r"\1 sm90+slice:256 "))
        self.assertEqual({v for v, _ in found.values()}, {"DIFF"}, found)

    def test_a_call_that_the_book_lacks_is_refused_by_name(self):
        found = self.verdicts(self.changed(r"(?m)^attention fp16 8:2 64 left .*\n", ""))
        self.assertEqual(found["1"][0], "MISTRUSTED", found)  # alone in its group
        self.assertEqual(found["8"][0], "FAIL")
        self.assertIn("has no line for attention of fp16, heads 8:2, width 64, mask left, batch 8",
                      found["8"][1])

    def test_another_version_has_no_golden(self):
        found = self.verdicts(self.changed(r"(?m)^(key variant .*torch) \S+", r"\1 2.12.0,"))
        for verdict, reason in found.values():
            self.assertNotIn(verdict, ("PASS", "DIFF"), reason)


class Refused(Case):
    def test_what_transformers_does_not_compute_is_skipped_or_told(self):
        for change in ("prompts.take=7", "decode.ignore_eos=false"):
            _, report = self.check("engine=twin and cache=on and batch=8", "--set", change)
            self.assertEqual(len(report["cells"]), 2)
            for cell in report["cells"]:
                self.assertEqual(cell["verdict"], "SKIP", cell)
                self.assertIn("needs full batches", cell["reason"])


if __name__ == "__main__":
    unittest.main()
