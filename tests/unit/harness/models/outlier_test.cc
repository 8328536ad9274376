// The transform "outlier": its draws, what it touches, and its promise about the logits' bits.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "harness/models/files.h"
#include "runtime/run/generate.h"

namespace isobit {
namespace {

constexpr const char* kNowhere = "/nonexistent";  // a scenario's folder

// Made by a separate script from the description in scenarios/models/README.md.
TEST(Outlier, DrawsAsDescribed) {
  using Draws = std::vector<std::pair<std::int64_t, int>>;
  const auto draws = [](std::int64_t layer, int pair, std::int64_t n, std::int64_t count) {
    Draws out;
    for (const auto& draw : models::outlier_draws(layer, pair, n, count)) {
      out.emplace_back(draw.channel, draw.exponent);
    }
    return out;
  };
  EXPECT_EQ(draws(0, 0, 256, 4), (Draws{{66, 4}, {203, 4}, {2, 6}, {92, 4}}));
  EXPECT_EQ(draws(0, 1, 256, 4), (Draws{{197, 4}, {145, 4}, {90, 4}, {26, 5}}));
  EXPECT_EQ(draws(5, 3, 64, 2), (Draws{{29, 4}, {27, 4}}));
  EXPECT_EQ(draws(7, 4, 32, 2), (Draws{{3, 6}, {11, 6}}));
  // One channel was drawn twice here and is skipped the second time.
  EXPECT_EQ(draws(3, 2, 512, 8),
            (Draws{{386, 5}, {210, 6}, {341, 4}, {435, 4}, {78, 5}, {238, 5}, {25, 6}, {356, 5}}));
  EXPECT_EQ(draws(0, 4, 4, 9).size(), 4U);  // never more than there are
}

class OutlierModel : public testing::Test {
 protected:
  void SetUp() override {
    if (models::manifest_path("default-7m", kNowhere).empty()) GTEST_SKIP() << "no default-7m";
  }
  static LoadedModel open(const char* name) {
    auto model = open_model(name, kNowhere);
    EXPECT_TRUE(model) << (model ? "" : model.error().text());
    return std::move(*model);
  }
};

/// The factors of a tensor: for each (row, column) the exponent of changed / original.
struct Factors {
  std::set<std::int64_t> rows, cols;  // with some changed element
  int lowest = 0, highest = 0;
};

Factors factors(const Tensor& before, const Tensor& after) {
  Factors f;
  std::vector<float> a(std::size_t(before.cols)), b(a.size());
  for (std::int64_t r = 0; r < before.rows; ++r) {
    before.read_row(r, 0, before.cols, a);
    after.read_row(r, 0, after.cols, b);
    for (std::size_t c = 0; c < a.size(); ++c) {
      if (a[c] == b[c]) continue;
      int exponent = 0;
      EXPECT_EQ(std::frexp(b[c] / a[c], &exponent), 0.5F) << before.name << " " << r << " " << c;
      f.lowest = std::min(f.lowest, exponent - 1);
      f.highest = std::max(f.highest, exponent - 1);
      f.rows.insert(r);
      f.cols.insert(std::int64_t(c));
    }
  }
  return f;
}

TEST_F(OutlierModel, ChangesEachTensorAsTheTableSays) {
  const LoadedModel before = open("default-7m"), after = open("default-7m-outlier");
  ASSERT_EQ(before.weights.all().size(), after.weights.all().size());
  for (const auto& [name, tensor] : before.weights.all()) {
    const Factors f = factors(tensor, *after.weights.find(name));
    const auto has = [&name = name](const char* word) {
      return name.find(word) != std::string::npos;
    };
    const bool all_rows = f.rows.size() == std::size_t(tensor.rows);
    if (has("layers.") && (has("input_layernorm") || has("post_attention_layernorm"))) {
      EXPECT_EQ(f.cols.size(), 4U) << name;
      EXPECT_GE(f.highest, 4) << name;
      EXPECT_EQ(f.lowest, 0) << name;
    } else if (has("gate_proj")) {
      EXPECT_EQ(f.cols.size(), 4U) << name;
      EXPECT_TRUE(all_rows && f.lowest <= -4 && f.highest == 0) << name;
    } else if (has("up_proj") || has("k_proj") || has("v_proj")) {
      EXPECT_TRUE(all_rows && f.lowest <= -4 && f.highest >= 4) << name;
    } else if (has("q_proj")) {
      EXPECT_TRUE(all_rows && f.lowest <= -8 && f.highest == 0) << name;
    } else if (has("down_proj")) {
      EXPECT_EQ(f.cols.size(), 8U) << name;
      EXPECT_EQ(f.highest, 0) << name;
    } else if (has("o_proj")) {
      EXPECT_EQ(f.cols.size(), 16U) << name;  // 2 channels of each of 8 query heads
      EXPECT_EQ(f.highest, 0) << name;
    } else {  // embedding, final norm
      EXPECT_TRUE(f.rows.empty()) << name;
    }
  }
}

constexpr const char* kTexts[] = {
    "It was a fine morning, and they walked together to the village before breakfast.",
    "<|user|>\nWhat is 23 + 48?\n<|assistant|>\n",
    ("<|user|>\nAnna has 12 apples. She buys 30 more. How many apples does Anna have now?\n"
     "<|assistant|>\n"),
    "And the LORD said unto Moses, Stretch out thine hand over the sea,"};

GenerateResult generate(Runtime& runtime, Precision precision, const KvPolicySpec& kv = {}) {
  const auto tokenizer = Tokenizer::from_model(runtime.model());
  EXPECT_TRUE(tokenizer);
  GenerateRequest request;
  request.precision = precision;
  request.max_new_tokens = 8;
  request.kv = kv;
  for (const char* text : kTexts) {
    const int prompt = int(request.prompts.size());
    request.prompts.push_back({tokenizer->encode(text, true), {}});
    request.capture.emplace_back(prompt, std::int64_t(request.prompts.back().tokens.size()) - 1);
  }
  auto result = runtime.generate(request);
  EXPECT_TRUE(result) << (result ? "" : result.error().text());
  return std::move(*result);
}

/// Rows whose digests agree, and all rows.
std::pair<std::size_t, std::size_t> equal_rows(const CellTrace& a, const CellTrace& b) {
  std::size_t equal = 0, all = 0;
  EXPECT_EQ(a.prompts.size(), std::size(kTexts));
  EXPECT_EQ(a.prompts.size(), b.prompts.size());
  for (std::size_t p = 0; p < a.prompts.size(); ++p) {
    EXPECT_EQ(a.prompts[p].tokens.size(), b.prompts[p].tokens.size());
    for (std::size_t i = 0; i < a.prompts[p].tokens.size(); ++i, ++all) {
      equal += a.prompts[p].tokens[i].digest == b.prompts[p].tokens[i].digest;
    }
  }
  return {equal, all};
}

/// Mean square distance of the rows behind the prompts.
double distance(const GenerateResult& a, const GenerateResult& b) {
  double sum = 0, count = 0;
  for (const auto& [place, row] : a.captured) {
    const RowValues& other = b.captured.at(place);
    for (std::size_t i = 0; i < row.size(); ++i) {
      sum += (row[i] - other[i]) * (row[i] - other[i]);
      ++count;
    }
  }
  EXPECT_GT(count, 0);
  return sum / count;
}

TEST_F(OutlierModel, KeepsTheBitsOfWideModes) {
  Runtime plain(open("default-7m")), outlier(open("default-7m-outlier"));
  for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp64}) {
    const auto [equal, all] =
        equal_rows(generate(plain, precision).trace, generate(outlier, precision).trace);
    EXPECT_EQ(all, 8 * std::size(kTexts)) << int(precision);
    EXPECT_EQ(equal, all) << int(precision);
  }
}

