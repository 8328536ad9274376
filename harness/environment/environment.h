// The environment's fingerprint: everything that should not change the bits, and is the first
// suspect when they change.
//
// Recorded with every run, compared by `isobit env diff`; only the binaries' hashes enter the key
// of stored results (recipe.h, execution_key). Read anew at each call in some milliseconds; GPUs
// are asked and files are hashed once a process. A value that cannot be read is
// "", never an error.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace isobit {

/// Sorted names with text values: cpu, cpu.flags, cpu.microcode, cores, cores.usable, gpu (names
/// joined by "; ", empty without one), gpu.driver, gpu.clock (as found), gpu.0 … (name, UUID,
/// architecture, SMs, memory, ECC, MIG), cublas, cublaslt (versions), os, kernel, arch, host, libc,
/// compiler, compiler.flags, build, isobit, numerics, executable (SHA-256), lib.<file> (SHA-256),
/// fp.control, env.<NAME>, git.commit, git.dirty.
struct Environment {
  std::map<std::string, std::string> entries;

  /// "" when the name is not there.
  [[nodiscard]] std::string at(const std::string& name) const;
  /// One JSON object of strings, sorted by name.
  [[nodiscard]] std::string to_json() const;
  static Result<Environment> from_json(const std::string& json, const std::string& place);
};

/// This process on this machine, without git.*.
Environment fingerprint();

/// Of the repository that holds `folder`; empty commit without one. Dirty: a tracked file is
/// changed or an untracked one is there.
struct GitState {
  std::string commit;
  bool dirty = false;
};
GitState git_state(const std::string& folder);
/// The same environment with git.commit and git.dirty.
Environment with_git(Environment environment, const GitState& git);

struct EnvironmentDifference {
  std::string name, a, b;  // "" where a side lacks it
};
/// Sorted by name. The host's name and the commit are differences like any other.
std::vector<EnvironmentDifference> diff(const Environment& a, const Environment& b);

/// Hex SHA-256 of the running program's file, wherever it lies.
std::string executable_sha256();

/// A shared library of this process that can take part in computing: every one but those known not
/// to (libc, libstdc++, SQLite, …), so that an unknown plug-in counts.
struct LoadedLibrary {
  std::string name;  // file name
  std::string path;
  std::string sha256;  // hex, of the file
};
std::vector<LoadedLibrary> computing_libraries();  // by name
/// Hex SHA-256 of a library's file, hashed once a process; empty when it cannot be read.
std::string library_sha256(const std::string& path);

/// "env.<NAME>=value" of the variables by which a vendor library chooses what it computes (core
/// type, workspace, tf32, emulation, algorithms): part of the key of such an engine's results.
std::vector<std::string> library_variables(const Environment& environment);

/// "NAME=value" of those by which cuBLAS and cuBLASLt choose other arithmetic, not what they write
/// to their logs: part of the recipe of these engines' goldens. OpenBLAS has none: the core type
/// that OPENBLAS_CORETYPE forces is the variant.
std::vector<std::string> choosing_variables(const Environment& environment);

/// What execution_key() takes: "executable=…", then "lib.<file>=…" of computing_libraries().
std::vector<std::string> execution_binaries();

}  // namespace isobit
