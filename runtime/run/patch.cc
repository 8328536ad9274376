// What is kept of a donor, where it is put in, and what that changed.
#include "runtime/run/patch.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "runtime/base/memory.h"
#include "runtime/run/generate.h"
#include "runtime/trace.h"

namespace isobit {
namespace {

/// The largest number of a layer at a site.
std::int64_t last_layer(RowSite site, const ModelConfig& config) {
  return site == RowSite::residual ? config.layers : config.layers - 1;
}

std::int64_t width_of(RowSite site, const ModelConfig& config) {
  if (site == RowSite::residual) return config.hidden_size;
  return (site == RowSite::attn ? config.heads : config.kv_heads) * config.head_dim;
}

std::int64_t length_of(const GenerateRequest& request, int prompt) {
  return std::int64_t(request.prompts[std::size_t(prompt)].tokens.size());
}

/// Positions of a sequence that are computed, unless it ends early.
std::int64_t computed_positions(const GenerateRequest& request, int prompt) {
  const auto taught = std::int64_t(request.prompts[std::size_t(prompt)].teacher.size());
  const std::int64_t draws =
      taught == 0 ? request.max_new_tokens : std::min(request.max_new_tokens, taught);
  return length_of(request, prompt) + draws - 1;
}

bool is_in(const PatchLayers::Ranges& ranges, std::int64_t number) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const auto& range) {
    return range.first <= number && number <= range.second;
  });
}

/// The donor's position for one of the recipient's, -1: none is put in there.
std::int64_t donor_position(const GenerateRequest& r, int prompt, std::int64_t position) {
  const PatchSpec& spec = r.patch.spec;
  const std::int64_t last = length_of(r, prompt) - 1;
  const bool by_prompt = !spec.prompt.empty();
  if (by_prompt && position > last) return -1;
  if (spec.at == PatchSpec::At::all) return position;
  if (spec.at == PatchSpec::At::listed) return is_in(spec.positions, position) ? position : -1;
  if (position < last) return -1;
  return by_prompt ? length_of(r, r.patch.donor_prompt) - 1 : position;
}

int donor_prompt(const GenerateRequest& r, int prompt) {
  return r.patch.spec.prompt.empty() ? prompt : r.patch.donor_prompt;
}

/// The donor's rows that are put in somewhere, as (prompt, position).
std::set<std::pair<int, std::int64_t>> wanted_rows(const GenerateRequest& r) {
  std::set<std::pair<int, std::int64_t>> out;
  for (int p = 0; p < int(r.prompts.size()); ++p) {
    for (std::int64_t at = 0; at < computed_positions(r, p); ++at) {
      const std::int64_t from = donor_position(r, p, at);
      if (from >= 0) out.emplace(donor_prompt(r, p), from);
    }
  }
  return out;
}

/// f(site, layer) of all that is patched.
template <class F>
void each_layer(const PatchSpec& spec, const ModelConfig& config, F f) {
  for (int s = 0; s < kRowSites; ++s) {
    const auto site = static_cast<RowSite>(s);
    const std::int64_t last = last_layer(site, config);
    for (std::int64_t layer = 0; layer <= last; ++layer) {
      if (spec.sites[std::size_t(s)].has(layer, last, config.layers)) f(site, int(layer));
    }
  }
}

Result<void> check_layers(const PatchSpec& spec, const ModelConfig& config) {
  for (int s = 0; s < kRowSites; ++s) {
    const auto site = static_cast<RowSite>(s);
    const auto& ranges = spec.sites[std::size_t(s)].ranges;
    if (ranges.empty() || ranges.back().second <= last_layer(site, config)) continue;
    const std::string layers = std::to_string(config.layers);
    return Error{"patch " + std::string(name_of(site)) + ": there is no layer " +
                     std::to_string(ranges.back().second) + "; the model has " + layers +
                     " layers, 0 to " + std::to_string(config.layers - 1) +
                     (site == RowSite::residual
                          ? ", and " + layers + " is the stream that enters the final norm"
                          : ""),
                 ""};
  }
  return {};
}

