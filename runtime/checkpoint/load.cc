// load_model: a .gguf file or a Hugging Face directory -> LoadedModel (see
// runtime/checkpoint/weights.h).
#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <system_error>
#include <utility>

#include "runtime/checkpoint/fused.h"
#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/load_check.h"
#include "runtime/checkpoint/quantization.h"
#include "runtime/checkpoint/stop_set.h"
#include "runtime/checkpoint/weights.h"
#include "runtime/model/arch/architecture.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;
constexpr std::uintmax_t kMaxTextBytes = std::uintmax_t{256} << 20;

std::string joined(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// The text of a file that must exist, noted in model.files.
Result<std::string> read_text(const std::string& path, LoadedModel& model) {
  const Result<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(path);
  ISOBIT_TRY(mapped);
  const std::span<const std::byte> bytes = (*mapped)->bytes();
  if (bytes.size() > kMaxTextBytes)
    return Error{"is larger than 256 MiB; is it the right file?", path};
  model.files.push_back(path);
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<void> read_optional_text(const std::string& path, LoadedModel& model, std::string& out) {
  if (!exists(path)) return {};
  Result<std::string> text = read_text(path, model);
  ISOBIT_TRY(text);
  out = std::move(text).value();
  return {};
}

Result<void> add_safetensors(const std::string& path, LoadedModel& model) {
  const Result<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(path);
  ISOBIT_TRY(mapped);
  model.weights.keep(*mapped);
  model.files.push_back(path);
  return read_safetensors((*mapped)->bytes(), path, model.weights);
}

Result<void> add_shards(const std::string& folder, LoadedModel& model) {
  const std::string index = joined(folder, "model.safetensors.index.json");
  const Result<std::string> text = read_text(index, model);
  ISOBIT_TRY(text);
  const Result<std::map<std::string, std::string>> shards = parse_shard_index(*text, index);
  ISOBIT_TRY(shards);
  std::map<std::string, std::set<std::string>> by_file;
  for (const auto& [tensor, file] : *shards) by_file[file].insert(tensor);
  for (const auto& [file, tensors] : by_file) {
    Weights shard;
    const std::string path = joined(folder, file);
    const Result<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(path);
    if (!mapped) return Error{mapped.error().message + " (named in " + index + ")", path};
    const Result<void> read = read_safetensors((*mapped)->bytes(), path, shard);
    ISOBIT_TRY(read);
    for (const std::string& name : tensors) {
      if (shard.find(name) == nullptr && shard.opaque().count(name) == 0) {
        return Error{"tensor " + shown(name) + " is not in this file, but " + index + " says so",
                     path};
      }
    }
    for (const auto& [name, tensor] : shard.all()) {
      if (model.weights.find(name) != nullptr) {
        return Error{"tensor " + shown(name) + " is in another file of this model too", path};
      }
      model.weights.add(tensor);
    }
    for (const auto& [name, tensor] : shard.opaque()) model.weights.add_opaque(name, tensor);
    model.weights.keep(*mapped);
    model.files.push_back(path);
  }
  return {};
}

/// transformers' rule for tie_word_embeddings: a matrix that the file holds is used, and the one
/// that it does not hold is tied to the other.
void tie_as_stored(LoadedModel& model) {
  if (!model.config.tied_embeddings) return;
  const Architecture& architecture = architecture_of(model.config);
  const std::string embedding = weight_that_fills(architecture, &RankModel::embedding);
  const Tensor* head = model.weights.find(weight_that_fills(architecture, &RankModel::head));
  if (head == nullptr) return;
  model.config.tied_embeddings = false;
  if (model.weights.find(embedding) != nullptr) return;
  Tensor tied = *head;
  tied.name = embedding;
  model.weights.add(std::move(tied));
}

/// What other files tell of tokens. generation_config.json is one of the model's files, whose
/// digest counts, only where it changes at which tokens an answer ends.
Result<void> read_token_files(const std::string& folder, LoadedModel& model) {
  std::vector<std::string> names = {"special_tokens_map.json", "added_tokens.json",
                                    "chat_template.jinja"};
  if (model.tokenizer_json.empty()) names.emplace_back("tokenizer.model");
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(joined(folder, "chat_templates"), problem)) {
    if (entry.path().extension() != ".jinja") continue;
    names.push_back("chat_templates/" + entry.path().filename().string());
  }
  for (const std::string& name : names) {
    std::string text;
    const Result<void> read = read_optional_text(joined(folder, name), model, text);
    ISOBIT_TRY(read);
    if (!text.empty()) model.text_files[name] = std::move(text);
  }
  const std::string path = joined(folder, "generation_config.json");
  std::string text;
  const Result<void> read = read_optional_text(path, model, text);
  ISOBIT_TRY(read);
  if (text.empty()) return {};
  const Result<bool> changed = read_generation_config(text, path, model.config);
  ISOBIT_TRY(changed);
  if (!*changed) model.files.pop_back();
  return {};
}

/// Names of a file that was saved from the base model alone ("h.0.ln_1.weight") get its prefix, as
/// transformers does with them.
void complete_names(LoadedModel& model) {
  const Architecture& architecture = architecture_of(model.config);
  const std::string layers = architecture.layers;
  const std::string prefix = layers.substr(0, layers.find('.') + 1);
  const std::string head = weight_that_fills(architecture, &RankModel::head);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model.weights.all()) {
    if (name.rfind(prefix, 0) == 0) return;
    if (name != head) names.push_back(name);
  }
  for (const std::string& name : names) {
    Tensor tensor = *model.weights.take(name);
    tensor.name = prefix + name;
    model.weights.add(std::move(tensor));
  }
}

