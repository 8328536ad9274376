// `isobit gc`: deletes old runs from the database.
#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"

namespace isobit::commands {

Result<int> gc(const Arguments& arguments) {
  const auto keep = arguments.number("keep", 50, 1, 1'000'000'000);
  ISOBIT_TRY(keep);
  const bool dry_run = arguments.has("dry-run");
  auto store = open_database(arguments);  // refuses a missing file instead of making it
  ISOBIT_TRY(store);
  if (!dry_run) {
    store = Store::open(database_path(arguments), Store::Mode::read_write);
    ISOBIT_TRY(store);
  }
  const auto removed = (*store)->gc(int(*keep), dry_run);
  ISOBIT_TRY(removed);
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat}, {"runs_removed", *removed}, {"dry_run", dry_run}});
  } else {
    print(std::to_string(*removed) + (dry_run ? " runs would be deleted\n" : " runs deleted\n"));
  }
  return int(kExitOk);
}

}  // namespace isobit::commands
