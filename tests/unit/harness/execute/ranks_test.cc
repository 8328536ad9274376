// What a scenario may require of ranks, and what moves with their record.
#include "runtime/run/ranks.h"

#include <gtest/gtest.h>

#include "harness/execute/session.h"
#include "harness/execute/wire.h"
#include "harness/matrix/matrix.h"

namespace isobit {
namespace {

/// The skip reason of the cell with that many ranks, under one requirement of `gpus`, or with that
/// many of another axis.
std::string reason(const std::string& what, const std::string& device, const std::string& many,
                   const std::string& axis = "gpus") {
  const std::string text =
      "version: 1\nname: s\nmodel: nano-300k\nprompts: prompts/lengths.jsonl\n"
      "axes: {device: [" +
      device + "], " + axis + ": [1, 2]}\nrequires: {" + axis + ": " + what +
      "}\n"
      "expect: [{same_bits: {across: [" +
      axis + "]}}]\n";
  const auto scenario = parse_scenario(text, ISOBIT_SOURCE_DIR "/scenarios/s.yaml", {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  const auto session = open_session(*scenario);
  EXPECT_TRUE(session) << session.error().text();
  const auto matrix = expand(*scenario, false);
  EXPECT_TRUE(matrix) << matrix.error().text();
  for (const Cell& cell : matrix->cells) {
    if (cell.value(axis) == many) return skip_reason(*scenario, *session, cell);
  }
  return "no such cell";
}

TEST(Ranks, RealRefusesThreadsOfOneProcess) {
  EXPECT_EQ(reason("real", "cpu", "2"),
            "gpus requires real: ranks on the CPU are threads of one process");
  EXPECT_EQ(reason("nccl", "cpu", "2"),
            "gpus requires nccl: ranks on the CPU are threads of one process");
  EXPECT_EQ(reason("gpu", "cpu", "2"), "gpus requires gpu");
  EXPECT_EQ(reason("real", "cpu", "1"), "") << "one rank is no rank";
}

TEST(Ranks, RealReplicasHaveAGpuEach) {
  EXPECT_EQ(reason("real", "cpu", "2", "replicas"),
            "replicas requires real: 2 replicas have 0 GPUs");
  EXPECT_EQ(reason("real", "cpu", "1", "replicas"), "");
}

TEST(Ranks, AnEngineIsRequiredByBeingAbleToRun) {
  // What no machine without CUDA's driver can have, and what needs only a file.
  const std::string no_cublas = reason("cublas", "cpu", "2");
  BackendOptions cublas;
  cublas.engine.name = "cublas";
  cublas.device = "cuda";
  const std::string why = unsupported_reason(cublas, mode_of(Precision::fp32));
  EXPECT_EQ(no_cublas, why.empty() ? "" : "gpus requires cublas: " + why);
  BackendOptions openblas;
  openblas.engine.name = "openblas";
  const std::string missing = unsupported_reason(openblas, mode_of(Precision::fp32));
  EXPECT_EQ(reason("openblas", "cpu", "2"),
            missing.empty() ? "" : "gpus requires openblas: " + missing);
  EXPECT_EQ(reason("cublas", "cpu", "1"), "") << "one rank is at the default";
}

TEST(Ranks, MpiIsRequiredOfTheProgramThatHasIt) {
  EXPECT_EQ(reason("mpi", "cpu", "2"), "gpus requires mpi: mpirun -n 2 isobit-mpi");
}

/// On a machine of any kind: real exactly when nothing speaks against it, and the doctor agrees.
TEST(Ranks, ThePlanAndTheDoctorAgree) {
  BackendOptions cuda;
  cuda.device = "cuda";
  for (const int ranks : {2, 4, 8}) {
    const bool real = why_virtual(cuda, ranks).empty();
    const bool said = rank_status().find(std::to_string(ranks) + " real") != std::string::npos;
    EXPECT_EQ(real, said) << rank_status();
    EXPECT_EQ(transport_identity(cuda, ranks).empty(), !real);
  }
  EXPECT_EQ(transport_identity(cuda, 1), "");
  EXPECT_EQ(transport_identity(BackendOptions{}, 4), "");
}

TEST(Ranks, TheTransportTravelsFromTheWorker) {
  JobResult sent;
  sent.trace.observed.transport = "nccl 2.28.9, NVLS off, GPUs a b";
  sent.trace.communication_seconds = 0.25;
  wire::Writer writer;
  writer.put(sent);
  JobResult got;
  wire::Reader reader(writer.bytes());
  reader.get(got);
  EXPECT_FALSE(reader.failed());
  EXPECT_EQ(got.trace.observed.transport, sent.trace.observed.transport);
  EXPECT_EQ(got.trace.communication_seconds, 0.25);
}

}  // namespace
}  // namespace isobit
