// Files of shapes: what is read, and what is refused where.
#include "harness/scenario/shapes.h"

#include <gtest/gtest.h>

namespace isobit {
namespace {

std::string error_of(const std::string& text, OperationKind kind) {
  const auto shapes = parse_shapes(text, "f.jsonl", kind);
  return shapes ? "" : shapes.error().text();
}

TEST(Shapes, AreReadOneALine) {
  const auto gemm = parse_shapes(
      "{\"id\": \"a\", \"n\": 3, \"k\": 5}\n\n{\"id\": \"b\", \"n\": 1, \"k\": 2, \"bias\": true}",
      "f.jsonl", OperationKind::gemm);
  ASSERT_TRUE(gemm) << gemm.error().text();
  ASSERT_EQ(gemm->size(), 2U);
  EXPECT_EQ(text_of(OperationKind::gemm, (*gemm)[0].shape), "gemm a n=3 k=5 bias=false");
  EXPECT_EQ(text_of(OperationKind::gemm, (*gemm)[1].shape), "gemm b n=1 k=2 bias=true");
  EXPECT_EQ((*gemm)[1].place, "f.jsonl:3");
  const auto attention = parse_shapes(
      R"({"id": "a", "heads": 4, "kv_heads": 2, "head_dim": 16, "keys": 9, "phase": "prefill"})",
      "f.jsonl", OperationKind::attention);
  ASSERT_TRUE(attention) << attention.error().text();
  EXPECT_EQ(text_of(OperationKind::attention, attention->front().shape),
            "attention a heads=4 kv_heads=2 head_dim=16 keys=9 phase=prefill");
  const auto norm = parse_shapes(R"({"id": "a", "width": 7})", "f.jsonl", OperationKind::rms_norm);
  ASSERT_TRUE(norm) << norm.error().text();
  EXPECT_EQ(text_of(OperationKind::rms_norm, norm->front().shape), "rms_norm a width=7");
}

TEST(Shapes, WhatIsWrongIsNamedWithItsPlace) {
  const auto gemm = [](const std::string& text) { return error_of(text, OperationKind::gemm); };
  EXPECT_EQ(gemm(""), "f.jsonl: the file holds no shape");
  EXPECT_EQ(gemm("[1]"), "f.jsonl:1: expected one JSON object a line");
  EXPECT_EQ(gemm("\n{\"id\": \"a\", \"n\": 3, \"k\": }"),
            "f.jsonl:2:26: malformed JSON near \"}\"");
  EXPECT_EQ(gemm(R"({"n": 3, "k": 5})"), "f.jsonl:1: id must be a text");
  EXPECT_EQ(gemm(R"({"id": "", "n": 3, "k": 5})"), "f.jsonl:1: id must be one line of text");
  EXPECT_EQ(gemm(R"({"id": "a", "n": 3})"),
            "f.jsonl:1: k must be a whole number from 1 to 1048576; it is missing");
  EXPECT_EQ(gemm(R"({"id": "a", "n": 0, "k": 1})"),
            "f.jsonl:1: n must be a whole number from 1 to 1048576, not \"0\"");
  EXPECT_EQ(gemm(R"({"id": "a", "n": 1.5, "k": 1})"),
            "f.jsonl:1: n must be a whole number from 1 to 1048576, not \"1.5\"");
  EXPECT_EQ(gemm(R"({"id": "a", "n": 1, "k": 1, "m": 1})"),
            "f.jsonl:1: unknown key \"m\" of a shape of gemm; did you mean \"n\"?");
  EXPECT_EQ(gemm(R"({"id": "a", "n": 1, "n": 2, "k": 1})"), "f.jsonl:1: duplicate key \"n\"");
  EXPECT_EQ(gemm(R"({"id": "a", "n": 1, "k": 1, "bias": 1})"),
            "f.jsonl:1: bias must be true or false");
  EXPECT_EQ(gemm("{\"id\": \"a\", \"n\": 1, \"k\": 1}\n{\"id\": \"a\", \"n\": 1, \"k\": 2}"),
            "f.jsonl:2: id \"a\" is that of line 1");
}

TEST(Shapes, OfAttentionFitTheirHeads) {
  const auto wrong = [](const std::string& sizes) {
    return error_of("{\"id\": \"a\", " + sizes + "}", OperationKind::attention);
  };
  EXPECT_EQ(wrong(R"("heads": 3, "kv_heads": 2, "head_dim": 16, "keys": 9)"),
            "f.jsonl:1: heads must be a multiple of kv_heads: 3 are shared by 2");
  EXPECT_EQ(wrong(R"("heads": 2, "kv_heads": 2, "head_dim": 12, "keys": 9)"),
            "f.jsonl:1: head_dim must be a multiple of 8");
  EXPECT_EQ(wrong(R"("heads": 2, "kv_heads": 2, "head_dim": 16, "keys": 7, "phase": "prefill")"),
            "f.jsonl:1: a prefill needs at least 8 keys: each watched row is a query of its own");
  EXPECT_EQ(wrong(R"("heads": 2, "kv_heads": 2, "head_dim": 16, "keys": 7, "phase": "both")"),
            "f.jsonl:1: phase must be decode or prefill");
}

TEST(Shapes, ShippedFilesAreRead) {
  const std::pair<const char*, OperationKind> kinds[] = {{"gemm", OperationKind::gemm},
                                                         {"attention", OperationKind::attention},
                                                         {"rms_norm", OperationKind::rms_norm},
                                                         {"softmax", OperationKind::softmax}};
  for (const auto& [name, kind] : kinds) {
    for (const char* model : {"ci", "default-7m", "smollm2", "llama-8b"}) {
      const std::string path =
          std::string(ISOBIT_SOURCE_DIR "/scenarios/shapes/") + name + "-" + model + ".jsonl";
      const auto shapes = load_shapes(path, kind);
      EXPECT_TRUE(shapes) << path << ": " << shapes.error().text();
    }
  }
}

}  // namespace
}  // namespace isobit