std::string tokens_of(const GenerateRequest& r, int prompt) {
  const std::int64_t n = length_of(r, prompt);
  return std::to_string(n) + (n == 1 ? " token" : " tokens");
}

std::string id_of(const GenerateRequest& r, int prompt) {
  const std::string& id = r.prompts[std::size_t(prompt)].id;
  return id.empty() ? std::to_string(prompt) : id;
}

/// The donor prompt has a row for each that is put in.
Result<void> check_donor_prompt(const GenerateRequest& r) {
  const PatchSpec& spec = r.patch.spec;
  const int donor = r.patch.donor_prompt;
  if (donor < 0 || donor >= int(r.prompts.size())) {
    return Error{"patch from prompt " + spec.prompt + ": there is no such prompt", ""};
  }
  const std::string from = "patch from prompt " + id_of(r, donor);
  for (int p = 0; p < int(r.prompts.size()); ++p) {
    const std::string lengths =
        "; it has " + tokens_of(r, donor) + ", prompt " + id_of(r, p) + " has " + tokens_of(r, p);
    if (spec.at == PatchSpec::At::all && length_of(r, p) != length_of(r, donor)) {
      return Error{from + " at: all needs prompts of one length" + lengths, ""};
    }
    const std::int64_t shorter = std::min(length_of(r, p), length_of(r, donor));
    if (spec.at == PatchSpec::At::listed && spec.positions.back().second >= shorter) {
      return Error{from + ": position " + std::to_string(spec.positions.back().second) +
                       " is not in both prompts" + lengths,
                   ""};
    }
  }
  return {};
}

/// Both runs are fed the same tokens, and some prompt has every position of a list.
Result<void> check_tokens(const GenerateRequest& r) {
  const PatchSpec& spec = r.patch.spec;
  std::int64_t most = 0;
  for (int p = 0; p < int(r.prompts.size()); ++p) {
    most = std::max(most, computed_positions(r, p));
    if (r.max_new_tokens == 1 || !r.prompts[std::size_t(p)].teacher.empty()) continue;
    return Error{"patch " + spec.text + ": donor and recipient may draw other tokens", ""};
  }
  if (spec.at != PatchSpec::At::listed || spec.positions.back().second < most) return {};
  return Error{"patch at: position " + std::to_string(spec.positions.back().second) +
                   " is computed for no prompt; the longest has positions 0 to " +
                   std::to_string(most - 1),
               ""};
}

}  // namespace

bool PatchLayers::has(std::int64_t layer, std::int64_t last, std::int64_t layers) const {
  if (layer < 0 || layer > last || kind == Kind::none) return false;
  if (kind != Kind::listed) return kind == Kind::all || layer < layers;
  return is_in(ranges, layer);
}

std::string refuse_patch(const PatchSpec& spec, const GenerateRequest& recipient,
                         const GenerateRequest& donor) {
  for (const GenerateRequest* run : {&recipient, &donor}) {
    const std::string who = run == &donor ? "of the donor" : "beside it";
    if (run->cache.drafts > 0) {
      return "cache " + run->cache.name + " " + who + ": a drafted row may belong to no token";
    }
    const bool lossy = !run->kv.exact() && !run->kv.residual;
    if (lossy && (spec.has(RowSite::k) || spec.has(RowSite::v))) {
      return "kv " + run->kv.text + " " + who +
             ": what it stores is not the rows that k and v put in; residual and attn stand with "
             "it";
    }
  }
  return "";
}

