// `isobit doctor`: is this machine ready? Every finding that is not good comes with its fix.
#include <unistd.h>

#include <filesystem>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/environment/environment.h"
#include "harness/models/models.h"
#include "runtime/backends/registry.h"
#include "runtime/base/text.h"
#include "runtime/numerics/probes.h"
#include "runtime/run/ranks.h"

namespace isobit::commands {
namespace {

namespace fs = std::filesystem;

struct Finding {
  enum class State { good, note, bad } state = State::good;
  std::string what, detail, fix;
};

class Doctor {
 public:
  explicit Doctor(const Arguments& arguments) : arguments_(arguments) {}

  std::vector<Finding> examine() {
    probes();
    engines();
    models();
    database();
    goldens();
    machine();
    return std::move(findings_);
  }

 private:
  const Arguments& arguments_;
  std::vector<Finding> findings_;

  void good(const std::string& what, const std::string& detail) {
    findings_.push_back({Finding::State::good, what, detail, ""});
  }
  void note(const std::string& what, const std::string& detail, const std::string& fix) {
    findings_.push_back({Finding::State::note, what, detail, fix});
  }
  void bad(const std::string& what, const std::string& detail, const std::string& fix) {
    findings_.push_back({Finding::State::bad, what, detail, fix});
  }

  void probes() {
    const auto result = run_numeric_probes();
    if (result) return good("arithmetic", "every probe holds");
    bad("arithmetic", result.error().text(),
        "use a build without -ffast-math on a CPU with fused multiply-add; check LD_PRELOAD");
  }

  void engines() {
    for (const EngineStatus& status : engine_status()) {
      std::string variants;
      for (const std::string& variant : status.variants) variants += " " + variant;
      if (status.state == "ready") {
        good("engine " + status.engine, "ready:" + variants);
      } else if (status.broken) {
        bad("engine " + status.engine, status.state, status.fix);
      } else {
        note("engine " + status.engine, status.state,
             status.fix.empty() ? "its cells are skipped; nothing else is touched" : status.fix);
      }
    }
  }

  void models() {
    if (manifest_names("").empty()) {
      std::string looked;
      for (const std::string& each : models_folders("")) {
        looked += (looked.empty() ? "" : ", ") + each;
      }
      return bad("models", "no manifest in " + looked,
                 "set ISOBIT_MODELS to the folder of the manifests");
    }
    for (const std::string& name : manifest_names("")) {
      const auto model = open_model(name, "");
      const auto digest =
          model ? model_digest(*model, name, "") : Result<std::string>(model.error());
      if (digest) {
        good("model " + name, "ready, digest " + digest->substr(0, 16));
      } else {
        note("model " + name, digest.error().text(), "isobit model fetch " + name);
      }
    }
    std::error_code problem;
    const auto cache = cache_folder();
    if (!cache)
      return note("cache", cache.error().message, "set ISOBIT_CACHE to a folder of yours");
    fs::path folder = *cache;
    while (!fs::exists(folder, problem) && folder.has_relative_path())
      folder = folder.parent_path();
    if (::access(folder.c_str(), W_OK) != 0) {
      note("cache", *cache + " cannot be written", "set ISOBIT_CACHE to a folder of yours");
    }
  }

  void database() {
    const std::string path = database_path(arguments_);
    std::error_code problem;
    if (!fs::exists(path, problem)) {
      return note("database", path + " is not there yet", "the first run makes it");
    }
    const auto store = open_database(arguments_);
    if (!store) {
      return bad("database", store.error().text(),
                 "move the file away, or name another with --db or ISOBIT_DB");
    }
    const auto runs = (*store)->runs();
    if (!runs) return bad("database", runs.error().text(), "check the file with sqlite3");
    good("database", path + ", " + text::count(std::int64_t(runs->size()), "run"));
  }

  void goldens() {
    const std::string chosen = golden_folder(arguments_);
    const fs::path folder = chosen.empty() ? fs::path("golden") : fs::path(chosen);
    std::error_code problem;
    if (!fs::is_directory(folder, problem)) {
      return note("goldens", folder.string() + " is no folder here",
                  "each scenario uses golden/ of its own project; `isobit bless` makes it");
    }
    std::int64_t files = 0, blocks = 0;
    for (const auto& entry : fs::directory_iterator(folder, problem)) {
      if (entry.path().extension() != ".golden") continue;
      const std::string path = entry.path().string();
      const auto file = read_golden_file(path, entry.path().stem().string());
      if (!file) {
        bad("goldens", file.error().text(), "restore the file with `git checkout`");
        continue;
      }
      ++files;
      blocks += std::int64_t(file->blocks.size());
    }
    good("goldens",
         folder.string() + ", " + text::count(files, "file") + ", " + text::count(blocks, "block"));
  }

  void machine() {
    const Environment here = fingerprint();
    good("machine", here.at("cpu") + ", " + here.at("cores.usable") + " cores");
    if (here.at("gpu").empty()) {
      note("GPU", "none", "gpus: N runs as in-process ranks; cells that require gpu are skipped");
    } else {
      good("GPU", here.at("gpu"));
      const std::string ranks = rank_status();
      if (ranks.find(" real") != std::string::npos) {
        good("several GPUs", ranks);
      } else {
        note("several GPUs", ranks, "virtual: ranks share a GPU, same bits; install libnccl2");
      }
    }
  }
};

}  // namespace

Result<int> doctor(const Arguments& arguments) {
  const std::vector<Finding> findings = Doctor(arguments).examine();
  constexpr const char* kStates[] = {"good", "note", "bad"};
  Json out = Json::array();
  bool ill = false;
  for (const Finding& f : findings) {
    ill |= f.state == Finding::State::bad;
    const char* state = kStates[std::size_t(f.state)];
    if (arguments.has("json")) {
      out.push_back({{"what", f.what}, {"state", state}, {"detail", f.detail}, {"fix", f.fix}});
      continue;
    }
    std::string line = std::string(state) + "  " + shown_text(f.what) + ": " + shown_text(f.detail);
    if (!f.fix.empty()) line += "\n      fix: " + shown_text(f.fix);
    print(line + "\n");
  }
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat}, {"healthy", !ill}, {"findings", out}});
  }
  return int(ill ? kExitEnvironment : kExitOk);
}

}  // namespace isobit::commands
