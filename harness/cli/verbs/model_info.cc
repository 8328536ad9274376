// `isobit model info` and `isobit model digest`: what a model is, and by what numbers it is told
// from another (model_info.h).
#include "harness/cli/verbs/model_info.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "harness/cli/verbs/common.h"
#include "harness/models/content_digest.h"
#include "harness/models/models.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/stop_set.h"
#include "runtime/checkpoint/survey.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/run/weight_cache.h"

namespace isobit::commands {
namespace {

struct TensorTypes {
  std::map<std::string, std::int64_t> tensors;
  std::int64_t parameters = 0, bytes = 0;
};

TensorTypes tensor_types(const Weights& weights) {
  TensorTypes out;
  for (const auto& [name, tensor] : weights.all()) {
    ++out.tensors[name_of(tensor.type)];
    out.parameters += tensor.rows * tensor.cols;
    out.bytes += std::int64_t(tensor.bytes.size());
  }
  return out;
}

std::string in_layers(std::int64_t some, std::int64_t all) {
  if (some == all) return "";
  return " in " + std::to_string(some) + " of " + std::to_string(all) + " layers";
}

/// What is not plain about a model's RoPE, next to its base.
std::vector<std::string> special_ropes(const ModelConfig& c) {
  std::vector<std::string> out;
  for (const Rope& rope : c.ropes) {
    const char* kind = name_of(rope.scaling.kind);
    if (rope.scaling.kind != RopeScaling::Kind::none) out.push_back(std::string(kind) + " RoPE");
    if (c.rotary_dims(rope) != c.head_dim) {
      out.push_back("RoPE of " + std::to_string(rope.dims) + " of " + std::to_string(c.head_dim) +
                    " channels");
    }
  }
  if (c.ropes.size() > 1) out.push_back(std::to_string(c.ropes.size()) + " RoPEs");
  std::int64_t without = 0;
  for (std::int64_t i = 0; i < c.layers; ++i) without += architecture_of(c).plan(c, i).rope < 0;
  if (without > 0) out.push_back("no RoPE" + in_layers(without, c.layers));
  return out;
}

/// Norms, caps and experts that a Llama does not have.
std::vector<std::string> special_parts(const ModelConfig& c) {
  const Architecture& architecture = architecture_of(c);
  std::vector<std::string> out;
  std::int64_t outputs = 0, inputs = 0, routed = 0;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const LayerPlan plan = architecture.plan(c, i);
    outputs += plan.normalises_output();
    inputs += plan.normalises_input();
    routed += plan.routed;
  }
  if (architecture.norm == NormKind::layer) out.emplace_back("LayerNorm");
  if (outputs > 0) out.emplace_back(inputs > 0 ? "norms of outputs too" : "norms of outputs");
  if (architecture.scales_embedding) out.emplace_back("scaled embedding");
  if (c.attention_softcap > 0) out.push_back("soft cap " + text::number(c.attention_softcap));
  if (c.logit_softcap > 0) out.push_back("logit cap " + text::number(c.logit_softcap));
  if (routed > 0) {
    out.push_back(std::to_string(c.experts_used) + " of " + std::to_string(c.experts) + " experts" +
                  in_layers(routed, c.layers));
  }
  return out;
}

/// What a model has beyond what every model has: biases, norms of heads, windows, RoPE's kinds.
std::vector<std::string> special(const LoadedModel& model) {
  const ModelConfig& c = model.config;
  const Architecture& architecture = architecture_of(c);
  std::vector<std::string> out;
  for (const TensorRow& row : architecture.layer) {
    std::int64_t biased = 0;
    for (std::int64_t i = 0; i < c.layers; ++i) {
      biased += model.weights.find(layer_prefix(architecture, i) + row.name + ".bias") != nullptr;
    }
    if (biased > 0) out.push_back(std::string("bias of ") + row.name + in_layers(biased, c.layers));
  }
  std::int64_t normed = 0, sliding = 0;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const LayerPlan plan = architecture.plan(c, i);
    normed += plan.qk_norm != QkNorm::none;
    sliding += plan.window > 0;
  }
  if (normed > 0) out.push_back("QK-norm" + in_layers(normed, c.layers));
  if (sliding > 0) {
    out.push_back("window of " + std::to_string(c.sliding_window) + in_layers(sliding, c.layers));
  }
  for (const std::string& part : special_parts(c)) out.push_back(part);
  for (const std::string& rope : special_ropes(c)) out.push_back(rope);
  return out;
}

