// Activation patching: rows of a donor's run are put into the recipient's.
//
// The donor is computed first, by the same Runtime::generate(); a PatchBank keeps the rows that
// will be put in, and nothing else. What a row holds depends on its position alone, never on the
// step in which it is computed, so that every cache layout sees the same streams (NUMERICS.md,
// "Patching"). Callers: the axis `patch`, generate.cc, the checks of the harness, selftest.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/model/config.h"
#include "runtime/model/forward.h"

namespace isobit {

struct GenerateRequest;
struct Observed;

/// Layers of a site.
struct PatchLayers {
  using Ranges = std::vector<std::pair<std::int64_t, std::int64_t>>;  // both ends in
  enum class Kind : std::uint8_t { none, all, layers, listed };
  Kind kind = Kind::none;
  Ranges ranges;  // listed: ascending, apart
  /// `last`: of the site. With kind layers the stream behind the last layer is left out.
  [[nodiscard]] bool has(std::int64_t layer, std::int64_t last, std::int64_t layers) const;
};

/// What is put in where, and from whom: a value of the axis `patch`.
struct PatchSpec {
  enum class At : std::uint8_t { last, all, listed };
  std::string text = "none";  // canonical
  std::array<PatchLayers, kRowSites> sites;
  At at = At::last;
  PatchLayers::Ranges positions;             // at: listed, ascending, apart
  std::string prompt;                        // from: {prompt: ID}; empty: the donor differs by axes
  std::map<std::string, std::string> donor;  // from: {axis: value}, canonical texts
  [[nodiscard]] bool patches() const { return text != "none"; }
  [[nodiscard]] bool has(RowSite site) const {
    return sites[std::size_t(site)].kind != PatchLayers::Kind::none;
  }
};

/// A row of a run. `prompt`: its number in the request.
struct PatchPlace {
  RowSite site = RowSite::residual;
  int layer = 0, prompt = 0;
  std::int64_t position = 0;
  auto operator<=>(const PatchPlace&) const = default;
};

class PatchBank;

/// The part of a request that says what is put into its run.
struct PatchRequest {
  PatchSpec spec;
  /// The donor's whole request, which patches nothing. REQUIRES: the same prompts and teachers.
  std::shared_ptr<const GenerateRequest> donor;
  int donor_prompt = -1;  // from: {prompt: ID}: its number
  /// Changes which place a row is taken for, before it is looked up; selftest's.
  std::function<void(PatchPlace&)> misplace;

  // Of a run that keeps rows, or has them put in; set by Runtime::generate().
  PatchBank* bank = nullptr;
  bool keeps = false;
  int first_prompt = 0;  // what number 0 of this request is in the bank
};

/// Why a run cannot take such rows, or the donor's not give them, whatever the model: "cache
/// speculative:4 beside it: …". Empty: they can.
std::string refuse_patch(const PatchSpec& spec, const GenerateRequest& recipient,
                         const GenerateRequest& donor);

/// Why rows cannot be put into this model, or from this donor: a layer or a position that is not
/// there, prompts of different lengths, ranks over processes. Names of prompts are their ids.
Result<void> check_patch(const GenerateRequest& request, const ModelConfig& config);

/// The rows of a donor. Rows are made before any thread writes: threads of ranks write different
/// columns, those of replicas different prompts.
class PatchBank {
 public:
  /// REQUIRES: check_patch() has no objection; the request outlives the bank.
  PatchBank(const GenerateRequest& recipient, const ModelConfig& config);

  /// Bytes of the rows that a bank would keep.
  static std::int64_t bytes(const GenerateRequest& recipient, const ModelConfig& config);

  /// Which of the donor's rows is put in at a place, if any.
  [[nodiscard]] std::optional<PatchPlace> source(const PatchPlace& place) const;
  /// A donor's row, (width of its site), NaN where the donor has written nothing; null: not kept.
  [[nodiscard]] std::vector<double>* row(const PatchPlace& place);

  /// A row, or one rank's part of it, was put in.
  void note(const PatchPlace& place, bool changed);
  /// Lets every process of the recipient know of the rows that changed on one.
  void share_notes();
  void observe(Observed& out) const;

 private:
  const GenerateRequest& recipient_;
  const ModelConfig& config_;
  std::map<PatchPlace, std::vector<double>> rows_;
  std::mutex noting_;
  std::map<PatchPlace, bool> put_;  // whether it changed
};

/// What one rank does with the rows of a run that keeps them, or has them put in.
class PatchHook final : public RowHook {
 public:
  /// `prompt_of_slot`: of the current step, by cache sequence. REQUIRES: all outlive the object.
  PatchHook(const GenerateRequest& request, const Partition& partition,
            const std::vector<int>& prompt_of_slot);
  [[nodiscard]] bool wants(RowSite site, int layer, const StepRow& row) const override;
  bool see(RowSite site, int layer, const StepRow& row, std::span<double> values) override;

 private:
  [[nodiscard]] PatchPlace place_of(RowSite site, int layer, const StepRow& row) const;
  /// The donor's place for a row of the recipient.
  [[nodiscard]] std::optional<PatchPlace> source_of(const PatchPlace& place) const;
  [[nodiscard]] std::int64_t first_column(RowSite site, std::int64_t width) const;
  void keep(const PatchPlace& place, std::span<const double> values);
  bool put(const PatchPlace& place, std::span<double> values);

  const GenerateRequest& request_;
  const PatchRequest& patch_;
  const Partition& partition_;
  const std::vector<int>& prompt_of_slot_;
  bool alone_;                 // no other rank is in this process
  std::set<PatchPlace> kept_;  // the first computation of a row counts
};

/// x rounded once to a format, to the nearest, ties to even. Callers: PatchHook, tests.
double rounded_once(Format format, double x);
/// Whether every finite value of `narrow` is one of `wide`.
bool holds(Format wide, Format narrow);

}  // namespace isobit
