// `isobit model fetch|info|tokenize`: the models that scenarios name.
#include <iostream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/execute/executor.h"
#include "harness/models/models.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"
#include "runtime/checkpoint/stop_set.h"
#include "runtime/model/arch/architecture.h"

namespace isobit::commands {
namespace {

Result<int> fetch(const Arguments& arguments) {
  install_interrupt_handler();
  if (arguments.has("dry-run")) {
    const auto manifest = read_manifest(arguments.words[1], "");
    ISOBIT_TRY(manifest);
    const auto cache = cache_folder();
    ISOBIT_TRY(cache);
    complain("would fetch model " + manifest->name + " (" + manifest->kind + ") into " + *cache +
             " unless it is there");
    return int(kExitOk);
  }
  const auto path = fetch_model(arguments.words[1], "", arguments.has("offline"));
  if (!path && interrupted != 0) {
    complain(path.error().text());
    return int(kExitInterrupted);
  }
  ISOBIT_TRY(path);
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat}, {"model", arguments.words[1]}, {"path", *path}});
  } else {
    print(*path + "\n");
  }
  return int(kExitOk);
}

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

/// What a model has beyond what every model has: biases, norms of heads, windows.
std::vector<std::string> special(const LoadedModel& model) {
  const ModelConfig& c = model.config;
  const Architecture& architecture = architecture_of(c);
  std::vector<std::string> out;
  for (const TensorRow& row : architecture.layer) {
    std::int64_t biased = 0;
    for (std::int64_t i = 0; i < c.layers; ++i) {
      biased += model.weights.find(layer_prefix(i) + row.name + ".bias") != nullptr;
    }
    if (biased > 0) out.push_back(std::string("bias of ") + row.name + in_layers(biased, c.layers));
  }
  std::int64_t normed = 0, sliding = 0;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const LayerPlan plan = architecture.plan(c, i);
    normed += plan.qk_norm;
    sliding += plan.window > 0;
  }
  if (normed > 0) out.push_back("QK-norm" + in_layers(normed, c.layers));
  if (sliding > 0) {
    out.push_back("window of " + std::to_string(c.sliding_window) + in_layers(sliding, c.layers));
  }
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
          {"rope_theta", c.rope_theta},
          {"tied_embeddings", c.tied_embeddings},
          {"bos_token", c.bos_token},
          {"eos_tokens", c.eos_tokens},
          {"eos_origins", c.eos_origins}};
}

void print_info(const std::string& name, const LoadedModel& model, const TensorTypes& types,
                const std::string& digest, const std::string& tokenizer) {
  const ModelConfig& c = model.config;
  std::string tensors;
  for (const auto& [type, count] : types.tensors) {
    tensors += (tensors.empty() ? "" : ", ") + std::to_string(count) + " " + type;
  }
  std::string specials;
  for (const std::string& each : special(model)) specials += (specials.empty() ? "" : ", ") + each;
  print(table(
      {{"model", shown_text(name)},
       {"path", shown_text(model.path)},
       {"digest", digest},
       {"architecture", c.architecture + (c.name.empty() ? "" : " (" + shown_text(c.name) + ")")},
       {"parameters", text::count(types.parameters) + " in " + text::count(types.bytes) + " bytes"},
       {"tensors", tensors},
       {"layers", std::to_string(c.layers)},
       {"width", std::to_string(c.hidden_size) + ", MLP " + std::to_string(c.intermediate_size)},
       {"heads", std::to_string(c.heads) + " query, " + std::to_string(c.kv_heads) + " KV, of " +
                     std::to_string(c.head_dim)},
       {"special", specials.empty() ? "nothing" : specials},
       {"context", std::to_string(c.context)},
       {"RoPE base", text::number(c.rope_theta)},
       {"embedding", c.tied_embeddings ? "tied to lm_head" : "not tied"},
       {"vocabulary", std::to_string(c.vocab_size)},
       {"segments", std::to_string(c.segments)},
       {"tokenizer", shown_text(tokenizer)},
       {"stop set", shown_text(stop_set_text(c))}}));
}

Result<int> info(const Arguments& arguments) {
  const std::string& name = arguments.words[1];
  const auto model = open_model(name, "");
  ISOBIT_TRY(model);
  const auto digest = model_digest(*model, name, "");
  ISOBIT_TRY(digest);
  const TensorTypes types = tensor_types(model->weights);
  const auto tokenizer = Tokenizer::from_model(*model);
  const std::string described =
      tokenizer ? tokenizer->describe() : "none: " + tokenizer.error().text();
  if (!arguments.has("json")) {
    print_info(name, *model, types, *digest, described);
    return int(kExitOk);
  }
  print_json({{"format", kOutputFormat},
              {"model", name},
              {"path", model->path},
              {"files", model->files},
              {"digest", *digest},
              {"parameters", types.parameters},
              {"bytes", types.bytes},
              {"tensors", types.tensors},
              {"config", config_json(model->config)},
              {"special", special(*model)},
              {"tokenizer", tokenizer ? Json(described) : Json(nullptr)},
              {"metadata", model->metadata}});
  return int(kExitOk);
}

/// One text a line in, one array of ids a line out. With --json a line is a JSON string, which can
/// hold any text; else it is the text itself.
Result<int> tokenize(const Arguments& arguments) {
  const auto model = open_model(arguments.words[1], "");
  ISOBIT_TRY(model);
  const auto tokenizer = Tokenizer::from_model(*model);
  ISOBIT_TRY(tokenizer);
  const bool json = arguments.has("json");
  std::int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    if (json) {
      const auto value = Json::parse(line, nullptr, false);
      if (!value.is_string()) {
        return Error{"with --json every line is one JSON string, such as \"some text\"",
                     "standard input:" + std::to_string(number)};
      }
      line = value.get<std::string>();
    }
    const std::vector<std::int32_t> ids = tokenizer->encode(line, false);
    if (json) {
      print(Json(ids).dump() + "\n");
      continue;
    }
    std::string out;
    for (const std::int32_t id : ids) {
      out += (out.empty() ? "" : " ") + std::to_string(id) + ":" +
             text::quoted(tokenizer->token_bytes(id));
    }
    print(out + "\n");
  }
  return int(kExitOk);
}

Result<int> list_models(const Arguments& arguments) {
  Json models = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const std::string& name : manifest_names("")) {
    const auto manifest = read_manifest(name, "");
    const auto model = manifest ? open_model(name, "") : Result<LoadedModel>(manifest.error());
    const std::string state = model ? "ready" : model.error().text();
    models.push_back({{"name", name},
                      {"kind", manifest ? manifest->kind : ""},
                      {"ready", bool(model)},
                      {"state", state}});
    rows.push_back({name, manifest ? manifest->kind : "?", shown_text(state)});
  }
  if (arguments.has("json"))
    print_json({{"format", kOutputFormat}, {"models", models}});
  else
    print(table(rows));
  return int(models.empty() ? kExitNothing : kExitOk);
}

}  // namespace

Result<int> model(const Arguments& arguments) {
  const std::string& what = arguments.words[0];
  if (what == "list") return list_models(arguments);
  if (arguments.words.size() < 2) {
    return Error{"which model? known: " + did_you_mean("", manifest_names("")).substr(2),
                 "model " + what};
  }
  return what == "fetch"  ? fetch(arguments)
         : what == "info" ? info(arguments)
                          : tokenize(arguments);
}

}  // namespace isobit::commands
