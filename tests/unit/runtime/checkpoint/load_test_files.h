// Hand-made model files for the loader tests: safetensors, GGUF and folders, byte by byte.
#pragma once

#include <unistd.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/weights.h"

namespace isobit::test_files {

inline std::uint32_t bits(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

template <class T>
void put(std::string& out, T value) {
  std::array<char, sizeof value> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  out.append(bytes.data(), bytes.size());
}

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

/// The error's line, or "no error".
template <class T>
std::string error_of(const Result<T>& result) {
  return result.has_value() ? "no error" : result.error().text();
}

/// All fp32 bits of a tensor, row by row.
inline std::vector<std::uint32_t> all_bits(const Tensor& tensor) {
  std::vector<std::uint32_t> out;
  std::vector<float> row(static_cast<std::size_t>(tensor.cols));
  for (std::int64_t r = 0; r < tensor.rows; ++r) {
    tensor.read_row(r, 0, tensor.cols, row);
    for (const float value : row) out.push_back(bits(value));
  }
  return out;
}

inline std::string safetensors(const std::string& header, const std::string& data) {
  std::string file;
  put(file, static_cast<std::uint64_t>(header.size()));
  return file + header + data;
}

inline std::string gguf_string(const std::string& text) {
  std::string out;
  put(out, static_cast<std::uint64_t>(text.size()));
  return out + text;
}

/// Writes GGUF; every field may be bent to make a bad file.
struct GgufMaker {
  struct Entry {
    std::string key;
    std::uint32_t type;
    std::string value;
  };
  struct Record {
    std::string name;
    std::vector<std::uint64_t> dims;  // innermost first
    std::uint32_t type;
    std::uint64_t offset;
  };
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::uint64_t extra_tensors = 0;  // added to the written counts
  std::uint64_t extra_entries = 0;
  std::vector<Entry> entries;
  std::vector<Record> records;
  std::string data;

  template <class T>
  void number(const std::string& key, std::uint32_t type, T value) {
    std::string text;
    put(text, value);
    entries.push_back({key, type, text});
  }
  void u32(const std::string& key, std::uint32_t value) { number(key, 4, value); }
  void f32(const std::string& key, float value) { number(key, 6, value); }
  void string(const std::string& key, const std::string& value) {
    entries.push_back({key, 8, gguf_string(value)});
  }
  void strings(const std::string& key, const std::vector<std::string>& values) {
    std::string text;
    put(text, std::uint32_t{8});
    put(text, static_cast<std::uint64_t>(values.size()));
    for (const std::string& value : values) text += gguf_string(value);
    entries.push_back({key, 9, text});
  }
  void tensor(const std::string& name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
              const std::string& bytes) {
    data.resize((data.size() + alignment - 1) / alignment * alignment);
    records.push_back({name, dims, type, data.size()});
    data += bytes;
  }
  void erase(const std::string& key) {
    std::erase_if(entries, [&](const Entry& entry) { return entry.key == key; });
  }
  Record& record(const std::string& name) {
    for (Record& r : records) {
      if (r.name == name) return r;
    }
    ISOBIT_CHECK(false);
    return records.front();
  }

  [[nodiscard]] std::string build() const {
    std::string out = magic;
    put(out, version);
    put(out, static_cast<std::uint64_t>(records.size()) + extra_tensors);
    put(out, static_cast<std::uint64_t>(entries.size()) + extra_entries);
    for (const Entry& entry : entries) {
      out += gguf_string(entry.key);
      put(out, entry.type);
      out += entry.value;
    }
    for (const Record& r : records) {
      out += gguf_string(r.name);
      put(out, static_cast<std::uint32_t>(r.dims.size()));
      for (const std::uint64_t size : r.dims) put(out, size);
      put(out, r.type);
      put(out, r.offset);
    }
    if (alignment != 0) out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

/// Sizes of the tiny model: hidden 16, 4 query heads on 2 KV heads of 8, MLP 24, vocabulary 5.
constexpr std::int64_t kHidden = 16, kHeads = 4, kKvHeads = 2, kHeadDim = 8, kMlp = 24, kVocab = 5;

struct TinyTensor {
  std::string name;       // Hugging Face's
  std::string gguf_name;  // llama.cpp's
  std::int64_t rows;      // 0: one-dimensional
  std::int64_t cols;
};

inline std::vector<TinyTensor> tiny_tensors(bool tied) {
  const std::string l = "model.layers.0.";
  const std::int64_t q = kHeads * kHeadDim;
  const std::int64_t kv = kKvHeads * kHeadDim;
  std::vector<TinyTensor> out = {
      {"model.embed_tokens.weight", "token_embd.weight", kVocab, kHidden},
      {l + "input_layernorm.weight", "blk.0.attn_norm.weight", 0, kHidden},
      {l + "self_attn.q_proj.weight", "blk.0.attn_q.weight", q, kHidden},
      {l + "self_attn.k_proj.weight", "blk.0.attn_k.weight", kv, kHidden},
      {l + "self_attn.v_proj.weight", "blk.0.attn_v.weight", kv, kHidden},
      {l + "self_attn.o_proj.weight", "blk.0.attn_output.weight", kHidden, q},
      {l + "post_attention_layernorm.weight", "blk.0.ffn_norm.weight", 0, kHidden},
      {l + "mlp.gate_proj.weight", "blk.0.ffn_gate.weight", kMlp, kHidden},
      {l + "mlp.up_proj.weight", "blk.0.ffn_up.weight", kMlp, kHidden},
      {l + "mlp.down_proj.weight", "blk.0.ffn_down.weight", kHidden, kMlp},
      {"model.norm.weight", "output_norm.weight", 0, kHidden},
  };
  if (!tied) out.push_back({"lm_head.weight", "output.weight", kVocab, kHidden});
  return out;
}

/// Distinct values, so that a misplaced row is seen: the i-th element of tensor t.
inline std::vector<float> tiny_values(const TinyTensor& tensor) {
  std::uint32_t seed = 0;
  for (const char c : tensor.name) seed = seed * 31u + static_cast<unsigned char>(c);
  const std::int64_t rows = tensor.rows == 0 ? 1 : tensor.rows;
  std::vector<float> out;
  for (std::int64_t i = 0; i < rows * tensor.cols; ++i) {
    out.push_back(static_cast<float>(static_cast<std::int64_t>(seed % 1000) * 4096 + i));
  }
  return out;
}

inline std::string raw(const std::vector<float>& values) {
  std::string out;
  for (const float value : values) put(out, value);
  return out;
}

inline std::string tiny_config(const std::string& extra = "") {
  return R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
 "vocab_size": 5, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
 "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
 "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "rope_theta": 100000.0)" +
         extra + "}";
}

/// A safetensors file of these tensors in fp32.
inline std::string tiny_safetensors(const std::vector<TinyTensor>& tensors) {
  std::string header = "{\"__metadata__\": {\"format\": \"pt\"}";
  std::string data;
  for (const TinyTensor& t : tensors) {
    const std::string bytes = raw(tiny_values(t));
    header += ", \"" + t.name + "\": {\"dtype\": \"F32\", \"shape\": [";
    if (t.rows != 0) header += std::to_string(t.rows) + ", ";
    header += std::to_string(t.cols) + "], \"data_offsets\": [" + std::to_string(data.size()) +
              ", " + std::to_string(data.size() + bytes.size()) + "]}";
    data += bytes;
  }
  return safetensors(header + "}  ", data);
}

/// llama.cpp's row order of q and k: reshape (heads, 2, d/2), swap the last two axes, flatten.
inline std::vector<float> permuted(const std::vector<float>& values, std::int64_t heads,
                                   std::int64_t cols) {
  std::vector<float> out;
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < kHeadDim / 2; ++i) {
      for (std::int64_t a = 0; a < 2; ++a) {
        const std::int64_t row = h * kHeadDim + a * (kHeadDim / 2) + i;
        const auto first = values.begin() + row * cols;
        out.insert(out.end(), first, first + cols);
      }
    }
  }
  return out;
}

inline GgufMaker tiny_gguf(bool tied) {
  GgufMaker maker;
  maker.string("general.architecture", "llama");
  maker.string("general.name", "tiny");
  maker.u32("llama.block_count", 1);
  maker.u32("llama.context_length", 64);
  maker.u32("llama.embedding_length", kHidden);
  maker.u32("llama.feed_forward_length", kMlp);
  maker.u32("llama.attention.head_count", kHeads);
  maker.u32("llama.attention.head_count_kv", kKvHeads);
  maker.u32("llama.attention.key_length", kHeadDim);
  maker.f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  maker.f32("llama.rope.freq_base", 100000.0F);
  maker.u32("tokenizer.ggml.bos_token_id", 1);
  maker.u32("tokenizer.ggml.eos_token_id", 2);
  for (const TinyTensor& t : tiny_tensors(tied)) {
    std::vector<float> values = tiny_values(t);
    if (t.gguf_name == "blk.0.attn_q.weight") values = permuted(values, kHeads, t.cols);
    if (t.gguf_name == "blk.0.attn_k.weight") values = permuted(values, kKvHeads, t.cols);
    std::vector<std::uint64_t> dims = {static_cast<std::uint64_t>(t.cols)};
    if (t.rows != 0) dims.push_back(static_cast<std::uint64_t>(t.rows));
    maker.tensor(t.gguf_name, dims, 0, raw(values));
  }
  return maker;
}

}  // namespace isobit::test_files
