"""GPUs and vendor libraries from outside, on a machine where no GPU is to be seen: one line each,
the exit codes of the interface, what the environment records, what keys a stored result, and the
rule that demands nothing."""
import re
import unittest

import tiny_project


class Gpu(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}  # a machine with a GPU behaves like one without

    def printed(self, *words, **more):
        return self.isobit(*words, **more).stdout

    def scenario(self, name, axes, expect):
        (self.folder / name).write_text(
            tiny_project.SCENARIO.split("axes:")[0].replace("name: tiny", f"name: {name[:-5]}")
            + f"axes: {axes}\nexpect:\n  - {expect}\n")
        return name

    def test_without_a_gpu_every_cell_is_skipped_in_one_line(self):
        engines = "[reference, cublas, {cublaslt: 66, tile: 20}]"
        name = self.scenario("skips.yaml", "{device: [cuda], engine: " + engines + "}",
                             "measure: {across: [engine]}")
        out = self.printed("check", name, code=77)
        lines = [line for line in out.split("\n") if line.lstrip().startswith("SKIP")]
        reasons = [line for line in lines if "cell" in line and ": device cuda: " in line]
        self.assertEqual(len(reasons), 1, out)  # three cells, one reason
        self.assertIn("3 cells", reasons[0])
        self.printed("check", name, "--require", "gpu", code=6)
        self.assertRegex(self.printed("doctor"), "engine reference on cuda: |device cuda: ")

    def test_math_that_a_precision_cannot_have_is_a_reason(self):
        name = self.scenario("math.yaml",
                             "{device: [cuda], engine: [{cublas: default, math: tf32}], "
                             "precision: [bf16, fp32]}", "measure: {across: [precision]}")
        out = self.printed("list", name)
        if "no such device" not in out:
            self.assertIn("SKIP math tf32 of engine cublas needs fp32 operands; precision bf16",
                          out)

    def test_the_environment_has_what_libraries_read(self):
        before = self.folder / "before.json"
        before.write_text(self.printed("env", "--json"))
        variables = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NVIDIA_TF32_OVERRIDE": "0",
                     "CUBLASLT_LOG_LEVEL": "0", "NCCL_ALGO": "Ring"}
        out = self.printed("env", "diff", before, "here", code=1, env=variables)
        for variable, value in variables.items():
            self.assertRegex(out, rf"env\.{variable}\s+-\s+{re.escape(value)}")
        self.assertIn("4 differences", out)

    def test_a_variable_of_a_library_is_in_its_key_alone(self):
        name = self.scenario("key.yaml", "{engine: [reference, openblas], precision: [fp32, bf16]}",
                             "measure: {across: [engine, precision]}")
        if "SKIP" in self.printed("list", name):
            self.skipTest("no OpenBLAS here")
        counts = []
        for value in ("1", "1", "2"):
            out = self.printed("check", name, code=5, env={"OMP_MAX_ACTIVE_LEVELS": value})
            counts.append(re.search(r"\((\d) executed, (\d) cached\)", out).groups())
        self.assertEqual(counts, [("4", "0"), ("0", "4"), ("2", "2")])

    def test_a_measured_group_demands_nothing_and_says_how_far(self):
        name = self.scenario("measured.yaml", "{precision: [fp32, bf16], batch: [1, 3]}",
                             "measure: {across: [precision, batch]}")
        out = self.printed("check", name, code=5)  # no golden yet
        self.assertIn("PASS  measure across precision, batch", out)
        self.assertRegex(out, r"A +batch any precision fp32 +2 cells")
        self.assertIn("against batch 1 precision fp32:", out)
        self.assertIn("batch 3 precision fp32   0 of 20 rows\n", out)
        self.assertRegex(out, r"batch 1 precision bf16   \d+ of \d+ rows in 2 of 2 prompts, first "
                              r"at token 0, \d+ flips?")
        self.assertRegex(out, r"first difference at token 0 \(median \d+\) in 4 of 6 prompts")


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
