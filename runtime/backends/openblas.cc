// Everything of OpenBLAS behind dlopen; every argument of a call is explicit.

#include "runtime/backends/openblas.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <set>

#include "runtime/backends/cpu/cpu_backend.h"
#include "runtime/base/process.h"
#include "runtime/base/weight_count.h"
#include "runtime/base/words.h"
#include "runtime/numerics/formats.h"
#include "runtime/numerics/probes.h"
#include "runtime/trace.h"

namespace isobit {
namespace {

constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;
constexpr const char* kLibrary = "libopenblas.so.0";

struct Library {
  void (*sgemm)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                float*, int);
  void (*dgemm)(int, int, int, int, int, int, double, const double*, int, const double*, int,
                double, double*, int);
  void (*set_num_threads)(int);
  int (*get_num_threads)();
  char* (*get_corename)();
  char* (*get_config)();
  std::string requested_core;
  std::string path, sha256_hex;
};

/// Adds the name to `missing` when the library does not have it.
template <class F>
void symbol(void* handle, const char* name, F& out, std::string& missing) {
  out = reinterpret_cast<F>(dlsym(handle, name));
  if (out == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(name);
}

/// The process's OpenBLAS, loaded on first use with the core type of that use.
Result<const Library*> load(const std::string& core_type) {
  static std::mutex mutex;
  static std::unique_ptr<Library> loaded;
  const std::lock_guard lock(mutex);
  if (loaded != nullptr) {
    if (loaded->requested_core == core_type) return loaded.get();
    return Error{"OpenBLAS is already loaded with core type '" + loaded->requested_core +
                     "'; one process has one core type",
                 ""};
  }
  if (!core_type.empty()) setenv("OPENBLAS_CORETYPE", core_type.c_str(), 1);
  void* handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Error{std::string("OpenBLAS cannot be loaded: ") + dlerror(), ""};
  auto library = std::make_unique<Library>();
  library->requested_core = core_type;
  std::string missing;
  symbol(handle, "cblas_sgemm", library->sgemm, missing);
  symbol(handle, "cblas_dgemm", library->dgemm, missing);
  symbol(handle, "openblas_set_num_threads", library->set_num_threads, missing);
  symbol(handle, "openblas_get_num_threads", library->get_num_threads, missing);
  symbol(handle, "openblas_get_corename", library->get_corename, missing);
  symbol(handle, "openblas_get_config", library->get_config, missing);
  if (!missing.empty()) {
    const std::string file = openblas_path();
    return Error{"lacks " + missing + ", which Isobit calls; it is no complete OpenBLAS",
                 file.empty() ? kLibrary : file};
  }
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(library->sgemm), &info) != 0) library->path = info.dli_fname;
  Sha256 hash{};
  if (sha256_file(library->path, hash)) library->sha256_hex = to_hex(hash);
  loaded = std::move(library);
  return loaded.get();
}

/// Row-major outputs x inputs, as Real.
class DenseMatrix final : public WeightMatrix {
 public:
  std::vector<float> f32;
  std::vector<double> f64;
  std::vector<float> scale;
  [[nodiscard]] std::size_t bytes() const {
    return (f32.size() + scale.size()) * sizeof(float) + f64.size() * sizeof(double);
  }
};

class OpenBlasBackend final : public cpu::CpuBackend {
 public:
  OpenBlasBackend(const Mode& mode, const cpu::Kernels& kernels, int threads,
                  const Library& library, const FlashSchedule& attention)
      : CpuBackend(mode, kernels, threads, nullptr, attention),
        library_(library),
        threads_(threads) {}

  BackendInfo describe() const override {
    BackendInfo info = CpuBackend::describe();
    info.engine = std::string("openblas:") + library_.get_corename();
    info.kernels += std::string("+") + library_.get_config();
    info.library = library_.path;
    info.library_sha256 = library_.sha256_hex;
    info.threads_used = std::max<std::int64_t>(info.threads_used, called_with_);
    return info;
  }

  std::shared_ptr<WeightMatrix> load_matrix(const MatrixSource& source) override {
    auto matrix = std::make_shared<DenseMatrix>();
    matrix->outputs = source.outputs;
    matrix->inputs = source.inputs;
    matrix->segments = int(source.bounds.size()) - 1;
    matrix->scaled = source.format == Format::e4m3 || source.format == Format::e5m2;
    std::vector<float> row(std::size_t(source.inputs));
    for (std::int64_t r = 0; r < source.outputs; ++r) {
      source.read(r, row);
      float scale = 1.0f;
      if (matrix->scaled) {
        scale = power_of_two_scale(source.format, source.amax(r));
        matrix->scale.push_back(scale);
      }
      for (const float x : row) {
        const float rounded = round_to(source.format, x / scale);
        if (mode_.wide()) {
          matrix->f64.push_back(double(rounded));
        } else {
          matrix->f32.push_back(rounded);
        }
      }
    }
    count_weight_bytes(matrix->bytes());
    return matrix;
  }

