// What an axis is: one file of this folder makes one, the table (axes.h) lists them.
//
// A value is parsed once, into the runtime's own type; its canonical text is what names, filters,
// hashes and recipes use. Equal meanings have equal text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/run/generate.h"

namespace isobit {

/// A value as a person wrote it: a scalar, or the pairs of a map. Where the axis nests, lists and
/// maps inside a pair are text: "a/b", "(a:1+b:2)".
struct RawValue {
  std::string scalar;
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string folder{};  // of the file that has it: where the files that it names are
};

/// pattern: a value of exclude or of a filter may leave a map's value open ("chunked", "openblas").
enum class ValueUse { exact, pattern };

/// The ranks of a cell and how bytes travel between those that are threads.
struct RankShape {
  int ranks = 1;
  Topology topology = Topology::direct;
  std::uint64_t arrival = 0;  // other than 0: seed that shuffles the arrival of messages
};

/// How the donor of a patch differs from its cell: values of axes.
struct DonorAxes;

/// A value of the axis patch.
struct PatchValue {
  PatchSpec spec;
  std::shared_ptr<const DonorAxes> donor{};  // null: nothing is patched
};

/// What a value says in the runtime's terms; monostate: a pattern that leaves something open.
using AxisSetting = std::variant<std::monostate, bool, std::int64_t, std::string, Precision,
                                 BatchShape, CacheMode, KvPolicySpec, RankShape, EngineChoice,
                                 std::shared_ptr<const ScheduleBook>, FlashSchedule, WeightChange,
                                 RowPlace, Neighbours, OperandData, PatchValue, SamplerOptions>;

/// A value of an axis: a scalar as written ("bf16", "8"), a map as key:value pairs sorted by key
/// and joined by "+": {chunked: 17} is "chunked:17", {size: 3, order: reversed} is
/// "order:reversed+size:3". An engine's own pair comes first: "cublaslt:66+tile:20".
struct AxisValue {
  std::string text;
  std::map<std::string, std::string> args;  // the map's pairs; empty for a scalar
  std::string head;  // what a plain pattern or a number is compared with: "chunked", "3"
  AxisSetting setting;
  std::string place{};  // file:line:column where a scenario has it; empty: a default
  bool operator==(const AxisValue& other) const { return text == other.text; }
};

struct DonorAxes {
  std::map<std::string, AxisValue> values;  // by axis; empty: the donor is another prompt
};

/// Where and how a cell runs; what is computed; how text is made (architecture: three kinds of
/// axes). Reports sort by them, nothing mixes them.
enum class AxisKind : std::uint8_t { place, computation, decoding };

/// Of which scenarios it is an axis: of a model, of one operation, or of both.
enum class AxisScope : std::uint8_t { both, model, operation };

struct Axis {
  std::string name;
  std::string usual;  // canonical text of the default: changes no hash, recipe or golden
  std::string help;   // what it may hold, for messages and SCHEMA.md
  AxisKind kind = AxisKind::place;
  bool numeric = false;            // heads are numbers: filters may order its values
  std::vector<std::string> words;  // first words of its values, for "did you mean"
  Result<AxisValue> (*parse)(const RawValue& raw, ValueUse use) = nullptr;
  /// Whether family F gives the default's bits with this value: class recipes drop lossless values.
  bool (*lossless)(const AxisValue& value) = nullptr;
  /// Puts the value into a request. REQUIRES: an exact value of this axis.
  void (*apply)(const AxisValue& value, GenerateRequest& request) = nullptr;
  bool nests = false;  // the pairs of a map may hold lists and maps
  bool lists = false;  // the pairs of a map may hold lists of words: list_text() of them
  AxisScope scope = AxisScope::both;
  /// Meanings and recipes have lines of their own for it ("model=…", "decode.top_k=…"), which a key
  /// of the scenario gives as well; there is none that begins with the axis's name.
  bool own_lines = false;
  [[nodiscard]] bool belongs_to(AxisScope scenario) const {
    return scope == AxisScope::both || scope == scenario;
  }
};

// One a file of this folder.
Axis attention_axis();
Axis batch_axis();
Axis cache_axis();
Axis decode_axis();
Axis device_axis();
Axis engine_axis();
Axis gemm_axis();
Axis gpus_axis();
Axis isa_axis();
Axis kv_axis();
Axis model_axis();
Axis patch_axis();
Axis precision_axis();
Axis replicas_axis();
Axis seed_axis();
Axis teacher_forced_axis();
Axis threads_axis();
Axis weights_axis();
// Of one operation alone.
Axis align_axis();
Axis data_axis();
Axis neighbours_axis();
Axis place_axis();
Axis rows_axis();
Axis stride_axis();

}  // namespace isobit
