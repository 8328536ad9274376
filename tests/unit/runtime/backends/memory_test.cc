// Memory that runs out on the CPU: an exception that names what was asked for, from any thread of
// the team, and the team goes on.
#include <gtest/gtest.h>

#include "runtime/backends/cpu/thread_pool.h"
#include "runtime/backends/registry.h"

namespace isobit {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAllocatorAborts = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kAllocatorAborts = true;
#else
constexpr bool kAllocatorAborts = false;
#endif
#else
constexpr bool kAllocatorAborts = false;
#endif

TEST(CpuMemory, TooMuchIsOneLineAndLeavesTheBackendUsable) {
  if (kAllocatorAborts) GTEST_SKIP() << "the sanitizer's allocator ends the program by itself";
  auto backend = make_backend({}, mode_of(Precision::fp32));
  ASSERT_TRUE(backend);
  try {
    (*backend)->release((*backend)->allocate(std::size_t(1) << 60));
    FAIL() << "2^60 bytes were had";
  } catch (const OutOfMemory& error) {
    EXPECT_STREQ(error.what(), "device cpu: out of memory: 1099511627776.0 MiB asked");
  }
  void* memory = (*backend)->allocate(64);
  EXPECT_NE(memory, nullptr);
  (*backend)->release(memory);
}

TEST(ThreadPool, WhatAShareThrowsIsThrownOnceAllAreDone) {
  cpu::ThreadPool pool(4);
  for (const int bad : {0, 1, 3}) {
    std::atomic<int> done{0};
    const auto share = [&](int index, int) {
      if (index == bad) throw std::bad_alloc();
      ++done;
    };
    EXPECT_THROW(pool.run(4, share), std::bad_alloc) << bad;
    EXPECT_EQ(done, 3);
    pool.run(4, [&](int, int) { ++done; });
    EXPECT_EQ(done, 7) << "the team goes on, and the failure is not thrown again";
  }
}

}  // namespace
}  // namespace isobit
