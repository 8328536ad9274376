// Energy counters: a made-up powercap folder, and a made-up NVML.
#include "runtime/run/energy.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

class Rapl : public ::testing::Test {
 protected:
  void zone(const std::string& name, const std::string& label, std::int64_t uj) {
    folder_.write(name + "/name", label + "\n");
    folder_.write(name + "/max_energy_range_uj", "262143328850\n");
    set(name, uj);
  }
  void set(const std::string& name, std::int64_t uj) {
    folder_.write(name + "/energy_uj", std::to_string(uj) + "\n");
  }
  fakes::Folder folder_;
};

TEST_F(Rapl, PackagesAreAddedUpAndNothingElse) {
  zone("intel-rapl:0", "package-0", 1'000'000);
  zone("intel-rapl:0:0", "core", 500'000);  // is in its package
  zone("intel-rapl:1", "package-1", 9'000'000);
  zone("intel-rapl:2", "psys", 50'000'000);  // is the machine once more
  zone("dtpm", "package-9", 0);
  const RaplMeter meter(folder_.path());
  set("intel-rapl:0", 1'250'400);
  set("intel-rapl:0:0", 700'000);
  set("intel-rapl:1", 9'001'000);
  set("intel-rapl:2", 60'000'000);
  set("dtpm", 1'000'000);
  EXPECT_EQ(meter.millijoules(), 251);  // 250,400 + 1,000 microjoules
}

TEST_F(Rapl, ACounterThatBeganAgainIsFollowed) {
  zone("intel-rapl:0", "package-0", 262'143'000'000);
  const RaplMeter meter(folder_.path());
  set("intel-rapl:0", 671'149);
  EXPECT_EQ(meter.millijoules(), 1000);  // 328,850 to the top, one to 0, 671,149 more
}

TEST_F(Rapl, WhatCannotBeReadIsNotMeasured) {
  EXPECT_EQ(RaplMeter(folder_.path()).millijoules(), 0);
  EXPECT_EQ(RaplMeter(folder_.file("nowhere")).millijoules(), 0);
  zone("intel-rapl:0", "package-0", 1'000'000);
  zone("intel-rapl:1", "package-1", 1'000'000);
  std::filesystem::remove(folder_.file("intel-rapl:1/energy_uj"));  // root's alone, mostly
  const RaplMeter meter(folder_.path());
  set("intel-rapl:0", 2'000'000);
  EXPECT_EQ(meter.millijoules(), 0) << "one package of two is not the machine";
}

TEST_F(Rapl, ACounterThatGoesAwayIsNotMeasured) {
  zone("intel-rapl:0", "package-0", 1'000'000);
  const RaplMeter meter(folder_.path());
  std::filesystem::remove(folder_.file("intel-rapl:0/energy_uj"));
  EXPECT_EQ(meter.millijoules(), 0);
}

class FakeNvml : public ::testing::Test {
 protected:
  void SetUp() override {
    nvml_ = Nvml::open(ISOBIT_FAKE_NVML);
    ASSERT_NE(nvml_, nullptr);
    library_ = dlopen(ISOBIT_FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
    take_ = reinterpret_cast<Take*>(dlsym(library_, "fake_nvml_take"));
    ASSERT_NE(take_, nullptr);
  }
  void TearDown() override { dlclose(library_); }

  using Take = void(int gpu, unsigned long long mj);
  std::unique_ptr<Nvml> nvml_;
  void* library_ = nullptr;
  Take* take_ = nullptr;
};

TEST_F(FakeNvml, TheGpusThatComputeAreAddedUp) {
  const NvmlMeter both(nvml_.get(), {"GPU-first", "GPU-second"});
  const NvmlMeter one(nvml_.get(), {"GPU-second"});
  EXPECT_EQ(both.millijoules(), 0) << "the counter has not moved";
  take_(0, 1500);
  take_(1, 30);
  EXPECT_EQ(both.millijoules(), 1530);
  EXPECT_EQ(one.millijoules(), 30);
}

TEST_F(FakeNvml, AGpuThatDoesNotSayIsNotMeasured) {
  const NvmlMeter mute(nvml_.get(), {"GPU-first", "GPU-mute"});
  const NvmlMeter stranger(nvml_.get(), {"GPU-third"});
  const NvmlMeter nobody(nvml_.get(), {});
  take_(0, 1500);
  EXPECT_EQ(mute.millijoules(), 0);
  EXPECT_EQ(stranger.millijoules(), 0);
  EXPECT_EQ(nobody.millijoules(), 0);
}

TEST(Nvml, WithoutALibraryNothingIsMeasured) {
  EXPECT_EQ(Nvml::open("/nowhere/libnvidia-ml.so.1"), nullptr);
  EXPECT_EQ(Nvml::open(ISOBIT_FAKE_NCCL), nullptr) << "a library without its calls";
  EXPECT_EQ(NvmlMeter(nullptr, {"GPU-first"}).millijoules(), 0);
}

}  // namespace
}  // namespace isobit
