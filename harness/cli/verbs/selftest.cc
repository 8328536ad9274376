// `isobit selftest`: the seeded defects of harness/selftest/selftest.h.
#include "harness/selftest/selftest.h"

#include "harness/cli/verbs/verbs.h"

namespace isobit::commands {

Result<int> selftest(const Arguments& arguments) {
  SelftestOptions options;
  options.json = arguments.has("json");
  options.filter = arguments.words.empty() ? "" : arguments.words[0];
  options.work_folder = arguments.text("work");
  options.quiet = arguments.has("quiet");
  return run_selftest(options);
}

}  // namespace isobit::commands
