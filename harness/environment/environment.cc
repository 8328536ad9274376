// Reads the fingerprint from /proc, the loader, the compiler's macros and git (environment.h).
//
// The build defines ISOBIT_VERSION, ISOBIT_COMPILER_FLAGS and ISOBIT_BUILD_TYPE; without them the
// entries say "unknown".
#include "harness/environment/environment.h"

#include <gnu/libc-version.h>
#include <link.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string_view>

#include "runtime/base/process.h"
#if defined(ISOBIT_HAVE_CUDA)
#include "runtime/backends/cuda/engine.h"
#endif
#include "runtime/numerics/precision.h"
#include "runtime/run/generate.h"
#include "runtime/run/ranks.h"
#include "runtime/trace.h"

#ifndef ISOBIT_VERSION
#define ISOBIT_VERSION "unknown"
#endif
#ifndef ISOBIT_COMPILER_FLAGS
#define ISOBIT_COMPILER_FLAGS "unknown"
#endif
#ifndef ISOBIT_BUILD_TYPE
#define ISOBIT_BUILD_TYPE "unknown"
#endif

extern char** environ;

namespace isobit {
namespace {

namespace fs = std::filesystem;

/// The first `limit` bytes: /proc/cpuinfo of a large machine takes long to produce as a whole.
std::string head_of(const std::string& path, std::size_t limit) {
  std::ifstream file(path, std::ios::binary);
  std::string text(limit, '\0');
  file.read(text.data(), static_cast<std::streamsize>(limit));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\n") - begin + 1));
}

/// Value of the first line "name : value" or "name=value".
std::string value_of(const std::string& text, std::string_view name, char separator) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find(separator);
    if (at == std::string::npos || trimmed(std::string_view(line).substr(0, at)) != name) continue;
    return trimmed(std::string_view(line).substr(at + 1));
  }
  return "";
}

/// CPU features that a kernel, a library or a conversion may choose by.
std::string computing_flags(const std::string& all) {
  static constexpr std::string_view kPrefixes[] = {"avx",   "amx", "sse4", "fma",  "f16c",
                                                   "asimd", "sve", "sme",  "bf16", "i8mm"};
  std::istringstream words(all);
  std::vector<std::string> chosen;
  for (std::string word; words >> word;) {
    const auto starts = [&](std::string_view prefix) { return word.starts_with(prefix); };
    if (std::any_of(std::begin(kPrefixes), std::end(kPrefixes), starts)) chosen.push_back(word);
  }
  std::sort(chosen.begin(), chosen.end());
  std::string text;
  for (const std::string& word : chosen) text += (text.empty() ? "" : " ") + word;
  return text;
}

#if defined(__aarch64__)
// The kernel's own account: under an emulator /proc/cpuinfo describes the machine beneath.
std::string cpu_name(const std::string& info) {
  std::uint64_t id = 0;
  if ((::getauxval(AT_HWCAP) & HWCAP_CPUID) != 0) __asm__("mrs %0, midr_el1" : "=r"(id));
  char text[80];
  std::snprintf(text, sizeof text, "Arm implementer 0x%02x part 0x%03x variant %u revision %u",
                unsigned(id >> 24 & 0xff), unsigned(id >> 4 & 0xfff), unsigned(id >> 20 & 0xf),
                unsigned(id & 0xf));
  const std::string beneath = value_of(info, "model name", ':');
  const bool emulated = value_of(info, "CPU part", ':').empty() && !beneath.empty();
  return text + (emulated ? ", emulated on " + beneath : "");
}

