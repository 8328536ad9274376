// Finding and loading of libcublas and libcublasLt (cublas_library.h).

#include "runtime/backends/cuda/vendor/cublas_library.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "runtime/trace.h"

namespace isobit::cuda {
namespace {

struct Opened {
  void* cublas = nullptr;
  void* lt = nullptr;
};

/// Both of the newest major version that has either, so that no product mixes two: cuBLAS loads
/// its own cublasLt first, and the name then gives that very file.
const Opened& opened() {
  static const Opened once = [] {
    Opened out;
    for (const char* major : {"13", "12"}) {
      out.cublas = dlopen((std::string("libcublas.so.") + major).c_str(), RTLD_LAZY | RTLD_LOCAL);
      out.lt = dlopen((std::string("libcublasLt.so.") + major).c_str(), RTLD_LAZY | RTLD_LOCAL);
      if (out.cublas != nullptr || out.lt != nullptr) break;
    }
    return out;
  }();
  return once;
}

std::string path_of(void* handle, const char* function) {
  Dl_info info{};
  void* const at = handle == nullptr ? nullptr : dlsym(handle, function);
  return at != nullptr && dladdr(at, &info) != 0 ? info.dli_fname : "";
}

/// libraryPropertyType: 0 major, 1 minor, 2 patch.
VendorFile file_of(void* handle, const char* function, const char* property) {
  VendorFile file{path_of(handle, function), ""};
  if (file.path.empty()) return file;
  const auto ask = reinterpret_cast<int (*)(int, int*)>(dlsym(handle, property));
  for (int part = 0; ask != nullptr && part < 3; ++part) {
    int value = 0;
    if (ask(part, &value) != 0) return {file.path, ""};
    file.version += (part == 0 ? "" : ".") + std::to_string(value);
  }
  return file;
}

class Symbols {
 public:
  explicit Symbols(void* handle) : handle_(handle) {}
  template <class F>
  void get(const char* name, F& out) {
    out = reinterpret_cast<F>(dlsym(handle_, name));
    if (out == nullptr && missing.empty()) missing = name;
  }
  std::string missing;  // the first

 private:
  void* handle_;
};

void fill(Symbols& from, CublasCalls& to) {
  from.get("cublasCreate_v2", to.create);
  from.get("cublasDestroy_v2", to.destroy);
  from.get("cublasGetVersion_v2", to.version);
  from.get("cublasSetStream_v2", to.set_stream);
  from.get("cublasSetWorkspace_v2", to.set_workspace);
  from.get("cublasSetMathMode", to.set_math);
  from.get("cublasSetPointerMode_v2", to.set_pointer_mode);
  from.get("cublasGemmEx", to.gemm);
}

void fill(Symbols& from, LtCalls& to) {
  from.get("cublasLtCreate", to.create);
  from.get("cublasLtDestroy", to.destroy);
  from.get("cublasLtGetVersion", to.version);
  from.get("cublasLtMatmulDescCreate", to.operation_create);
  from.get("cublasLtMatmulDescDestroy", to.operation_destroy);
  from.get("cublasLtMatmulDescSetAttribute", to.operation_set);
  from.get("cublasLtMatrixLayoutCreate", to.layout_create);
  from.get("cublasLtMatrixLayoutDestroy", to.layout_destroy);
  from.get("cublasLtMatmulPreferenceCreate", to.preference_create);
  from.get("cublasLtMatmulPreferenceDestroy", to.preference_destroy);
  from.get("cublasLtMatmulPreferenceSetAttribute", to.preference_set);
  from.get("cublasLtMatmulAlgoGetHeuristic", to.heuristic);
  from.get("cublasLtMatmulAlgoInit", to.init);
  from.get("cublasLtMatmulAlgoCheck", to.check);
  from.get("cublasLtMatmulAlgoConfigSetAttribute", to.config_set);
  from.get("cublasLtMatmulAlgoConfigGetAttribute", to.config_get);
  from.get("cublasLtMatmul", to.matmul);
}

template <class Calls>
Result<const VendorLibrary<Calls>*> load(void* handle, const char* function, const char* name) {
  static std::mutex mutex;
  static std::unique_ptr<VendorLibrary<Calls>> loaded;
  const std::lock_guard lock(mutex);
  if (loaded != nullptr) return loaded.get();
  if (handle == nullptr) {
    return Error{std::string(name) + " cannot be loaded: no version 13 or 12 in the loader's path",
                 ""};
  }
  auto library = std::make_unique<VendorLibrary<Calls>>();
  Symbols symbols(handle);
  fill(symbols, library->calls);
  if (!symbols.missing.empty()) {
    return Error{std::string(name) + " lacks " + symbols.missing + ", which Isobit calls", ""};
  }
  library->path = path_of(handle, function);
  library->sha256_hex = vendor_sha256(library->path);
  loaded = std::move(library);
  return loaded.get();
}

}  // namespace

std::string vendor_status(int status) {
  static const std::map<int, const char*> names = {
      {1, "not initialised"},    {3, "no memory"},      {7, "invalid value"},
      {8, "wrong architecture"}, {11, "mapping error"}, {13, "execution failed"},
      {14, "internal error"},    {15, "not supported"}, {16, "licence error"}};
  const auto found = names.find(status);
  return "status " + std::to_string(status) +
         (found == names.end() ? "" : std::string(" (") + found->second + ")");
}

VendorFile find_cublas_file() {
  return file_of(opened().cublas, "cublasGemmEx", "cublasGetProperty");
}

VendorFile find_cublaslt_file() {
  return file_of(opened().lt, "cublasLtMatmul", "cublasLtGetProperty");
}

std::string vendor_sha256(const std::string& path) {
  using State = std::tuple<std::string, long long, long long, long long, unsigned long long>;
  static std::mutex mutex;
  static std::map<State, std::string> known;
  struct stat info {};
  if (path.empty() || stat(path.c_str(), &info) != 0) return "";
  const State state{path, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ino};
  const std::lock_guard lock(mutex);
  const auto found = known.find(state);
  if (found != known.end()) return found->second;
  Sha256 hash{};
  const std::string hex = sha256_file(path, hash) ? to_hex(hash) : "";
  return known[state] = hex;
}

Result<const VendorLibrary<CublasCalls>*> load_cublas() {
  return load<CublasCalls>(opened().cublas, "cublasGemmEx", "cuBLAS");
}

Result<const VendorLibrary<LtCalls>*> load_cublaslt() {
  return load<LtCalls>(opened().lt, "cublasLtMatmul", "cublasLt");
}

}  // namespace isobit::cuda