Json config_json(const ModelConfig& c) {
  return {{"architecture", c.architecture},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"layers", c.layers},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"context", c.context},
          {"sliding_window", c.sliding_window},
          {"segments", c.segments},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.ropes.front().base},
          {"tied_embeddings", c.tied_embeddings},
          {"bos_token", c.bos_token},
          {"eos_tokens", c.eos_tokens},
          {"eos_origins", c.eos_origins}};
}

/// What is printed and what goes into JSON.
struct Told {
  std::string name;
  TensorTypes types;
  std::string files_digest, content_digest, tokenizer;
  bool has_tokenizer = false;
};

std::string counted(const std::map<std::string, std::int64_t>& tensors) {
  std::string text;
  for (const auto& [type, count] : tensors) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + type;
  }
  return text;
}

std::string joined(const std::vector<std::string>& words, const std::string& none) {
  std::string text;
  for (const std::string& each : words) text += (text.empty() ? "" : ", ") + each;
  return text.empty() ? none : text;
}

/// Bytes of the weights in each precision, as the CPU's reference engine keeps them.
std::vector<std::pair<std::string, std::int64_t>> memory(const LoadedModel& model) {
  std::vector<std::pair<std::string, std::int64_t>> out;
  for (const Mode& mode : kModes) {
    PackedRequest request;
    request.precision = mode.precision;
    out.emplace_back(mode.name, std::int64_t(packed_bytes(model, request)));
  }
  return out;
}

std::string memory_text(const LoadedModel& model) {
  std::string text;
  for (const auto& [name, bytes] : memory(model)) {
    text += (text.empty() ? "" : ", ") + name + " " + text::mebibytes(std::size_t(bytes)) + " MiB";
  }
  return text;
}

/// Keys and values of one position in all layers, in fp32 Reals; fp64 takes twice as much.
std::int64_t cache_bytes(const ModelConfig& c) {
  return 2 * c.layers * c.kv_heads * c.head_dim * std::int64_t(sizeof(float));
}

std::string scales_text(const WeightScales& scales) {
  switch (scales.kind) {
    case WeightScales::Kind::none:
      break;
    case WeightScales::Kind::tensor:
      return "one a tensor; activations are not quantised";
    case WeightScales::Kind::channel:
      return "one a channel; activations are not quantised";
    case WeightScales::Kind::block:
      return "one for " + std::to_string(scales.block_rows) + " x " +
             std::to_string(scales.block_cols) + " elements; activations are not quantised";
  }
  return "none";
}

void print_info(const LoadedModel& model, const Told& told) {
  const ModelConfig& c = model.config;
  print(table(
      {{"model", shown_text(told.name)},
       {"path", shown_text(model.path)},
       {"digest of files", told.files_digest},
       {"digest of content", told.content_digest},
       {"architecture", c.architecture + (c.name.empty() ? "" : " (" + shown_text(c.name) + ")")},
       {"parameters",
        text::count(told.types.parameters) + " in " + text::count(told.types.bytes) + " bytes"},
       {"tensors", counted(told.types.tensors)},
       {"scales", scales_text(c.weight_scales)},
       {"unused tensors", model.unused.empty()
                              ? "none"
                              : text::count(std::int64_t(model.unused.size())) + ", such as " +
                                    shown_text(model.unused.front())},
       {"memory on the CPU", memory_text(model)},
       {"cache", text::count(cache_bytes(c)) + " bytes a position, in fp64 twice"},
       {"layers", std::to_string(c.layers)},
       {"width", std::to_string(c.hidden_size) + ", MLP " + std::to_string(c.intermediate_size)},
       {"heads", std::to_string(c.heads) + " query, " + std::to_string(c.kv_heads) + " KV, of " +
                     std::to_string(c.head_dim)},
       {"special", joined(special(model), "nothing")},
       {"context", std::to_string(c.context)},
       {"RoPE base", text::number(c.ropes.front().base)},
       {"embedding", c.tied_embeddings ? "tied to lm_head" : "not tied"},
       {"vocabulary", std::to_string(c.vocab_size)},
       {"segments", std::to_string(c.segments)},
       {"stop set", shown_text(stop_set_text(c))},
       {"tokenizer", shown_text(told.tokenizer)}}));
}

