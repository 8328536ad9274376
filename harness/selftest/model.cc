// A writer of the least that safetensors and config.json need.

#include "harness/selftest/model.h"

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

namespace isobit::selftest {
namespace {

/// SplitMix64: the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// Uniform in (-width, width): 24 random bits, exact in fp32 but for the last product.
  float within(float width) {
    const auto n = std::int32_t(bits() >> 40) - (1 << 23);
    return float(n) * 0x1p-23f * width;
  }

 private:
  std::uint64_t state_;
};

class SafetensorsWriter {
 public:
  /// Random values of the given width around `middle`; `zero_row` is all zeros.
  void add(const std::string& name, std::int64_t rows, std::int64_t cols, float middle, float width,
           std::int64_t zero_row = -1) {
    const std::size_t begin = data_.size();
    for (std::int64_t r = 0; r < std::max<std::int64_t>(rows, 1); ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        const float value = r == zero_row ? 0.0f : middle + random_.within(width);
        const auto word = std::bit_cast<std::uint32_t>(value);
        for (int byte = 0; byte < 4; ++byte) data_ += char(word >> (8 * byte));
      }
    }
    header_ += header_.empty() ? "{" : ", ";
    header_ += "\"" + name + "\": {\"dtype\": \"F32\", \"shape\": [" +
               (rows > 0 ? std::to_string(rows) + ", " : "") + std::to_string(cols) +
               "], \"data_offsets\": [" + std::to_string(begin) + ", " +
               std::to_string(data_.size()) + "]}";
  }

  [[nodiscard]] std::string file() const {
    std::string header = header_ + "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::string out;
    for (int byte = 0; byte < 8; ++byte) out += char(std::uint64_t(header.size()) >> (8 * byte));
    return out + header + data_;
  }

 private:
  Random random_{20260301};
  std::string header_, data_;
};

/// Width of uniform weights over k inputs that keep a row's size, times `gain`.
float width_for(std::int64_t k, double gain) {
  return float(gain * std::sqrt(3.0 / double(k)));
}

std::string model_file() {
  SafetensorsWriter writer;
  const std::int64_t q = kHeads * kHeadDim, kv = kKvHeads * kHeadDim;
  writer.add("model.embed_tokens.weight", kVocabulary, kHidden, 0.0f, 1.0f);
  for (std::int64_t i = 0; i < kLayers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    writer.add(layer + "input_layernorm.weight", 0, kHidden, 1.0f, 0.25f);
    writer.add(layer + "self_attn.q_proj.weight", q, kHidden, 0.0f, width_for(kHidden, 1.5));
    writer.add(layer + "self_attn.k_proj.weight", kv, kHidden, 0.0f, width_for(kHidden, 1.5));
    writer.add(layer + "self_attn.v_proj.weight", kv, kHidden, 0.0f, width_for(kHidden, 1.0));
    writer.add(layer + "self_attn.o_proj.weight", kHidden, q, 0.0f, width_for(q, 1.0));
    writer.add(layer + "post_attention_layernorm.weight", 0, kHidden, 1.0f, 0.25f);
    writer.add(layer + "mlp.gate_proj.weight", kMlp, kHidden, 0.0f, width_for(kHidden, 1.0));
    writer.add(layer + "mlp.up_proj.weight", kMlp, kHidden, 0.0f, width_for(kHidden, 1.0));
    writer.add(layer + "mlp.down_proj.weight", kHidden, kMlp, 0.0f, width_for(kMlp, 1.0));
  }
  writer.add("model.norm.weight", 0, kHidden, 1.0f, 0.25f);
  writer.add("lm_head.weight", kVocabulary, kHidden, 0.0f, width_for(kHidden, 2.0), kZeroRow);
  return writer.file();
}

/// `wider`: channels of a head, in kHeadDim; the tensors do not change.
std::string config_file(std::int64_t wider) {
  const auto entry = [](const char* key, std::int64_t value) {
    return std::string(", \"") + key + "\": " + std::to_string(value);
  };
  return "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
         "\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
         "\"tie_word_embeddings\": false" +
         entry("vocab_size", kVocabulary) + entry("hidden_size", kHidden) +
         entry("intermediate_size", kMlp) + entry("num_hidden_layers", kLayers) +
         entry("num_attention_heads", kHeads / wider) +
         entry("num_key_value_heads", kKvHeads / wider) + entry("head_dim", kHeadDim * wider) +
         entry("max_position_embeddings", kContext) + "}\n";
}

std::string prompts_file() {
  Random random(411);
  std::string out;
  for (const int length : {28, 41, 262}) {
    out += "{\"id\": \"t" + std::to_string(length) + "\", \"tokens\": [";
    for (int i = 0; i < length; ++i) {
      out += (i == 0 ? "" : ", ") + std::to_string(random.bits() % std::uint64_t(kVocabulary));
    }
    out += "]}\n";
  }
  return out;
}

constexpr const char* kProducts =
    "{\"id\": \"even\", \"n\": 64, \"k\": 256}\n{\"id\": \"odd\", \"n\": 23, \"k\": 101}\n";
constexpr const char* kNorms = "{\"id\": \"hidden\", \"width\": 200}\n";

/// Every token once, in three orders: whatever is drawn was there before, so a draft is found.
std::string every_token_file() {
  std::string out;
  for (const int apart : {37, 91, 149}) {  // odd: a permutation of the 256 tokens
    out += "{\"id\": \"every-" + std::to_string(apart) + "\", \"tokens\": [";
    for (std::int64_t i = 0; i < kVocabulary; ++i) {
      out += (i == 0 ? "" : ", ") + std::to_string(i * apart % kVocabulary);
    }
    out += "]}\n";
  }
  return out;
}

/// Lines of three choices, one of which the selftest calls right.
std::string choices_file() {
  Random random(977);
  const auto tokens = [&random](int count) {
    std::string out;
    for (int i = 0; i < count; ++i) {
      out += (i == 0 ? "[" : ", ") + std::to_string(random.bits() % std::uint64_t(kVocabulary));
    }
    return out + "]";
  };
  std::string out;
  for (const int length : {24, 31}) {
    out += "{\"id\": \"c" + std::to_string(length) + "\", \"tokens\": " + tokens(length) +
           ", \"choices\": [" + tokens(8) + ", " + tokens(8) + ", " + tokens(6) +
           "], \"answer\": 1}\n";
  }
  return out;
}

Result<void> write_file(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file) return Error{"cannot write the selftest's file", path};
  return {};
}

}  // namespace

Result<void> write_selftest_inputs(const std::string& folder) {
  const std::pair<const char*, std::int64_t> models[] = {{"/model", 1}, {"/wide", 4}};
  for (const auto& [name, wider] : models) {
    const std::string model = folder + name;
    std::error_code error;
    std::filesystem::create_directories(model, error);
    if (error) return Error{"cannot make the folder: " + error.message(), folder};
    if (auto ok = write_file(model + "/config.json", config_file(wider)); !ok) return ok;
    if (auto ok = write_file(model + "/model.safetensors", model_file()); !ok) return ok;
  }
  if (auto ok = write_file(folder + "/every_token.jsonl", every_token_file()); !ok) return ok;
  if (auto ok = write_file(folder + "/choices.jsonl", choices_file()); !ok) return ok;
  if (auto ok = write_file(folder + "/products.jsonl", kProducts); !ok) return ok;
  if (auto ok = write_file(folder + "/norms.jsonl", kNorms); !ok) return ok;
  return write_file(folder + "/prompts.jsonl", prompts_file());
}

}  // namespace isobit::selftest
