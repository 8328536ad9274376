// Reading and writing of a library's configuration (vendor_choice.h).

#include "runtime/backends/vendor_choice.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace isobit {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kCublas = "cublas";
constexpr const char* kLt = "cublaslt";
constexpr const char* kFreeCublas = "default";
constexpr const char* kFreeLt = "heuristic";
constexpr std::int64_t kMostCublas = 23;  // CUBLAS_GEMM_ALGO23
constexpr std::int64_t kMostLt = 4095;    // ids are small; the library knows which exist
constexpr std::int64_t kMostIndex = 99;
constexpr const char* kMaths[] = {"default", "pedantic", "tf32"};

bool whole(const std::string& text, std::int64_t least, std::int64_t most, std::int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && out >= least && out <= most;
}

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
    if (!whole(text, -1, kMostCublas, number)) {
      return Error{"algorithm '" + text + "' of engine cublas is neither " + kFreeCublas +
                       " nor a whole number from -1 to " + std::to_string(kMostCublas),
                   ""};
    }
    choice.algorithm = int(number);
    return {};
  }
  if (text == kFreeLt || text.empty()) return {};
  if (!whole(text, 0, kMostLt, number)) {
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
  if (name == "index") {
    if (!whole(text, 0, kMostIndex, number)) {
      return out_of_range(engine, name, text, range(0, kMostIndex));
    }
    choice.index = int(number);
    return {};
  }
  if (name == "algorithm") {
    if (!whole(text, 0, kMostLt, number)) {
      return out_of_range(engine, name, text, range(0, kMostLt));
    }
    choice.algorithm = int(number);
    return {};
  }
  for (std::size_t i = 0; i < kLtOptions.size(); ++i) {
    if (name != kLtOptions[i].name) continue;
    const std::int64_t least = name == "split_k" ? 1 : 0;
    if (!whole(text, least, kLtOptions[i].most, number)) {
      return out_of_range(engine, name, text, range(least, kLtOptions[i].most));
    }
    choice.options[i] = std::uint32_t(number);
    return {};
  }
  return Error{"unknown option '" + name + "' of engine " + engine, ""};
}

}  // namespace

std::vector<std::string> vendor_option_names(const std::string& engine, bool exact) {
  if (engine != kLt) return {"math"};
  if (!exact) return {"algorithm", "index", "math"};
  std::vector<std::string> names{"math"};
  for (const LtOption& option : kLtOptions) names.emplace_back(option.name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<VendorChoice> vendor_choice(const std::string& engine, const Pairs& pairs) {
  VendorChoice choice;
  choice.lt = engine == kLt;
  std::set<std::string> seen;
  for (const auto& [name, text] : pairs) {
    if (!seen.insert(name).second) {
      return Error{"option '" + name + "' of engine " + engine + " is given twice", ""};
    }
    if (name != engine) continue;
    if (auto ok = read_own(engine, text, choice); !ok) return ok.error();
  }
  const std::vector<std::string> known = vendor_option_names(engine, choice.exact);
  for (const auto& [name, text] : pairs) {
    if (name == engine) continue;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return Error{"unknown option '" + name + "' of engine " + engine, ""};
    }
    if (auto ok = read_option(engine, name, text, choice); !ok) return ok.error();
  }
  return choice;
}

Pairs vendor_pairs(const std::string& engine, const VendorChoice& choice) {
  Pairs rest;
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
  std::sort(rest.begin(), rest.end());
  const bool numbered = choice.lt ? choice.exact : choice.algorithm >= 0;
  if (rest.empty() && !numbered) return {};
  const char* const free_word = choice.lt ? kFreeLt : kFreeCublas;
  rest.insert(rest.begin(), {engine, numbered ? std::to_string(choice.algorithm) : free_word});
  return rest;
}

std::string vendor_text(const VendorChoice& choice) {
  const std::string engine = choice.lt ? kLt : kCublas;
  std::string out;
  for (const auto& [name, text] : vendor_pairs(engine, choice)) {
    out += name == engine ? text : "+" + name + ":" + text;
  }
  return out;
}

Result<VendorChoice> parse_vendor_text(const std::string& engine, const std::string& text) {
  Pairs pairs;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('+', at), text.size());
    const std::string part = text.substr(at, end - at);
    const std::size_t colon = part.find(':');
    if (at == 0) {
      pairs.emplace_back(engine, part);
    } else {
      pairs.emplace_back(part.substr(0, colon),
                         colon == std::string::npos ? "" : part.substr(colon + 1));
    }
    at = end + 1;
  }
  return vendor_choice(engine, pairs);
}

}  // namespace isobit
