// A file of task vectors, NAME.tasks: quantised differences of several fine-tuned models from one
// base (scenarios/models/README.md, "Files of task vectors").
//
// Bytes 0-7 "ISOTASK1"; u64 length of the header; the header, JSON: {"base": content digest of the
// base model, "store": {"tvq": b} or {"rtvq": [b, b]}, "tasks": [names], "tensors": [[name,
// [shape]]…] sorted by name}; then, by tensor, the records of the shared base (rtvq) and of each
// task: step and least value (fp32), ceil(values * bits / 8) bytes of codes, lowest bits first, the
// rest of the last byte 0; then the SHA-256 of all that. Numbers are little-endian.
// Promise: a reader accepts only such files, allocates nothing that the file's size does not pay
// for, and gives the same vectors as the store in memory. For harness/models, tests, the fuzzer.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "harness/models/task_store.h"

namespace isobit::models {

/// Where the records of a tensor are.
struct TaskFileTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // outermost first
  std::size_t values = 1;
  std::size_t begin = 0;  // of the first record in the file
};

struct TaskFile {
  std::string base_digest;  // content digest (content_digest.h) of the model it belongs to
  TaskStore store;
  std::vector<std::string> tasks;
  std::map<std::string, TaskFileTensor> tensors;
  std::span<const std::byte> bytes;  // of the whole file
};

/// Everything but the codes' meaning is checked: frame, header, sizes, grids, digest. Errors name
/// the byte. REQUIRES: `bytes` outlive the result.
Result<TaskFile> read_task_file(std::span<const std::byte> bytes, const std::string& place);
/// The codes of one tensor. REQUIRES: read_task_file() gave `file`, `tensor` is of it.
StoredTensor read_tensor(const TaskFile& file, const TaskFileTensor& tensor);

/// The bytes of a file; `stored`: by name. `file.tensors` need name, shape and values only.
std::string task_file_bytes(const TaskFile& file,
                            const std::map<std::string, StoredTensor>& stored);

}  // namespace isobit::models
