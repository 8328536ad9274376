// The one Report of a run, from the database alone: what `check` prints is what `report` prints
// later.
#pragma once

#include "harness/store/store.h"
#include "reports/report.h"

namespace isobit {

/// Errors: no such run, or the database cannot be read.
Result<Report> build_report(Store& store, std::int64_t run);

}  // namespace isobit
