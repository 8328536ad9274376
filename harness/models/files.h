// Inner parts of models.h: manifests as found, where their files are, the transforms.
//
// For harness/models*.cc and their tests only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/models/models.h"

namespace isobit::models {

/// Parses a manifest's text. `place` is its path; `name` what the file is called.
Result<ModelManifest> parse_manifest(const std::string& text, const std::string& place,
                                     const std::string& name);
/// The file of the manifest of this name, or empty; always empty for words that are paths.
std::string manifest_path(const std::string& name, const std::string& base);
/// What a model's word names by itself: a folder or .gguf file beside the scenario, else in the
/// working folder unless it is a manifest's name. Empty: the word is (at most) a name.
std::string path_of_model(const std::string& model, const std::string& base);

/// The manifest `name` and what its transforms are of, one after the other; only the last is no
/// transform. Errors: one that cannot be read, transforms of transforms that go too deep.
Result<std::vector<ModelManifest>> manifest_chain(const std::string& name, const std::string& base);

/// The weights of a wheel that somebody has put beside the manifest, or else into ISOBIT_MODELS;
/// empty: nobody has.
std::string handed_over(const ModelManifest& manifest);
/// That the weights are not there, how they are fetched, and under whose terms.
Error not_fetched(const ModelManifest& manifest, const std::string& path);
/// Folder or file that load_model() reads for a manifest of kind directory or wheel-gguf. Error:
/// the cache is needed and has no place.
Result<std::string> weights_path(const ModelManifest& manifest);
/// Hex SHA-256 of a file, or an error that names it.
Result<std::string> file_sha256(const std::string& path);
/// "file X of model Y: SHA-256 is A, the manifest says B".
Error digest_mismatch(const std::string& model, const std::string& file, const std::string& actual,
                      const std::string& expected);

/// The transform "outlier", version 1 (scenarios/models/README.md): moves powers of two between
/// the two sides of five pairs of tensors a layer; bf16 and fp32 logits keep their bits. Changed
/// tensors become F32 copies. Errors: a weight that would leave [2^-60, 2^60], a bias.
Result<void> apply_outlier(LoadedModel& model);
/// Channel and exponent of the draws of one (layer, pair) over `n` channels, `count` of them.
struct OutlierDraw {
  std::int64_t channel = 0;
  int exponent = 0;
};
std::vector<OutlierDraw> outlier_draws(std::int64_t layer, int pair, std::int64_t n,
                                       std::int64_t count);

/// The transform "multi-head", version 1: every query head gets a copy of its KV head, so that
/// grouped-query attention becomes multi-head attention with the same weights. Errors: a model that
/// has it already, one whose K is normalised over all heads together.
Result<void> apply_multi_head(LoadedModel& model);

}  // namespace isobit::models
