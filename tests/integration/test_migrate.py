"""`isobit migrate`: two schedule books, the products that change between them and the bits of a
tiny model that do; forecasts of `isobit probe gemm --forecast`; what is wrong with books."""
import json
import unittest

import tiny_project

HEAD = "isobit products 1\nkey engine cublas\nkey device cuda\nkey variant A\n"
SHAPES = ((64, 64), (128, 64), (64, 128))
SCENARIO = """version: 1
name: move
question: What will another GPU change?
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 6, ignore_eos: true, teacher_forced: true}
axes:
  engine: [cublas]
  device: [cuda]
  precision: [fp32, bf16]
  batch: [1, 3]
include:
  - {engine: reference, device: cpu, precision: fp32, batch: 1}
expect:
  - same_bits: {across: [batch]}
"""


def book(orders, rows="1..4096"):
    """Lines of every product: orders by precision, or by (precision, outputs, inputs)."""
    lines = []
    for precision in ("fp32", "bf16"):
        for n, k in SHAPES:
            order = orders.get((precision, n, k), orders[precision])
            lines.append(f"{precision} {n} {k} {rows} {order}\n")
    return HEAD + "".join(lines)


PLAIN = {"fp32": "fma proved 2 136", "bf16": "sm90 proved 2 136"}


class Migrate(tiny_project.Case):
    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)
        (self.folder / "move.yaml").write_text(SCENARIO)
        (self.folder / "a.book").write_text(book(PLAIN))

    def migrate(self, to, *more, code=0, scenario="move.yaml"):
        (self.folder / "b.book").write_text(to)
        return self.isobit("migrate", "--from", "a.book", "--to", "b.book", scenario, *more,
                           code=code)

    def cells(self, to, code):
        told = json.loads(self.migrate(to, "--json", code=code).stdout)
        return told, {cell["cell"]: cell for cell in told["cells"]}

    def test_the_same_orders_change_nothing(self):
        told, cells = self.cells(book(PLAIN), 0)
        self.assertEqual(told["products"], [])
        self.assertEqual(sorted(cells), ["batch=1,precision=bf16", "batch=1,precision=fp32",
                                         "batch=3,precision=bf16", "batch=3,precision=fp32"])
        for cell in cells.values():
            self.assertEqual((cell["differing"], cell["flips"], cell["kl_max"]), (0, 0, 0))
            self.assertGreater(cell["rows"], 0)
            self.assertEqual(cell["root_from"], cell["root_to"])
            self.assertIsNone(cell["first"])
        self.assertIn("no product of the scenario has another order",
                      self.migrate(book(PLAIN)).stdout)

    def test_another_order_of_one_product_is_found_where_it_is(self):
        # The down projection in fp32 alone: 64 outputs over 128 inputs.
        other = book({**PLAIN, ("fp32", 64, 128): "fma+slice:32 forecast"})
        told, cells = self.cells(other, 1)
        self.assertEqual(len(told["products"]), 1)
        change = told["products"][0]
        self.assertEqual((change["product"], change["precision"], change["from_rows"]),
                         ("down", "fp32", 1))
        self.assertEqual((change["order_from"], change["order_to"]), ("fma", "fma+slice:32"))
        self.assertEqual((change["evidence_from"], change["evidence_to"]), ("proved", "forecast"))
        self.assertEqual(change["decode_batches"], [1, 3])
        for name, cell in cells.items():
            differs = "fp32" in name
            self.assertEqual(cell["differing"] > 0, differs, name)
            self.assertEqual(cell["root_from"] != cell["root_to"], differs, name)
            if differs:
                self.assertEqual(cell["first"]["layer_site"], "position 0, layer 0, down")
                self.assertGreater(cell["kl_max"], 0)
                self.assertGreater(cell["flip_rate_bound_95"], 0)
        text = self.migrate(other, code=1).stdout
        self.assertIn("down", text)
        self.assertIn("proved, forecast", text)
        self.assertIn("layer 0, down", text)

    def test_rows_that_change_are_told_with_the_batches_that_have_them(self):
        lines = book(PLAIN).replace("fp32 64 128 1..4096 fma", "fp32 64 128 1..2 fma")
        told, cells = self.cells(lines + "fp32 64 128 3..4096 fma+slice:32 proved 2 136\n", 1)
        self.assertEqual([(one["from_rows"], one["decode_batches"]) for one in told["products"]],
                         [(3, [3])])
        # Prompts are longer than two tokens, so that batch 1 meets the change too.
        self.assertGreater(cells["batch=1,precision=fp32"]["differing"], 0)

    def test_another_notation_of_one_order_is_no_change(self):
        same = {**PLAIN, ("fp32", 64, 128): "fma+deal:8+lanes:300 proved 2 136"}
        (self.folder / "a.book").write_text(
            book({**PLAIN, ("fp32", 64, 128): "fma+slice:8 proved 2 136"}))
        told, _ = self.cells(book(same), 0)
        self.assertEqual(told["products"], [])

    def test_a_product_that_a_book_lacks_is_said(self):
        told, cells = self.cells(book(PLAIN).replace("bf16 64 128", "bf16 65 128"), 1)
        self.assertEqual([(one["product"], one["order_to"]) for one in told["products"]],
                         [("down", "unknown")])
        self.assertIn("has no line for bf16, outputs 64, inputs 128",
                      cells["batch=1,precision=bf16"]["problem"])
        self.assertEqual(cells["batch=1,precision=fp32"]["problem"], "")
        text = self.migrate(book(PLAIN).replace("bf16 64 128", "bf16 65 128"), code=1).stdout
        self.assertIn("no forecast of 1 cell: book b has no line for bf16, outputs 64, inputs 128",
                      text)

    def test_says_what_is_wrong(self):
        (self.folder / "c.book").write_text(book(PLAIN).replace("fma", "fma+slice:8"))
        (self.folder / "zip.yaml").write_text(SCENARIO.replace(
            "axes:\n  engine: [cublas]\n  device: [cuda]\n",
            "zip: [{engine: [cublas, cublaslt], threads: [1, 2]}]\naxes:\n  device: [cuda]\n"))
        (self.folder / "shapes.jsonl").write_text('{"id": "a", "width": 17}\n')
        (self.folder / "op.yaml").write_text(
            "version: 1\nname: op\nmodel: {op: softmax, shapes: shapes.jsonl}\n"
            "axes: {precision: [fp32], rows: [1, 2]}\nexpect: [{same_bits: {across: [rows]}}]\n")
        for words, says in (
                (("migrate", "--from", "a.book", "move.yaml"), "--to"),
                (("migrate", "--from", "missing.book", "--to", "a.book", "move.yaml"),
                 "missing.book"),
                (("migrate", "--from", "a.book", "--to", "move.yaml", "move.yaml"), "move.yaml:1"),
                (("migrate", "--from", "a.book", "--to", "c.book", "missing.yaml"),
                 "missing.yaml"),
                (("migrate", "--from", "a.book", "--to", "c.book", "op.yaml"), "one operation"),
                (("migrate", "--from", "a.book", "--to", "a.book", "move.yaml"), 
                 "that --from names"),
                (("migrate", "--from", "a.book", "--to", "c.book", "zip.yaml"), "is in a zip"),
                (("migrate", "--from", "a.book", "--to", "c.book", "move.yaml", "--set", "name=[]"),
                 '"name" is missing'),
                (("migrate", "--from", "a.book", "--to", "a.book"), "SCENARIO")):
            result = self.isobit(*words, code=2)
            self.assertIn(says, result.stderr, words)
            self.assertEqual(result.stdout, "")


