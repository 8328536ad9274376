// Reading and writing of a library's configuration.

#include "runtime/backends/vendor_choice.h"

#include <algorithm>
#include <set>

#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr const char* kCublas = "cublas";
constexpr const char* kLt = "cublaslt";
constexpr const char* kFreeCublas = "default";
constexpr const char* kFreeLt = "heuristic";
constexpr std::int64_t kMostCublas = 23;  // CUBLAS_GEMM_ALGO23
constexpr std::int64_t kMostLt = 4095;    // ids are small; the library knows which exist
constexpr std::int64_t kMostIndex = 99;
constexpr const char* kMaths[] = {"default", "pedantic", "tf32"};
constexpr const char *kUsualOperands = "default", *kFp8 = "fp8";

Error out_of_range(const std::string& engine, const std::string& name, const std::string& text,
                   const std::string& wanted) {
  return {"engine " + engine + ", option " + name + ": '" + text + "' is not " + wanted, ""};
}

std::string range(std::int64_t least, std::int64_t most) {
  return "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
}

/// The engine's own value: a number or the word for a free choice.
Result<void> read_own(const std::string& engine, const std::string& text, VendorChoice& choice) {
  std::int64_t number = 0;
  if (!choice.lt) {
    if (text == kFreeCublas || text.empty()) return {};
    if (!parse_integer(text, -1, kMostCublas, number)) {
      return Error{"algorithm '" + text + "' of engine cublas is neither " + kFreeCublas +
                       " nor a whole number from -1 to " + std::to_string(kMostCublas),
                   ""};
    }
    choice.algorithm = int(number);
    return {};
  }
  if (text == kFreeLt || text.empty()) return {};
  if (!parse_integer(text, 0, kMostLt, number)) {
    return Error{"algorithm '" + text + "' of engine " + engine + " is neither " + kFreeLt +
                     " nor a whole number from 0 to " + std::to_string(kMostLt),
                 ""};
  }
  choice.exact = true;
  choice.algorithm = int(number);
  return {};
}

Result<void> read_option(const std::string& engine, const std::string& name,
                         const std::string& text, VendorChoice& choice) {
  std::int64_t number = 0;
  if (name == "math") {
    const auto* const found = std::find(std::begin(kMaths), std::end(kMaths), text);
    if (found == std::end(kMaths)) {
      return out_of_range(engine, name, text, "default, pedantic or tf32");
    }
    choice.math = VendorChoice::Math(found - std::begin(kMaths));
    return {};
  }
  if (name == "operands") {
    choice.fp8 = text == kFp8;
    return choice.fp8 || text == kUsualOperands
               ? Result<void>{}
               : out_of_range(engine, name, text, "default or fp8");
  }
  if (name == "index") {
    if (!parse_integer(text, 0, kMostIndex, number)) {
      return out_of_range(engine, name, text, range(0, kMostIndex));
    }
    choice.index = int(number);
    return {};
  }
  if (name == "algorithm") {
    if (!parse_integer(text, 0, kMostLt, number)) {
      return out_of_range(engine, name, text, range(0, kMostLt));
    }
    choice.algorithm = int(number);
    return {};
  }
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    if (name != kLtOptions[i].name) continue;
    const std::int64_t least = name == "split_k" ? 1 : 0;
    if (!parse_integer(text, least, kLtOptions[i].most, number)) {
      return out_of_range(engine, name, text, range(least, kLtOptions[i].most));
    }
    choice.options[i] = std::uint32_t(number);
    return {};
  }
  ISOBIT_CHECK(false);  // the caller has checked the name
  return {};
}

/// Options that an engine knows beside its own value: cublasLt's, exact or not.
std::vector<std::string> option_names(const std::string& engine, bool exact) {
  if (engine != kLt) return {"math"};
  if (!exact) return {"algorithm", "index", "math", "operands"};
  std::vector<std::string> names{"math", "operands"};
  for (const LtOption& option : kLtOptions) names.emplace_back(option.name);
  std::sort(names.begin(), names.end());
  return names;
}

