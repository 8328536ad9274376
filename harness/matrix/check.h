// What an expanded matrix must keep before anything of it runs. Private to harness/matrix.
#pragma once

#include "harness/matrix/matrix.h"

namespace isobit {

/// An error of the scenario as a whole.
inline Error scenario_error(const Scenario& scenario, const std::string& message) {
  return Error{message, scenario.path};
}

/// Every cell once, with values that go together; every rule and xfail selects something.
Result<void> check_matrix(const Scenario& scenario, const Matrix& matrix);

}  // namespace isobit
