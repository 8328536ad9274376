// A trace that was recorded elsewhere, as its file says it: JSON lines (FORMAT.md of this folder).
//
// What can be said of the file alone is checked here, with the line; what it says of a scenario's
// prompts and cells is checked by import.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/digest.h"

namespace isobit {

/// Pairs of a token's id and its logit or log-probability, in the order of the file.
using TopList = std::vector<std::pair<std::int32_t, double>>;

struct TraceRow {
  std::string place;          // file:line
  std::int64_t position = 0;  // of the row: the token it predicts is at position + 1
  std::int32_t token = -1;
  std::optional<std::int32_t> fed;
  std::optional<Digest> digest;
  std::optional<double> logprob;  // of the token
  std::optional<bool> finite;     // every logit is; none: not said
  TopList top;
};

struct TracePrompt {
  std::string id, place;
  std::vector<std::int32_t> tokens;
  std::string rows_file;       // as written; empty: none
  std::vector<TraceRow> rows;  // positions ascend by one
};

struct TraceFile {
  std::string place;  // of the header
  std::string engine, version;
  std::string evidence = "logits";  // "logits", "logprobs", "tokens"
  std::string model;                // digest of the weights, empty: not said
  std::map<std::string, std::string> axes;
  std::map<std::string, std::string> environment;
  std::vector<TracePrompt> prompts;  // in the order of the file
};

/// Errors have the place file:line. `path` is for places alone.
Result<TraceFile> parse_trace(std::string_view text, const std::string& path);

}  // namespace isobit
