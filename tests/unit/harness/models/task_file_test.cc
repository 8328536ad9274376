// Files of task vectors: what is written comes back, and no other bytes are read.
#include "harness/models/task_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>

#include "runtime/base/sha256.h"

namespace isobit::models {
namespace {

using Kind = TaskStore::Kind;

struct Written {
  TaskFile file;
  std::map<std::string, StoredTensor> stored;
  std::string bytes;
};

/// Three tensors, one of them constant; sizes that leave bits over.
Written example(const TaskStore& store, std::size_t tasks) {
  Written out;
  out.file.base_digest = std::string(64, 'a');
  out.file.store = store;
  std::mt19937 draw(3);
  for (std::size_t t = 0; t < tasks; ++t) out.file.tasks.push_back("task" + std::to_string(t));
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> tensors = {
      {"a", {3, 7}}, {"b", {}}, {"c", {5}}};
  for (const auto& [name, shape] : tensors) {
    std::size_t values = 1;
    for (const std::int64_t size : shape) values *= std::size_t(size);
    std::vector<float> pre(values, 0.5F);
    std::vector<std::vector<float>> tuned(tasks, pre);
    for (auto& each : tuned) {
      for (float& value : each) value += name == "c" ? 0.25F : float(draw() % 1000) / 5000.0F;
    }
    auto stored = store_tensor(store, pre, tuned);
    ISOBIT_CHECK(stored.has_value());
    out.stored[name] = std::move(*stored);
    out.file.tensors[name] = {name, shape, values, 0};
  }
  out.bytes = task_file_bytes(out.file, out.stored);
  return out;
}

Result<TaskFile> read(const std::string& bytes) {
  return read_task_file(std::as_bytes(std::span(bytes.data(), bytes.size())), "f.tasks");
}

std::string refused(const std::string& bytes) {
  const auto file = read(bytes);
  return file ? "read" : file.error().text();
}

/// With the digest of what stands before it.
std::string sealed(std::string bytes) {
  const std::size_t end = bytes.size() - sizeof(Sha256);
  const Sha256 digest = sha256(bytes.data(), end);
  std::memcpy(bytes.data() + end, digest.data(), digest.size());
  return bytes;
}

std::string replaced(std::string bytes, const std::string& from, const std::string& to) {
  const std::size_t at = bytes.find(from);
  ISOBIT_CHECK(at != std::string::npos && from.size() == to.size());
  return sealed(bytes.replace(at, from.size(), to));
}

TEST(TaskFile, GivesBackWhatWasWritten) {
  for (const TaskStore& store :
       {TaskStore{Kind::tvq, 1, 0}, TaskStore{Kind::tvq, 3, 0}, TaskStore{Kind::tvq, 8, 0},
        TaskStore{Kind::rtvq, 2, 3}, TaskStore{Kind::rtvq, 7, 5}}) {
    const Written written = example(store, 3);
    const auto file = read(written.bytes);
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(file->base_digest, written.file.base_digest);
    EXPECT_TRUE(file->store == store);
    EXPECT_EQ(file->tasks, written.file.tasks);
    ASSERT_EQ(file->tensors.size(), 3U);
    for (const auto& [name, tensor] : file->tensors) {
      EXPECT_EQ(tensor.shape, written.file.tensors.at(name).shape);
      const StoredTensor back = read_tensor(*file, tensor);
      const StoredTensor& gone = written.stored.at(name);
      ASSERT_EQ(back.base.size(), gone.base.size());
      ASSERT_EQ(back.tasks.size(), gone.tasks.size());
      for (std::size_t t = 0; t < back.tasks.size(); ++t) {
        EXPECT_EQ(back.tasks[t].codes, gone.tasks[t].codes);
        for (std::size_t i = 0; i < tensor.values; ++i) {
          EXPECT_EQ(std::bit_cast<std::uint32_t>(back.vector_at(t, i, 0.5F)),
                    std::bit_cast<std::uint32_t>(gone.vector_at(t, i, 0.5F)));
        }
      }
    }
  }
}

TEST(TaskFile, HasTheSizeThatItsBitsSay) {
  const Written written = example({Kind::rtvq, 2, 3}, 2);
  const std::string& bytes = written.bytes;
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data() + 8, sizeof header);
  // Tensors of 21, 1 and 5 values: ceil(values * bits / 8), and 8 bytes for each grid.
  const std::size_t records = (8 + 8) + 2 * (8 + 6) + (8 + 1) + 2 * (8 + 1) + (8 + 2) + 2 * (8 + 2);
  EXPECT_EQ(bytes.size(), 16 + header + records + 32);
}

TEST(TaskFile, ReadsNothingElse) {
  const std::string good = example({Kind::rtvq, 2, 3}, 2).bytes;
  EXPECT_EQ(refused(good), "read");
  EXPECT_NE(refused("").find("f.tasks: byte 0: no file of task vectors"), std::string::npos);
  EXPECT_NE(refused("X" + good.substr(1)).find("ISOTASK1"), std::string::npos);
  std::string damaged = good;
  damaged[good.size() - 40] = char(damaged[good.size() - 40] ^ 1);
  EXPECT_NE(refused(damaged).find("changed or damaged"), std::string::npos);
  std::string longer = good;
  longer.insert(good.size() - 32, "?");
  EXPECT_NE(refused(sealed(longer)).find("1 bytes behind the last tensor"), std::string::npos);
  std::string shorter = good;
  shorter.erase(good.size() - 34, 2);
  EXPECT_NE(refused(sealed(shorter)).find("is it truncated?"), std::string::npos);
  std::string endless = good;
  endless[15] = '\x7f';
  EXPECT_NE(refused(sealed(endless)).find("byte 8: a header of"), std::string::npos);
  for (std::size_t size = 0; size < good.size(); ++size) {
    ASSERT_NE(refused(good.substr(0, size)), "read") << size;
  }
}

TEST(TaskFile, ChecksItsHeader) {
  const std::string good = example({Kind::rtvq, 2, 3}, 2).bytes;
  const auto with = [&](const std::string& from, const std::string& to) {
    return refused(replaced(good, from, to));
  };
  EXPECT_NE(with("\"store\"", "\"stoer\"").find("unknown key \"stoer\"; did you mean \"store\"?"),
            std::string::npos);
  EXPECT_NE(with("[3,2]", "[9,2]").find("1 to 8 bits"), std::string::npos);
  EXPECT_NE(with("[3,2]", "[0,2]").find("1 to 8 bits"), std::string::npos);
  EXPECT_NE(with("rtvq", "rtvz").find("store must be"), std::string::npos);
  EXPECT_NE(with("task1", "task0").find("different names"), std::string::npos);
  EXPECT_NE(with("task1", "a:b/c").find("different names"), std::string::npos);
  EXPECT_NE(with("aaaa", "aaaX").find("64 hex digits"), std::string::npos);
  EXPECT_NE(with("[3,7]", "[3,0]").find("no size 0"), std::string::npos);
  EXPECT_NE(with("[3,7]", "[9e9]").find("f.tasks: byte"), std::string::npos);
  EXPECT_NE(with("[3,7]", "[3,9]").find("needs"), std::string::npos);
  EXPECT_NE(with("\"c\"", "\"a\"").find("not behind the one before"), std::string::npos);
}

TEST(TaskFile, ChecksItsRecords) {
  const std::string good = example({Kind::tvq, 3, 0}, 1).bytes;
  std::uint64_t header = 0;
  std::memcpy(&header, good.data() + 8, sizeof header);
  const std::size_t first = 16 + header;        // a: 21 values, 8 bytes of codes, 1 bit over
  const std::size_t constant = first + 16 + 9;  // c: 5 values, step 0
  const auto with = [&](std::size_t at, const std::string& bytes) {
    std::string other = good;
    return refused(sealed(other.replace(at, bytes.size(), bytes)));
  };
  EXPECT_NE(with(first, std::string("\0\0\xc0\x7f", 4)).find("not finite"), std::string::npos);
  EXPECT_NE(with(first, std::string("\1\0\0\0", 4)).find("underflows"), std::string::npos);
  EXPECT_NE(with(first + 4, std::string("\0\0\x80\x7f", 4)).find("not finite"), std::string::npos);
  EXPECT_NE(with(first + 4, std::string("\0\0\0\x7f", 4)).find("too small beside"),
            std::string::npos);
  EXPECT_NE(with(first + 15, "\xff").find("bits behind its last code"), std::string::npos);
  EXPECT_NE(with(constant + 8, "\1").find("a step of 0"), std::string::npos);
}

}  // namespace
}  // namespace isobit::models
