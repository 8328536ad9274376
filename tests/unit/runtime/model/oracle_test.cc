// The residual stream that enters each layer, against Hugging Face transformers, for every tiny
// model of tests/integration/architectures (make_architectures.py there says what its files are).
//
// The tokens are those that transformers drew. Precision fp32, within 2e-5 of a row's range; the
// first layer that departs is named. test_architectures.py compares tokens and logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/file.h"
#include "runtime/run/generate.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

constexpr double kBound = 2e-5;  // of a row's range

fs::path home() {
  return fs::path(ISOBIT_SOURCE_DIR) / "tests/integration/architectures";
}

std::vector<std::string> models() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(home())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string text_of(const fs::path& path) {
  const Result<std::string> text =
      read_file(path.string(), std::size_t{1} << 20, "an oracle's file");
  return text ? *text : "";
}

std::vector<float> floats_of(const fs::path& path) {
  const std::string bytes = text_of(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

/// Of two rows, over the range of the second; a NaN is infinitely far.
double distance(const std::vector<double>& ours, std::span<const float> theirs) {
  const auto [low, high] = std::minmax_element(theirs.begin(), theirs.end());
  const double range = double(*high) - double(*low);
  double worst = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double each = std::abs(ours[i] - double(theirs[i])) / range;
    if (!(each <= worst)) worst = std::isnan(each) ? HUGE_VAL : each;
  }
  return worst;
}

/// Rows that entered the layers, by position and layer, of a text whose tokens are given.
using Entered = std::map<std::pair<std::int64_t, int>, std::vector<double>>;
Entered run(Runtime& runtime, const std::vector<std::int32_t>& prompt,
            const std::vector<std::int32_t>& tokens) {
  Entered entered;
  GenerateRequest request;
  request.prompts.push_back({prompt, tokens});
  request.max_new_tokens = std::int64_t(tokens.size());
  request.residual = [&](int layer, int, std::int64_t position, std::span<double> row) {
    entered[{position, layer}].assign(row.begin(), row.end());
  };
  const auto made = runtime.generate(request);
  EXPECT_TRUE(made.has_value()) << (made ? "" : made.error().text());
  if (made) {
    EXPECT_EQ(made->trace.status, CellStatus::ok) << made->trace.reason;
  }
  return entered;
}

class Oracle : public ::testing::TestWithParam<std::string> {};

TEST_P(Oracle, EveryLayersInputIsWithinTheBound) {
  const fs::path folder = home() / GetParam();
  auto model = load_model(folder.string());
  ASSERT_TRUE(model.has_value()) << model.error().text();
  const auto layers = std::size_t(model->config.layers);
  const auto hidden = std::size_t(model->config.hidden_size);
  Runtime runtime(std::move(*model));
  const std::vector<float> theirs = floats_of(folder / "hidden.f32");
  std::size_t at = 0;
  const auto expected = nlohmann::json::parse(text_of(folder / "expected.json"));
  for (const auto& wanted : expected["cases"]) {
    const Entered entered = run(runtime, wanted["prompt"].get<std::vector<std::int32_t>>(),
                                wanted["tokens"].get<std::vector<std::int32_t>>());
    const auto positions = wanted["hidden"].get<std::vector<std::int64_t>>();
    ASSERT_LE(at + positions.size() * layers * hidden, theirs.size());
    for (std::size_t layer = 0; layer < layers; ++layer) {
      for (std::size_t i = 0; i < positions.size(); ++i) {
        const auto found = entered.find({positions[i], int(layer)});
        ASSERT_NE(found, entered.end());
        ASSERT_EQ(found->second.size(), hidden);
        const auto row = std::span(theirs).subspan(at + (i * layers + layer) * hidden, hidden);
        ASSERT_LE(distance(found->second, row), kBound)
            << "layer " << layer << " is the first whose input departs, at position "
            << positions[i];
      }
    }
    at += positions.size() * layers * hidden;
  }
  EXPECT_EQ(at, theirs.size());
  EXPECT_GT(at, 0U);
}

std::string test_name(const ::testing::TestParamInfo<std::string>& folder) {
  std::string name = folder.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Families, Oracle, ::testing::ValuesIn(models()), test_name);

}  // namespace
}  // namespace isobit
