// Names and JSON of what the store keeps as text: cell status, Observed, lists.
#include <nlohmann/json.hpp>

#include "harness/store/impl.h"

namespace isobit {
namespace {

constexpr const char* kStatusNames[] = {"ok",     "crashed",    "timed_out",
                                        "failed", "non_finite", "recomputed_differs"};

}  // namespace

const char* name_of(CellStatus status) {
  ISOBIT_CHECK(std::size_t(status) < std::size(kStatusNames));
  return kStatusNames[std::size_t(status)];
}

CellStatus status_of(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kStatusNames); ++i) {
    if (name == kStatusNames[i]) return static_cast<CellStatus>(i);
  }
  return CellStatus::failed;  // unreachable: the column has a CHECK
}

std::string print_observed(const Observed& observed) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  visit_fields(observed, [&](const char* name, const auto& value) { json[name] = value; });
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Observed parse_observed(std::string_view text) {
  Observed observed;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return observed;
  visit_fields(observed, [&](const char* name, auto& value) {
    using Field = std::decay_t<decltype(value)>;
    const auto it = json.find(name);
    if (it == json.end()) return;
    if constexpr (std::is_same_v<Field, std::string>) {
      if (it->is_string()) value = it->template get<Field>();
    } else if constexpr (std::is_same_v<Field, bool>) {
      if (it->is_boolean()) value = it->template get<Field>();
    } else {
      if (it->is_number_integer()) value = it->template get<Field>();
    }
  });
  return observed;
}

std::string print_texts(const std::vector<std::string>& texts) {
  return nlohmann::json(texts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<std::string> parse_texts(std::string_view text) {
  std::vector<std::string> out;
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array()) return out;
  for (const auto& item : json) {
    if (item.is_string()) out.push_back(item.get<std::string>());
  }
  return out;
}

}  // namespace isobit
