// The messages of PROTOCOL.md as plain values. Pure: text in, values out. Callers: engine.cc,
// conversation.cc, serve.cc.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/model/sampler.h"
#include "runtime/trace.h"

namespace isobit::exec {

inline constexpr int kProtocol = 1;

/// What an axis may be for an engine: any value, or these.
struct Understood {
  bool any = false;
  std::vector<std::string> values;
  [[nodiscard]] bool takes(const std::string& value) const;
};

struct Hello {
  enum class Kind : std::uint8_t { ready, unavailable, mistaken };
  Kind kind = Kind::ready;
  std::string why;  // not ready: for people
  std::string engine, version;
  Evidence evidence = Evidence::tokens;
  bool concurrent = false;  // else static batches
  std::map<std::string, Understood> axes;
  std::map<std::string, std::string> machine;  // by device: what its rows depend on, one line
};

struct Load {
  std::string path, kind;  // "gguf", "safetensors"
  std::int64_t vocab_size = 0, context = 0;
  std::string precision, device;
  std::int64_t threads = 1;
};

struct Sequence {
  std::vector<std::int32_t> prompt, teacher;
};

struct Request {
  std::int64_t id = 0;
  std::vector<Sequence> sequences;
  std::int64_t max_new_tokens = 0;
  std::vector<std::int32_t> eos;
  std::string cache = "on", kv = "exact";
  std::int64_t threads = 1, batch = 1;
  std::optional<SamplerOptions> sampling;
};

/// One recorded row, without the values that follow it.
struct Row {
  std::int64_t id = 0, sequence = 0, position = 0;
  std::int32_t token = -1;
  std::optional<std::int32_t> fed;
  std::optional<std::int64_t> bytes;  // of the values behind the line
  std::optional<double> logprob;
  std::vector<std::pair<std::int32_t, double>> top;
};

/// What an engine says that ran; -1 and "" where it does not.
struct Ran {
  std::int64_t live_rows = -1, cached_reads = -1, prefix_hits = -1, chunks = -1, steps = -1;
  std::int64_t joined_late = -1, left_early = -1, threads = -1;
  std::string device, precision, kv, kernels, library, decode;
};

struct Reply {
  enum class Kind : std::uint8_t { loaded, row, done, error };
  Kind kind = Kind::error;
  std::int64_t id = -1;  // of done and error; error: -1 of what has no id
  Row row;
  Ran ran;
  std::string message;
};

/// One line each, with its end.
std::string print_hello(const std::map<std::string, std::string>& options);
std::string print(const Load& load);
std::string print(const Request& request);
std::string print_end();

/// What an engine may answer to hello, and to everything else. Errors say what is wrong with the
/// line; one that is no message at all is quoted.
Result<Hello> parse_hello(const std::string& line);
Result<Reply> parse_reply(const std::string& line);

}  // namespace isobit::exec
