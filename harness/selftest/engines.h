// The selftest's engines in other processes. Callers: selftest.cc, the verb serve.
#pragma once

#include <string>
#include <vector>

#include "harness/selftest/defects.h"
#include "runtime/backends/exec/serve.h"

namespace isobit::selftest {

/// What `isobit serve --fault NAME` does wrong; "none": nothing.
Result<exec::ServeHooks> served_fault(const std::string& name);
std::vector<Defect> engine_defects();

}  // namespace isobit::selftest
