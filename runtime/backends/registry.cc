// The rows, and the questions that are the same for each of them.
#include "runtime/backends/registry.h"

#include <algorithm>

#include "runtime/backends/exec/choice.h"
#include "runtime/backends/exec/engine.h"
#include "runtime/backends/openblas.h"
#include "runtime/backends/plugin/engine.h"
#include "runtime/backends/reference.h"
#include "runtime/backends/tensor_model.h"
#include "runtime/backends/twin/engine.h"
#include "runtime/backends/vendor_choice.h"
#include "runtime/base/words.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif

namespace isobit {
namespace {

std::vector<std::string> no_libraries(const EngineChoice&) {
  return {};
}

#if defined(ISOBIT_HAVE_CUDA)
template <auto Path>
std::vector<std::string> cuda_libraries(const EngineChoice&) {
  std::vector<std::string> files{Path(), cuda::cublaslt_path()};  // cuBLAS uses cublasLt's kernels
  std::erase(files, std::string());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}
std::vector<EngineStatus> cublas_status() {
  return {cuda::vendor_status_line("cublas")};
}
std::vector<EngineStatus> cublaslt_status() {
  return {cuda::vendor_status_line("cublaslt")};
}
const auto cublas_variant = &cuda::gpu_name;
const auto cublas_unsupported = &cuda::cublas_unsupported;
const auto make_cublas = &cuda::make_cublas;
const auto cublas_libraries = &cuda_libraries<&cuda::cublas_path>;
const auto cublaslt_libraries = &cuda_libraries<&cuda::cublaslt_path>;
#else
std::string cublas_unsupported(const BackendOptions& options, const Mode& mode) {
  if (options.device != "cuda") return "engine " + options.engine.name + " needs device cuda";
  return reference_unsupported(options, mode);  // this build has no such device
}
Result<std::unique_ptr<Backend>> make_cublas(const BackendOptions&, const Mode&) {
  return Error{"this build has no CUDA", ""};
}
std::string cublas_variant(const BackendOptions&) {
  return "";
}
std::vector<EngineStatus> cublas_status() {
  return {{"cublas", "this build has no CUDA", {}}};
}
std::vector<EngineStatus> cublaslt_status() {
  return {{"cublaslt", "this build has no CUDA", {}}};
}
const auto cublas_libraries = &no_libraries;
const auto cublaslt_libraries = &no_libraries;
#endif

std::vector<std::string> openblas_libraries(const EngineChoice&) {
  const std::string path = openblas_path();
  return path.empty() ? std::vector<std::string>{} : std::vector<std::string>{path};
}

std::vector<EngineEntry>& table() {
  static std::vector<EngineEntry> rows = {
      {"reference", "reference", true, true, false, parse_reference, reference_unsupported,
       make_reference, nullptr, no_libraries, nullptr, reference_status},
      {"openblas", "openblas | {openblas: CORETYPE, threads: n}", false, true, false,
       parse_openblas, openblas_unsupported, make_openblas, nullptr, openblas_libraries,
       openblas_variant, openblas_status},
      {"cublas", "cublas | {cublas: ALGORITHM, math: …}", false, true, false, parse_cublas,
       cublas_unsupported, make_cublas, nullptr, cublas_libraries, cublas_variant, cublas_status},
      {"cublaslt", "cublaslt | {cublaslt: heuristic, index: n, …} | {cublaslt: ALGORITHM, …}",
       false, true, false, parse_cublaslt, cublas_unsupported, make_cublas, nullptr,
       cublaslt_libraries, cublas_variant, cublaslt_status},
      {"model", "{model: sm70 | sm75 | sm80 | sm89 | sm90 | sm100}", true, true, false,
       parse_tensor_model, tensor_model_unsupported, make_tensor_model, nullptr, no_libraries,
       nullptr, tensor_model_status},
      {"twin", "{twin: BOOK, forecast: true | false}", false, true, false, parse_twin,
       twin_unsupported, make_twin, nullptr, twin_libraries, nullptr, twin_status, check_twin,
       twin_original, twin_refuse},
      {"exec", "{exec: ADAPTER, option: value, …} | {exec: [program, argument, …]}", false, false,
       true, exec::parse_exec, exec::exec_unsupported, nullptr, exec::make_exec,
       exec::exec_libraries, exec::exec_variant, exec::exec_status, exec::exec_check, nullptr,
       exec::exec_refuse},
      // Not cacheable: its bits may depend on files and variables that only the plugin knows.
      {"plugin", "{plugin: FILE, option: value, …}", false, false, true, parse_plugin,
       plugin_unsupported, make_plugin, nullptr, plugin_libraries, nullptr, plugin_status,
       check_plugin},
  };
  return rows;
}

bool external_is_allowed = false;

std::string known_engines() {
  std::string names;
  for (const EngineEntry& row : table()) names += (names.empty() ? "" : ", ") + row.name;
  return names;
}

}  // namespace

std::string EngineChoice::text() const {
  std::string out = name;
  for (const auto& [key, value] : pairs) out += (key == name ? "" : "+" + key) + ":" + value;
  return out;
}

const std::vector<EngineEntry>& engine_entries() {
  return table();
}

const EngineEntry* find_engine(const std::string& name) {
  const auto found = std::find_if(table().begin(), table().end(),
                                  [&](const EngineEntry& row) { return row.name == name; });
  return found == table().end() ? nullptr : &*found;
}

bool computes_whole_batches(const EngineChoice& choice) {
  if (choice.name == "exec") return true;
  const auto original = original_of(choice);
  return original && original->engine.starts_with("exec:");
}

std::optional<OriginalEngine> original_of(const EngineChoice& choice) {
  const EngineEntry* row = find_engine(choice.name);
  if (row == nullptr || row->original == nullptr) return std::nullopt;
  return row->original(choice);
}

void add_engine(EngineEntry entry) {
  ISOBIT_CHECK(entry.parse != nullptr && entry.unsupported != nullptr);
  ISOBIT_CHECK(entry.libraries != nullptr && entry.status != nullptr);
  ISOBIT_CHECK((entry.make != nullptr) != (entry.whole != nullptr));
  remove_engine(entry.name);
  table().push_back(std::move(entry));
}

void remove_engine(const std::string& name) {
  std::erase_if(table(), [&](const EngineEntry& row) { return row.name == name; });
}

Result<EngineChoice> parse_engine(const EnginePairs& pairs, const std::string& folder) {
  for (const auto& [key, value] : pairs) {
    const EngineEntry* row = find_engine(key);
    if (row == nullptr) continue;
    auto choice = row->parse(pairs);
    if (choice) choice->folder = folder;
    return choice;
  }
  std::vector<std::string> names;
  for (const EngineEntry& row : table()) names.push_back(row.name);
  const std::string first = pairs.empty() ? "" : pairs.front().first;
  return Error{"unknown engine " + in_quotes(first) + did_you_mean(first, names), ""};
}

Result<EngineChoice> parse_engine(const std::string& text) {
  EnginePairs pairs;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('+', at), text.size());
    const std::string part = text.substr(at, end - at);
    const std::size_t colon = std::min(part.find(':'), part.size());
    pairs.emplace_back(part.substr(0, colon), part.substr(std::min(colon + 1, part.size())));
    at = end + 1;
  }
  return parse_engine(pairs);
}

