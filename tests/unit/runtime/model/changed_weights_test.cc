// Changed matrices: the digests of NUMERICS.md, "Changed weights" (computed a second time by
// tests/conformance/oracle/changed_weights.py), slices of ranks, and what cannot be changed.
#include "runtime/model/changed_weights.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "runtime/numerics/bits.h"
#include "runtime/numerics/digest.h"
#include "runtime/numerics/weight_text.h"
#include "runtime/run/generate.h"
#include "tests/fakes/model.h"

namespace isobit {
namespace {

constexpr std::int64_t kRows = 24, kColumns = 37;

/// A tensor over values that a test owns.
Tensor tensor_over(std::vector<float>& values, std::int64_t rows) {
  Tensor tensor;
  tensor.name = "model.layers.0.mlp.up_proj.weight";
  tensor.rows = rows;
  tensor.cols = std::int64_t(values.size()) / rows;
  tensor.shape = {tensor.rows, tensor.cols};
  tensor.bytes = std::as_bytes(std::span(values));
  return tensor;
}

/// The page's matrix: draws of stream 9 in [-0.125, 0.125), row 3 zero.
std::vector<float> example() {
  std::vector<float> values(std::size_t(kRows * kColumns));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto row = std::uint64_t(i / kColumns);
    const float n = float(draw24(2026, row, std::uint32_t(i % kColumns), 9));
    values[i] = row == 3 ? 0.0F : (n * 0x1p-24F - 0.5F) * 0.25F;
  }
  return values;
}

WeightChange change_of(const std::string& text) {
  const auto change = parse_weight_change(text);
  ISOBIT_CHECK(change.has_value());
  return *change;
}

std::vector<float> changed(const Tensor& tensor, const std::string& text) {
  const auto made = ChangedTensor::make(tensor, change_of(text), 0, tensor.rows);
  ISOBIT_CHECK(made.has_value());
  std::vector<float> out(std::size_t(tensor.rows * tensor.cols));
  for (std::int64_t r = 0; r < tensor.rows; ++r) {
    made->read_row(r, 0, tensor.cols,
                   std::span(out).subspan(std::size_t(r * tensor.cols), std::size_t(tensor.cols)));
  }
  return out;
}

std::string digest_of(const std::vector<float>& values) {
  return to_hex(digest_bytes(std::as_bytes(std::span(values))));
}

const std::pair<const char*, const char*> kDigests[] = {
    {"rtn:4", "ac4b52fbce3d0e9829f27d8ea65d6dea"},
    {"rtn:4+granularity:tensor", "5feae2a53444d7311c9ca74cfc5ac28e"},
    {"bsr:2", "2c5d4f4551994976aadc202bd2a6e8f6"},
    {"bsr:5", "29d93357f918de41fc2e0c6b726881e3"},
    {"bsr:5+seed:1", "cf9d167ecc7471644c0a973b93135530"},
    {"bsr:5+granularity:tensor+seed:3", "e9f469ed1aa73faf2688bc4b3ed72d91"},
    {"bsr:16+seed:9223372036854775807", "a07e48969aaadc65755de7a8ad44ae5e"},
    {"gaussian:0.1", "de31c243dff2c687258faf42768916ec"},
    {"gaussian:0.1+granularity:tensor+seed:5", "cd18ff37a6434c30daf81b6c239e206e"},
};

TEST(ChangedWeights, GiveThePagesDigests) {
  std::vector<float> values = example();
  const Tensor tensor = tensor_over(values, kRows);
  ASSERT_EQ(digest_of(values), "fc95a5dba9ae24671538444c07c5c0d7");
  for (const auto& [text, digest] : kDigests) {
    EXPECT_EQ(digest_of(changed(tensor, text)), digest) << text;
  }
}

/// Slices as ranks cut them, rows in any order: the whole's bits.
TEST(ChangedWeights, SlicesJoinedAreTheWhole) {
  std::vector<float> values = example();
  const Tensor tensor = tensor_over(values, kRows);
  for (const auto& [text, digest] : kDigests) {
    const std::vector<float> whole = changed(tensor, text);
    for (const auto& [first, last] : {std::pair{0, 7}, std::pair{7, 8}, std::pair{8, 24}}) {
      const auto slice = ChangedTensor::make(tensor, change_of(text), first, last);
      ASSERT_TRUE(slice);
      for (std::int64_t r = last - 1; r >= first; --r) {
        for (const auto& [begin, end] : {std::pair{20, 37}, std::pair{0, 3}, std::pair{3, 20}}) {
          std::vector<float> part(std::size_t(end - begin));
          slice->read_row(r, begin, end, part);
          for (std::size_t i = 0; i < part.size(); ++i) {
            ASSERT_EQ(bits_of(part[i]), bits_of(whole[std::size_t(r * kColumns + begin) + i]))
                << text << ", row " << r << ", column " << begin + std::int64_t(i);
          }
        }
      }
    }
  }
}

TEST(ChangedWeights, ARowOfZerosStays) {
  std::vector<float> values(64, 0.0F);
  values[40] = 0.5F;
  const Tensor tensor = tensor_over(values, 2);
  for (const char* text : {"rtn:2", "bsr:5", "gaussian:1"}) {
    const std::vector<float> made = changed(tensor, text);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(bits_of(made[i]), 0u) << text;
  }
}

TEST(ChangedWeights, CountWhatTheyChange) {
  std::vector<float> values = {0.0F, 0.5F, 1.0F, -1.0F};
  const Tensor tensor = tensor_over(values, 1);
  const auto made = ChangedTensor::make(tensor, change_of("rtn:2"), 0, 1);
  ASSERT_TRUE(made);
  std::vector<float> row(4);
  EXPECT_EQ(made->read_row(0, 0, 4, row), 1);  // 0.5 is half a step: to even, 0
  EXPECT_EQ(row, (std::vector<float>{0.0F, 0.0F, 1.0F, -1.0F}));
}

TEST(ChangedWeights, WhatCannotBeChangedIsNamed) {
  const auto error_of = [](std::vector<float> values, const std::string& text) {
    const Tensor tensor = tensor_over(values, 2);
    const auto made = ChangedTensor::make(tensor, change_of(text), 0, 2);
    return made ? "no error" : made.error().message;
  };
  const float tiny = std::numeric_limits<float>::min();
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(error_of({1, 1, tiny, 0}, "bsr:4"),
            "weights cannot be rounded to bsr:4: the step of tensor "
            "model.layers.0.mlp.up_proj.weight, row 1 underflows, its largest magnitude is "
            "1.17549e-38");
  EXPECT_EQ(error_of({1, 1, tiny, 0}, "bsr:4+granularity:tensor"), "no error");
  EXPECT_EQ(error_of({1, 1, tiny, 0}, "gaussian:0.1"), "no error");
  EXPECT_EQ(error_of({1, inf, 1, 1}, "rtn:4+granularity:tensor"),
            "weights cannot be changed to rtn:4+granularity:tensor: tensor "
            "model.layers.0.mlp.up_proj.weight has one that is not finite");
  EXPECT_EQ(error_of({1, 1, 1, -std::numeric_limits<float>::quiet_NaN()}, "gaussian:0.1"),
            "weights cannot be changed to gaussian:0.1: tensor "
            "model.layers.0.mlp.up_proj.weight, row 1 has one that is not finite");
}

/// Everything of a trace that a class must share.
std::string bits_of_trace(const CellTrace& trace) {
  return trace.reason + to_hex(cell_root(trace));
}

/// One digest over ranks, batches, caches and threads for each value; none of them the stored one.
TEST(ChangedWeights, AValueIsOneClass) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  GenerateRequest request;
  request.max_new_tokens = 6;
  for (const int n : {3, 9, 5}) {
    PromptTokens prompt;
    for (int i = 0; i < n; ++i) prompt.tokens.push_back((7 * i + n) % 100);
    request.prompts.push_back(std::move(prompt));
  }
  std::vector<std::string> seen;
  for (const char* text :
       {"stored", "rtn:4", "bsr:4", "bsr:4+seed:1", "gaussian:0.1", "bsr:4+granularity:tensor"}) {
    for (const Precision precision : {Precision::fp32, Precision::fp8_e4m3}) {
      request.precision = precision;
      request.weights = change_of(text);
      std::string first;
      for (const int ranks : {1, 2, 4}) {
        for (const int batch : {1, 3}) {
          for (const char* cache : {"on", "off"}) {
            request.ranks = ranks;
            request.batch.size = batch;
            request.cache = *parse_cache_mode(cache);
            request.backend.threads = batch;
            const auto result = runtime.generate(request);
            ASSERT_TRUE(result) << result.error().text();
            ASSERT_EQ(result->trace.status, CellStatus::ok) << result->trace.reason;
            EXPECT_EQ(result->trace.observed.weights, text);
            const std::string bits = bits_of_trace(result->trace);
            if (first.empty()) first = bits;
            EXPECT_EQ(bits, first) << text << ", ranks " << ranks << ", batch " << batch;
          }
        }
      }
      for (const std::string& other : seen) EXPECT_NE(first, other) << text;
      seen.push_back(first);
    }
  }
}

