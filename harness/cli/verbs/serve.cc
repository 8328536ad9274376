// `isobit serve`: the reference as an engine in another process.
#include <iostream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/selftest/engines.h"

namespace isobit::commands {

Result<int> serve(const Arguments& arguments) {
  const auto hooks = selftest::served_fault(arguments.text("fault", "none"));
  ISOBIT_TRY(hooks);
  return exec::serve(std::cin, std::cout, *hooks) ? int(kExitOk) : int(kExitInternal);
}

}  // namespace isobit::commands
