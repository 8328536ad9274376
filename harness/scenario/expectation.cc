// A rule of the contract as reports name it.
#include <charconv>

#include "harness/scenario/scenario.h"

namespace isobit {
namespace {

/// The shortest decimal that reads back as the same number: two bounds never look alike.
template <class T>
std::string shortest(T value) {
  char buffer[32];
  const auto [end, problem] = std::to_chars(buffer, buffer + sizeof buffer, value);
  ISOBIT_CHECK(problem == std::errc());
  return {buffer, end};
}

}  // namespace

std::string Expectation::text() const {
  static const char* const kNames[] = {"same_bits", "within",   "differ", "differ_all",
                                       "measure",   "ensemble", "score"};
  std::string out = kNames[static_cast<int>(kind)], limits;
  const auto add = [&limits](const char* name, const auto& bound) {
    if (bound) limits += std::string(limits.empty() ? " " : ", ") + name + " " + shortest(*bound);
  };
  add("token_match", token_match), add("max_kl", max_kl), add("max_abs", max_abs);
  add("max_ulp", max_ulp);
  add("min", min), add("max", max), add("drop", drop), add("rise", rise);
  if (kind == Kind::ensemble) add("bins", std::optional(bins));
  if (of != Evidence::logits) out += std::string(" of ") + name_of(of);
  if (kind == Kind::score) out += " of " + score;
  out += limits + " across ";
  for (std::size_t i = 0; i < across.size(); ++i) out += (i == 0 ? "" : ", ") + across[i];
  return where.empty() ? out : out + " where " + where.text();
}

}  // namespace isobit