Result<void> load_folder(const std::string& folder, LoadedModel& model) {
  const std::string config_path = joined(folder, "config.json");
  if (!exists(config_path)) {
    return Error{"the folder has no config.json; is it a Hugging Face model?", folder};
  }
  const Result<std::string> text = read_text(config_path, model);
  ISOBIT_TRY(text);
  const Result<ModelConfig> config = parse_hf_config(*text, config_path);
  ISOBIT_TRY(config);
  model.config = *config;
  const std::string single = joined(folder, "model.safetensors");
  const bool sharded = !exists(single) && exists(single + ".index.json");
  if (!sharded && !exists(single)) {
    return Error{
        "the folder has neither model.safetensors nor model.safetensors.index.json; "
        "other weight formats are not read",
        folder};
  }
  const Result<void> added = sharded ? add_shards(folder, model) : add_safetensors(single, model);
  ISOBIT_TRY(added);
  const Result<void> tokenizer =
      read_optional_text(joined(folder, "tokenizer.json"), model, model.tokenizer_json);
  ISOBIT_TRY(tokenizer);
  const Result<void> settings = read_optional_text(joined(folder, "tokenizer_config.json"), model,
                                                   model.tokenizer_config_json);
  ISOBIT_TRY(settings);
  const Result<void> others = read_token_files(folder, model);
  ISOBIT_TRY(others);
  complete_names(model);
  const std::string place = sharded ? folder : single;
  const Result<void> scaled =
      apply_weight_scales(model.config.weight_scales, place, model.weights, model.unused);
  ISOBIT_TRY(scaled);
  const Result<void> split =
      split_fused(model.config, FileForm::hugging_face, place, model.weights);
  ISOBIT_TRY(split);
  tie_as_stored(model);
  return check_tensors(model.config, Biases::flagged, model.weights, place);
}

/// Of "x-00002-of-00003.gguf" the three names of the split, else the path alone.
std::vector<std::string> names_of_split(const std::string& path) {
  static const std::regex kName(R"((.*)-[0-9]{5}-of-([0-9]{5})\.gguf)");
  const std::string file = fs::path(path).filename().string();
  std::smatch match;
  if (!std::regex_match(file, match, kName)) return {path};
  std::vector<std::string> names;
  const int count = std::stoi(match[2]);
  for (int i = 1; i <= count; ++i) {
    const std::string digits = std::to_string(i);
    names.push_back((fs::path(path).parent_path() /
                     (match[1].str() + "-" + std::string(5 - digits.size(), '0') + digits + "-of-" +
                      match[2].str() + ".gguf"))
                        .string());
  }
  return names.empty() ? std::vector{path} : names;
}

Result<void> load_gguf(const std::string& path, LoadedModel& model) {
  std::vector<GgufPart> parts;
  const std::vector<std::string> names = names_of_split(path);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Result<std::shared_ptr<const MappedFile>> mapped = MappedFile::open(names[i]);
    if (!mapped && names.size() > 1) {
      return Error{"part " + std::to_string(i + 1) + " of " + std::to_string(names.size()) +
                       " of a split model: " + mapped.error().message,
                   names[i]};
    }
    ISOBIT_TRY(mapped);
    parts.push_back({(*mapped)->bytes(), names[i]});
    model.weights.keep(*mapped);
    model.files.push_back(names[i]);
  }
  Result<GgufFile> file = read_gguf_parts(parts);
  ISOBIT_TRY(file);
  for (const std::shared_ptr<const MappedFile>& mapped : model.weights.files()) {
    file->weights.keep(mapped);
  }
  model.config = std::move(file->config);
  model.weights = std::move(file->weights);
  model.metadata = std::move(file->metadata);
  model.unused = std::move(file->unused);
  model.gguf_tokenizer = std::make_unique<GgufTokenizer>(std::move(file->tokenizer));
  return check_tensors(model.config, Biases::stored, model.weights, path);
}

}  // namespace

Result<LoadedModel> load_model(const std::string& path) {
  LoadedModel model;
  model.path = path;
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (!fs::exists(status)) return Error{"no such file or folder", path};
  const bool folder = fs::is_directory(status);
  if (!folder && fs::path(path).extension() != ".gguf") {
    return Error{"not a .gguf file; for safetensors give the folder with config.json", path};
  }
  const Result<void> loaded = folder ? load_folder(path, model) : load_gguf(path, model);
  ISOBIT_TRY(loaded);
  std::sort(model.files.begin(), model.files.end());
  for (std::string& name : left_over_tensors(model.weights)) {
    model.unused.push_back(std::move(name));
  }
  std::sort(model.unused.begin(), model.unused.end());
  return model;
}

}  // namespace isobit
