// A rank's rows into the bank, and out of it.
#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/numerics/formats.h"
#include "runtime/run/generate.h"
#include "runtime/run/patch.h"
#include "runtime/run/trace_recorder.h"

namespace isobit {
namespace {

bool is_split(RowSite site) {
  return site == RowSite::k || site == RowSite::v;
}

Format format_of(RowSite site, Precision precision) {
  const Mode& mode = mode_of(precision);
  return is_split(site) ? mode.cache : mode.stored;
}

}  // namespace

double rounded_once(Format format, double x) {
  if (format == Format::f64) return x;
  const auto narrow = static_cast<float>(x);
  if (format == Format::f32 || double(narrow) == x || !std::isfinite(narrow)) {
    return double(round_to(format, narrow));
  }
  // To odd first: no tie arises in between.
  auto bits = std::bit_cast<std::uint32_t>(narrow);
  if (std::fabs(double(narrow)) > std::fabs(x)) --bits;
  return double(round_to(format, std::bit_cast<float>(bits | 1U)));
}

bool holds(Format wide, Format narrow) {
  return wide == narrow || wide == Format::f64 || (wide == Format::f32 && narrow != Format::f64);
}

PatchHook::PatchHook(const GenerateRequest& request, const Partition& partition,
                     const std::vector<int>& prompt_of_slot)
    : request_(request),
      patch_(request.patch),
      partition_(partition),
      prompt_of_slot_(prompt_of_slot),
      alone_(request.world != nullptr || request.ranks == 1) {}

PatchPlace PatchHook::place_of(RowSite site, int layer, const StepRow& row) const {
  return {site, layer, patch_.first_prompt + prompt_of_slot_[std::size_t(row.sequence)],
          row.position};
}

std::optional<PatchPlace> PatchHook::source_of(const PatchPlace& place) const {
  PatchPlace taken_for = place;
  if (patch_.misplace) patch_.misplace(taken_for);
  return patch_.bank->source(taken_for);
}

bool PatchHook::wants(RowSite site, int layer, const StepRow& row) const {
  const PatchPlace place = place_of(site, layer, row);
  if (!patch_.keeps) return source_of(place).has_value();
  const bool reports = is_split(site) || alone_ || partition_.rank == 0;
  return reports && patch_.bank->row(place) != nullptr && kept_.count(place) == 0;
}

bool PatchHook::see(RowSite site, int layer, const StepRow& row, std::span<double> values) {
  const PatchPlace place = place_of(site, layer, row);
  if (!patch_.keeps) return put(place, values);
  keep(place, values);
  return false;
}

/// The columns of the model's row that this rank has.
std::int64_t PatchHook::first_column(RowSite site, std::int64_t width) const {
  return is_split(site) ? partition_.kv_heads.begin * (width / partition_.kv_heads.size()) : 0;
}

void PatchHook::keep(const PatchPlace& place, std::span<const double> values) {
  kept_.insert(place);
  std::int64_t skip = 0, count = std::int64_t(values.size());
  if (is_split(place.site) && !alone_) {  // heads that several ranks have are one rank's to keep
    const std::int64_t d = count / partition_.kv_heads.size();
    skip = (partition_.owned_kv_heads.begin - partition_.kv_heads.begin) * d;
    count = partition_.owned_kv_heads.size() * d;
  }
  std::vector<double>& row = *patch_.bank->row(place);
  const std::int64_t to = first_column(place.site, std::int64_t(values.size())) + skip;
  std::copy_n(values.begin() + skip, count, row.begin() + to);
}

bool PatchHook::put(const PatchPlace& place, std::span<double> values) {
  const std::vector<double>* given = patch_.bank->row(*source_of(place));
  const auto refuse = [&](const std::string& why) {
    const int prompt = place.prompt - patch_.first_prompt;
    throw BackendError("patch " + patch_.spec.text + ": the donor's " +
                       std::string(name_of(place.site)) + " row of layer " +
                       std::to_string(place.layer) + " for " +
                       name_of_prompt(request_, std::size_t(prompt)) + ", position " +
                       std::to_string(place.position) + ", " + why);
  };
  if (given == nullptr) refuse("was not kept");
  const Format format = format_of(place.site, request_.precision);
  const Format theirs = format_of(place.site, patch_.donor->precision);
  const auto from = std::size_t(first_column(place.site, std::int64_t(values.size())));
  bool changed = false;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = (*given)[from + i], put_in = rounded_once(format, x);
    if (std::isnan(x)) refuse("was not computed, or is not a number");
    if (put_in != x && !holds(theirs, format)) {
      refuse("has values that " + std::string(mode_of(request_.precision).name) +
             " cannot hold, and " + mode_of(patch_.donor->precision).name + " is not wider");
    }
    changed |= std::bit_cast<std::uint64_t>(put_in) != std::bit_cast<std::uint64_t>(values[i]);
    values[i] = put_in;
  }
  if (is_split(place.site) || alone_ || partition_.rank == 0) patch_.bank->note(place, changed);
  return changed;
}

}  // namespace isobit
