// Reads and writes files of task vectors (task_file.h).
#include "harness/models/task_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/base/sha256.h"
#include "runtime/base/words.h"
#include "runtime/checkpoint/json.h"

namespace isobit::models {
namespace {

using nlohmann::json;

constexpr char kMagic[] = "ISOTASK1";
constexpr std::size_t kFrame = 16;  // magic and length of the header
constexpr std::size_t kGrid = 8;    // step and least value
constexpr std::uint64_t kMostHeaderBytes = 16'000'000;
constexpr std::int64_t kMostValues = std::int64_t{1} << 40;
constexpr std::size_t kMostDimensions = 8;
constexpr std::size_t kDigestDigits = 64;

std::size_t code_bytes(std::size_t values, int bits) {
  return (values * std::size_t(bits) + 7) / 8;
}
std::size_t record_bytes(std::size_t values, int bits) {
  return kGrid + code_bytes(values, bits);
}

/// Of all records of a tensor.
std::size_t tensor_bytes(const TaskFile& file, std::size_t values) {
  const std::size_t base =
      file.store.kind == TaskStore::Kind::rtvq ? record_bytes(values, file.store.base_bits) : 0;
  return base + file.tasks.size() * record_bytes(values, file.store.bits);
}

bool is_hex_digest(const std::string& text) {
  return text.size() == kDigestDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_bits(const json& value) {
  return value.is_number_unsigned() && value.get<std::uint64_t>() >= 1 &&
         value.get<std::uint64_t>() <= std::uint64_t(kMostGridBits);
}

/// False when it is no store that a file has.
bool read_store(const json& value, TaskStore& store) {
  if (!value.is_object() || value.size() != 1) return false;
  const json& bits = value.begin().value();
  if (value.begin().key() == "tvq" && is_bits(bits)) {
    store = {TaskStore::Kind::tvq, bits.get<int>(), 0};
    return true;
  }
  if (value.begin().key() != "rtvq" || !bits.is_array() || bits.size() != 2 || !is_bits(bits[0]) ||
      !is_bits(bits[1])) {
    return false;
  }
  store = {TaskStore::Kind::rtvq, bits[1].get<int>(), bits[0].get<int>()};
  return true;
}

/// Names of tasks: words without ':' and '/', each once.
bool read_tasks(const json& value, std::vector<std::string>& tasks) {
  if (!value.is_array() || value.empty() || value.size() > kMostTasks) return false;
  for (const json& item : value) {
    if (!item.is_string()) return false;
    tasks.push_back(item.get<std::string>());
    if (tasks.back().empty() || tasks.back().find_first_of(":/") != std::string::npos ||
        !is_one_line(tasks.back())) {
      return false;
    }
  }
  return std::set<std::string>(tasks.begin(), tasks.end()).size() == tasks.size();
}

/// [name, [shape]]; false when it is none, or holds no value, or too many.
bool read_tensor_entry(const json& value, TaskFileTensor& tensor) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_array() ||
      value[1].size() > kMostDimensions) {
    return false;
  }
  tensor.name = value[0].get<std::string>();
  std::int64_t values = 1;
  for (const json& size : value[1]) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() == 0 ||
        size.get<std::uint64_t>() > std::uint64_t(kMostValues / values)) {
      return false;
    }
    tensor.shape.push_back(size.get<std::int64_t>());
    values *= tensor.shape.back();
  }
  tensor.values = std::size_t(values);
  return true;
}

Result<void> read_header(const json& header, const std::string& place, TaskFile& file) {
  const auto bad = [&](const std::string& what) { return Error{what, place}; };
  if (!header.is_object()) return bad("the header must be an object");
  for (const auto& item : header.items()) {
    const std::vector<std::string> known = {"base", "store", "tasks", "tensors"};
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      return bad("unknown key " + in_quotes(item.key()) + did_you_mean(item.key(), known));
    }
  }
  if (header.size() != 4) return bad("the header needs base, store, tasks and tensors");
  if (header["base"].is_string()) file.base_digest = header["base"].get<std::string>();
  if (!is_hex_digest(file.base_digest)) return bad("base must be a digest of 64 hex digits");
  if (!read_store(header["store"], file.store)) {
    return bad("store must be {\"tvq\": b} or {\"rtvq\": [b, b]} with 1 to 8 bits");
  }
  if (!read_tasks(header["tasks"], file.tasks)) {
    return bad("tasks must be 1 to 64 different names without ':' and '/'");
  }
  if (!header["tensors"].is_array() || header["tensors"].empty()) {
    return bad("tensors must be a list that is not empty");
  }
  return {};
}