/// What the files of a model hold that cannot be run, and why it cannot.
void tell_survey(const std::string& name, const ModelSurvey& survey, const std::string& reason,
                 bool json) {
  if (json) {
    return print_json({{"format", kOutputFormat},
                       {"model", name},
                       {"runs", false},
                       {"reason", reason},
                       {"architecture", survey.architecture},
                       {"quantisation", survey.quantisation},
                       {"parameters", survey.parameters},
                       {"bytes", survey.bytes},
                       {"tensors", survey.tensors}});
  }
  const auto or_none = [](const std::string& text) {
    return text.empty() ? std::string("not named") : shown_text(text);
  };
  print(
      table({{"model", shown_text(name)},
             {"architecture", or_none(survey.architecture)},
             {"quantisation", survey.quantisation.empty() ? "none" : or_none(survey.quantisation)},
             {"parameters",
              text::count(survey.parameters) + " in " + text::count(survey.bytes) + " bytes"},
             {"tensors", counted(survey.tensors)},
             {"cannot be run", shown_text(reason)}}));
}

/// The model, or its survey and the error that it cannot be run with.
Result<LoadedModel> open_or_survey(const std::string& name, bool json) {
  Result<LoadedModel> model = open_model(name, "");
  std::error_code problem;
  if (model || !std::filesystem::exists(name, problem)) return model;
  const Result<ModelSurvey> survey = survey_model(name);
  if (survey) tell_survey(name, *survey, model.error().text(), json);
  return model;
}

Json info_json(const LoadedModel& model, const Told& told) {
  Json bytes = Json::object();
  for (const auto& [precision, count] : memory(model)) bytes[precision] = count;
  return {{"format", kOutputFormat},
          {"model", told.name},
          {"runs", true},
          {"path", model.path},
          {"files", model.files},
          {"digest", told.files_digest},
          {"content_digest", told.content_digest},
          {"parameters", told.types.parameters},
          {"bytes", told.types.bytes},
          {"tensors", told.types.tensors},
          {"scales", scales_text(model.config.weight_scales)},
          {"unused", model.unused},
          {"memory", bytes},
          {"cache_bytes", cache_bytes(model.config)},
          {"config", config_json(model.config)},
          {"special", special(model)},
          {"tokenizer", told.has_tokenizer ? Json(told.tokenizer) : Json(nullptr)},
          {"metadata", model.metadata}};
}

}  // namespace

Result<int> model_info(const Arguments& arguments) {
  install_interrupt_handler();
  Told told;
  told.name = arguments.words[1];
  const auto model = open_or_survey(told.name, arguments.has("json"));
  ISOBIT_TRY(model);
  const auto files = model_digest(*model, told.name, "");
  ISOBIT_TRY(files);
  told.files_digest = *files;
  const auto content = content_digest(*model);
  ISOBIT_TRY(content);
  told.content_digest = content->model;
  told.types = tensor_types(model->weights);
  const auto tokenizer = Tokenizer::from_model(*model);
  told.has_tokenizer = bool(tokenizer);
  told.tokenizer = tokenizer ? tokenizer->describe() : "none: " + tokenizer.error().text();
  if (arguments.has("json")) {
    print_json(info_json(*model, told));
  } else {
    print_info(*model, told);
  }
  return int(kExitOk);
}

Result<int> model_content(const Arguments& arguments) {
  install_interrupt_handler();
  const std::string& name = arguments.words[1];
  const auto model = open_model(name, "");
  ISOBIT_TRY(model);
  const auto content = content_digest(*model);
  ISOBIT_TRY(content);
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat},
                {"model", name},
                {"content_digest", content->model},
                {"tensors", content->tensors}});
  } else {
    print(content->model + "\n");
  }
  return int(kExitOk);
}

}  // namespace isobit::commands
