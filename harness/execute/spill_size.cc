// Rows times columns times bytes of a Real.
#include "harness/execute/spill_size.h"

#include <algorithm>

namespace isobit {
namespace {

/// Columns of a site's rows.
std::int64_t width_of(Site site, const ModelConfig& config) {
  switch (site) {
    case Site::q:
    case Site::attn:
      return config.heads * config.head_dim;
    case Site::k:
    case Site::v:
    case Site::k_seen:
    case Site::v_seen:
      return config.kv_heads * config.head_dim;
    case Site::act:
      return config.intermediate_size;
    case Site::logits:
      return config.vocab_size;
    default:
      return config.hidden_size;
  }
}

}  // namespace

std::int64_t spill_bytes(const Scenario& scenario, const Session& session, const Cell& cell,
                         bool inner) {
  const ModelConfig& config = session.of(cell).model.config;
  const std::int64_t real = mode_of(cell.requested().precision).wide() ? 8 : 4;
  const std::int64_t generated = scenario.decode.max_new_tokens;
  std::int64_t columns = 0;  // of all inner rows of one position
  for (const Site site : scenario.values.sites) {
    const auto chosen = std::int64_t(scenario.values.layers.size());
    const std::int64_t layers = !in_layers(site) ? 1 : chosen > 0 ? chosen : config.layers;
    columns += layers * width_of(site, config);
  }
  const std::vector<PromptTokens>& tokens = session.of(cell).tokens;
  std::int64_t bytes = 0;
  for (std::size_t p = 0; p < tokens.size(); ++p) {
    bytes += generated * config.vocab_size * real;
    if (!inner || !scenario.values.wants_prompt(int(p))) continue;
    const auto positions = std::int64_t(tokens[p].tokens.size()) + generated - 1;
    bytes += positions * columns * real;
  }
  return bytes;
}

}  // namespace isobit
