// Defects of activation patching: a donor's row is put in where another one belongs, or nowhere.
// Every cell of a plan is patched (plans.cc); a defect sits in the cells of one value.

#include "harness/selftest/defects.h"

namespace isobit::selftest {
namespace {

using Lengths = std::vector<std::int64_t>;  // of the prompts

/// Takes rows for those of other places in the cells of one value.
template <class F>
auto misplaced(const char* axis, const char* value, F look) {
  return [axis = std::string(axis), value = std::string(value), look](const Cell& cell,
                                                                      GenerateRequest& request) {
    if (cell.value(axis) != value) return;
    Lengths lengths;
    for (const PromptTokens& prompt : request.prompts) {
      lengths.push_back(std::int64_t(prompt.tokens.size()));
    }
    request.patch.misplace = [lengths, look](PatchPlace& place) { look(place, lengths); };
  };
}

}  // namespace

std::vector<Defect> patch_defects() {
  std::vector<Defect> all;
  const auto add = [&](auto... words) -> Defect& { return add_defect(all, words...); };
  add("patch-wrong-layer", "threads", "patch, the layer after", "patched", "threads=2",
      Verdict::diff, "position 5, layer 1, norm1")
      .request = misplaced("threads", "2", [](PatchPlace& place, const Lengths&) {
    if (place.site == RowSite::residual) place.layer -= 1;
  });
  add("patch-wrong-position", "threads", "patch, the position after", "patched", "threads=2",
      Verdict::diff, "position 5, layer 1, norm1")
      .request =
      misplaced("threads", "2", [](PatchPlace& place, const Lengths&) { place.position -= 1; });
  add("patch-k-as-v", "threads", "patch, K and V", "patched", "threads=2", Verdict::diff,
      "position 5, layer 2, k")
      .request = misplaced("threads", "2", [](PatchPlace& place, const Lengths&) {
    if (place.site == RowSite::k || place.site == RowSite::v) {
      place.site = place.site == RowSite::k ? RowSite::v : RowSite::k;
    }
  });
  add("patch-stale-row", "cache", "patch, the step before", "patched-steps", "cache=off").request =
      misplaced("cache", "off", [](PatchPlace& place, const Lengths& lengths) {
        if (place.position >= lengths[std::size_t(place.prompt)]) place.position -= 1;
      });
  add("patch-other-sequence", "batch", "patch, the sequence after", "patched", "batch=3",
      Verdict::diff, "position 5, layer 1, norm1")
      .request = misplaced("batch", "3", [](PatchPlace& place, const Lengths& lengths) {
    place.prompt = (place.prompt + 1) % int(lengths.size());
  });
  return all;
}

}  // namespace isobit::selftest