std::string cpu_flags(const std::string&) {
  struct Feature {
    unsigned long bit;
    const char* name;  // as in /proc/cpuinfo
  };
  static constexpr Feature kFirst[] = {{HWCAP_ASIMD, "asimd"},
                                       {HWCAP_ASIMDHP, "asimdhp"},
                                       {HWCAP_ASIMDDP, "asimddp"},
                                       {HWCAP_ASIMDFHM, "asimdfhm"},
                                       {HWCAP_SVE, "sve"}};
  static constexpr Feature kSecond[] = {{HWCAP2_SVE2, "sve2"},
                                        {HWCAP2_BF16, "bf16"},
                                        {HWCAP2_SVEBF16, "svebf16"},
                                        {HWCAP2_I8MM, "i8mm"}};
  std::string text;
  const auto add = [&](const auto& features, unsigned long bits) {
    for (const Feature& feature : features) {
      if ((bits & feature.bit) != 0) text += std::string(feature.name) + " ";
    }
  };
  add(kFirst, ::getauxval(AT_HWCAP));
  add(kSecond, ::getauxval(AT_HWCAP2));
  return text;
}
#else
std::string cpu_name(const std::string& info) {
  return value_of(info, "model name", ':');
}
std::string cpu_flags(const std::string& info) {
  return value_of(info, "flags", ':');
}
#endif

void add_cpu(std::map<std::string, std::string>& entries) {
  const std::string info = head_of("/proc/cpuinfo", 8192);
  entries["cpu"] = cpu_name(info);
  entries["cpu.flags"] = computing_flags(cpu_flags(info));
#if defined(__x86_64__)
  entries["cpu.microcode"] = value_of(info, "microcode", ':');
#endif
  entries["cores"] = std::to_string(::sysconf(_SC_NPROCESSORS_ONLN));
  cpu_set_t usable;
  CPU_ZERO(&usable);
  const bool known = ::sched_getaffinity(0, sizeof usable, &usable) == 0;
  entries["cores.usable"] = known ? std::to_string(CPU_COUNT(&usable)) : "";
}

/// Names from the driver's own files; a build with CUDA asks the driver itself, in a child process.
void add_gpus(std::map<std::string, std::string>& entries) {
  std::vector<std::string> gpus;
  std::error_code error;
  for (const auto& gpu : fs::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    const std::string info = head_of((gpu.path() / "information").string(), 4096);
    gpus.push_back(value_of(info, "Model", ':'));
  }
  std::sort(gpus.begin(), gpus.end());
  std::string names;
  for (const std::string& name : gpus) names += (names.empty() ? "" : "; ") + name;
  entries["gpu"] = names;
  entries["gpu.driver"] =
      value_of(head_of("/proc/driver/nvidia/version", 1024), "NVRM version", ':');
#if defined(ISOBIT_HAVE_CUDA)
  for (const auto& [name, value] : cuda::cuda_environment()) entries[name] = value;
#endif
  for (const auto& [name, value] : rank_environment()) entries[name] = value;
}

void add_system(std::map<std::string, std::string>& entries) {
  entries["os"] = trimmed(value_of(head_of("/etc/os-release", 4096), "PRETTY_NAME", '='));
  std::string& os = entries["os"];
  if (os.size() >= 2 && os.front() == '"' && os.back() == '"') os = os.substr(1, os.size() - 2);
  utsname system{};
  if (::uname(&system) == 0) {
    entries["kernel"] = std::string(system.sysname) + " " + system.release;
    entries["arch"] = system.machine;
    entries["host"] = system.nodename;
  }
  entries["libc"] = std::string("glibc ") + gnu_get_libc_version();
}

void add_build(std::map<std::string, std::string>& entries) {
#if defined(__clang__)
  entries["compiler"] = __VERSION__;
#else
  entries["compiler"] = "GCC " __VERSION__;
#endif
  entries["compiler.flags"] = ISOBIT_COMPILER_FLAGS;
  entries["build"] = ISOBIT_BUILD_TYPE;
  entries["isobit"] = ISOBIT_VERSION;
  entries["numerics"] = kNumericsVersion;
}

/// Control bits only: the sticky exception flags say what has happened, not what will.
std::string floating_point_control() {
  char text[32] = "";
#if defined(__x86_64__)
  std::snprintf(text, sizeof text, "mxcsr=%04x", _mm_getcsr() & 0xFFC0U);
#elif defined(__aarch64__)
  unsigned long long control = 0;
  __asm__("mrs %0, fpcr" : "=r"(control));
  std::snprintf(text, sizeof text, "fpcr=%08llx", control);
#endif
  return text;
}

