// `isobit env` and `isobit env diff A B`: the environment's fingerprint and what changed in it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/environment/environment.h"
#include "runtime/base/words.h"

namespace isobit::commands {
namespace {

Json json_of(const Environment& environment) {
  Json out = Json::object();
  for (const auto& [name, value] : environment.entries) out[name] = value;
  return out;
}

/// "here", a file of `isobit env --json`, or a run.
Result<Environment> environment_of(const std::string& word, const Arguments& arguments) {
  if (word == "here") return with_git(fingerprint(), git_state("."));
  std::error_code problem;
  if (std::filesystem::is_regular_file(word, problem)) {
    std::ifstream file(word, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const auto json = Json::parse(text, nullptr, false);
    if (json.is_object() && json.contains("environment")) text = json["environment"].dump();
    return Environment::from_json(text, word);
  }
  if (!names_run(word)) {
    return Error{in_quotes(word) +
                     " is no file; give a run number, a file of `isobit env --json`, " + "or here",
                 "env diff"};
  }
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  auto run = find_run(**store, word);
  ISOBIT_TRY(run);
  return Environment::from_json(run->environment_json, "run " + word);
}

/// "model.NAME": the digest of a run's model, which a machine does not have.
bool of_model(const std::string& name) {
  return name.starts_with("model.");
}
bool has_models(const Environment& environment) {
  return std::any_of(environment.entries.begin(), environment.entries.end(),
                     [](const auto& entry) { return of_model(entry.first); });
}

/// The digests of the models of these scenarios.
Result<void> add_models(const std::vector<std::string>& scenarios, Environment& environment) {
  for (const std::string& path : scenarios) {
    std::error_code problem;
    if (!std::filesystem::exists(path, problem)) {
      return Error{in_quotes(path) + " is no scenario" + did_you_mean(path, {"diff"}), "env"};
    }
    const auto loaded = load(path, {});
    ISOBIT_TRY(loaded);
    for (const ModelSession& model : loaded->session.models) {
      const std::string& digest = model.inputs.model_digest;
      const auto [at, is_new] = environment.entries.emplace("model." + model.word, digest);
      if (!is_new && at->second != digest) environment.entries[at->first + " of " + path] = digest;
    }
  }
  return {};
}

Result<int> env_diff(const Arguments& arguments) {
  if (arguments.words.size() != 3) {
    return Error{"give two of: a run, a file, here; usage: isobit env diff A B", "env diff"};
  }
  const auto a = environment_of(arguments.words[1], arguments);
  ISOBIT_TRY(a);
  const auto b = environment_of(arguments.words[2], arguments);
  ISOBIT_TRY(b);
  std::vector<EnvironmentDifference> differences = isobit::diff(*a, *b);
  if (!has_models(*a) || !has_models(*b)) {  // only runs have one
    std::erase_if(differences, [](const EnvironmentDifference& d) { return of_model(d.name); });
  }
  Json out = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const EnvironmentDifference& d : differences) {
    out.push_back({{"name", d.name}, {"a", d.a}, {"b", d.b}});
    rows.push_back(
        {d.name, d.a.empty() ? "-" : shown_text(d.a), d.b.empty() ? "-" : shown_text(d.b)});
  }
  if (arguments.has("json"))
    print_json({{"format", kOutputFormat}, {"differences", out}});
  else
    print(table(rows) + std::to_string(differences.size()) + " differences\n");
  if (a->entries.empty() || b->entries.empty()) return int(kExitNothing);
  return int(differences.empty() ? kExitOk : kExitDifferent);
}

}  // namespace

Result<bool> environment_matches(const std::string& file) {
  const auto wanted = environment_of(file, {});
  ISOBIT_TRY(wanted);
  bool same = true;
  for (const EnvironmentDifference& d : isobit::diff(*wanted, fingerprint())) {
    // Clocks are as found, never twice the same.
    if (d.name == "host" || d.name == "gpu.clock" || d.name.starts_with("git.")) continue;
    if (of_model(d.name)) continue;  // of a run, not of a machine
    complain("--require-env: " + d.name + " is " + (d.b.empty() ? "not there" : d.b) + ", not " +
             (d.a.empty() ? "absent" : d.a));
    same = false;
  }
  return same;
}

Result<int> env(const Arguments& arguments) {
  if (!arguments.words.empty() && arguments.words.front() == "diff") return env_diff(arguments);
  Environment here = with_git(fingerprint(), git_state("."));
  if (auto ok = add_models(arguments.words, here); !ok) return ok.error();
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat}, {"environment", json_of(here)}});
    return int(kExitOk);
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, value] : here.entries) {
    rows.push_back({name, value.empty() ? "-" : shown_text(value)});
  }
  print(table(rows));
  return int(kExitOk);
}

}  // namespace isobit::commands