/// Where each tensor's records are; their end must be where the digest begins.
Result<void> place_tensors(const json& entries, std::size_t begin, const std::string& place,
                           TaskFile& file) {
  const std::size_t end = file.bytes.size() - sizeof(Sha256);
  std::string before;
  std::size_t at = begin;
  for (const json& entry : entries) {
    TaskFileTensor tensor;
    if (!read_tensor_entry(entry, tensor)) {
      return Error{"a tensor must be [name, [sizes]] with at most 2^40 values and no size 0",
                   place + ": byte " + std::to_string(kFrame)};
    }
    if (tensor.name <= before) {
      return Error{"tensor " + in_quotes(tensor.name) + " is not behind the one before it by name",
                   place + ": byte " + std::to_string(kFrame)};
    }
    before = tensor.name;
    tensor.begin = at;
    const std::size_t size = tensor_bytes(file, tensor.values);
    if (size > end - at) {
      return Error{"tensor " + in_quotes(tensor.name) + " needs " + std::to_string(size) +
                       " bytes, the file has " + std::to_string(end - at) +
                       " left; is it truncated?",
                   place + ": byte " + std::to_string(at)};
    }
    at += size;
    file.tensors[tensor.name] = std::move(tensor);
  }
  if (at == end) return {};
  return Error{std::to_string(end - at) + " bytes behind the last tensor belong to none",
               place + ": byte " + std::to_string(at)};
}

UniformGrid grid_at(const TaskFile& file, std::size_t at, int bits) {
  UniformGrid grid;
  grid.bits = bits;
  std::memcpy(&grid.step, file.bytes.data() + at, sizeof(float));
  std::memcpy(&grid.least, file.bytes.data() + at + sizeof(float), sizeof(float));
  return grid;
}

/// Calls f(byte, bits) for each record of a tensor.
template <class F>
void for_records(const TaskFile& file, const TaskFileTensor& tensor, const F& f) {
  std::size_t at = tensor.begin;
  const bool shared = file.store.kind == TaskStore::Kind::rtvq;
  for (std::size_t i = 0; i < file.tasks.size() + std::size_t(shared); ++i) {
    const int bits = shared && i == 0 ? file.store.base_bits : file.store.bits;
    f(at, bits);
    at += record_bytes(tensor.values, bits);
  }
}

/// Why a record is none, or empty.
std::string record_problem(const TaskFile& file, std::size_t at, int bits, std::size_t values) {
  const UniformGrid grid = grid_at(file, at, bits);
  if (std::string problem = grid.problem(); !problem.empty()) return problem;
  const auto codes = file.bytes.subspan(at + kGrid, code_bytes(values, bits));
  const std::size_t used = values * std::size_t(bits) % 8;
  if (used != 0 && (std::to_integer<unsigned>(codes.back()) >> used) != 0) {
    return "bits behind its last code are not 0";
  }
  const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
  const bool one_value = grid.step == 0;
  if (one_value && !std::all_of(codes.begin(), codes.end(), is_zero)) {
    return "it has codes, and a step of 0";
  }
  return "";
}

std::uint8_t code_at(std::span<const std::byte> codes, std::size_t i, int bits) {
  const std::size_t bit = i * std::size_t(bits);
  unsigned pair = std::to_integer<unsigned>(codes[bit / 8]);
  if (bit / 8 + 1 < codes.size()) pair |= std::to_integer<unsigned>(codes[bit / 8 + 1]) << 8;
  return std::uint8_t((pair >> (bit % 8)) & ((1U << bits) - 1));
}

