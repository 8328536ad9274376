// `isobit model info` and `isobit model digest`. For harness/cli/verbs/model.cc only.
#pragma once

#include "harness/cli/cli.h"

namespace isobit::commands {

/// Everything that is known of a model; of one that cannot be run what its files hold, and then the
/// error that says why.
Result<int> model_info(const Arguments& arguments);
/// The digest of content, which no file format changes (harness/models/content_digest.h).
Result<int> model_content(const Arguments& arguments);

}  // namespace isobit::commands
