// Models of a given shape with pseudo-random weights (bench/measure.h).
//
// Every matrix is a view into one buffer that repeats 16 MiB of bf16 numbers: speed depends on
// shapes and types, not on values, and so a model of 8 billion weights is made in a moment.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "harness/cli/bench/measure.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/numerics/formats.h"

namespace isobit::commands {
namespace {

constexpr std::size_t kPattern = std::size_t{16} << 20;  // bytes
constexpr std::size_t kStagger = 4096;                   // bytes between tensors' first values

ModelConfig llama3_8b() {
  ModelConfig c;
  c.architecture = "llama";
  c.name = "synthetic weights in the shape of Llama 3 8B";
  c.vocab_size = 128256;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.layers = 32;
  c.heads = 32;
  c.kv_heads = 8;
  c.head_dim = 128;
  c.context = 131072;
  c.ropes.front().base = 500000.0;
  return c;
}

/// A file in memory that vanishes with its last mapping.
struct MemoryFile {
  int descriptor = -1;
  ~MemoryFile() {
    if (descriptor >= 0) ::close(descriptor);
  }
};

/// `bytes` of address space in which the same 16 MiB of memory follow one another.
std::shared_ptr<const std::byte> repeated_pattern(std::size_t bytes) {
  const MemoryFile file{::memfd_create("weights", MFD_CLOEXEC)};
  if (file.descriptor < 0 || ::ftruncate(file.descriptor, off_t(kPattern)) != 0) return nullptr;
  void* begin =
      ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED) return nullptr;
  std::shared_ptr<const std::byte> out(
      static_cast<const std::byte*>(begin),
      [begin, bytes](const std::byte*) { ::munmap(begin, bytes); });
  for (std::size_t at = 0; at < bytes; at += kPattern) {
    void* const place = static_cast<char*>(begin) + at;
    const int access = at == 0 ? PROT_READ | PROT_WRITE : PROT_READ;
    if (::mmap(place, kPattern, access, MAP_SHARED | MAP_FIXED, file.descriptor, 0) == MAP_FAILED) {
      return nullptr;
    }
  }
  auto* values = static_cast<std::uint16_t*>(begin);
  std::uint64_t state = 2026;
  for (std::size_t i = 0; i < kPattern / sizeof(std::uint16_t); ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    values[i] = bf16_from_float((float(state >> 40) * 0x1p-24F - 0.5F) * 0x1p-4F);
  }
  return out;
}

}  // namespace

bool is_synthetic(const std::string& name) {
  return name.rfind("synthetic", 0) == 0;
}

std::string synthetic_names() {
  return "synthetic-8b";
}

Result<LoadedModel> synthetic_model(const std::string& name, std::int64_t layers) {
  if (name != "synthetic-8b") {
    return Error{"there is no such synthetic model; known: " + synthetic_names(), name};
  }
  LoadedModel model;
  model.config = llama3_8b();
  model.path = name;
  if (layers > 0) model.config.layers = layers;
  if (auto ok = model.config.validate(); !ok) return Error{ok.error().message, name};
  const std::vector<TableTensor> needed = needed_tensors(model.config);
  std::size_t most = 0;
  for (const TableTensor& tensor : needed) {
    std::size_t bytes = sizeof(std::uint16_t);
    for (const std::int64_t size : tensor.shape) bytes *= std::size_t(size);
    most = std::max(most, bytes);
  }
  const std::size_t room = most + needed.size() * kStagger;
  const std::size_t bytes = (room + kPattern - 1) / kPattern * kPattern;
  const std::shared_ptr<const std::byte> pattern = repeated_pattern(bytes);
  if (pattern == nullptr) return Error{"no memory for synthetic weights", name};
  const auto ones =
      std::make_shared<std::vector<float>>(std::size_t(model.config.hidden_size), 1.0F);
  std::size_t at = 0;
  for (const TableTensor& wanted : needed) {
    const bool is_norm = wanted.shape.size() == 1;
    Tensor tensor = tensor_of(wanted, is_norm ? TensorType::f32 : TensorType::bf16);
    if (is_norm) {  // they scale by one
      tensor.bytes = std::as_bytes(std::span(*ones));
    } else {
      tensor.bytes = {pattern.get() + at, std::size_t(tensor.rows * tensor.cols) * 2};
      at += kStagger;
    }
    model.weights.add(std::move(tensor));
  }
  model.weights.keep(pattern);
  model.weights.keep(ones);
  return model;
}

}  // namespace isobit::commands