void add_variables(std::map<std::string, std::string>& entries) {
  static constexpr std::string_view kPrefixes[] = {
      "OPENBLAS_",       "GOTO_",         "OMP_",    "KMP_",  "MKL_",      "BLIS_",   "CUDA_",
      "CUBLAS_",         "CUBLASLT_",     "NVIDIA_", "NCCL_", "OMPI_MCA_", "ISOBIT_", "LD_PRELOAD",
      "LD_LIBRARY_PATH", "GLIBC_TUNABLES"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const std::size_t equals = text.find('=');
    const auto starts = [&](std::string_view prefix) { return text.starts_with(prefix); };
    if (equals == std::string_view::npos) continue;
    if (std::none_of(std::begin(kPrefixes), std::end(kPrefixes), starts)) continue;
    entries["env." + std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
}

/// Libraries that never touch a number of the model.
bool never_computes(std::string_view name) {
  static constexpr std::string_view kPrefixes[] = {"ld-linux",
                                                   "linux-vdso",
                                                   "libc.so",
                                                   "libstdc++",
                                                   "libgcc_s",
                                                   "libpthread",
                                                   "libdl.so",
                                                   "librt.so",
                                                   "libsqlite3",
                                                   "libcrypto",
                                                   "libssl",
                                                   "libyaml-cpp",
                                                   "libboost_program_options",
                                                   "libz.so",
                                                   "libgtest",
                                                   "libgmock",
                                                   "libbenchmark",
                                                   "libasan",
                                                   "libubsan",
                                                   "libtsan"};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

int collect_library(dl_phdr_info* info, std::size_t, void* out) {
  const std::string path = info->dlpi_name != nullptr ? info->dlpi_name : "";
  const std::string name = fs::path(path).filename().string();
  if (name.empty() || never_computes(name)) return 0;
  static_cast<std::vector<LoadedLibrary>*>(out)->push_back({name, path, ""});
  return 0;
}

/// Hex digest of a file of this process, which does not change while it runs: hashed once.
std::string hash_once(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  const std::lock_guard lock(mutex);
  const auto [at, fresh] = known.emplace(path, "");
  Sha256 hash{};
  if (fresh && sha256_file(path, hash)) at->second = to_hex(hash);
  return at->second;
}

/// The files that vendors' engines would load, whether this process has loaded them or not.
void add_engine_libraries(std::map<std::string, std::string>& entries) {
  for (const EngineEntry& engine : engine_entries()) {
    for (const std::string& path : engine.libraries({})) {
      std::string& entry = entries["lib." + fs::path(path).filename().string()];
      if (entry.empty()) entry = hash_once(path);
    }
  }
}

/// "NAME=value" of the entries whose names begin with one of these.
std::vector<std::string> variables_of(const Environment& environment,
                                      const std::vector<std::string_view>& prefixes) {
  std::vector<std::string> out;
  for (const auto& [name, value] : environment.entries) {
    const auto starts = [&key = name](std::string_view prefix) { return key.starts_with(prefix); };
    if (std::any_of(prefixes.begin(), prefixes.end(), starts)) out.push_back(name + "=" + value);
  }
  return out;
}

}  // namespace

Environment fingerprint() {
  Environment environment;
  add_cpu(environment.entries);
  add_gpus(environment.entries);
  add_system(environment.entries);
  add_build(environment.entries);
  environment.entries["fp.control"] = floating_point_control();
  environment.entries["executable"] = executable_sha256();
  for (const LoadedLibrary& library : computing_libraries()) {
    environment.entries["lib." + library.name] = library.sha256;
  }
  add_engine_libraries(environment.entries);
  add_variables(environment.entries);
  return environment;
}

Environment with_git(Environment environment, const GitState& git) {
  environment.entries["git.commit"] = git.commit;
  environment.entries["git.dirty"] = git.commit.empty() ? "" : git.dirty ? "yes" : "no";
  return environment;
}

std::string executable_sha256() {
  return hash_once("/proc/self/exe");
}

std::string library_sha256(const std::string& path) {
  return hash_once(path);
}

std::vector<LoadedLibrary> computing_libraries() {
  std::vector<LoadedLibrary> libraries;
  ::dl_iterate_phdr(collect_library, &libraries);  // hashing waits until the loader's lock is free
  for (LoadedLibrary& library : libraries) library.sha256 = hash_once(library.path);
  std::sort(libraries.begin(), libraries.end(),
            [](const LoadedLibrary& a, const LoadedLibrary& b) { return a.name < b.name; });
  return libraries;
}

std::vector<std::string> library_variables(const Environment& environment) {
  return variables_of(environment, {"env.OPENBLAS_", "env.GOTO_", "env.OMP_", "env.CUBLAS_",
                                    "env.CUBLASLT_", "env.CUDA_", "env.NVIDIA_TF32"});
}

std::vector<std::string> choosing_variables(const Environment& environment) {
  std::vector<std::string> out =
      variables_of(environment, {"env.CUBLAS_", "env.CUBLASLT_", "env.NVIDIA_TF32_OVERRIDE"});
  std::erase_if(out, [](const std::string& line) {
    return line.substr(0, line.find('=')).find("LOG") != std::string::npos;
  });
  for (std::string& line : out) line.erase(0, std::string_view("env.").size());
  return out;
}

std::vector<std::string> execution_binaries() {
  std::vector<std::string> binaries{"executable=" + executable_sha256()};
  for (const LoadedLibrary& library : computing_libraries()) {
    binaries.push_back("lib." + library.name + "=" + library.sha256);
  }
  return binaries;
}

GitState git_state(const std::string& folder) {
  GitState state;
  const auto output = run_git({"--no-optional-locks", "-C", folder.empty() ? "." : folder, "status",
                               "--porcelain=v2", "--branch"});
  if (!output || output->status != 0) return state;
  std::istringstream lines(output->out);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# branch.oid ")) {
      state.commit = line.substr(13);
    } else if (!line.starts_with('#')) {
      state.dirty = true;
    }
  }
  if (state.commit == "(initial)") state.commit.clear();
  return state;
}