  void gemm(Rows x, const WeightMatrix& matrix, Rows out) override {
    const auto& w = static_cast<const DenseMatrix&>(matrix);
    if (x.rows == 0 || w.outputs == 0 || w.segments == 0) return;
    const int m = int(x.rows), n = int(w.outputs), k = int(w.inputs);
    FloatingPointGuard guard;
    library_.set_num_threads(threads_);
    called_with_ = std::max(called_with_, library_.get_num_threads());
    if (mode_.wide()) {
      library_.dgemm(kRowMajor, kNoTranspose, kTranspose, m, n, k, 1.0,
                     static_cast<const double*>(x.data), int(x.stride), w.f64.data(), k, 0.0,
                     static_cast<double*>(out.data), int(out.stride));
    } else {
      library_.sgemm(kRowMajor, kNoTranspose, kTranspose, m, n, k, 1.0f,
                     static_cast<const float*>(x.data), int(x.stride), w.f32.data(), k, 0.0f,
                     static_cast<float*>(out.data), int(out.stride));
    }
    ISOBIT_CHECK(guard.restore("cblas_gemm").has_value());
  }

 protected:
  const float* output_scales(const WeightMatrix& matrix) const override {
    const auto& scale = static_cast<const DenseMatrix&>(matrix).scale;
    return scale.empty() ? nullptr : scale.data();
  }

 private:
  const Library& library_;
  int threads_;
  int called_with_ = 0;
};

/// The core type that a cell asks for; empty: the library's choice.
struct OpenBlasSettings : EngineSettings {
  explicit OpenBlasSettings(std::string type) : core_type(std::move(type)) {}
  std::string core_type;
};

std::string core_type_of(const EngineChoice& engine) {
  const auto* settings = dynamic_cast<const OpenBlasSettings*>(engine.settings.get());
  return settings == nullptr ? "" : settings->core_type;
}

/// OpenBLAS's own spelling of its core types; those of other machines are known too, so that a
/// scenario reads everywhere.
const std::vector<std::string>& core_types() {
  static const std::vector<std::string> names = {
      "Prescott",  "Core2",      "Penryn",     "Dunnington", "Nehalem",        "Sandybridge",
      "Haswell",   "Zen",        "SkylakeX",   "Cooperlake", "SapphireRapids", "Atom",
      "Athlon",    "Barcelona",  "Bobcat",     "Bulldozer",  "Piledriver",     "Steamroller",
      "Excavator", "ARMV8",      "CortexA53",  "CortexA57",  "CortexA72",      "CortexA73",
      "Falkor",    "NeoverseN1", "NeoverseV1", "NeoverseN2", "ThunderX",       "VORTEX"};
  return names;
}

}  // namespace

const std::vector<OpenBlasCore>& openblas_cores() {
  static const std::vector<OpenBlasCore> cores = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    return std::vector<OpenBlasCore>{{"Prescott", ""},
                                     {"Nehalem", ""},
                                     {"Sandybridge", ""},
                                     {"Haswell", avx2 ? "" : "avx2"},
                                     {"Zen", avx2 ? "" : "avx2"},
                                     {"SkylakeX", avx512 ? "" : "avx512"},
                                     {"Cooperlake", bf16 ? "" : "avx512_bf16"}};
#else
    return std::vector<OpenBlasCore>{{"ARMV8", ""}};  // what every AArch64 machine has
#endif
  }();
  return cores;
}

