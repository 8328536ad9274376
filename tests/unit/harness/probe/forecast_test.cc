// Forecasts: what a library says that it would start gives the order that a probe found of it. The
// choices are those of cuBLAS 13.1 on an H200, the orders those that gave every bit of their calls.
#include "harness/probe/forecast.h"

#include <gtest/gtest.h>

#include "harness/probe/search.h"

namespace isobit::probe {
namespace {

const std::string kReduce = " + _ZN8cublasLt19splitKreduce_kernelILi32ELi16EiffffLb0EfffLb1E b32";

std::string forecast(const std::string& choice, Format operand, std::int64_t k) {
  const auto order = forecast_order(choice, TensorCore::sm90, operand, k);
  return order ? text_of(*order) : "none";
}

TEST(Forecast, TensorCoresOf16Bits) {
  const auto bf16 = [](const std::string& choice, std::int64_t k) {
    return forecast(choice, Format::bf16, k);
  };
  EXPECT_EQ(bf16("nvjet_sm90_tss_128x240_64x4_2x1_v_bz_coopA_TNT b384 ; 66 split_k 1", 960),
            "sm90");
  EXPECT_EQ(bf16("nvjet_sm90_tss_64x8_64x16_4x1_v_bz_splitK_TNT b384" + kReduce +
                     " ; 66 split_k 3 reduction 2 custom 1",
                 3136),
            "sm90+slice:1088");
  const std::string mma =
      "_ZN7cutlass7Kernel2I52cutlass_80_tensorop_s16816gemm_bf16_128x64_64x3_tn_";
  EXPECT_EQ(bf16(mma + "align2EEvNT_6ParamsE b128 ; 23 split_k 1", 1420), "sm90+tile:64");
  EXPECT_EQ(bf16(mma + "align2EEvNT_6ParamsE b128 z21" + kReduce + " ; 23 split_k 22", 3000),
            "sm90+slice:144+tile:64");
  EXPECT_EQ(bf16("memset + " + mma + "align2EEvNT_6ParamsE b128 z2 ; 23 split_k 2", 8000),
            "sm90+slice:4032")
      << "where rows begin at 128 bytes, slices do";
  const std::string turing = "_ZN7cutlass7Kernel2I50cutlass_75_tensorop_s1688gemm_bf16_64x64_tn_";
  EXPECT_EQ(bf16(turing + "align1EEvNT_6ParamsE b128 z12" + kReduce + " ; 24 split_k 16", 864),
            "sm90+group:8+slice:72+tile:32");
  EXPECT_EQ(bf16("cutlass_80_wmma_tensorop_s161616gemm_bf16_32x32_128x1_tn_align2 b128 z15" +
                     kReduce + " ; 23 split_k 16",
                 1420),
            "sm90+slice:96+tile:128");
}

TEST(Forecast, TensorCoresOf8Bits) {
  const std::string nvjet = "nvjet_sm90_qqsss_64x8_128x16_4x2_h_bz_algo2_";
  EXPECT_EQ(forecast(nvjet + "TNT b384 ; 66 split_k 1", Format::e4m3, 1536), "sm90+block:128");
  EXPECT_EQ(forecast(nvjet + "TNT b384 ; 66 split_k 1", Format::e4m3, 128), "sm90");
  EXPECT_EQ(forecast(nvjet + "splitK_TNT b384" + kReduce + " ; 66 split_k 3", Format::e4m3, 3136),
            "sm90+slice:1152+block:128");
}

TEST(Forecast, TensorCoresOf32Bits) {
  EXPECT_EQ(forecast("cutlass_80_tensorop_s1688gemm_64x64_16x6_tn_align4 b128 z8" + kReduce +
                         " ; 21 split_k 8",
                     Format::tf32, 960),
            "sm90+slice:128");
  EXPECT_EQ(forecast("cutlass_80_tensorop_s1688gemm_128x64_32x3_tn_align4 b128 z22" + kReduce +
                         " ; 21 split_k 22",
                     Format::tf32, 7952),
            "sm90+slice:364+tile:32");
  const std::string hopper =
      "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32_warpgroupsize1x1x1_execute_segment_"
      "k_";
  EXPECT_EQ(forecast(hopper + "off_kernel__5x_cublas b384 ; 43 split_k 1", Format::tf32, 960),
            "sm90");
  EXPECT_EQ(forecast("memset + " + hopper + "on_kernel__5x_cublas b384 ; 43 split_k 4294967295",
                     Format::tf32, 3520),
            "none")
      << "blocks share the columns of a tile";
}

TEST(Forecast, OperandsThatAreRounded) {
  EXPECT_EQ(forecast("cutlass_80_tensorop_s1688gemm_128x64_32x3_tn_align4 b128 ; 21 split_k 1",
                     Format::f32, 960),
            "sm90+operands:tf32");
  EXPECT_EQ(
      forecast("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_execute_segment_k_off_kernel b384 ; 43",
               Format::f32, 960),
      "sm90+operands:tf32");
}

TEST(Forecast, FmasOfManyRows) {
  const auto fp32 = [](const std::string& choice, std::int64_t k) {
    return forecast(choice, Format::f32, k);
  };
  EXPECT_EQ(
      fp32("cutlass_80_simt_sgemm_128x64_8x5_tn_align1 b128 z29" + kReduce + " ; 20 split_k 30",
           1960),
      "fma+slice:68");
  EXPECT_EQ(
      fp32("cutlass_80_simt_sgemm_64x64_8x5_tn_align1 b128 z30" + kReduce + " ; 20 split_k 33",
           4672),
      "fma+slice:160");
  const std::string xmma =
      "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x128x8_stage3_warpsize1x2x1_ffma_execute_";
  EXPECT_EQ(fp32(xmma + "kernel__5x_cublas b64 ; 55 split_k 1 custom 0", 960), "fma");
  EXPECT_EQ(fp32("memset + " + xmma + "kernel__5x_cublas b64 z9 ; 55 split_k 9 custom 1", 960),
            "fma+deal:8+lanes:9+meet:paired");
  EXPECT_EQ(fp32("memset + " + xmma + "kernel__5x_cublas b64 z9 ; 55 split_k 9 custom 2", 960),
            "fma+deal:8+lanes:9");
  EXPECT_EQ(fp32(xmma + "kernel__5x_cublas b64 z7 + " + xmma +
                     "split_k_kernel__5x_cublas b64 z2 ; 55 split_k 7 custom 0",
                 960),
            "fma+deal:8+lanes:7");
  const std::string large =
      "memset + _Z11scal_kernelIffLi1E b256 + _Z18sgemm_largek_lds64ILb1E b32";
  EXPECT_EQ(fp32(large + " z9 ; 10 split_k 9", 10624), "fma+slice:1184");
  EXPECT_EQ(fp32(large + " z10 ; 10 split_k 9", 9152), "fma+slice:1016") << "a slice more is left";
  EXPECT_EQ(fp32(large + " ; 10 split_k 0", 1024), "fma");
}

TEST(Forecast, FewRows) {
  const std::string x = "_ZN8internal5gemvx6kernelIiiffffLb0ELb1ELb1ELb0ELi7ELb0E b32";
  EXPECT_EQ(forecast(x + " ; 13 split_k 1 custom 74", Format::f32, 159), "fma+slice:5+meet:halves");
  EXPECT_EQ(forecast(x + " ; 13 split_k 1 custom 75", Format::f32, 960),
            "fma+deal:1+lanes:32+meet:halves");
  EXPECT_EQ(forecast(x + " z3" + kReduce + " ; 13 split_k 3 custom 75", Format::f32, 12264),
            "fma+slice:4088+deal:1+lanes:32+meet:halves");
  EXPECT_EQ(forecast(x, Format::f32, 960), "none") << "its configuration alone tells";
  EXPECT_EQ(
      forecast("_Z16gemmSN_TN_kernelIfLi128ELi16ELi2E b128 ; 11 split_k 1", Format::f32, 3136),
      "fma+deal:1+lanes:16+block:256");
  EXPECT_EQ(forecast("_Z17gemv2T_kernel_valIiiffffLi128ELi16ELi2ELi2E b128 ; 13", Format::f32, 300),
            "fma+deal:1+lanes:16+block:256");
  const std::string wide = "_Z17gemv2T_kernel_valIii13__nv_bfloat16fffLi128ELi16ELi4ELi4E b128";
  EXPECT_EQ(forecast(wide + " z16" + kReduce + " ; 13 split_k 16", Format::bf16, 11063),
            "fma+slice:692+deal:1+lanes:16+block:512");
  const std::string dot = "_Z10dot_kernelIfLi128ELi0E b128 z64 + _Z20reduce_1Block_kernelIfE b128";
  EXPECT_EQ(forecast(dot + " ; 14 split_k 32", Format::bf16, 12000),
            "fma+deal:1+lanes:8192+meet:nested");
  EXPECT_EQ(forecast(dot, Format::bf16, 12000), "none");
  EXPECT_EQ(forecast(dot + " ; 14 split_k 33", Format::f32, 12000), "none");
}

TEST(Forecast, UnknownKernelsHaveNone) {
  for (const char* choice :
       {"", "memset", " ; 66 split_k 2", "ampere_bf16_s16816gemm_128x64 b128 z3",
        "cutlass_90_blockscaled_gemm_tn_align1 b128"}) {
    EXPECT_EQ(forecast(choice, Format::bf16, 512), "none") << choice;
    EXPECT_FALSE(kind_of_kernel(choice).empty());
  }
  EXPECT_FALSE(forecast_order("nvjet_sm90_tss b384", TensorCore::sm70, Format::bf16, 512))
      << "the chip has no bf16";
}

TEST(Forecast, WhatAloneTellsMustBeThere) {
  EXPECT_EQ(forecast("nvjet_sm90_tss_splitK_TNT b384" + kReduce, Format::bf16, 3136), "none");
  EXPECT_EQ(forecast("_Z11scal_kernelIf b256 + _Z18sgemm_largek b32 z9", Format::f32, 9152),
            "none");
  const std::string xmma = "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_execute_kernel b64 z";
  EXPECT_EQ(forecast(xmma + "9", Format::f32, 960), "none") << "custom says how the lanes meet";
  EXPECT_EQ(forecast(xmma + "2", Format::f32, 960), "fma+deal:8+lanes:2");
}

TEST(Forecast, NumbersThatAreNoSizesHaveNone) {
  const auto fp32 = [](const std::string& choice) { return forecast(choice, Format::f32, 5000); };
  for (const char* width : {"", " b0", " b-5", " b99999999999999999999"}) {
    EXPECT_EQ(fp32("gemvx" + std::string(width) + " ; 13 custom 75"), "none") << width;
  }
  EXPECT_EQ(fp32("sm80_xmma_gemm_f32f32_f32f32_ b64 z4294967296 ; 55 custom 1"), "fma");
  EXPECT_EQ(fp32("sm80_xmma_gemm_f32f32_f32f32_ b64 z9000 ; 55 custom 1"), "none");
  EXPECT_EQ(fp32("cutlass_80_tensorop_s1688gemm_1x1_9999x1_tn_ b64"), "none");
  EXPECT_EQ(forecast("nvjet_splitK b1 ; 66 split_k 9223372036854775807", Format::bf16, 5000),
            "none");
  EXPECT_EQ(forecast("nvjet_splitK b1 ; 66 split_k 16000000", Format::bf16, 5000), "sm90+slice:64");
}

MatrixCapture captured(const std::string& order) {
  const Mode& mode = mode_of(Precision::fp32);
  Values values(200, mode);
  MatrixCapture out{"fp32", 40, 200, false, {}, {}};
  for (const std::int64_t m : {1, 9}) {
    Call call{m, 0, {}};
    for (const Place& place : kept_places(m, 40)) {
      call.bits.push_back(values.bits(*parse_product_order(order), 0, place));
    }
    out.calls.push_back(std::move(call));
  }
  const std::string simt = "cutlass_80_simt_sgemm_64x64_8x5_tn_align1 b128 z4 ; 20 split_k 4";
  out.choices = {{1, 4, simt}, {5, 9, simt + " custom 0"}, {10, 12, "other b32"}};
  return out;
}

TEST(Forecast, AJudgedCallIsRightWhenEveryResultIs) {
  Capture capture;
  capture.matrices = {captured("fma+slice:52")};
  const auto right = judge_forecasts(capture, TensorCore::sm90);
  EXPECT_EQ(right.at({"fp32", "cutlass"}).right, 2);
  EXPECT_EQ(right.at({"fp32", "cutlass"}).wrong, 0);
  capture.matrices[0].calls[1].bits[50] ^= 1;
  const auto one = judge_forecasts(capture, TensorCore::sm90);
  EXPECT_EQ(one.at({"fp32", "cutlass"}).right, 1);
  EXPECT_EQ(one.at({"fp32", "cutlass"}).wrong, 1);
  capture.matrices = {captured("fma+slice:56")};
  EXPECT_EQ(judge_forecasts(capture, TensorCore::sm90).at({"fp32", "cutlass"}).wrong, 2);
}

TEST(Forecast, LinesAreOfAdjoiningRunsWithOneOrder) {
  const auto lines = forecast_lines(captured("fma"), TensorCore::sm90);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].from_rows, 1);
  EXPECT_EQ(lines[0].to_rows, 9) << "what no rule knows has no line";
  EXPECT_EQ(text_of(lines[0].order), "fma+slice:52");
  EXPECT_EQ(lines[0].evidence, ProductLine::Evidence::forecast);
}

}  // namespace
}  // namespace isobit::probe