TEST(ChangedWeights, AChangeThatChangesNothingIsSaid) {
  Runtime runtime(fakes::toy_model(fakes::worked_example()));
  GenerateRequest request;
  request.prompts.push_back({{1, 2, 3}, {}, ""});
  request.max_new_tokens = 2;
  request.weights = change_of("gaussian:0");
  const auto result = runtime.generate(request);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->trace.observed.weights, std::string("gaussian:0") + kNothingChanged);
}

/// Embeddings stay, and a tied lm_head is one.
TEST(ChangedWeights, AreTheMatricesOfLinearLayers) {
  for (const bool tied : {true, false}) {
    ModelConfig config = fakes::worked_example();
    config.tied_embeddings = tied;
    const LoadedModel model = fakes::toy_model(config);
    EXPECT_TRUE(check_weight_change(model, change_of("rtn:4")));
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
      const Tensor* tensor = model.weights.find(name);
      if (tensor == nullptr) continue;  // a tied lm_head is not stored
      auto* first = const_cast<std::byte*>(tensor->bytes.data());
      const float infinity = std::numeric_limits<float>::infinity();
      std::memcpy(first, &infinity, sizeof infinity);
      const auto checked = check_weight_change(model, change_of("rtn:4"));
      const bool is_head = std::string(name) == "lm_head.weight";
      ASSERT_EQ(checked.has_value(), !is_head) << name;
      if (is_head) {
        EXPECT_NE(checked.error().message.find("lm_head.weight, row 0"), std::string::npos);
      }
    }
  }
}

}  // namespace
}  // namespace isobit
