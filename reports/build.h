// The one Report of a run, from the database alone: what `check` prints is what `report` prints
// later.
#pragma once

#include "harness/store/store.h"
#include "reports/report.h"

namespace isobit {

/// `with_detail` reads traces too: rows around first differences, margins, an earlier run's
/// machine. Errors: no such run, or the database cannot be read.
Result<Report> build_report(Store& store, std::int64_t run, bool with_detail = false);

/// Fills report.detail. `cells`: those of the run, all attempts, by id. (detail.cc)
Result<void> read_detail(Store& store, const RunInfo& run, const std::vector<CellInfo>& cells,
                         Report& report);

}  // namespace isobit
