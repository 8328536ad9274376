// isobit_trace.py against the digests of this program, on lengths around every border of the hash:
// in plain Python, and through NumPy where that is installed.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <sstream>

#include "runtime/base/process.h"
#include "runtime/numerics/evidence.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

/// Reads "KIND COUNT" and COUNT numbers or bytes, again and again; prints a digest for each.
constexpr const char* kProgram = R"(
import array, os, struct, sys
if sys.argv[3] == "plain":
    sys.modules["numpy"] = None
sys.path.insert(0, sys.argv[1])
import isobit_trace as t
if sys.argv[3] == "numpy" and t.numpy is None:
    sys.exit(77)
with open(sys.argv[2], "rb") as file:
    while True:
        head = file.read(9)
        if not head:
            break
        kind, count = chr(head[0]), struct.unpack("<Q", head[1:])[0]
        if kind == "b":
            print(t.xxh3_128(file.read(count)).hex())
            continue
        row = array.array(kind)
        row.frombytes(file.read(count * row.itemsize))
        print(t.digest_row(row if t.numpy is None else t.numpy.array(row)))
print(t.digest_token(258), t.digest_token(0), t.digest_logprobs(7, -0.5, []))
print(t.digest_logprobs(3, float("nan"), [(3, -1e-300), (258, float("-inf"))]))
)";

class Cases {
 public:
  template <class T>
  void add(char kind, const std::vector<T>& values, const Digest& digest) {
    const std::uint64_t count = values.size();
    bytes_ += kind;
    bytes_.append(reinterpret_cast<const char*>(&count), sizeof count);
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    digests_.push_back(to_hex(digest));
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] const std::vector<std::string>& digests() const { return digests_; }

 private:
  std::string bytes_;
  std::vector<std::string> digests_;
};

template <class T>
void add_row(Cases& cases, char kind, std::size_t count, std::mt19937& draw) {
  std::normal_distribution<T> normal(0, 5);
  std::vector<T> row(count);
  for (T& value : row) value = normal(draw);
  if (count > 2) row[1] = T(-0.0);
  cases.add(kind, row, digest_row(std::span<const T>(row)));
}

Cases all_cases(bool long_rows) {
  std::mt19937 draw(7);
  Cases cases;
  for (std::size_t n = 0; n <= 300; ++n) {
    std::vector<std::uint8_t> bytes(n);
    for (std::uint8_t& byte : bytes) byte = std::uint8_t(draw());
    cases.add('b', bytes, digest_bytes(std::as_bytes(std::span(bytes))));
  }
  for (const std::size_t n :
       std::vector<std::size_t>{1023, 1024, 1025, 1088, 1089, 2048, 2049, 5000}) {
    const std::vector<std::uint8_t> bytes(n, std::uint8_t(n));
    cases.add('b', bytes, digest_bytes(std::as_bytes(std::span(bytes))));
  }
  // Segments of every short length, and on both sides of 240 and 1024 bytes.
  for (const std::size_t n : std::vector<std::size_t>{0, 1, 7, 8, 9, 63, 64, 65, 479, 480, 481, 487,
                                                      493, 2047, 2048, 2055}) {
    add_row<float>(cases, 'f', n, draw);
    add_row<double>(cases, 'd', n, draw);
  }
  if (long_rows) add_row<float>(cases, 'f', 49152, draw);
  if (long_rows) add_row<float>(cases, 'f', 151937, draw);
  return cases;
}

void expect_same(const std::string& how) {
  const fakes::Folder folder;
  const Cases cases = all_cases(how == "numpy");
  const auto done = run_program({"python3", "-c", kProgram, ISOBIT_SOURCE_DIR "/harness/import",
                                 folder.write("cases", cases.bytes()), how},
                                Output::captured);
  if (!done) GTEST_SKIP() << "no python3: " << done.error().text();
  if (done->status == 77) GTEST_SKIP() << "python3 has no NumPy";
  ASSERT_EQ(done->status, 0) << done->err;
  std::istringstream lines(done->out);
  std::string line;
  for (std::size_t i = 0; i < cases.digests().size(); ++i) {
    ASSERT_TRUE(std::getline(lines, line));
    ASSERT_EQ(line, cases.digests()[i]) << "case " << i;
  }
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::int32_t, double>> top{{3, -1e-300}, {258, -infinity}};
  std::getline(lines, line);
  EXPECT_EQ(line, to_hex(digest_token(258)) + " " + to_hex(digest_token(0)) + " " +
                      to_hex(digest_logprobs(7, -0.5, {})));
  std::getline(lines, line);
  EXPECT_EQ(line, to_hex(digest_logprobs(3, std::nan(""), top)));
}

TEST(IsobitTrace, HashesAsTheProgramInPlainPython) {
  expect_same("plain");
}

TEST(IsobitTrace, HashesAsTheProgramWithNumPy) {
  expect_same("numpy");
}

}  // namespace
}  // namespace isobit
