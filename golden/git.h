// Runs git without a shell and gives what it printed. Used by goldens and by the fingerprint.
#pragma once

#include <string>
#include <vector>

#include "runtime/result.h"

namespace isobit {

struct ProgramOutput {
  int status = 0;  // exit status; 128 + signal when killed
  std::string out, err;
};

/// `git ARGUMENTS…`, found on PATH, standard input empty. Error: git cannot be started.
Result<ProgramOutput> run_git(const std::vector<std::string>& arguments);

}  // namespace isobit
