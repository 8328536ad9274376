// One table of axes and one function an axis that makes its values canonical.
#include "harness/axes/axes.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <functional>

#include "runtime/backends/vendor_choice.h"
#include "runtime/base/suggest.h"

namespace isobit {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;
using Words = std::vector<std::string>;

constexpr std::int64_t kLargestBatch = 4096;
constexpr std::int64_t kMostThreads = 1024;
constexpr std::int64_t kLongestChunk = 1 << 20;

const Words kDevices = {"cpu", "cuda"};
const Words kIsas = {"auto", "scalar", "avx2", "avx512", "neon"};
const Words kPrecisions = {"fp64",     "fp32",     "tf32",           "bf16",          "fp16",
                           "fp8-e4m3", "fp8-e5m2", "layercast-bf16", "layercast-fp16"};
const Words kGpus = {"1", "2", "4", "8"};
const Words kOrders = {"given", "reversed", "shuffled"};
const Words kJoins = {"together", "staggered"};
const Words kEngines = {"reference", "openblas", "cublas", "cublaslt", "model", "plugin", "exec"};
const Words kModels = {"sm70", "sm75", "sm80", "sm89", "sm90", "sm100"};
// OpenBLAS's own spelling of its core types; any case is read.
const Words kCoreTypes = {"Prescott",       "Core2",      "Penryn",      "Dunnington", "Nehalem",
                          "Sandybridge",    "Haswell",    "Zen",         "SkylakeX",   "Cooperlake",
                          "SapphireRapids", "Atom",       "Athlon",      "Barcelona",  "Bobcat",
                          "Bulldozer",      "Piledriver", "Steamroller", "Excavator",  "ARMV8",
                          "CortexA53",      "CortexA57",  "CortexA72",   "CortexA73",  "Falkor",
                          "NeoverseN1",     "NeoverseV1", "NeoverseN2",  "ThunderX",   "VORTEX"};

Error bad(const std::string& axis, const std::string& value, const std::string& hint) {
  return {"unknown value " + in_quotes(value) + " for axis " + axis + hint, ""};
}

AxisValue scalar_value(const std::string& text) {
  return {text, {}};
}

AxisValue map_value(const std::map<std::string, std::string>& args) {
  AxisValue value{"", args};
  for (const auto& [key, text] : args)
    value.text += (value.text.empty() ? "" : "+") + key + ":" + text;
  return value;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// "a:b+c:d" -> pairs; a part without ':' has an empty value.
Pairs split_pairs(const std::string& text) {
  Pairs pairs;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find('+', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t colon = part.find(':');
    const bool pair = colon != std::string::npos;
    pairs.emplace_back(part.substr(0, colon), pair ? part.substr(colon + 1) : "");
    begin = end + 1;
  }
  return pairs;
}

Result<AxisValue> closed(const std::string& axis, const RawValue& raw, const Words& words) {
  if (!raw.pairs.empty())
    return Error{"axis " + axis + " has plain values, not a map; known: " + words[0] + " …", ""};
  const bool known = std::find(words.begin(), words.end(), raw.scalar) != words.end();
  if (!known) return bad(axis, raw.scalar, did_you_mean(raw.scalar, words));
  return scalar_value(raw.scalar);
}

Result<AxisValue> count(const std::string& axis, const RawValue& raw, std::int64_t high) {
  std::int64_t number = 0;
  if (!raw.pairs.empty() || !parse_integer(raw.scalar, 1, high, number)) {
    const std::string shown = raw.pairs.empty() ? raw.scalar : raw.pairs[0].first + ": …";
    return bad(axis, shown, "; a whole number from 1 to " + std::to_string(high));
  }
  return scalar_value(std::to_string(number));
}

/// One option of a batch map, its defaults dropped.
Result<void> batch_option(const std::string& key, const std::string& text,
                          std::map<std::string, std::string>& args) {
  if (key == "size") {
    auto size = count("batch", {text, {}}, kLargestBatch);
    ISOBIT_TRY(size);
    args[key] = size->text;
    return {};
  }
  if (key != "order" && key != "join") {
    const std::string hint = did_you_mean(key, {"size", "order", "join"});
    return Error{"unknown option " + in_quotes(key) + " of batch" + hint, ""};
  }
  const Words& words = key == "order" ? kOrders : kJoins;
  if (std::find(words.begin(), words.end(), text) == words.end())
    return bad("batch, option " + key, text, did_you_mean(text, words));
  args[key] = text;
  return {};
}

Result<AxisValue> batch_value(const RawValue& raw, ValueUse use) {
  const bool text_pairs = raw.scalar.find(':') != std::string::npos;
  if (raw.pairs.empty() && !text_pairs) return count("batch", raw, kLargestBatch);
  std::map<std::string, std::string> args;
  for (const auto& [key, text] : raw.pairs.empty() ? split_pairs(raw.scalar) : raw.pairs) {
    if (args.count(key)) return Error{"option " + in_quotes(key) + " of batch is given twice", ""};
    auto read = batch_option(key, text, args);
    ISOBIT_TRY(read);
  }
  if (use == ValueUse::pattern && args.size() == 1 && !args.count("size")) return map_value(args);
  if (!args.count("size"))
    return Error{"a batch map needs size, e.g. {size: 3, order: reversed}", ""};
  if (args.count("order") && args["order"] == kOrders[0]) args.erase("order");
  if (args.count("join") && args["join"] == kJoins[0]) args.erase("join");
  return args.size() == 1 ? scalar_value(args["size"]) : map_value(args);
}

Result<AxisValue> cache_value(const RawValue& raw, ValueUse use) {
  static const Words plain = {"on", "off", "prefix", "recomputed"};
  static const Words sized = {"chunked", "paged"};
  static const Words known = {"on", "off", "prefix", "recomputed", "chunked", "paged"};
  const bool text_pair = raw.scalar.find(':') != std::string::npos;
  if (raw.pairs.empty() && !text_pair) {
    bool flag = false;
    if (parse_boolean(raw.scalar, flag)) return scalar_value(flag ? "on" : "off");
    if (std::find(plain.begin(), plain.end(), raw.scalar) != plain.end())
      return scalar_value(raw.scalar);
    if (std::find(sized.begin(), sized.end(), raw.scalar) == sized.end())
      return bad("cache", raw.scalar, did_you_mean(raw.scalar, known));
    if (use == ValueUse::pattern) return scalar_value(raw.scalar);
    return bad("cache", raw.scalar, "; it needs a size, e.g. {" + raw.scalar + ": 16}");
  }
  const Pairs pairs = raw.pairs.empty() ? split_pairs(raw.scalar) : raw.pairs;
  if (pairs.size() != 1) return Error{"a cache map has one key, e.g. {paged: 16}", ""};
  const auto& [key, text] = pairs[0];
  if (std::find(sized.begin(), sized.end(), key) == sized.end()) {
    const bool is_plain = std::find(plain.begin(), plain.end(), key) != plain.end();
    return bad("cache", key, is_plain ? "; it takes no size" : did_you_mean(key, sized));
  }
  auto size = count("cache, option " + key, {text, {}}, kLongestChunk);
  ISOBIT_TRY(size);
  return map_value({{key, size->text}});
}

Result<AxisValue> openblas_value(const Pairs& pairs) {
  std::map<std::string, std::string> args;
  for (const auto& [key, text] : pairs) {
    if (args.count(key))
      return Error{"option " + in_quotes(key) + " of openblas is given twice", ""};
    if (key == "threads") {
      auto threads = count("engine, option threads", {text, {}}, kMostThreads);
      ISOBIT_TRY(threads);
      args[key] = threads->text;
    } else if (key == "openblas") {
      const auto same = [wanted = lower(text)](const std::string& name) {
        return lower(name) == wanted;
      };
      const auto found = std::find_if(kCoreTypes.begin(), kCoreTypes.end(), same);
      if (found == kCoreTypes.end()) {
        const std::string hint = did_you_mean(text, kCoreTypes);
        return Error{"unknown core type " + in_quotes(text) + " of openblas" + hint, ""};
      }
      args[key] = *found;
    } else {
      const std::string hint = did_you_mean(key, {"openblas", "threads"});
      return Error{"unknown option " + in_quotes(key) + " of engine openblas" + hint, ""};
    }
  }
  return map_value(args);
}

/// cublas and cublaslt: a number of the library or a word, then options (vendor_choice.h).
Result<AxisValue> vendor_value(const std::string& head, const Pairs& pairs) {
  const auto own = std::find_if(pairs.begin(), pairs.end(),
                                [&](const auto& pair) { return pair.first == head; });
  if (own->second.empty()) return Error{"engine " + head + " has no value in the map", ""};
  const bool exact = own->second.find_first_of("0123456789") == 0;
  const Words known = vendor_option_names(head, exact);
  for (const auto& [key, text] : pairs) {
    if (key == head || std::find(known.begin(), known.end(), key) != known.end()) continue;
    Words every = vendor_option_names(head, !exact);
    const bool elsewhere = std::find(every.begin(), every.end(), key) != every.end();
    const std::string hint = elsewhere ? std::string("; it goes with {cublaslt: ") +
                                             (exact ? "heuristic}" : "ALGORITHM}, a number")
                                       : did_you_mean(key, known);
    return Error{"unknown option " + in_quotes(key) + " of engine " + head + hint, ""};
  }
  const auto choice = vendor_choice(head, pairs);
  ISOBIT_TRY(choice);
  AxisValue value{head, {}};
  for (const auto& [key, text] : vendor_pairs(head, *choice)) {
    value.args[key] = text;
    value.text += key == head ? ":" + text : "+" + key + ":" + text;
  }
  return value;
}

/// plugin:lib.so, exec:command and model:sm90 keep everything after the first ':'.
Result<AxisValue> engine_value(const RawValue& raw, ValueUse use) {
  Pairs pairs = raw.pairs;
  if (pairs.empty()) {
    const std::size_t colon = raw.scalar.find(':');
    const std::string head = raw.scalar.substr(0, colon);
    const bool plain = colon == std::string::npos;
    const bool mapped = head == "openblas" || head == "cublas" || head == "cublaslt";
    if (mapped && !plain)
      pairs = split_pairs(raw.scalar);
    else
      pairs = {{head, plain ? "" : raw.scalar.substr(colon + 1)}};
  }
  const auto is_engine = [](const auto& pair) {
    return std::find(kEngines.begin(), kEngines.end(), pair.first) != kEngines.end();
  };
  const auto found = std::find_if(pairs.begin(), pairs.end(), is_engine);
  if (found == pairs.end())
    return bad("engine", pairs[0].first, did_you_mean(pairs[0].first, kEngines));
  const std::string head = found->first;
  const bool bare = pairs.size() == 1 && found->second.empty() && raw.pairs.empty();
  const bool vendor = head == "cublas" || head == "cublaslt";
  const bool free_standing = head == "reference" || head == "openblas" || vendor;
  if (bare && (free_standing || use == ValueUse::pattern)) return scalar_value(head);
  if (head == "reference") return Error{"engine reference has no options", ""};
  if (head == "openblas") return openblas_value(pairs);
  if (vendor) return vendor_value(head, pairs);
  if (pairs.size() != 1 || found->second.empty())
    return Error{"engine " + head + " needs one value, e.g. \"" + head +
                     (head == "model" ? ":sm90\"" : ":…\""),
                 ""};
  if (head == "model" && std::find(kModels.begin(), kModels.end(), found->second) == kModels.end())
    return bad("engine model", found->second, did_you_mean(found->second, kModels));
  return map_value({{head, found->second}});
}

Result<AxisValue> boolean_value(const std::string& axis, const RawValue& raw) {
  bool flag = false;
  if (!raw.pairs.empty() || !parse_boolean(raw.scalar, flag))
    return bad(axis, raw.scalar, did_you_mean(raw.scalar, {"true", "false"}));
  return scalar_value(flag ? "true" : "false");
}

}  // namespace

const std::vector<AxisInfo>& known_axes() {
  static const std::vector<AxisInfo> axes = {
      {"engine", "reference", false}, {"device", "cpu", true}, {"isa", "auto", true},
      {"precision", "fp32", false},   {"batch", "1", true},    {"gpus", "1", true},
      {"cache", "on", true},          {"threads", "1", true},  {"teacher_forced", "false", false}};
  return axes;
}

Result<AxisValue> canonical_value(const std::string& axis, const RawValue& raw, ValueUse use) {
  if (axis == "engine") return engine_value(raw, use);
  if (axis == "device") return closed(axis, raw, kDevices);
  if (axis == "isa") return closed(axis, raw, kIsas);
  if (axis == "precision") return closed(axis, raw, kPrecisions);
  if (axis == "batch") return batch_value(raw, use);
  if (axis == "gpus") return closed(axis, raw, kGpus);
  if (axis == "cache") return cache_value(raw, use);
  if (axis == "threads") return count(axis, raw, kMostThreads);
  if (axis == "teacher_forced") return boolean_value(axis, raw);
  return Error{"unknown axis " + in_quotes(axis) + did_you_mean(axis, axis_names()), ""};
}

bool value_matches(const AxisValue& value, const std::string& pattern) {
  if (value.text == pattern) return true;
  for (const auto& [key, text] : value.args)
    if (key + ":" + text == pattern) return true;
  const auto size = value.args.find("size");
  if (size != value.args.end()) return size->second == pattern;
  return !value.args.empty() && value.text.substr(0, value.text.find(':')) == pattern;
}

bool numeric_value(const AxisValue& value, std::int64_t& out) {
  const auto size = value.args.find("size");
  const std::string& text = size == value.args.end() ? value.text : size->second;
  return parse_integer(text, INT64_MIN, INT64_MAX, out);
}

bool is_numeric_axis(const std::string& axis) {
  return axis == "batch" || axis == "gpus" || axis == "threads";
}

bool is_axis(const std::string& name) {
  const auto named = [&](const AxisInfo& axis) { return axis.name == name; };
  return std::any_of(known_axes().begin(), known_axes().end(), named);
}

std::vector<std::string> axis_names() {
  std::vector<std::string> names;
  for (const AxisInfo& axis : known_axes()) names.push_back(axis.name);
  return names;
}

const std::string& default_of(const std::string& axis) {
  const auto named = [&](const AxisInfo& info) { return info.name == axis; };
  const auto found = std::find_if(known_axes().begin(), known_axes().end(), named);
  ISOBIT_CHECK(found != known_axes().end());
  return found->default_text;
}

std::vector<std::string> value_heads() {
  Words heads = kEngines;
  for (const Words* words : {&kDevices, &kIsas, &kPrecisions})
    heads.insert(heads.end(), words->begin(), words->end());
  for (const char* cache : {"chunked", "paged", "prefix", "recomputed"}) heads.push_back(cache);
  return heads;
}

bool parse_integer(const std::string& text, std::int64_t low, std::int64_t high,
                   std::int64_t& out) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end || number < low || number > high) return false;
  out = number;
  return true;
}

bool parse_boolean(const std::string& text, bool& out) {
  const std::string word = lower(text);
  out = word == "true" || word == "yes" || word == "on";
  return out || word == "false" || word == "no" || word == "off";
}

}  // namespace isobit
