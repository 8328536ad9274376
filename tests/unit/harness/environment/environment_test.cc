// The fingerprint: what it holds, that it is repeatable, and free of the program's path.
#include "harness/environment/environment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "runtime/base/process.h"
#include "runtime/trace.h"
#include "tests/fakes/folder.h"
#include "tests/unit/harness/store/store_samples.h"

namespace isobit {
namespace {

TEST(Environment, HoldsWhatMayBeSuspected) {
  const Environment env = fingerprint();
  for (const char* name : {"cpu", "cores", "cores.usable", "kernel", "arch", "libc", "compiler",
                           "compiler.flags", "build", "isobit", "numerics", "executable"}) {
    EXPECT_NE(env.at(name), "") << name;
  }
  for (const char* name : {"gpu", "gpu.driver", "cpu.flags", "host", "os", "fp.control"}) {
    EXPECT_EQ(env.entries.count(name), 1U) << name;
  }
  EXPECT_EQ(env.at("executable").size(), 64U);
  EXPECT_EQ(env.at("no such name"), "");
}

TEST(Environment, IsTheSameTwice) {
  const Environment a = fingerprint();
  EXPECT_TRUE(diff(a, fingerprint()).empty());
  EXPECT_EQ(a.entries.count("git.commit"), 0U);
}

TEST(Environment, TheExecutableIsHashedWhereverItLies) {
  Sha256 hash{};
  ASSERT_TRUE(sha256_file(std::filesystem::read_symlink("/proc/self/exe").string(), hash));
  EXPECT_EQ(executable_sha256(), to_hex(hash));
  const std::string folder = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  EXPECT_EQ(fingerprint().to_json().find(folder), std::string::npos);
}

TEST(Environment, LibrariesThatComputeAreHashed) {
  std::string previous;
  for (const LoadedLibrary& library : computing_libraries()) {
    EXPECT_LT(previous, library.name);
    previous = library.name;
    EXPECT_EQ(library.sha256.size(), 64U) << library.path;
    EXPECT_FALSE(library.name.starts_with("libc.so")) << library.name;
    EXPECT_EQ(fingerprint().at("lib." + library.name), library.sha256);
  }
  const auto binaries = execution_binaries();
  ASSERT_FALSE(binaries.empty());
  EXPECT_EQ(binaries[0], "executable=" + executable_sha256());
  EXPECT_EQ(binaries.size(), computing_libraries().size() + 1);
}

TEST(Environment, VariablesThatMatterAreRecorded) {
  const Environment before = fingerprint();
  ::setenv("OPENBLAS_CORETYPE", "HASWELL", 1);
  ::setenv("UNRELATED_VARIABLE", "x", 1);
  const Environment after = fingerprint();
  ::unsetenv("OPENBLAS_CORETYPE");
  ::unsetenv("UNRELATED_VARIABLE");
  const auto differences = diff(before, after);
  ASSERT_EQ(differences.size(), 1U);
  EXPECT_EQ(differences[0].name, "env.OPENBLAS_CORETYPE");
  EXPECT_EQ(differences[0].b, "HASWELL");
}

TEST(Environment, VariablesOfVendorLibrariesAreKnownApart) {
  Environment env;
  env.entries = {{"env.CUBLAS_WORKSPACE_CONFIG", ":4096:8"},
                 {"env.CUBLASLT_DISABLE_CPU_INSTRUCTIONS_MASK", "1"},
                 {"env.CUDA_VISIBLE_DEVICES", "0"},
                 {"env.ISOBIT_DB", "x"},
                 {"env.LD_LIBRARY_PATH", "y"},
                 {"env.NVIDIA_TF32_OVERRIDE", "0"},
                 {"env.OPENBLAS_CORETYPE", "Zen"},
                 {"cublas", "13.0.2"}};
  const std::vector<std::string> want = {
      "env.CUBLASLT_DISABLE_CPU_INSTRUCTIONS_MASK=1", "env.CUBLAS_WORKSPACE_CONFIG=:4096:8",
      "env.CUDA_VISIBLE_DEVICES=0", "env.NVIDIA_TF32_OVERRIDE=0", "env.OPENBLAS_CORETYPE=Zen"};
  EXPECT_EQ(library_variables(env), want);
}

TEST(Environment, JsonRoundTripsAndIsStrict) {
  Environment env;
  env.entries = {{"a", "1 \"quoted\"\n"}, {"b", ""}};
  const auto again = Environment::from_json(env.to_json(), "x");
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(again->entries, env.entries);
  EXPECT_EQ(fingerprint().to_json(), fingerprint().to_json());
  env.entries["b"] = "\xFF\xFE";
  EXPECT_TRUE(Environment::from_json(env.to_json(), "x")) << "bytes that are no UTF-8 are replaced";
  for (const char* bad : {"", "[]", "{", "{\"a\":1}", "null"}) {
    const auto broken = Environment::from_json(bad, "env.json");
    ASSERT_FALSE(broken) << bad;
    EXPECT_EQ(broken.error().place, "env.json");
  }
}

TEST(Environment, DifferencesAreSortedAndSeeAbsence) {
  Environment a, b;
  a.entries = {{"cpu", "X"}, {"gone", "1"}, {"same", "s"}};
  b.entries = {{"cpu", "Y"}, {"new", "2"}, {"same", "s"}};
  const auto differences = diff(a, b);
  ASSERT_EQ(differences.size(), 3U);
  EXPECT_EQ(differences[0].name, "cpu");
  EXPECT_EQ(differences[1].name, "gone");
  EXPECT_EQ(differences[1].b, "");
  EXPECT_EQ(differences[2].a, "");
}

TEST(Environment, GitStateKnowsCommitAndDirt) {
  const fakes::Folder folder;
  const std::string path = folder.file("");
  EXPECT_EQ(git_state("/nonexistent").commit, "");
  const auto git = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-C", path, "-c", "user.name=t", "-c", "user.email=t@t",
                                         "-c", "commit.gpgsign=false"});
    const auto output = run_git(arguments);
    return output && output->status == 0;
  };
  if (!git({"init", "-q"})) GTEST_SKIP() << "git is not there";
  EXPECT_EQ(git_state(path).commit, "") << "no commit yet";
  std::ofstream(folder.file("kernel.cc")) << "1";
  ASSERT_TRUE(git({"add", "."}) && git({"commit", "-qm", "one"}));
  const GitState clean = git_state(path);
  EXPECT_EQ(clean.commit.size(), 40U);
  EXPECT_FALSE(clean.dirty);
  std::ofstream(folder.file("kernel.cc")) << "2";
  EXPECT_TRUE(git_state(path).dirty);
  EXPECT_EQ(git_state(path).commit, clean.commit) << "a dirty tree keeps its commit";
  ASSERT_TRUE(git({"commit", "-qam", "two"}));
  EXPECT_FALSE(git_state(path).dirty);
  std::ofstream(folder.file("new.yaml")) << "3";
  EXPECT_TRUE(git_state(path).dirty) << "a file that git does not know is a change too";
  const Environment with = with_git(Environment{}, git_state(path));
  EXPECT_EQ(with.at("git.commit").size(), 40U);
  EXPECT_EQ(with.at("git.dirty"), "yes");
}

TEST(Environment, ATextThatSaysTwoThingsIsRefused) {
  const auto refused = [](const std::string& json) {
    const auto read = Environment::from_json(json, "env.json");
    return read ? "no error" : read.error().text();
  };
  EXPECT_EQ(refused(R"({"cpu":"a"})"), "no error");
  EXPECT_NE(refused(R"({"cpu":"a","gpu":"","cpu":"b"})").find("'cpu' twice"), std::string::npos);
  const std::string hidden = std::string(R"({"cpu":"a"})") + '\0' + R"({"cpu":"b"})";
  EXPECT_NE(refused(hidden).find("one JSON object"), std::string::npos);
}

}  // namespace
}  // namespace isobit