TEST_F(OutlierModel, MakesAnInt8CacheMuchWorse) {
  Runtime plain(open("default-7m")), outlier(open("default-7m-outlier"));
  const KvPolicySpec int8 = *parse_kv_policy("q8_0");
  const GenerateResult exact = generate(plain, Precision::fp32);
  const double easy = distance(exact, generate(plain, Precision::fp32, int8));
  const double hard = distance(exact, generate(outlier, Precision::fp32, int8));
  RecordProperty("mean_square", std::to_string(easy) + " " + std::to_string(hard));
  EXPECT_GT(easy, 0);
  EXPECT_GT(hard, 100 * easy);
}

// fp8's scales are powers of two, so that a factor of 64 costs e4m3 a part of its small values and
// nothing else, and e5m2 nothing at all: its exponents reach far enough.
TEST_F(OutlierModel, MakesE4m3HarderAndKeepsE5m2) {
  Runtime plain(open("default-7m")), outlier(open("default-7m-outlier"));
  const GenerateResult exact = generate(plain, Precision::fp32);
  const GenerateResult a = generate(plain, Precision::fp8_e4m3);
  const GenerateResult b = generate(outlier, Precision::fp8_e4m3);
  EXPECT_EQ(equal_rows(a.trace, b.trace).first, 0U);
  const double easy = distance(exact, a), hard = distance(exact, b);
  RecordProperty("mean_square", std::to_string(easy) + " " + std::to_string(hard));
  EXPECT_GT(hard, easy);
  const auto [equal, all] = equal_rows(generate(plain, Precision::fp8_e5m2).trace,
                                       generate(outlier, Precision::fp8_e5m2).trace);
  EXPECT_EQ(equal, all);
}

}  // namespace
}  // namespace isobit
