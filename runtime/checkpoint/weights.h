// Tensors of a model as the file holds them: mmapped, bounds-checked, never copied.
//
// A Tensor is a view into a mapped file. Its value is *defined* as one fp32 number an element
// (a block format's element is one product or fma, NUMERICS.md); `read_rows` gives these.
// Names are Hugging Face's whatever the file format, e.g. "model.layers.0.self_attn.q_proj.weight";
// the GGUF reader renames, and undoes llama.cpp's permutation of Llama's q and k rows, so that the
// same weights from safetensors and from GGUF are the same numbers in the same places.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/model/config.h"
#include "runtime/numerics/precision.h"

namespace isobit {

enum class TensorType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs
};
constexpr std::size_t kTensorTypes = 18;

/// Name as in reports: "F32", "Q4_1", ...
const char* name_of(TensorType type);

/// How a type is stored: `bytes` bytes hold `elements` neighbouring columns of one row.
struct TypeLayout {
  std::int64_t elements = 1;
  std::int64_t bytes = 4;
};
TypeLayout layout_of(TensorType type);
/// none for a type whose elements stand by themselves.
BlockFormat block_format_of(TensorType type);

/// Scales of an 8-bit tensor: element (r, c) is its code times the scale at
/// (r / block_rows, c / block_cols), one fp32 product (NUMERICS.md).
struct TensorScales {
  std::int64_t block_rows = 1, block_cols = 1;
  std::int64_t across = 1;    // blocks of one row
  std::vector<float> values;  // (rows of blocks, across)
};

/// A row-major tensor inside a mapped file. One-dimensional tensors have rows == 1; a scalar is
/// 1 x 1; more than two dimensions fold into rows, the innermost one is cols.
struct Tensor {
  std::string name;
  TensorType type = TensorType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::int64_t> shape;   // outermost first, as Hugging Face writes it
  std::span<const std::byte> bytes;  // the tensor's data, inside the mapping
  // Empty: identity; else row r is stored at row_order[r], several at one place perhaps. For a
  // one-dimensional tensor (the bias of a permuted matrix) it orders the elements instead.
  std::vector<std::int64_t> row_order;
  std::shared_ptr<const TensorScales> scales;  // null: none
  std::int64_t first_scale_row = 0;            // of row 0 in them
  float added = 0;  // to every value, one fp32 addition: what a file has in it and no other

  /// Writes the fp32 values of columns [col_begin, col_end) of one row. Block formats may be cut
  /// anywhere. f64 tensors are rounded to nearest even.
  /// REQUIRES: row and columns in range, out.size() == col_end - col_begin.
  void read_row(std::int64_t row, std::int64_t col_begin, std::int64_t col_end,
                std::span<float> out) const;
  /// The element or block that holds a column of one row, with the rest of the row behind it.
  /// REQUIRES: row and column in range, more than one dimension.
  [[nodiscard]] const std::byte* stored(std::int64_t row, std::int64_t col) const;
};

/// A tensor of a type that is no number the runtime reads: integers, booleans, ...
struct OpaqueTensor {
  std::string type;                 // as the file names it: "I64", "IQ2_XS"
  std::vector<std::int64_t> shape;  // outermost first
  std::uint64_t bytes = 0;
  std::string place;  // file and byte, for an error
};

class MappedFile;

/// All tensors of one model, with the mappings that hold them alive.
class Weights {
 public:
  /// nullptr when the model has no such tensor.
  [[nodiscard]] const Tensor* find(const std::string& name) const;
  [[nodiscard]] const std::map<std::string, Tensor>& all() const { return tensors_; }

  void add(Tensor tensor) { tensors_[tensor.name] = std::move(tensor); }
  /// Takes a tensor out.
  std::optional<Tensor> take(const std::string& name);
  void remove(const std::string& name) { tensors_.erase(name); }
  /// By name; none of them is among all().
  [[nodiscard]] const std::map<std::string, OpaqueTensor>& opaque() const { return opaque_; }
  void add_opaque(const std::string& name, OpaqueTensor tensor) {
    opaque_[name] = std::move(tensor);
  }
  /// Keeps a mapping (or a test's buffer) alive as long as the weights.
  void keep(std::shared_ptr<const void> owner) { owners_.push_back(std::move(owner)); }
  void keep(std::shared_ptr<const MappedFile> file) { files_.push_back(std::move(file)); }
  /// The mappings among them.
  [[nodiscard]] const std::vector<std::shared_ptr<const MappedFile>>& files() const {
    return files_;
  }

