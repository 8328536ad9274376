"""Twins of cuBLAS on an H200, judged by what was recorded there; books that are changed, incomplete
or broken; and `isobit probe` on engines that are here."""
import re
import unittest

from twin_case import ROOT, TwinCase


class Case(TwinCase):
    scenario = ROOT / "scenarios" / "twin-h200.yaml"
    book = "h200-cublas.book"


class Recorded(Case):
    def test_every_digest_with_the_cache_on(self):
        """Batch 1 and 8, three precisions, two libraries: 96 tokens of eight prompts each."""
        code, report = self.check("engine=twin and cache=on")
        self.assertEqual(code, 0, report["counts"])
        self.assertEqual(report["counts"]["PASS"], 12)
        self.assertGreaterEqual(report["tokens_compared"], 12 * 8 * 96)

    def test_every_digest_with_the_cache_off(self):
        """One prompt: its products have up to 132 rows, other ones in each step. In fp32 the
        order changes with them."""
        code, report = self.check("engine=twin and cache=off and batch=1 and precision=fp32",
                                  "--set", "prompts.take=1")
        self.assertEqual(code, 0, report["counts"])
        self.assertEqual(report["counts"]["PASS"], 2)


    def test_every_digest_of_8_bit_products_and_of_rounded_operands(self):
        for name in ("twin-h200-fp8.yaml", "twin-h200-tf32.yaml"):
            code, report = self.check("engine=twin and cache=on",
                                      scenario=ROOT / "scenarios" / name)
            self.assertEqual(code, 0, report["counts"])
            self.assertEqual(report["counts"]["PASS"], 2)
            self.assertGreaterEqual(report["tokens_compared"], 2 * 8 * 96)


class Changed(Case):
    """A copy of the scenario beside a book that is not what was proved."""

    def changed(self, edit):
        path = self.copy_with_book(edit)
        path.write_text(re.sub(r".*h200-cublaslt.book.*\n", "", path.read_text()))
        return path

    def verdicts(self, edit, precisions="precision!=fp16"):
        scenario = self.changed(edit)
        _, report = self.check("engine=twin and cache=on and " + precisions, scenario=scenario)
        cells = {}
        for cell in report["cells"]:
            axes = cell["axes"]
            cells[axes["precision"], str(axes["batch"])] = (cell["verdict"], cell["reason"])
        return cells

    def test_another_split_alters_the_cells_that_use_the_shape(self):
        # The down projection of one row, 256 x 512: batch 1 alone has it while it decodes.
        def edit(text):
            changed, count = re.subn(r"(?m)^fp32 256 512 1 \S+ ", "fp32 256 512 1 fma ", text)
            self.assertEqual(count, 1)
            return changed
        cells = self.verdicts(edit)
        wrong = {key for key, (verdict, _) in cells.items() if verdict != "PASS"}
        self.assertEqual(wrong, {("fp32", "1")}, cells)
        self.assertEqual(cells["fp32", "1"][0], "DIFF")

    def test_a_shape_that_no_cell_uses_alters_nothing(self):
        def edit(text):
            changed, count = re.subn(r"(?m)^(fp32 8192 8192 1 )\S+ ", r"\1fma ", text)
            self.assertEqual(count, 1)
            return changed
        cells = self.verdicts(edit, "precision=fp32")
        self.assertEqual([verdict for verdict, _ in cells.values()], ["PASS", "PASS"])

    def test_a_product_that_the_book_lacks_is_refused_by_name(self):
        cells = self.verdicts(lambda text: re.sub(r"(?m)^bf16 4096 256 .*\n", "", text))
        for (precision, _), (verdict, reason) in cells.items():
            if precision != "bf16":
                self.assertEqual(verdict, "PASS")
                continue
            self.assertNotEqual(verdict, "PASS")
            self.assertIn("has no line for bf16, outputs 4096, inputs 256, rows ", reason)

    def test_a_broken_book_is_an_error_with_its_place(self):
        for edit, says in ((lambda text: text.replace("fma", "fna", 1), "book:8: "),
                           (lambda text: "", "has no line"),
                           (lambda text: text.replace("key engine", "key machine"), "key engine")):
            scenario = self.changed(edit)
            result = self.run_program("check", str(scenario), "--db", "t.db", "-k",
                                      "engine=twin")
            self.assertEqual(result.returncode, 2, result.stdout)
            self.assertIn(says, result.stderr)


class Probe(Case):
    def probe(self, *words):
        return self.run_program("probe", "gemm", *words)

    def test_finds_what_a_twin_computes(self):
        (self.folder / "a.book").write_text(
            "isobit products 1\nkey engine cublas\nkey device cuda\n"
            "fp32 40 300 3 fma+deal:8+lanes:5+meet:paired proved 1 1\n")
        words = ("--engine", "twin:a.book", "--precision", "fp32", "--shape", "40,300,3",
                 "--book", "b.book", "--capture", "c.txt")
        result = self.probe(*words)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("1 of 1 lines proved: 2 calls reproduced, 136 results", result.stdout)
        book = (self.folder / "b.book").read_text()
        self.assertIn("\nfp32 40 300 3 fma+deal:8+lanes:5+meet:paired proved 2 136\n", book)
        self.assertIn("key engine twin:a.book\n", book)
        # What a capture holds is not run again, and is searched without the engine.
        size = (self.folder / "c.txt").stat().st_size
        again = self.probe(*words)
        self.assertEqual(again.stdout, result.stdout)
        self.assertEqual((self.folder / "c.txt").stat().st_size, size)
        self.assertEqual(self.probe("--from", "c.txt").stdout, result.stdout)

    def test_a_product_that_is_named_twice_has_the_rows_of_both(self):
        result = self.probe("--engine", "model:sm90", "--precision", "bf16", "--shape", "40,48,2",
                            "--shape", "40,48,5,2")
        self.assertEqual(result.returncode, 0, result.stderr)
        # Below 64 columns the model has one segment: one chain, as a library's.
        self.assertIn("2 of 2 lines proved: 4 calls reproduced", result.stdout)

    def test_masks_reveal_what_is_no_librarys_order(self):
        result = self.probe("--engine", "reference", "--precision", "fp32", "--shape", "40,100,3")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("0 of 1 lines proved", result.stdout)
        self.assertIn("masks: fp32 40 x 100, 3 rows: 0 1 .. 11 (12 13 .. 24)", result.stdout)

    def test_says_what_is_wrong(self):
        for words, says in (
                (("--engine", "cublass", "--shape", "8,8"), "did you mean"),
                (("--shape", "8",), "a shape is N K"),
                (("--engine", "reference"), "which products"),
                (("--engine", "reference", "--precision", "bf61", "--shape", "8,8"),
                 'did you mean "bf16"?'),
                (("--from", "missing.txt"), "missing.txt"),
                (("--engine", "reference", "--shapes", "missing.txt"), "missing.txt")):
            result = self.probe(*words)
            self.assertEqual(result.returncode, 2, (words, result.stdout))
            self.assertIn(says, result.stderr)
            self.assertEqual(result.stdout, "")

    def test_a_capture_of_another_engine_is_not_continued(self):
        common = ("--precision", "fp32", "--capture", "c.txt")
        self.assertEqual(self.probe("--engine", "reference", "--shape", "8,8,1",
                                    *common).returncode, 0)
        before = (self.folder / "c.txt").read_bytes()
        result = self.probe("--engine", "model:sm90", "--precision", "bf16", "--shape", "8,8,1",
                            "--capture", "c.txt")
        self.assertEqual(result.returncode, 2)
        self.assertIn("another engine", result.stderr)
        self.assertEqual((self.folder / "c.txt").read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