Error unknown_option(const std::string& engine, const std::string& name, bool exact) {
  const std::vector<std::string> known = option_names(engine, exact);
  const std::vector<std::string> other = option_names(engine, !exact);
  const bool elsewhere = std::find(other.begin(), other.end(), name) != other.end();
  const std::string hint = elsewhere ? std::string("; it goes with {cublaslt: ") +
                                           (exact ? "heuristic}" : "ALGORITHM}, a number")
                                     : did_you_mean(name, known);
  return Error{"unknown option " + in_quotes(name) + " of engine " + engine + hint, ""};
}

Result<VendorChoice> read_pairs(const std::string& engine, const EnginePairs& pairs) {
  VendorChoice choice;
  choice.lt = engine == kLt;
  std::set<std::string> seen;
  for (const auto& [name, text] : pairs) {
    if (!seen.insert(name).second) {
      return Error{"option " + in_quotes(name) + " of engine " + engine + " is given twice", ""};
    }
    if (name != engine) continue;
    if (text.empty() && pairs.size() > 1) {
      return Error{"engine " + engine + " has no value in the map", ""};
    }
    if (auto ok = read_own(engine, text, choice); !ok) return ok.error();
  }
  const std::vector<std::string> known = option_names(engine, choice.exact);
  for (const auto& [name, text] : pairs) {
    if (name == engine) continue;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return unknown_option(engine, name, choice.exact);
    }
    if (auto ok = read_option(engine, name, text, choice); !ok) return ok.error();
  }
  if (choice.fp8 && choice.math != VendorChoice::Math::standard) {
    return Error{"engine " + engine + ": operands fp8 go with math default alone", ""};
  }
  return choice;
}

/// The pairs of a choice, the engine's own first, the rest sorted; none: everything is free.
EnginePairs pairs_of(const std::string& engine, const VendorChoice& choice) {
  EnginePairs rest;
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    if (choice.options[i])
      rest.emplace_back(kLtOptions[i].name, std::to_string(*choice.options[i]));
  }
  if (choice.lt && !choice.exact && choice.algorithm >= 0) {
    rest.emplace_back("algorithm", std::to_string(choice.algorithm));
  }
  if (choice.index != 0) rest.emplace_back("index", std::to_string(choice.index));
  if (choice.math != VendorChoice::Math::standard) {
    rest.emplace_back("math", kMaths[std::size_t(choice.math)]);
  }
  if (choice.fp8) rest.emplace_back("operands", kFp8);
  std::sort(rest.begin(), rest.end());
  const bool numbered = choice.lt ? choice.exact : choice.algorithm >= 0;
  if (rest.empty() && !numbered) return {};
  const char* const free_word = choice.lt ? kFreeLt : kFreeCublas;
  rest.insert(rest.begin(), {engine, numbered ? std::to_string(choice.algorithm) : free_word});
  return rest;
}

Result<EngineChoice> parse_vendor(const std::string& name, const EnginePairs& pairs) {
  auto choice = read_pairs(name, pairs);
  ISOBIT_TRY(choice);
  EngineChoice engine;
  engine.name = name;
  engine.pairs = pairs_of(name, *choice);
  if (!engine.pairs.empty()) engine.observed = engine.text();
  engine.settings = std::make_shared<VendorSettings>(*choice);
  return engine;
}

}  // namespace

VendorChoice vendor_choice(const EngineChoice& engine) {
  if (const auto* settings = dynamic_cast<const VendorSettings*>(engine.settings.get())) {
    return settings->choice;
  }
  VendorChoice open;
  open.lt = engine.name == kLt;
  return open;
}

std::string vendor_text(const VendorChoice& choice) {
  EngineChoice engine;
  engine.name = choice.lt ? kLt : kCublas;
  engine.pairs = pairs_of(engine.name, choice);
  return engine.text();
}

Result<EngineChoice> parse_cublas(const EnginePairs& pairs) {
  return parse_vendor(kCublas, pairs);
}
Result<EngineChoice> parse_cublaslt(const EnginePairs& pairs) {
  return parse_vendor(kLt, pairs);
}

}  // namespace isobit