std::string Environment::at(const std::string& name) const {
  const auto it = entries.find(name);
  return it == entries.end() ? "" : it->second;
}

std::string Environment::to_json() const {
  return nlohmann::json(entries).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<Environment> Environment::from_json(const std::string& text, const std::string& place) {
  using Json = nlohmann::json;
  std::set<std::string> names;
  std::string twice;
  const auto check = [&](int, Json::parse_event_t event, Json& value) {
    const bool known = event == Json::parse_event_t::key &&
                       !names.insert(value.get_ref<const std::string&>()).second;
    if (known) twice = value.get_ref<const std::string&>();
    return true;
  };
  // The parser takes a zero byte for the end of the text and would ignore what follows.
  const bool whole = text.find('\0') == std::string::npos;
  const Json json = whole ? Json::parse(text, check, false) : Json();
  if (!json.is_object()) return Error{"a fingerprint is one JSON object of texts", place};
  if (!twice.empty()) return Error{"the fingerprint has '" + twice + "' twice", place};
  Environment environment;
  for (const auto& [name, value] : json.items()) {
    if (!value.is_string()) return Error{"the fingerprint's '" + name + "' is not a text", place};
    environment.entries[name] = value.get<std::string>();
  }
  return environment;
}

std::vector<EnvironmentDifference> diff(const Environment& a, const Environment& b) {
  std::map<std::string, std::string> names = a.entries;
  names.insert(b.entries.begin(), b.entries.end());
  std::vector<EnvironmentDifference> differences;
  for (const auto& [name, unused] : names) {
    if (a.at(name) != b.at(name)) differences.push_back({name, a.at(name), b.at(name)});
  }
  return differences;
}

}  // namespace isobit