Result<void> check_orders(const BackendOptions& options) {
  if (options.gemm != nullptr && options.engine.name != "reference") {
    return Error{"gemm " + options.gemm->text + " is an order of engine reference; " +
                     options.engine.name + " has its own",
                 ""};
  }
  if (options.attention.is_fused() && options.engine.observed != "model:sm90") {
    return Error{"attention " + options.attention.text + " is of engine {model: sm90}; " +
                     options.engine.name + " has its own",
                 ""};
  }
  return {};
}

bool external_allowed() {
  return external_is_allowed;
}

void allow_external(bool allowed) {
  external_is_allowed = allowed;
}

std::string unsupported_reason(const BackendOptions& options, const Mode& mode) {
  const EngineEntry* row = find_engine(options.engine.name);
  if (row == nullptr) {
    return "this build has no engine " + options.engine.name + "; it has " + known_engines();
  }
  if (row->external && !external_allowed()) {
    return "engine " + options.engine.text() +
           " runs code that is not Isobit's own; --allow-external allows it";
  }
  return row->unsupported(options, mode);
}

Result<std::unique_ptr<Backend>> make_backend(const BackendOptions& options, const Mode& mode) {
  if (const std::string why = unsupported_reason(options, mode); !why.empty()) {
    return Error{why, ""};
  }
  const EngineEntry* row = find_engine(options.engine.name);
  ISOBIT_CHECK(row->make != nullptr);
  return row->make(options, mode);
}

std::vector<EngineStatus> engine_status() {
  std::vector<EngineStatus> out;
  for (const EngineEntry& row : table()) {
    for (EngineStatus& status : row.status()) out.push_back(std::move(status));
  }
  return out;
}

}  // namespace isobit
