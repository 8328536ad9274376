// Axis patch: rows of a donor's run that are put into the cell's (runtime/run/patch.h). The donor
// is the cell with other values of some axes, or its run of another prompt. Only `none` gives the
// default's bits.
#include <algorithm>
#include <set>

#include "harness/axes/axes.h"
#include "harness/axes/parse.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Ranges = PatchLayers::Ranges;

const axes::Words kSites = {"residual", "k", "v", "kv", "attn"};  // in the order of the text
const axes::Words kOptions = {"residual", "k", "v", "kv", "attn", "at", "from"};
constexpr std::int64_t kMostPositions = std::int64_t(1) << 20;

Error bad(const std::string& option, const std::string& text, const std::string& what) {
  return {
      "patch " + option + " cannot be " + in_quotes(text) + "; it is " + what + number_hint(text),
      ""};
}

/// "0-3/7" as ascending ranges that neither meet nor touch; empty: it is no such list.
Ranges ranges_of(const std::string& text, std::int64_t most) {
  Ranges all;
  for (const std::string& part : cut_outside(text, '/')) {
    const std::size_t dash = std::min(part.find('-'), part.size());
    std::int64_t first = 0, last = 0;
    if (!parse_integer(part.substr(0, dash), 0, most, first)) return {};
    last = first;
    if (dash < part.size() && !parse_integer(part.substr(dash + 1), first, most, last)) return {};
    all.emplace_back(first, last);
  }
  std::sort(all.begin(), all.end());
  Ranges joined;
  for (const auto& range : all) {
    if (joined.empty() || range.first > joined.back().second + 1) {
      joined.push_back(range);
    } else {
      joined.back().second = std::max(joined.back().second, range.second);
    }
  }
  return joined;
}

std::string text_of(const Ranges& ranges) {
  std::string out;
  for (const auto& [first, last] : ranges) {
    out += (out.empty() ? "" : "/") + std::to_string(first) +
           (last == first ? "" : "-" + std::to_string(last));
  }
  return out;
}

std::string text_of(const PatchLayers& layers) {
  using Kind = PatchLayers::Kind;
  if (layers.kind == Kind::listed) return text_of(layers.ranges);
  return layers.kind == Kind::all ? "all" : "layers";
}

Result<PatchLayers> parse_layers(const std::string& site, const std::string& text) {
  using Kind = PatchLayers::Kind;
  if (text == "all") return PatchLayers{Kind::all, {}};
  // Only the stream has a row behind the last layer.
  if (text == "layers") return PatchLayers{site == "residual" ? Kind::layers : Kind::all, {}};
  PatchLayers out{Kind::listed, ranges_of(text, kMostLayers)};
  if (!out.ranges.empty()) return out;
  return bad(site, text, "all, layers, a layer, a range 0-5, or a list of these");
}

Result<void> parse_at(const std::string& text, PatchSpec& spec) {
  if (text == "last") return {};
  if (text == "all") {
    spec.at = PatchSpec::At::all;
    return {};
  }
  const Ranges ranges = ranges_of(text, kMostPositions);
  if (ranges.empty()) return bad("at", text, "last, all, a position, a range, or a list of these");
  spec.at = PatchSpec::At::listed;
  spec.positions = ranges;
  return {};
}

/// A value of a pair: in parentheses where it is pairs itself.
std::string nested(const std::string& text) {
  return text.find_first_of("+:") == std::string::npos ? text : "(" + text + ")";
}

/// Axes on which a donor may differ: those that leave the tokens as they are.
Result<void> check_donor_axis(const std::string& name) {
  std::vector<std::string> known = {"prompt"};
  for (const Axis& axis : all_axes()) {
    const bool fits = axis.kind != AxisKind::decoding && axis.belongs_to(AxisScope::model) &&
                      axis.name != "patch" && axis.name != "model";
    if (fits) known.push_back(axis.name);
  }
  if (axes::is_one_of(name, known)) return {};
  if (find_axis(name) != nullptr) {
    return Error{"a donor of patch cannot differ by " + name +
                     ": it has the same model and is fed the same tokens",
                 ""};
  }
  return Error{"a donor of patch differs by an axis, or is a prompt, not by " + in_quotes(name) +
                   did_you_mean(name, known),
               ""};
}

Result<void> parse_from(const std::string& text, const std::string& folder, PatchSpec& spec,
                        DonorAxes& donor) {
  for (const auto& [name, value] : option_pairs(without_parentheses(text))) {
    if (value.empty()) {
      return bad("from", text, "{axis: value, …} or {prompt: ID}");
    }
    if (name == "prompt") {
      if (!spec.prompt.empty()) return Error{"patch from: prompt is given twice", ""};
      spec.prompt = unescaped(value);
      continue;
    }
    if (auto ok = check_donor_axis(name); !ok) return ok;
    auto parsed = axis_value(name, {without_parentheses(value), {}, folder}, ValueUse::exact);
    if (!parsed) return Error{"patch from: " + parsed.error().message, ""};
    if (!donor.values.emplace(name, *parsed).second) {
      return Error{"patch from: axis " + name + " is given twice", ""};
    }
    spec.donor[name] = parsed->text;
  }
  if (!spec.prompt.empty() && !donor.values.empty()) {
    return Error{
        "patch from: the donor is another prompt, or the same one under other axes, "
        "not both",
        ""};
  }
  return {};
}