 private:
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, OpaqueTensor> opaque_;
  std::vector<std::shared_ptr<const void>> owners_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

/// What tells whether a file is still the one that was looked at.
struct FileState {
  std::uint64_t device = 0, inode = 0;
  std::int64_t size = 0, modified = 0;  // nanoseconds since 1970
  bool operator==(const FileState&) const = default;
};
/// Of the file that a path names now; nothing when it cannot be asked.
std::optional<FileState> file_state(const std::string& path);

/// A read-only mapping of a whole file. Move-only; unmapped on destruction.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Of the file when it was mapped.
  [[nodiscard]] const FileState& state() const { return state_; }
  /// Whether the mapped file was written to or cut since: its bytes may be others. A file renamed
  /// over it is another file and changes nothing here.
  [[nodiscard]] bool changed() const;

 private:
  MappedFile() = default;
  std::string path_;
  int descriptor_ = -1;  // the path may name another file by now
  FileState state_;
  std::span<const std::byte> bytes_;
};

/// One safetensors file, or the parser on bytes (what the fuzzer calls). Errors name file and byte.
Result<void> read_safetensors(std::span<const std::byte> file, const std::string& place,
                              Weights& weights);

/// Everything a GGUF file (version 2 or 3) holds: tensors (renamed), hyperparameters, tokenizer
/// metadata.
struct GgufTokenizer {
  std::string model;                      // "gpt2" (byte-level BPE), "llama" (SentencePiece), ...
  std::string pre;                        // pre-tokenizer name: "smollm", "gpt-2", "llama-bpe", ...
  std::vector<std::string> tokens;        // by id, in byte-level (printable) form
  std::vector<std::int32_t> token_types;  // 1 normal, 3 control, 4 user-defined, 6 byte
  std::vector<std::string> merges;        // "left right", by rank
  std::vector<float> scores;              // by id, of SentencePiece
  std::string name;                       // general.name
  std::int32_t bos = -1, eos = -1, eot = -1, eom = -1, unknown = -1, padding = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = false;
  std::string chat_template;
  std::optional<Error> problem;  // why the metadata is none that can be used
};
struct GgufFile {
  ModelConfig config;
  GgufTokenizer tokenizer;
  Weights weights;
  std::map<std::string, std::string> metadata;  // scalar keys as text, for `model info`
  std::vector<std::string> unused;              // tensors that are known to be read by nothing
};
Result<GgufFile> read_gguf(std::span<const std::byte> file, const std::string& place);
/// The same of a model that was split into several files, in their order.
struct GgufPart {
  std::span<const std::byte> file;
  std::string place;
};
Result<GgufFile> read_gguf_parts(std::span<const GgufPart> parts);

/// A model as found on disk: a .gguf file (of a split one any part) or a Hugging Face directory
/// (config.json and
/// model.safetensors, or model.safetensors.index.json with shards).
struct LoadedModel {
  ModelConfig config;
  Weights weights;
  std::string path;
  std::vector<std::string> files;     // every file that was mapped or read, sorted
  std::string tokenizer_json;         // text of tokenizer.json, empty for GGUF
  std::string tokenizer_config_json;  // text of tokenizer_config.json or empty
  // By name, what else tells of tokens: special_tokens_map.json, added_tokens.json, tokenizer.model
  // (without a tokenizer.json), chat_template.jinja, chat_templates/NAME.jinja.
  std::map<std::string, std::string> text_files;
  std::unique_ptr<GgufTokenizer> gguf_tokenizer;  // null for a directory
  std::map<std::string, std::string> metadata;
  std::vector<std::string> unused;  // tensors of the file that are known to be read by nothing
};
/// Loads and validates: every tensor that the config needs is there with the right shape, and none
/// that no operation reads. Errors name the file and the tensor. Nothing overrides `config.json`
/// but what the file holds beside a tied embedding, which is used as transformers 5 does.
Result<LoadedModel> load_model(const std::string& path);

}  // namespace isobit
