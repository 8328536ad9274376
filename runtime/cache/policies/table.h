// Every cache policy, one row each: its name, how it is written, and who reads its argument.
// Callers: runtime/cache/policy.cc.
#pragma once

#include <memory>
#include <string>

#include "runtime/cache/policy.h"

namespace isobit {

using PolicyResult = Result<std::shared_ptr<const CachePolicy>>;

// `argument`: what follows the colon of the canonical text, "" without one. Errors say what is
// wrong with it; the caller adds the value.
PolicyResult parse_q8_0(const std::string& argument);
PolicyResult parse_kivi(const std::string& argument);
PolicyResult parse_tova(const std::string& argument);

struct PolicyRow {
  const char* name;
  const char* form;
  PolicyResult (*parse)(const std::string& argument);
};
inline constexpr PolicyRow kPolicies[] = {
    {"q8_0", "q8_0", parse_q8_0},
    {"kivi", "{kivi: 2|4}", parse_kivi},
    {"tova", "{tova: n}", parse_tova},
};

}  // namespace isobit