std::string text_of_donor(const PatchSpec& spec) {
  if (!spec.prompt.empty()) return "(prompt:" + escaped(spec.prompt) + ")";
  std::string out;
  for (const auto& [axis, text] : spec.donor) {
    out += (out.empty() ? "" : "+") + axis + ":" + nested(text);
  }
  return "(" + out + ")";
}

Result<void> parse_site(const std::string& site, const std::string& text, PatchSpec& spec) {
  auto layers = parse_layers(site, text);
  ISOBIT_TRY(layers);
  for (int s = 0; s < kRowSites; ++s) {
    const std::string name = name_of(static_cast<RowSite>(s));
    if (name != site && !(site == "kv" && (name == "k" || name == "v"))) continue;
    PatchLayers& of_site = spec.sites[std::size_t(s)];
    if (of_site.kind != PatchLayers::Kind::none) {
      return Error{"patch has " + name + " twice: kv is both k and v", ""};
    }
    of_site = *layers;
  }
  return {};
}

/// The sites of a text: k and v of the same layers are kv.
std::map<std::string, std::string> texts_of_sites(const PatchSpec& spec) {
  std::map<std::string, std::string> texts;
  for (int s = 0; s < kRowSites; ++s) {
    const auto site = static_cast<RowSite>(s);
    if (spec.has(site)) texts[name_of(site)] = text_of(spec.sites[std::size_t(s)]);
  }
  if (texts.count("k") != 0 && texts.count("v") != 0 && texts["k"] == texts["v"]) {
    texts["kv"] = texts["k"];
    texts.erase("k"), texts.erase("v");
  }
  return texts;
}

AxisValue value_of(PatchSpec spec, std::shared_ptr<const DonorAxes> donor) {
  AxisValue value;
  std::string text;
  const auto add = [&](const std::string& key, const std::string& pair) {
    text += (text.empty() ? "" : "+") + key + ":" + pair;
    value.args[key] = pair;
    if (value.head.empty()) value.head = key;
  };
  const auto sites = texts_of_sites(spec);
  for (const std::string& site : kSites) {
    if (const auto found = sites.find(site); found != sites.end()) add(site, found->second);
  }
  if (spec.at == PatchSpec::At::all) add("at", "all");
  if (spec.at == PatchSpec::At::listed) add("at", text_of(spec.positions));
  add("from", text_of_donor(spec));
  if (spec.at == PatchSpec::At::last) value.args["at"] = "last";
  value.text = spec.text = text;
  value.setting = PatchValue{std::move(spec), std::move(donor)};
  return value;
}

/// One word or pair of a value, which leaves the others open.
bool is_open(const axes::Pairs& pairs) {
  return pairs.size() == 1 && axes::is_one_of(pairs[0].first, kOptions);
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  const std::string text = axes::text_of(raw);
  if (text == "none") return axes::scalar_value(text, PatchValue{});
  const auto pairs = option_pairs(text);
  if (use == ValueUse::pattern && is_open(pairs)) return axes::scalar_value(text, {});
  PatchSpec spec;
  const auto donor = std::make_shared<DonorAxes>();
  std::set<std::string> seen;
  for (const auto& [key, value] : pairs) {
    if (!axes::is_one_of(key, kOptions)) {
      if (pairs.size() == 1 && value.empty()) {
        return axes::bad_value("patch", key,
                               did_you_mean(key, {"none", "residual", "k", "v", "kv", "attn"}));
      }
      return Error{"unknown option " + in_quotes(key) + " of patch" + did_you_mean(key, kOptions),
                   ""};
    }
    if (!seen.insert(key).second) {
      return Error{"option " + in_quotes(key) + " of patch is given twice", ""};
    }
    const auto ok = key == "at"     ? parse_at(value, spec)
                    : key == "from" ? parse_from(value, raw.folder, spec, *donor)
                                    : parse_site(key, value, spec);
    if (!ok) return ok.error();
  }
  const bool sited = std::any_of(spec.sites.begin(), spec.sites.end(), [](const auto& layers) {
    return layers.kind != PatchLayers::Kind::none;
  });
  if (!sited) return Error{"patch needs what is put in: residual, k, v, kv or attn", ""};
  if (seen.count("from") == 0) {
    return Error{"patch needs a donor: from: {axis: value} or from: {prompt: ID}", ""};
  }
  return value_of(std::move(spec), donor);
}

bool lossless(const AxisValue& value) {
  const auto* patch = std::get_if<PatchValue>(&value.setting);
  return patch != nullptr && !patch->spec.patches();
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.patch.spec = std::get<PatchValue>(value.setting).spec;
}

}  // namespace

Axis patch_axis() {
  return {"patch",
          "none",
          "none | {residual|k|v|kv|attn: LAYERS, at: last|all|POSITIONS, from: {axis: value} | "
          "{prompt: ID}}, of sites several in one map",
          AxisKind::computation,
          false,
          {"none", "residual", "attn"},
          parse,
          lossless,
          apply,
          true};
}

}  // namespace isobit
