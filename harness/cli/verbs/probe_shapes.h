// Which products a probe is about: --model, --shape, --shapes; those of a model. For harness/cli
// only.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/cli/cli.h"
#include "runtime/model/config.h"

namespace isobit::commands {

struct Shape {
  std::int64_t outputs = 0, inputs = 0;
  std::vector<std::int64_t> rows;  // these alone; empty: as the probe likes
};
struct ModelProduct {
  std::string name;  // "q", "k, v", "lm_head"
  std::int64_t outputs = 0, inputs = 0;
  bool is_head = false;
};
/// The kinds of products of a model's layers on one rank, experts' left out.
std::vector<ModelProduct> products_of(const ModelConfig& config);
/// Each product once, with the rows of all that name it. At least one.
Result<std::vector<Shape>> shapes_of(const Arguments& arguments);

}  // namespace isobit::commands
