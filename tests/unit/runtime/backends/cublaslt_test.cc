// cublasLt's half that needs no GPU: a table of fake functions stands for the library. What was
// asked runs or is refused in one line; what ran is what the library says; the record is bounded.
#include <gtest/gtest.h>

#if defined(ISOBIT_HAVE_CUDA)

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "runtime/backends/cuda/device/facts.h"
#include "runtime/backends/cuda/kernels/names.h"
#include "runtime/backends/cuda/vendor/cublaslt.h"
#include "runtime/backends/registry.h"

namespace isobit::cuda {
namespace {

/// The library as these tests want it; every object is counted.
struct Fake {
  int objects = 0;  // created and not destroyed
  int answers = 4;  // of the heuristic
  int heuristic_status = 0, init_status = 0, check_status = 0, matmul_status = 0;
  std::size_t check_workspace = 0;
  bool lies = false;  // configurations come back changed
  int asked = 0, products = 0;
  std::uint32_t search_mode = 9;
  std::uint64_t workspace_limit = 0;
  std::array<std::uint32_t, 9> alignments{};
  std::int64_t rows_of_layout = 0;  // of the last one: layouts come in the order a, b, d
  std::vector<int> types;
  LtAlgorithm ran{};
};
Fake fake;

// data[attribute - 1]: a value in the lower half; the id is in the upper half of data[0].
LtAlgorithm algorithm(std::uint64_t id) {
  LtAlgorithm a{};
  a.data[0] = (id << 32) + 1;  // tile 1
  return a;
}
std::uint64_t id_of(const LtAlgorithm& a) {
  return a.data[0] >> 32;
}
void set_value(LtAlgorithm& a, int attribute, std::uint32_t value) {
  std::uint64_t& word = a.data[attribute - 1];
  word = (word >> 32 << 32) + value;
}

int create_object(LtObject* to) {
  *to = reinterpret_cast<LtObject>(std::uintptr_t(++fake.objects));
  return 0;
}
int destroy_object(LtObject) {
  --fake.objects;
  return 0;
}
std::size_t size_of(int attribute) {
  return attribute == 7 || attribute == 8 ? 2 : 4;
}

void add_algorithms(LtCalls& calls) {
  calls.init = [](LtHandle, int, int, int, int, int, int, int id, LtAlgorithm* out) {
    *out = algorithm(std::uint64_t(id));
    return fake.init_status;
  };
  calls.check = [](LtHandle, LtObject, LtObject, LtObject, LtObject, LtObject, const LtAlgorithm*,
                   LtHeuristic* out) {
    out->workspace = fake.check_workspace;
    return fake.check_status;
  };
  calls.config_set = [](LtAlgorithm* a, int attribute, const void* value, std::size_t bytes) {
    if (bytes != size_of(attribute)) return 7;
    std::uint32_t number = 0;
    std::memcpy(&number, value, bytes);
    set_value(*a, attribute, number);
    return 0;
  };
  calls.config_get = [](const LtAlgorithm* a, int attribute, void* value, std::size_t bytes,
                        std::size_t* written) {
    if (bytes != size_of(attribute)) return 7;
    auto number = std::uint32_t(attribute == kLtConfigId ? id_of(*a) : a->data[attribute - 1]);
    if (fake.lies && attribute == 1) ++number;
    std::memcpy(value, &number, bytes);
    *written = bytes;
    return 0;
  };
  calls.matmul = [](LtHandle, LtObject, const void*, const void*, LtObject, const void*, LtObject,
                    const void*, const void*, LtObject, void*, LtObject, const LtAlgorithm* a,
                    void*, std::size_t workspace, void*) {
    ++fake.products;
    fake.ran = *a;
    return workspace == kVendorWorkspace ? fake.matmul_status : 7;
  };
}

LtCalls fake_calls() {
  LtCalls calls;
  calls.create = [](LtHandle* to) { return create_object(reinterpret_cast<LtObject*>(to)); };
  calls.destroy = [](LtHandle) { return destroy_object(nullptr); };
  calls.version = [] { return std::size_t(130099); };
  calls.operation_create = [](LtObject* to, int, int) { return create_object(to); };
  calls.operation_destroy = destroy_object;
  calls.operation_set = [](LtObject, int, const void*, std::size_t bytes) {
    return bytes == 4 ? 0 : 7;
  };
  calls.layout_create = [](LtObject* to, int type, std::uint64_t, std::uint64_t cols,
                           std::int64_t) {
    fake.types.push_back(type);
    fake.rows_of_layout = std::int64_t(cols);
    return create_object(to);
  };
  calls.layout_destroy = destroy_object;
  calls.preference_create = create_object;
  calls.preference_destroy = destroy_object;
  calls.preference_set = [](LtObject, int attribute, const void* value, std::size_t bytes) {
    if (attribute == kLtMaxWorkspace) std::memcpy(&fake.workspace_limit, value, bytes);
    if (attribute == kLtSearchMode) std::memcpy(&fake.search_mode, value, bytes);
    if (attribute >= kLtAlignmentA) {
      std::memcpy(&fake.alignments[std::size_t(attribute)], value, bytes);
    }
    return 0;
  };
  calls.heuristic = [](LtHandle, LtObject, LtObject, LtObject, LtObject, LtObject, LtObject,
                       int asked, LtHeuristic* out, int* found) {
    fake.asked = asked;
    *found = std::min(asked, fake.answers);
    // As the H100 does: another schedule from 48 rows on.
    const std::uint64_t base = fake.rows_of_layout < 48 ? 60 : 80;
    for (int i = 0; i < *found; ++i) {
      const std::uint64_t limited = fake.search_mode == 1 ? id_of(out[0].algorithm) : base;
      out[i].algorithm = algorithm(fake.search_mode == 1 ? limited : base + std::uint64_t(i));
      out[i].workspace = 128;
    }
    return fake.heuristic_status;
  };
  add_algorithms(calls);
  return calls;
}

LtProduct product(std::int64_t rows, const void* x = nullptr) {
  return {1024, rows, 4096, nullptr, x, 4096, nullptr, 1024};
}

class CublasLt : public ::testing::Test {
 protected:
  void SetUp() override { fake = Fake{}; }
  void TearDown() override { EXPECT_EQ(fake.objects, 0) << "an object of the library is left"; }
  /// Runs `products`; gives what was seen, or the refusal.
  std::string run(const std::string& text, const std::vector<LtProduct>& products) {
    const auto engine = parse_engine(text.empty() ? "cublaslt" : "cublaslt:" + text);
    if (!engine) return engine.error().message;
    try {
      LtProducts lt(calls_, vendor_choice(*engine), {kReal16b, kReal32, kCompute32}, nullptr,
                    nullptr);
      for (const LtProduct& p : products) lt.run(p);
      return lt.seen();
    } catch (const BackendError& error) {
      return std::string("refused: ") + error.what();
    }
  }
  LtCalls calls_ = fake_calls();
};

TEST_F(CublasLt, TheLibraryChoosesAndIsRecorded) {
  const std::string seen = run("", {product(1), product(32), product(48), product(128)});
  EXPECT_EQ(seen.substr(0, seen.find('[')), "4 shapes, 2 schedules: ");
  EXPECT_NE(seen.find("[1] 60 "), std::string::npos) << seen;
  EXPECT_NE(seen.find("; [2] 80 "), std::string::npos) << seen;
  EXPECT_NE(seen.find("; 1024x4096 rows 1-32 [1], 48-128 [2] ("), std::string::npos) << seen;
  EXPECT_NE(seen.find(" workspace 128"), std::string::npos) << seen;
  EXPECT_EQ(fake.asked, 1);
  EXPECT_EQ(fake.search_mode, std::uint32_t(kLtBestFit));
  EXPECT_EQ(fake.workspace_limit, kVendorWorkspace);
  EXPECT_EQ(fake.types[0], kReal16b);
  EXPECT_EQ(fake.types[2], kReal32);
}

TEST_F(CublasLt, AShapeIsChosenOnce) {
  run("", {product(1), product(1), product(1)});
  EXPECT_EQ(fake.products, 3);
  EXPECT_EQ(fake.types.size(), 3U) << "layouts were made again";
}

TEST_F(CublasLt, AnAddressThatIsLessAlignedIsAsked) {
  run("", {product(1, reinterpret_cast<const void*>(0x1010))});
  EXPECT_EQ(fake.alignments[kLtAlignmentA], 256U);
  EXPECT_EQ(fake.alignments[kLtAlignmentB], 16U);
  EXPECT_EQ(fake.alignments[kLtAlignmentC], 256U);
}

TEST_F(CublasLt, AnotherAnswerOfTheHeuristic) {
  const std::string seen = run("heuristic+index:2", {product(1)});
  EXPECT_NE(seen.find("[1] 62 "), std::string::npos) << seen;
  EXPECT_EQ(id_of(fake.ran), 62U);
  EXPECT_EQ(run("heuristic+index:7", {product(1)}),
            "refused: cublasLt, engine cublaslt:heuristic+index:7: the heuristic has 4 answers, "
            "index 7 was asked for outputs 1024, rows 1, inputs 4096");
}

TEST_F(CublasLt, AHeuristicLimitedToAnAlgorithm) {
  const std::string seen = run("heuristic+algorithm:21", {product(1)});
  EXPECT_EQ(fake.search_mode, std::uint32_t(kLtLimitedToAlgorithm));
  EXPECT_NE(seen.find("[1] 21 "), std::string::npos) << seen;
  fake.heuristic_status = 15;
  EXPECT_EQ(run("heuristic+algorithm:21", {product(1)}),
            "refused: cublasLt, engine cublaslt:heuristic+algorithm:21: no heuristic answer of "
            "algorithm 21, status 15 (not supported) for outputs 1024, rows 1, inputs 4096");
}

TEST_F(CublasLt, AnExactConfigurationRunsAtEveryShape) {
  const std::string seen = run("66+cluster:2+split_k:4+tile:20", {product(1), product(128)});
  EXPECT_EQ(seen.substr(0, seen.find(':')), "2 shapes, 1 schedule");
  EXPECT_NE(seen.find("[1] 66 cluster 2 "), std::string::npos) << seen;
  EXPECT_NE(seen.find(" split_k 4 "), std::string::npos) << seen;
  EXPECT_NE(seen.find(" tile 20 "), std::string::npos) << seen;
  EXPECT_EQ(fake.asked, 0) << "the heuristic was asked";
}

TEST_F(CublasLt, WhatTheLibraryRefusesIsNeverReplaced) {
  fake.check_status = 15;
  EXPECT_EQ(run("66+tile:20", {product(8)}),
            "refused: cublasLt, engine cublaslt:66+tile:20: configuration refused with status 15 "
            "(not supported) for outputs 1024, rows 8, inputs 4096");
  EXPECT_EQ(fake.products, 0);
  fake = Fake{};
  fake.init_status = 15;
  EXPECT_EQ(run("99", {product(8)}),
            "refused: cublasLt, engine cublaslt:99: algorithm refused with status 15 (not "
            "supported) for outputs 1024, rows 8, inputs 4096");
  fake = Fake{};
  fake.check_workspace = kVendorWorkspace + 1;
  EXPECT_EQ(run("66", {product(8)}),
            "refused: cublasLt, engine cublaslt:66: configuration needs a workspace of 33554433 "
            "bytes, it gets 33554432 for outputs 1024, rows 8, inputs 4096");
  fake = Fake{};
  fake.lies = true;
  EXPECT_EQ(run("66+tile:20", {product(8)}),
            "refused: cublasLt, engine cublaslt:66+tile:20: tile 21 came for outputs 1024, rows 8, "
            "inputs 4096");
  fake = Fake{};
  fake.matmul_status = 13;
  EXPECT_EQ(run("", {product(8)}),
            "refused: cublasLt, engine cublaslt: the product failed with status 13 (execution "
            "failed) for outputs 1024, rows 8, inputs 4096");
}

TEST(ScheduleRecord, IsBoundedAndDependsOnAllOfIt) {
  ScheduleRecord a, b, c;
  EXPECT_EQ(a.text(), "no product");
  for (std::int64_t m = 1; m <= 500; ++m) {
    for (std::int64_t n = 1; n <= 6; ++n) {
      const std::string schedule = "schedule " + std::to_string(m % 40);
      a.note(n * 64, 64, m, schedule);
      c.note(n * 64, 64, m, m == 499 && n == 6 ? "other" : schedule);
    }
  }
  for (std::int64_t n = 6; n >= 1; --n) {
    for (std::int64_t m = 500; m >= 1; --m) {
      b.note(n * 64, 64, m, "schedule " + std::to_string(m % 40));
    }
  }
  EXPECT_EQ(a.text(), b.text()) << "the order of shapes is seen";
  EXPECT_NE(a.text(), c.text()) << "one shape in 3000 is not seen";
  EXPECT_LT(a.text().size(), 2000U);
  EXPECT_NE(a.text().find("and 28 more schedules"), std::string::npos) << a.text();
}

TEST(KernelNames, LongNamesKeepTheirBeginAndADigest) {
  EXPECT_EQ(short_kernel_name("ampere_sgemm_32x128_tn"), "ampere_sgemm_32x128_tn");
  const std::string name(3000, 'x');
  EXPECT_EQ(short_kernel_name(name).size(), 72U);
  EXPECT_NE(short_kernel_name(name), short_kernel_name(name + "x"));
}

TEST(CudaFacts, EverythingOfAGpuAndItsLibrariesIsThere) {
  const std::string file =
      (std::filesystem::path(::testing::TempDir()) / "libcublas.so.99").string();
  std::ofstream(file) << "abc";
  GpuInfo gpu;
  gpu.name = "NVIDIA H200";
  gpu.uuid = "1234";
  gpu.capability = 90;
  gpu.multiprocessors = 132;
  gpu.facts = "143771 MiB, ECC on, MIG off";
  gpu.clock = "1980 MHz of 1980, memory 3201";
  GpuInfo second = gpu;
  second.index = 1;
  const auto entries =
      environment_entries("driver 580, CUDA 13.0", {gpu, second}, {file, "13.0.2"}, {});
  const std::map<std::string, std::string> want = {
      {"gpu", "NVIDIA H200; NVIDIA H200"},
      {"gpu.driver", "driver 580, CUDA 13.0"},
      {"gpu.clock", "1980 MHz of 1980, memory 3201; 1980 MHz of 1980, memory 3201"},
      {"gpu.0", "NVIDIA H200, GPU-1234, sm_90, 132 SMs, 143771 MiB, ECC on, MIG off"},
      {"gpu.1", "NVIDIA H200, GPU-1234, sm_90, 132 SMs, 143771 MiB, ECC on, MIG off"},
      {"cublas", "13.0.2"},
      {"lib.libcublas.so.99", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}};
  EXPECT_EQ(entries, want);
  std::ofstream(file) << "abcd";  // the same file, changed: no stale digest
  EXPECT_EQ(vendor_sha256(file),
            "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589");
  std::filesystem::remove(file);
  EXPECT_EQ(vendor_sha256(file), "");
}

TEST(CudaMemory, TheLineSaysWhatWasAskedAndWhatWasFree) {
  EXPECT_EQ(
      out_of_memory_text(std::size_t(512) << 20, std::size_t(37) << 20, std::size_t(81559) << 20),
      "device cuda: out of memory: 512.0 MiB asked, 37.0 of 81559.0 MiB free");
  EXPECT_EQ(out_of_memory_text((std::size_t(3) << 20) / 2, 0, 0),
            "device cuda: out of memory: 1.5 MiB asked, 0.0 of 0.0 MiB free");
  const OutOfMemory error(out_of_memory_text(1 << 20, 0, 1 << 21));
  EXPECT_EQ(memory_text(error), error.what());
  EXPECT_EQ(memory_text(std::bad_alloc()), "out of memory");
}

}  // namespace
}  // namespace isobit::cuda

#endif