std::string openblas_path() {
  static const char* const folders[] = {"/lib/",
                                        "/usr/lib/",
                                        "/usr/local/lib/",
                                        "/usr/lib64/",
                                        "/lib/x86_64-linux-gnu/",
                                        "/usr/lib/x86_64-linux-gnu/",
                                        "/usr/lib/aarch64-linux-gnu/"};
  std::vector<std::string> search;
  if (const char* extra = std::getenv("LD_LIBRARY_PATH")) {
    const std::string paths = extra;
    for (std::size_t at = 0; at <= paths.size();) {
      const std::size_t end = std::min(paths.find(':', at), paths.size());
      if (end > at) search.push_back(paths.substr(at, end - at) + "/");
      at = end + 1;
    }
  }
  search.insert(search.end(), std::begin(folders), std::end(folders));
  for (const std::string& folder : search) {
    const std::string path = folder + kLibrary;
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return "";
}

Result<EngineChoice> parse_openblas(const EnginePairs& pairs) {
  constexpr std::int64_t kMostThreads = 1024;
  EngineChoice engine;
  engine.name = "openblas";
  std::string core, threads;
  std::set<std::string> seen;
  for (const auto& [key, text] : pairs) {
    if (!seen.insert(key).second) {
      return Error{"option " + in_quotes(key) + " of openblas is given twice", ""};
    }
    if (key == "threads") {
      std::int64_t number = 0;
      if (!parse_integer(text, 1, kMostThreads, number)) {
        return Error{"threads " + in_quotes(text) + " of openblas: a whole number from 1 to " +
                         std::to_string(kMostThreads),
                     ""};
      }
      engine.threads = int(number);
      threads = std::to_string(number);
    } else if (key != "openblas") {
      return Error{"unknown option " + in_quotes(key) + " of engine openblas" +
                       did_you_mean(key, {"openblas", "threads"}),
                   ""};
    } else if (!text.empty()) {
      const auto same = [wanted = lower_case(text)](const std::string& name) {
        return lower_case(name) == wanted;
      };
      const auto found = std::find_if(core_types().begin(), core_types().end(), same);
      if (found == core_types().end()) {
        return Error{"unknown core type " + in_quotes(text) + " of openblas" +
                         did_you_mean(text, core_types()),
                     ""};
      }
      core = *found;
    } else if (pairs.size() > 1) {
      return Error{"a map of engine openblas needs a core type, e.g. {openblas: Haswell}", ""};
    }
  }
  if (!core.empty()) {
    engine.pairs.emplace_back("openblas", core);
    engine.observed = "openblas:" + core;
  }
  if (!threads.empty()) engine.pairs.emplace_back("threads", threads);
  engine.settings = std::make_shared<OpenBlasSettings>(core);
  return engine;
}

std::string openblas_unsupported(const BackendOptions& options, const Mode&) {
  if (options.device != "cpu") return "engine openblas needs device cpu";
  if (options.isa != "auto") return "engine openblas chooses its own instruction set";
  if (openblas_path().empty()) {
    return std::string(kLibrary) + " is not installed (package libopenblas0-pthread)";
  }
  const std::string core_type = core_type_of(options.engine);
  if (core_type.empty()) return "";
  for (const OpenBlasCore& core : openblas_cores()) {
    if (core.name != core_type) continue;
    if (core.missing.empty()) return "";
    return "OpenBLAS core type " + core.name + " needs " + core.missing + ", which this CPU lacks";
  }
  std::string known;
  for (const OpenBlasCore& core : openblas_cores()) {
    known += (known.empty() ? "" : ", ") + core.name;
  }
  return "OpenBLAS core type " + core_type + " is not one of this machine's: " + known;
}

Result<std::unique_ptr<Backend>> make_openblas(const BackendOptions& options, const Mode& mode) {
  auto library = load(core_type_of(options.engine));
  ISOBIT_TRY(library);
  return std::unique_ptr<Backend>(std::make_unique<OpenBlasBackend>(
      mode, cpu::best_kernels(), options.threads_asked(), **library, options.attention));
}

namespace {

/// The core type that the library chooses for this CPU, or what loading it says. A child loads it:
/// the process itself may fork workers with other core types later.
Result<std::string> chosen_core() {
  return ask_in_child([]() -> Result<std::string> {
    const auto library = load("");
    ISOBIT_TRY(library);
    return std::string((*library)->get_corename());
  });
}

}  // namespace

std::string openblas_variant(const BackendOptions& options) {
  const std::string asked = core_type_of(options.engine);
  if (!asked.empty()) return asked;
  static const Result<std::string> chosen = chosen_core();
  return chosen ? *chosen : "";
}

std::vector<EngineStatus> openblas_status() {
  const std::string why = openblas_unsupported({}, mode_of(Precision::fp32));
  EngineStatus status{"openblas", why.empty() ? "ready" : why, {}, false, ""};
  if (!why.empty()) status.fix = "apt-get install libopenblas0-pthread";
  if (why.empty()) {
    const auto core = chosen_core();
    status.broken = !core;
    if (!core) {
      status.state = core.error().message.empty() ? core.error().text() : core.error().message;
      status.fix =
          "install it again (apt-get install --reinstall libopenblas0-pthread), or take the file "
          "out of LD_LIBRARY_PATH";
    }
  }
  for (const OpenBlasCore& core : openblas_cores()) {
    if (core.missing.empty()) status.variants.push_back(core.name);
  }
  return {status};
}

}  // namespace isobit
