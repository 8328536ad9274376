"""The checks find what they are for: a clean tree is green, each seeded fault is red.

Builds a small tree in a temporary folder with a copy of the checks. Exit 77 without a compiler.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Checks(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="isobit-checks-")
        self.addCleanup(shutil.rmtree, self.root)
        skipped = shutil.ignore_patterns("__pycache__", "make_*")
        shutil.copytree(HERE, self.at("ci/checks"), ignore=skipped)

    def at(self, path):
        return os.path.join(self.root, path)

    def run_check(self, name, *arguments):
        done = subprocess.run([sys.executable, self.at(f"ci/checks/{name}.py"), *arguments],
                              capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def compile(self, path, source, *flags, compiler="c++"):
        source_file = self.at("source.cc")
        write(source_file, source)
        target = self.at(f"build/isobit_runtime.dir/{path}.o")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        subprocess.run([compiler, "-O2", "-c", source_file, "-o", target, *flags], check=True)

    def test_arrows(self):
        self.assertEqual(self.run_check("arrows")[0], 1, "nothing was looked at")
        write(self.at("runtime/numerics/a.cc"), '#include "runtime/base/result.h"\n')
        self.assertEqual(self.run_check("arrows")[0], 0)
        for path, include in (("runtime/numerics/b.cc", '"harness/run.h"'),
                              ("runtime/model/b.cc", '"runtime/schedule/batcher.h"'),
                              ("runtime/cache/policies/b.cc", '"runtime/cache/store.h"'),
                              ("runtime/backends/cpu/b.cc", '"runtime/model/config.h"'),
                              ("golden/b.cc", '"harness/store/store.h"'),
                              ("reports/b.cc", '"harness/judge/judge.h"'),
                              ("harness/judge/b.cc", '"reports/report.h"'),
                              ("harness/execute/b.cc", '"harness/explain/values.h"'),
                              ("harness/scenario/b.cc", '"harness/matrix/matrix.h"'),
                              ("harness/axes/b.cc", '"harness/scenario/scenario.h"'),
                              ("harness/selftest/b.cc", '"harness/cli/cli.h"'),
                              ("harness/attic/b.cc", '"runtime/base/result.h"'),
                              ("harness/judge/b.cc", '"tests/fakes/b.h"'),
                              ("harness/scenario/read.cc", "<yaml-cpp/yaml.h>"),
                              ("golden/b.cc", "<sqlite3.h>"),
                              ("runtime/numerics/b.cc", "<nlohmann/json.hpp>"),
                              ("runtime/trace.cc", "<openssl/evp.h>")):
            write(self.at(path), f"#include {include}\n")
            code, text = self.run_check("arrows")
            self.assertEqual(code, 1, include)
            self.assertIn(f"{path}:1: ", text)
            os.remove(self.at(path))
        self.assertEqual(self.run_check("arrows")[0], 0)
        write(self.at("CMakeLists.txt"), "")  # now it is the whole tree, and most rooms are empty
        code, text = self.run_check("arrows")
        self.assertEqual(code, 1)
        self.assertIn("room harness/judge holds no file", text)
        self.assertIn("harness/store/sqlite.cc includes no <sqlite3.h>", text)

    def test_lengths(self):
        body = "void f() {\n" + "  g();\n" * 68 + "}\n"
        write(self.at("harness/a.cc"), body)
        code, text = self.run_check("lengths")
        self.assertEqual(code, 0, text)
        for text in (body.replace("}\n", "  g();\n}\n"), "// " + "x" * 98 + "\n", "\n" * 501,
                     "class C {\n  void f() {\n" + "    g();\n" * 70 + "  }\n};\n",
                     "void f(int a,\n       int b) {\n" + "  g();\n" * 69 + "}\n"):
            write(self.at("harness/b.cc"), text)
            self.assertEqual(self.run_check("lengths")[0], 1, text[:60])

    def test_machine_code(self):
        build = self.at("build")
        self.assertEqual(self.run_check("machine_code", build)[0], 1, "nothing was looked at")
        good = "float f(float a, float b) { return __builtin_fmaf(a, b, 1); }\n"
        self.compile("runtime/numerics/good.cc", good, "-march=haswell")
        self.assertEqual(self.run_check("machine_code", build)[0], 0)
        shared = "#include <immintrin.h>\ninline __attribute__((noinline)) __m512 f(__m512 a) {" \
                 " return a + a; }\n__m512 g(__m512 a) { return f(a); }\n"
        for path, source, flags, found in (
                ("runtime/numerics/bad.cc", good, [], "calls fmaf of libm"),
                ("runtime/backends/cpu/bad.cc", "#include <cmath>\n"
                 "float f(float a) { return std::exp(a); }\n", [], "calls expf of libm"),
                ("runtime/numerics/bad.cc", "long double f(long double a) { return a * a; }\n", [],
                 "x87"),
                ("runtime/numerics/bad.cc", "#include <immintrin.h>\n__m256bh f(__m512 a) {"
                 " return _mm512_cvtneps_pbh(a); }\n", ["-mavx512bf16", "-mavx512f"],
                 "bf16 hardware"),
                ("runtime/numerics/bad.cc", "#include <immintrin.h>\n__m128 f(__m128 a) {"
                 " return _mm_rsqrt_ps(a); }\n", [], "approximation"),
                ("runtime/numerics/bad.cc", "#include <immintrin.h>\nvoid f() {"
                 " _mm_setcsr(0x9fc0); }\n", [], "control word written"),
                ("runtime/backends/cpu/bad_avx512.cc", shared, ["-mavx512f"], "shared with")):
            self.expect_found(build, found, path, source, *flags)

    def expect_found(self, build, found, path, source, *flags, **compiler):
        self.compile(path, source, *flags, **compiler)
        code, text = self.run_check("machine_code", build)
        self.assertEqual(code, 1, text)
        self.assertIn(found, text)
        os.remove(self.at(f"build/isobit_runtime.dir/{path}.o"))

    def test_machine_code_of_cuda(self):
        if not (shutil.which("nvcc") and shutil.which("cuobjdump")):
            self.skipTest("no nvcc or cuobjdump")
        multiply = """namespace { __global__ void %s(float* c, const unsigned* a) {
          asm volatile("mma.sync.aligned.%s {%%0, %%1, %%2, %%3}, {%%4, %%4, %%4, %%4}, {%%4, %%4},"
            " {%%0, %%1, %%2, %%3};" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]));
          %s } }
          void start(float* c, unsigned* a) { %s<<<1, 32>>>(c, a); }"""
        bf16 = "m16n8k16.row.col.f32.bf16.bf16.f32"
        for file, kernel, shape, more, found in (
                ("gemm_tensor", "mma_rows_kernel", bf16, "", None),
                ("gemm_tensor", "mma_tile_kernel", bf16, "", None),
                ("gemm_tensor", "literal_kernel", bf16, "", "tensor core"),
                ("gemm_rows", "mma_rows_kernel", bf16, "", "tensor core"),
                ("gemm_tensor", "mma_rows_kernel", "m16n8k8.row.col.f32.tf32.tf32.f32", "",
                 "tensor core"),
                ("gemm_tensor", "mma_rows_kernel", bf16, "c[0] = __expf(c[0]);", "approximation"),
                ("gemm_tensor", "mma_rows_kernel", bf16, "atomicAdd(c, 1.0f);", "float atomic")):
            source, target = self.at(f"{file}.cu"), self.at("kernel.o")
            write(source, multiply % (kernel, shape, more, kernel))
            subprocess.run(["nvcc", "-arch=sm_90", "-c", source, "-o", target], check=True)
            code, text = self.run_check("machine_code_cuda", target)
            self.assertEqual(code, 0 if found is None else 1, text)
            if found is not None:
                self.assertIn(found, text)
                self.assertRegex(text, found + ".*(HMMA|mma|MUFU|RED|ATOM)")

    def test_machine_code_of_aarch64(self):
        cross = "aarch64-linux-gnu-g++"
        if not shutil.which(cross):
            self.skipTest("no " + cross)
        build = self.at("build")
        good = "float f(float a, float b) { return __builtin_fmaf(a, b, 1); }\n"
        write_fpcr = 'void f(unsigned long w) { asm volatile("msr fpcr, %0" : : "r"(w)); }\n'
        self.compile("runtime/numerics/good.cc", good, compiler=cross)
        self.compile("runtime/numerics/probes.cc", write_fpcr, compiler=cross)
        code, text = self.run_check("machine_code", build)
        self.assertEqual(code, 0, text)
        self.assertIn("aarch64: 2 objects", text)
        neon = "#include <arm_neon.h>\n"
        bf16 = "-march=armv8.6-a"
        for source, flags, found in (
                (neon + "float32x4_t f(float32x4_t c, bfloat16x8_t a, bfloat16x8_t b) {"
                 " return vbfdotq_f32(c, a, b); }\n", [bf16], "bf16 hardware: bfdot"),
                (neon + "float32x4_t f(float32x4_t c, bfloat16x8_t a, bfloat16x8_t b) {"
                 " return vbfmmlaq_f32(c, a, b); }\n", [bf16], "bf16 hardware: bfmmla"),
                (neon + "float32x4_t f(float32x4_t c, bfloat16x8_t a, bfloat16x8_t b) {"
                 " return vbfmlalbq_f32(c, a, b); }\n", [bf16], "bf16 hardware: bfmlalb"),
                (neon + "bfloat16x4_t f(float32x4_t a) { return vcvt_bf16_f32(a); }\n", [bf16],
                 "bf16 hardware: bfcvtn"),
                (neon + "float32x4_t f(float32x4_t a) { return vrecpeq_f32(a); }\n", [],
                 "approximation: frecpe"),
                (neon + "float32x4_t f(float32x4_t a) { return vrsqrteq_f32(a); }\n", [],
                 "approximation: frsqrte"),
                ("float f(float a, float b) { return a / __builtin_sqrtf(b); }\n",
                 ["-ffast-math", "-mlow-precision-sqrt"], "approximation: frsqrte"),
                ("#include <cmath>\nfloat f(float a) { return std::exp(a); }\n", [],
                 "calls expf of libm"),
                ("long double f(long double a) { return a * a; }\n", [],
                 "quad precision: calls __multf3"),
                (write_fpcr, [], "control word written")):
            self.expect_found(build, found, "runtime/backends/cpu/bad.cc", source, *flags,
                              compiler=cross)

    def test_tally(self):
        xml = self.at("ctest.xml")
        write(xml, '<testsuite><testcase status="run"/>'
                   '<testcase status="fail"><failure/></testcase>'
                   '<testcase status="notrun"><skipped/></testcase></testsuite>')
        self.assertEqual(self.run_check("tally", xml), (0, "1 1 1\n"))
        write(xml, "<testsuite></testsuite>")
        self.assertEqual(self.run_check("tally", xml)[0], 1)
        self.assertEqual(self.run_check("tally", xml + "x")[0], 1)


if __name__ == "__main__":
    if os.uname().machine != "x86_64" or not shutil.which("c++"):
        sys.exit(77)
    unittest.main()