Result<void> check_patch(const GenerateRequest& request, const ModelConfig& config) {
  const PatchSpec& spec = request.patch.spec;
  if (!spec.patches()) return {};
  if (request.patch.donor == nullptr) return Error{"patch " + spec.text + " has no donor", ""};
  const GenerateRequest& donor = *request.patch.donor;
  if (const std::string why = refuse_patch(spec, request, donor); !why.empty()) {
    return Error{"patch " + spec.text + " and " + why, ""};
  }
  if (request.world != nullptr && donor.ranks != request.ranks) {
    return Error{"patch " + spec.text + ": over processes the donor has as many ranks", ""};
  }
  ISOBIT_CHECK(donor.prompts.size() == request.prompts.size());
  if (auto ok = check_layers(spec, config); !ok) return ok;
  return spec.prompt.empty() ? check_tokens(request) : check_donor_prompt(request);
}

PatchBank::PatchBank(const GenerateRequest& recipient, const ModelConfig& config)
    : recipient_(recipient), config_(config) {
  const auto wanted = wanted_rows(recipient);
  each_layer(recipient.patch.spec, config, [&](RowSite site, int layer) {
    for (const auto& [prompt, position] : wanted) {
      rows_[{site, layer, prompt, position}].assign(std::size_t(width_of(site, config)),
                                                    std::numeric_limits<double>::quiet_NaN());
    }
  });
}

std::int64_t PatchBank::bytes(const GenerateRequest& recipient, const ModelConfig& config) {
  std::int64_t values = 0;  // of one position
  each_layer(recipient.patch.spec, config,
             [&](RowSite site, int) { values += width_of(site, config); });
  return saturating_product(std::int64_t(wanted_rows(recipient).size()),
                            values * std::int64_t(sizeof(double)));
}

std::optional<PatchPlace> PatchBank::source(const PatchPlace& place) const {
  const std::int64_t last = last_layer(place.site, config_);
  const PatchSpec& spec = recipient_.patch.spec;
  if (!spec.sites[std::size_t(place.site)].has(place.layer, last, config_.layers)) return {};
  const std::int64_t from = donor_position(recipient_, place.prompt, place.position);
  if (from < 0) return {};
  return PatchPlace{place.site, place.layer, donor_prompt(recipient_, place.prompt), from};
}

std::vector<double>* PatchBank::row(const PatchPlace& place) {
  const auto at = rows_.find(place);
  return at == rows_.end() ? nullptr : &at->second;
}

void PatchBank::note(const PatchPlace& place, bool changed) {
  const std::lock_guard lock(noting_);
  put_[place] |= changed;
}

void PatchBank::share_notes() {
  if (recipient_.world == nullptr) return;
  std::ostringstream mine;
  for (const auto& [place, changed] : put_) {
    mine << int(place.site) << ' ' << place.layer << ' ' << place.prompt << ' ' << place.position
         << ' ' << changed << '\n';
  }
  for (const std::string& text : recipient_.world->exchange(mine.str())) {
    std::istringstream theirs(text);
    int site = 0;
    bool changed = false;
    for (PatchPlace place;
         theirs >> site >> place.layer >> place.prompt >> place.position >> changed;) {
      place.site = static_cast<RowSite>(site);
      note(place, changed);
    }
  }
}

void PatchBank::observe(Observed& out) const {
  std::array<std::int64_t, kRowSites> rows{}, changed{};
  for (const auto& [place, differs] : put_) {
    rows[std::size_t(place.site)] += 1;
    changed[std::size_t(place.site)] += differs ? 1 : 0;
  }
  out.patch = recipient_.patch.spec.text;
  for (int s = 0; s < kRowSites; ++s) {
    const auto site = std::size_t(s);
    out.patch_rows += rows[site];
    out.patch_changed += changed[site];
    if (rows[site] == 0) continue;
    out.patch_sites +=
        (out.patch_sites.empty() ? "" : ", ") + std::string(name_of(static_cast<RowSite>(s))) +
        ": " + std::to_string(rows[site]) + " rows, " + std::to_string(changed[site]) + " changed";
  }
  out.patch_identity = out.patch_rows > 0 && out.patch_changed == 0;
}

}  // namespace isobit
