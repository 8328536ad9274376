// 8-bit weights with scales: which configs are understood, and which scale an element gets.
#include "runtime/checkpoint/quantization.h"

#include <gtest/gtest.h>

#include "runtime/numerics/formats.h"
#include "tests/fakes/folder.h"
#include "tests/unit/runtime/checkpoint/load_test_files.h"

namespace isobit {
namespace {

using namespace test_files;  // NOLINT: helpers of these tests
using Kind = WeightScales::Kind;

Result<ModelConfig> read_with(const std::string& quantization) {
  return parse_hf_config(tiny_config(", \"quantization_config\": " + quantization), "c");
}

/// compressed-tensors, as llm-compressor writes it; `from` replaced by `to`.
std::string compressed(const std::string& from = "", const std::string& to = "") {
  std::string text = R"({"quant_method": "compressed-tensors", "format": "float-quantized",
    "quantization_status": "compressed", "global_compression_ratio": 1.2, "ignore": ["lm_head"],
    "kv_cache_scheme": null, "version": "0.9.1", "sparsity_config": {}, "transform_config": {},
    "config_groups": {"group_0": {"targets": ["Linear"], "format": null,
      "input_activations": {"num_bits": 8, "type": "float", "dynamic": true, "strategy": "token"},
      "output_activations": null,
      "weights": {"num_bits": 8, "type": "float", "symmetric": true, "strategy": "channel",
        "dynamic": false, "group_size": null, "block_structure": null, "actorder": null,
        "observer": "minmax", "observer_kwargs": {}}}}})";
  if (!from.empty()) text.replace(text.find(from), from.size(), to);
  return text;
}

std::string fp8(const std::string& rest) {
  return R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic")" + rest + "}";
}

void expect_error(const std::string& quantization, const std::string& what) {
  const std::string text = error_of(read_with(quantization));
  EXPECT_NE(text.find(what), std::string::npos) << "\"" << what << "\" is not in: " << text;
}

TEST(Quantization, ReadsWhatPublicCheckpointsSay) {
  const auto kind_of = [](const std::string& quantization) {
    const Result<ModelConfig> config = read_with(quantization);
    EXPECT_TRUE(config.has_value()) << error_of(config);
    return config ? config->weight_scales.kind : Kind::none;
  };
  EXPECT_EQ(kind_of("null"), Kind::none);
  EXPECT_EQ(kind_of(compressed()), Kind::channel);
  EXPECT_EQ(kind_of(compressed("\"channel\"", "\"tensor\"")), Kind::tensor);
  EXPECT_EQ(kind_of(compressed("float-quantized", "naive-quantized")), Kind::channel);
  EXPECT_EQ(kind_of(compressed("\"sparsity_config\": {}",
                               R"("sparsity_config": {"format": "dense", "ignore": []})")),
            Kind::channel);
  EXPECT_EQ(kind_of(fp8("")), Kind::tensor);
  EXPECT_EQ(kind_of(fp8(R"(, "weight_block_size": null, "modules_to_not_convert": ["x"])")),
            Kind::tensor);
  const Result<ModelConfig> blocks = read_with(fp8(R"(, "weight_block_size": [128, 64])"));
  ASSERT_TRUE(blocks.has_value()) << error_of(blocks);
  EXPECT_EQ(blocks->weight_scales.kind, Kind::block);
  EXPECT_EQ(blocks->weight_scales.block_rows, 128);
  EXPECT_EQ(blocks->weight_scales.block_cols, 64);
}

TEST(Quantization, RefusesEverythingElseByName) {
  expect_error("7", "must be an object");
  expect_error(R"({"quant_method": "gptq", "bits": 4})",
               "quantization_config.quant_method \"gptq\" is not supported (compressed-tensors");
  expect_error(R"({"bits": 4})", "quant_method \"\" is not supported");
  expect_error(compressed("float-quantized", "pack-quantized"),
               "quantization_config.format = \"pack-quantized\" is not supported");
  expect_error(compressed("\"num_bits\": 8, \"type\": \"float\", \"symmetric\"",
                          "\"num_bits\": 4, \"type\": \"float\", \"symmetric\""),
               "config_groups.group_0.weights.num_bits = 4 is not supported (8)");
  expect_error(compressed("\"type\": \"float\", \"symmetric\"", "\"type\": \"int\", \"symmetric\""),
               "weights.type = \"int\" is not supported");
  expect_error(compressed("\"channel\"", "\"group\""), "strategy \"group\" is not supported");
  expect_error(compressed("\"channel\"", "\"block\""),
               "weights.block_structure must be two positive sizes");
  expect_error(compressed("\"kv_cache_scheme\": null", "\"kv_cache_scheme\": {}"),
               "kv_cache_scheme = an object is not supported");
  expect_error(compressed("\"output_activations\": null", "\"output_activations\": {}"),
               "group_0.output_activations = an object is not supported");
  expect_error(compressed("\"group_0\": {", "\"a\": {}, \"group_0\": {"),
               "config_groups must have one group, not 2");
  expect_error(compressed("\"sparsity_config\": {}", R"("sparsity_config": {"format": "x"})"),
               "sparsity_config.format = \"x\" is not supported");
  expect_error(fp8(R"(, "weight_block_size": [128])"), "weight_block_size must be two");
  expect_error(fp8(R"(, "weight_block_size": [0, 1])"), "weight_block_size must be two");
  expect_error(fp8(R"(, "extra": 1)"), "quantization_config.extra = 1 is not supported");
  expect_error(R"({"quant_method": "fp8", "fmt": "e3m4"})", "fmt = \"e3m4\" is not supported");
}