class Forecast(tiny_project.Case):
    """A capture as `probe gemm` writes it where a library says what it would start."""
    CHOICE = ("cutlass_80_simt_sgemm_64x64_8x5_tn_align1 b128 z4 + splitKreduce_kernel b32 ; "
              "20 split_k 4")

    def capture(self, calls=""):
        (self.folder / "c.txt").write_text(
            "isobit capture 1\nfact device cuda\nfact engine cublas\nmatrix fp32 40 200\n"
            f"choice 1 8 {self.CHOICE}\nchoice 9 9 unheard_of_kernel b32\n{calls}"
            f"end {calls.count('call')}\n")

    def test_what_was_asked_alone_is_forecast(self):
        self.capture()
        refused = self.isobit("probe", "gemm", "--from", "c.txt", code=2)
        self.assertIn("--chip", refused.stderr)  # whose tensor core, the capture does not say
        result = self.isobit("probe", "gemm", "--from", "c.txt", "--book", "f.book", "--chip",
                             "sm90")
        self.assertIn("fp32 40 200 1..8 fma+slice:52 forecast\n",
                      (self.folder / "f.book").read_text())
        self.assertIn("; 1 forecast", result.stdout)
        self.assertIn("1 products have no forecast", result.stderr)

    def test_forecasts_are_judged_by_calls(self):
        (self.folder / "t.book").write_text(HEAD + "fp32 40 200 5 fma+slice:52 proved 1 1\n")
        self.isobit("probe", "gemm", "--engine", "twin:t.book", "--precision", "fp32", "--shape",
                    "40,200,5", "--capture", "t.txt")
        calls = "".join(line + "\n" for line in (self.folder / "t.txt").read_text().splitlines()
                        if line.startswith("call"))
        self.capture(calls)
        told = self.isobit("probe", "gemm", "--forecast", "--from", "c.txt", "--chip",
                           "sm90").stdout
        self.assertRegex(told, r"fp32 +cutlass +2 +2 +0 +0 +100\.000")
        last = calls.rstrip("\n")
        wrong = last[:-1] + ("0" if last[-1] != "0" else "1") + "\n"
        self.capture(wrong)
        told = self.isobit("probe", "gemm", "--forecast", "--from", "c.txt", "--chip",
                           "sm90").stdout
        self.assertRegex(told, r"fp32 +all +2 +1 +1 +0 +50\.000")

    def test_an_engine_that_says_nothing_has_no_forecast(self):
        result = self.isobit("probe", "gemm", "--forecast", "--engine", "reference", "--shape",
                             "8,8,2", "--precision", "fp32", "--chip", "sm90", code=2)
        self.assertIn("does not say what it would start", result.stderr)

    def test_a_forecast_draws_nothing(self):
        result = self.isobit("probe", "gemm", "--forecast", "--draws", "3", "--shape", "8,8",
                             code=2)
        self.assertIn("--draws", result.stderr)


if __name__ == "__main__":
    unittest.main()
