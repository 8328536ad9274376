// Implementation of runtime/checkpoint/survey.h.
#include "runtime/checkpoint/survey.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "runtime/base/file.h"
#include "runtime/checkpoint/gguf_reader.h"
#include "runtime/checkpoint/json.h"
#include "runtime/checkpoint/load_check.h"
#include "runtime/checkpoint/weights.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMostText = std::size_t{256} << 20;

Result<json> read_object(const std::string& path) {
  const Result<std::string> text =
      read_file(path, kMostText, "larger than 256 MiB: not a text file of a model");
  ISOBIT_TRY(text);
  Result<json> parsed = parse_strict_json(*text, JsonPlace{path, std::nullopt});
  ISOBIT_TRY(parsed);
  if (!parsed->is_object()) return Error{"must be a JSON object", path};
  return parsed;
}

/// "architectures" or "model_type", and the quantisation's method.
void read_names(const json& config, ModelSurvey& out) {
  const auto list = config.find("architectures");
  const auto type = config.find("model_type");
  if (list != config.end() && list->is_array() && !list->empty() && list->front().is_string()) {
    out.architecture = list->front().get<std::string>();
  } else if (type != config.end() && type->is_string()) {
    out.architecture = type->get<std::string>();
  }
  const auto quantisation = config.find("quantization_config");
  if (quantisation == config.end() || !quantisation->is_object()) return;
  const auto method = quantisation->find("quant_method");
  if (method != quantisation->end() && method->is_string()) {
    out.quantisation = method->get<std::string>();
  }
}

Result<std::set<std::string>> weight_files(const std::string& folder) {
  const std::string single = (fs::path(folder) / "model.safetensors").string();
  std::error_code problem;
  if (fs::exists(single, problem)) return std::set<std::string>{single};
  const std::string index = single + ".index.json";
  const Result<std::string> text =
      read_file(index, kMostText, "larger than 256 MiB: not an index of shards");
  ISOBIT_TRY(text);
  const auto shards = parse_shard_index(*text, index);
  ISOBIT_TRY(shards);
  std::set<std::string> files;
  for (const auto& [tensor, file] : *shards) files.insert((fs::path(folder) / file).string());
  return files;
}

Result<ModelSurvey> survey_folder(const std::string& folder) {
  ModelSurvey out;
  const Result<json> config = read_object((fs::path(folder) / "config.json").string());
  ISOBIT_TRY(config);
  read_names(*config, out);
  const auto files = weight_files(folder);
  ISOBIT_TRY(files);
  for (const std::string& file : *files) {
    const auto mapped = MappedFile::open(file);
    ISOBIT_TRY(mapped);
    Weights weights;
    const Result<void> read = read_safetensors((*mapped)->bytes(), file, weights);
    ISOBIT_TRY(read);
    for (const auto& [name, tensor] : weights.all()) {
      ++out.tensors[name_of(tensor.type)];
      out.parameters += tensor.rows * tensor.cols;
      out.bytes += std::int64_t(tensor.bytes.size());
    }
    for (const auto& [name, tensor] : weights.opaque()) {
      ++out.tensors[tensor.type];
      std::int64_t elements = 1;
      for (const std::int64_t size : tensor.shape) elements *= size;
      out.parameters += elements;
      out.bytes += std::int64_t(tensor.bytes);
    }
  }
  return out;
}

Result<ModelSurvey> survey_gguf(const std::string& path) {
  const auto mapped = MappedFile::open(path);
  ISOBIT_TRY(mapped);
  const Result<GgufContainer> container = read_gguf_container((*mapped)->bytes(), path);
  ISOBIT_TRY(container);
  ModelSurvey out;
  const auto named = container->metadata.find("general.architecture");
  if (named != container->metadata.end()) out.architecture = named->second.text();
  for (const GgufTensorRecord& record : container->tensors) {
    ++out.tensors[record.type.name];
    std::int64_t elements = 1;
    for (const std::int64_t size : record.shape) elements *= size;
    out.parameters += elements;
    out.bytes += std::int64_t(record.bytes.size());
  }
  return out;
}

}  // namespace

Result<ModelSurvey> survey_model(const std::string& path) {
  std::error_code problem;
  return fs::is_directory(path, problem) ? survey_folder(path) : survey_gguf(path);
}

}  // namespace isobit
