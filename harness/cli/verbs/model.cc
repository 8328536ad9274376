// `isobit model list|fetch|tokenize|store`: the models that scenarios name (info, digest:
// model_info.cc).
#include <filesystem>
#include <iostream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/model_info.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/models/merge.h"
#include "harness/models/models.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"
#include "runtime/base/words.h"

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

/// A file of task vectors of a merged model; never over another file.
Result<int> store_tasks(const Arguments& arguments) {
  install_interrupt_handler();
  const auto merged = parse_merged(arguments.words[1]);
  ISOBIT_TRY(merged);
  const std::string out = arguments.text("out");
  const bool named = std::filesystem::path(out).extension() == ".tasks";
  if (!named) return Error{"--out must name the new file, NAME.tasks", "model store"};
  std::error_code problem;
  if (std::filesystem::exists(out, problem)) return Error{"is there already", out};
  if (merged->store.kind != TaskStore::Kind::tvq && merged->store.kind != TaskStore::Kind::rtvq) {
    return Error{
        "store must be {\"tvq\": b} or {\"rtvq\": [b, b]}, what a file of task vectors holds",
        "model store"};
  }
  const auto bytes = models::pack_tasks(*merged, "");
  ISOBIT_TRY(bytes);
  if (arguments.has("dry-run")) {
    complain("would write " + std::to_string(bytes->size()) + " bytes to " + out);
  } else if (auto ok = write_file_atomically(out, *bytes); !ok) {
    return ok.error();
  }
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat},
                {"path", out},
                {"bytes", bytes->size()},
                {"written", !arguments.has("dry-run")}});
  } else if (!arguments.has("dry-run")) {
    print(out + ": " + std::to_string(bytes->size()) + " bytes\n");
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
    const std::string known = did_you_mean("", manifest_names(""));  // "; known: …", or nothing
    return Error{"which model?" + (known.empty() ? known : " " + known.substr(2)), "model " + what};
  }
  return what == "fetch"    ? fetch(arguments)
         : what == "info"   ? model_info(arguments)
         : what == "digest" ? model_content(arguments)
         : what == "store"  ? store_tasks(arguments)
                            : tokenize(arguments);
}

}  // namespace isobit::commands