void append_record(const Quantised& values, std::string& out) {
  const int bits = values.grid.bits;
  char grid[kGrid];
  std::memcpy(grid, &values.grid.step, sizeof(float));
  std::memcpy(grid + sizeof(float), &values.grid.least, sizeof(float));
  out.append(grid, sizeof grid);
  std::vector<std::uint8_t> codes(code_bytes(values.codes.size(), bits), 0);
  for (std::size_t i = 0; i < values.codes.size(); ++i) {
    const std::size_t bit = i * std::size_t(bits);
    const unsigned pair = unsigned(values.codes[i]) << (bit % 8);
    codes[bit / 8] = std::uint8_t(codes[bit / 8] | (pair & 0xFF));
    if (pair > 0xFF) codes[bit / 8 + 1] = std::uint8_t(pair >> 8);
  }
  out.append(reinterpret_cast<const char*>(codes.data()), codes.size());
}

}  // namespace

Result<TaskFile> read_task_file(std::span<const std::byte> bytes, const std::string& place) {
  const auto bad = [&](const std::string& what, std::size_t byte) {
    return Error{what, place + ": byte " + std::to_string(byte)};
  };
  TaskFile file;
  file.bytes = bytes;
  if (bytes.size() < kFrame + sizeof(Sha256) || std::memcmp(bytes.data(), kMagic, 8) != 0) {
    return bad("no file of task vectors: it does not begin with ISOTASK1 and a header", 0);
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data() + 8, sizeof length);
  if (length > kMostHeaderBytes || length > bytes.size() - kFrame - sizeof(Sha256)) {
    return bad("a header of " + std::to_string(length) + " bytes does not fit; is it truncated?",
               8);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kFrame, length);
  const auto header = parse_strict_json(text, JsonPlace{place, kFrame});
  ISOBIT_TRY(header);
  const std::string at_header = place + ": byte " + std::to_string(kFrame);
  if (auto ok = read_header(*header, at_header, file); !ok) return ok.error();
  if (auto ok = place_tensors((*header)["tensors"], kFrame + length, place, file); !ok) {
    return ok.error();
  }
  const std::size_t end = bytes.size() - sizeof(Sha256);
  const Sha256 digest = sha256(bytes.data(), end);
  if (std::memcmp(digest.data(), bytes.data() + end, sizeof digest) != 0) {
    return bad("the file's digest is not that of its bytes: it was changed or damaged", end);
  }
  for (const auto& [name, tensor] : file.tensors) {
    Result<void> ok;
    for_records(file, tensor, [&, &values = tensor.values, &called = name](std::size_t at, int b) {
      const std::string problem = record_problem(file, at, b, values);
      if (ok && !problem.empty()) ok = bad("tensor " + in_quotes(called) + ": " + problem, at);
    });
    ISOBIT_TRY(ok);
  }
  return file;
}

StoredTensor read_tensor(const TaskFile& file, const TaskFileTensor& tensor) {
  StoredTensor out;
  out.kind = file.store.kind;
  for_records(file, tensor, [&](std::size_t at, int bits) {
    Quantised values{grid_at(file, at, bits), std::vector<std::uint8_t>(tensor.values)};
    const auto codes = file.bytes.subspan(at + kGrid, code_bytes(tensor.values, bits));
    for (std::size_t i = 0; i < tensor.values; ++i) values.codes[i] = code_at(codes, i, bits);
    const bool shared = file.store.kind == TaskStore::Kind::rtvq && out.base.empty();
    (shared ? out.base : out.tasks).push_back(std::move(values));
  });
  return out;
}

std::string task_file_bytes(const TaskFile& file,
                            const std::map<std::string, StoredTensor>& stored) {
  json header = {{"base", file.base_digest}, {"tasks", file.tasks}};
  header["store"] = file.store.kind == TaskStore::Kind::rtvq
                        ? json{{"rtvq", {file.store.base_bits, file.store.bits}}}
                        : json{{"tvq", file.store.bits}};
  header["tensors"] = json::array();
  for (const auto& [name, tensor] : file.tensors) {
    header["tensors"].push_back(json::array({name, tensor.shape}));
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string out(kMagic, 8);
  out.append(reinterpret_cast<const char*>(&length), sizeof length);
  out += text;
  for (const auto& [name, tensor] : file.tensors) {
    const StoredTensor& parts = stored.at(name);
    ISOBIT_CHECK(parts.tasks.size() == file.tasks.size());
    for (const Quantised& values : parts.base) append_record(values, out);
    for (const Quantised& values : parts.tasks) append_record(values, out);
  }
  const Sha256 digest = sha256(out.data(), out.size());
  out.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return out;
}

}  // namespace isobit::models
