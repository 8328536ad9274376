// The table of engines: who may compute a cell, and everything that the project asks of one.
//
// A row whose `make` is set replaces operations of the one forward pass (a Backend, backend.h); a
// row whose `whole` is set replaces the whole generation (an Engine, run/engine.h). What is asked
// for runs, or the answer says why not: there is no silent fallback. A program may add rows of its
// own before it reads the first scenario.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/backend.h"
#include "runtime/numerics/schedule.h"

namespace isobit {

class Engine;
struct GenerateRequest;
struct LoadedModel;

/// An engine's options as a person wrote them: ("cublaslt", "66"), ("tile", "20").
using EnginePairs = std::vector<std::pair<std::string, std::string>>;

/// Options in the engine's own type; made by its `parse`, read by its `make`.
struct EngineSettings {
  virtual ~EngineSettings() = default;
};

/// An engine as a cell asks for it, read once.
struct EngineChoice {
  std::string name = "reference";
  EnginePairs pairs;     // canonical: the engine's own first, the rest sorted; empty: all is free
  std::string observed;  // what Observed::engine must be (case ignored); empty: any variant of name
  int threads = 0;       // of the library's own pool; 0: as many as the cell has
  std::string folder;    // where relative paths of its options begin; empty: the current one
  std::shared_ptr<const EngineSettings> settings;

  /// "cublaslt:66+tile:20": the canonical text of names, filters and keys.
  [[nodiscard]] std::string text() const;
};

/// What a cell asks of a backend.
struct BackendOptions {
  EngineChoice engine;
  std::string device = "cpu";
  std::string isa = "auto";  // auto | scalar | avx2 | avx512 | neon
  int threads = 1;
  int rank = 0;                              // device index for GPUs
  std::shared_ptr<const ScheduleBook> gemm;  // null: products in the reference's order
  FlashSchedule attention;
  [[nodiscard]] int threads_asked() const { return engine.threads > 0 ? engine.threads : threads; }
};

/// State of an engine on this machine, for `isobit doctor` and `isobit env`.
struct EngineStatus {
  std::string engine, state;          // "ready", or why not
  std::vector<std::string> variants;  // isa names or core types
  bool broken = false;                // it is there, and cells that ask for it would fail
  std::string fix{};                  // what would make it ready, or whole; "": nothing
};

/// The engine of another machine whose bits an engine gives: its text, its device, and the lines
/// that name its machine in a class recipe ("variant=NVIDIA H200", "library.libcublas.so.13=…").
struct OriginalEngine {
  std::string engine, device;
  std::vector<std::string> machine;
};

struct EngineEntry {
  std::string name;
  std::string help;  // what its value may hold, for messages: "openblas | {openblas: CORETYPE, …}"
  /// Family F: the bits depend on nothing but the class recipe, so that its cells have golden
  /// classes which drop lossless values.
  bool deterministic = false;
  bool cacheable = true;  // a stored result may stand for an execution
  /// It starts programs or loads code that its value names: only where external_allowed().
  bool external = false;
  /// Options to settings. `pairs` holds the engine's own pair ("" when the name stands alone).
  Result<EngineChoice> (*parse)(const EnginePairs& pairs) = nullptr;
  /// Why these options cannot run here (a missing library, instruction set, core type), or empty.
  std::string (*unsupported)(const BackendOptions& options, const Mode& mode) = nullptr;
  Result<std::unique_ptr<Backend>> (*make)(const BackendOptions& options,
                                           const Mode& mode) = nullptr;
  std::unique_ptr<Engine> (*whole)(std::shared_ptr<const LoadedModel> model,
                                   const EngineChoice& choice) = nullptr;
  /// Files that it would load: none when they are missing. Their digests key stored results. Of a
  /// choice without options where no cell is meant.
  std::vector<std::string> (*libraries)(const EngineChoice& choice) = nullptr;
  /// What of the hardware these files choose their kernels by: a core type, a GPU. nullptr, or an
  /// empty answer: not known, so that nothing may be keyed by it.
  std::string (*variant)(const BackendOptions& options) = nullptr;
  std::vector<EngineStatus> (*status)() = nullptr;
  /// Options that only the engine itself knows: an error is a mistake in the scenario. nullptr:
  /// parse() knows them all. REQUIRES: unsupported() is empty.
  Result<void> (*check)(const EngineChoice& choice) = nullptr;
  /// Of a twin: whose class its cells are in. nullptr, or an empty answer: its own.
  std::optional<OriginalEngine> (*original)(const EngineChoice& choice) = nullptr;
  /// Why it cannot take a cell's request, beyond what unsupported() reads, or empty. nullptr: the
  /// reference runtime says. REQUIRES: unsupported() is empty.
  std::string (*refuse)(const GenerateRequest& request) = nullptr;
};

const std::vector<EngineEntry>& engine_entries();
/// nullptr when there is none of this name.
const EngineEntry* find_engine(const std::string& name);
/// EngineEntry::original of a choice.
std::optional<OriginalEngine> original_of(const EngineChoice& choice);
/// Whether a row's bits may depend on what else is in its batch: an engine that is not ours, or the
/// twin of one.
bool computes_whole_batches(const EngineChoice& choice);
/// Adds a row, or replaces the one of its name; takes one away. Not thread-safe.
void add_engine(EngineEntry entry);
void remove_engine(const std::string& name);

/// From pairs, or from text as EngineChoice::text() writes it. Errors name the engine or option.
Result<EngineChoice> parse_engine(const EnginePairs& pairs, const std::string& folder = "");
Result<EngineChoice> parse_engine(const std::string& text);

/// Whether this process may run rows that are `external`. A scenario cannot allow it: who checks
/// somebody's scenario must not start somebody's program. Not at first. Not thread-safe.
bool external_allowed();
void allow_external(bool allowed);

/// Whether the engine may take the orders that the options ask of it. Errors name both.
Result<void> check_orders(const BackendOptions& options);
/// Why these options cannot run here, or empty; an external engine where none is allowed cannot.
std::string unsupported_reason(const BackendOptions& options, const Mode& mode);
/// REQUIRES: the engine is a backend (its row has `make`).
Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options, const Mode& mode);
/// Of every row, in the table's order.
std::vector<EngineStatus> engine_status();

}  // namespace isobit