struct Given {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};

Weights weights_of(const std::vector<Given>& tensors, std::string& file) {
  std::string header, data;
  for (const Given& t : tensors) {
    std::string shape;
    for (const std::int64_t size : t.shape) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    }
    header += (header.empty() ? "{\"" : ", \"") + t.name + "\": {\"dtype\": \"" + t.dtype +
              "\", \"shape\": [" + shape + "], \"data_offsets\": [" + std::to_string(data.size()) +
              ", " + std::to_string(data.size() + t.data.size()) + "]}";
    data += t.data;
  }
  file = safetensors(header + "}", data);
  Weights weights;
  const Result<void> read = read_safetensors(as_bytes(file), "m", weights);
  EXPECT_TRUE(read.has_value()) << error_of(read);
  return weights;
}

std::string codes(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += char(i * 37 % 256);
  return out;
}

/// Applies and compares every element with code * scale(row, col).
template <class F>
void expect_values(const WeightScales& scheme, const Given& scales, F&& scale) {
  constexpr int kRows = 5, kCols = 7;
  std::string file;
  Weights weights = weights_of({{"a.weight", "F8_E4M3", {kRows, kCols}, codes(kRows * kCols)},
                                scales,
                                {"a.input_scale", "F32", {}, raw({3})}},
                               file);
  std::vector<std::string> unused;
  const Result<void> done = apply_weight_scales(scheme, "m", weights, unused);
  ASSERT_TRUE(done.has_value()) << error_of(done);
  EXPECT_EQ(unused, std::vector<std::string>{"a.input_scale"});
  ASSERT_EQ(weights.all().size(), 1u);
  const Tensor& tensor = *weights.find("a.weight");
  for (int row = 0; row < kRows; ++row) {
    std::vector<float> got(kCols - 2);
    tensor.read_row(row, 1, kCols - 1, got);
    for (int col = 1; col < kCols - 1; ++col) {
      const int code = (row * kCols + col) * 37 % 256;
      const float want = float_from_e4m3(std::uint8_t(code)) * scale(row, col);
      EXPECT_EQ(bits_of(canonical(got[std::size_t(col) - 1])), bits_of(canonical(want)))
          << row << ", " << col;
    }
  }
}

TEST(Quantization, AnElementIsItsCodeTimesItsScale) {
  const float third = 1.0F / 3.0F;
  expect_values({Kind::tensor}, {"a.weight_scale", "F32", {}, raw({third})},
                [&](int, int) { return third; });
  expect_values({Kind::tensor}, {"a.weight_scale_inv", "F32", {1}, raw({third})},
                [&](int, int) { return third; });
  std::string half;
  for (int i = 0; i < 5; ++i) put(half, bf16_from_float(0.1F * float(i + 1)));
  expect_values({Kind::channel}, {"a.weight_scale", "BF16", {5, 1}, half}, [](int row, int) {
    return float_from_bf16(bf16_from_float(0.1F * float(row + 1)));
  });
  expect_values({Kind::block, 2, 4},
                {"a.weight_scale_inv", "F32", {3, 2}, raw({.1F, .2F, .3F, .4F, .5F, .6F})},
                [](int row, int col) {
                  return std::vector{
                      .1F, .2F, .3F, .4F, .5F, .6F}[std::size_t(row / 2 * 2 + col / 4)];
                });
}

TEST(Quantization, ScalesMustBeThereAndHaveTheirShape) {
  const auto error = [](const WeightScales& scheme, const Given& scales) {
    std::string file;
    Weights weights = weights_of({{"a.weight", "F8_E5M2", {4, 4}, codes(16)}, scales}, file);
    std::vector<std::string> unused;
    return error_of(apply_weight_scales(scheme, "m", weights, unused));
  };
  EXPECT_EQ(error({Kind::tensor}, {"b.weight_scale", "F32", {}, raw({1})}),
            "m: tensor \"a.weight\" is F8_E5M2 but its scale \"a.weight_scale\" is missing, which "
            "quantization_config calls for");
  EXPECT_EQ(error({Kind::channel}, {"a.weight_scale", "F32", {}, raw({1})}),
            "m: tensor \"a.weight_scale\" has shape []; scales of \"a.weight\" have [4, 1]");
  EXPECT_EQ(error({Kind::tensor}, {"a.weight_scale", "F8_E4M3", {1}, "x"}),
            "m: tensor \"a.weight_scale\" is F8_E4M3; a scale must be F32, BF16 or F16");
  EXPECT_EQ(error({Kind::none}, {"a.weight_scale", "F32", {}, raw({1})}), "no error");
}

/// Without a quantization_config a scale is a tensor that nothing reads.
TEST(Quantization, AScaleWithoutAConfigIsRefused) {
  const fakes::Folder folder;
  std::vector<TinyTensor> tensors = tiny_tensors(false);
  tensors.push_back({"model.layers.0.self_attn.q_proj.weight_scale", "", 0, 1});
  folder.write("model.safetensors", tiny_safetensors(tensors));
  folder.write("config.json", tiny_config());
  EXPECT_NE(
      error_of(load_model(folder.path())).find("q_proj.weight_scale\" is read by no operation"),
      std::string::npos);
  folder.write("config.json", tiny_config(", \"quantization_config\": " + fp8("")));
  EXPECT_NE(
      error_of(load_model(folder.path())).find("q_proj.weight_scale\" is read by no operation"),
      std::string::npos)
      << "the weight is F32: its scale scales nothing";
}

}  // namespace
}  // namespace isobit
