// Files of shapes: JSONL, one object a line, an id and the operation's sizes (SCHEMA.md, "One
// operation"). Errors name file:line, or file:line:column of a syntax error.
#pragma once

#include <string>
#include <vector>

#include "harness/scenario/scenario.h"

namespace isobit {

/// A shape with its place.
struct PlacedShape {
  OperationShape shape;
  std::string place;  // file:line
};

Result<std::vector<PlacedShape>> load_shapes(const std::string& path, OperationKind kind);
Result<std::vector<PlacedShape>> parse_shapes(const std::string& jsonl, const std::string& path,
                                              OperationKind kind);

}  // namespace isobit
