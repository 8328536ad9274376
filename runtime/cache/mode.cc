// The lossless cache modes as data.

#include "runtime/cache/mode.h"

#include <algorithm>
#include <map>
#include <utility>

#include "runtime/base/words.h"

namespace isobit {
namespace {

/// What an option changes: a count from 1 on, or a flag.
struct OptionRow {
  const char* name;
  std::int64_t most;  // of a count; 0: a flag
  void (*set)(CacheMode& mode, std::int64_t n);
};
constexpr OptionRow kOptions[] = {
    {"chunked", kLargestPiece, [](CacheMode& mode, std::int64_t n) { mode.chunk = n; }},
    {"paged", kLargestPiece,
     [](CacheMode& mode, std::int64_t n) {
       mode.page_size = std::int32_t(n);
       mode.shuffled_pages = true;
     }},
    {"prefix", 0, [](CacheMode& mode, std::int64_t) { mode.shares_prefix = true; }},
    {"recomputed", 0, [](CacheMode& mode, std::int64_t) { mode.recomputes = true; }},
    {"speculative", kMostDrafts, [](CacheMode& mode, std::int64_t n) { mode.drafts = n; }},
};
constexpr std::int32_t kPrefixPage = 16;  // positions of a page that is shared, unless it is sized

Error bad_mode(const std::string& text, const std::string& why) {
  return {"bad cache mode '" + text + "': " + why, ""};
}

Error unknown_mode(const std::string& text) {
  return {"unknown cache mode '" + text +
              "'; known: on, off, {chunked: n}, {paged: n}, prefix, recomputed (n from 1 to " +
              std::to_string(kLargestPiece) + "), {speculative: k} (k from 1 to " +
              std::to_string(kMostDrafts) + "), or several of the last five in one map",
          ""};
}

/// Reads "key:value" of `text` into `options`; a flag that is off leaves nothing.
Result<void> read_option(const std::string& text, const std::string& part,
                         std::map<std::string, std::int64_t>& options) {
  const std::size_t colon = std::min(part.find(':'), part.size());
  const std::string key = part.substr(0, colon);
  const std::string value = part.substr(std::min(colon + 1, part.size()));
  const auto* row = std::find_if(std::begin(kOptions), std::end(kOptions),
                                 [&](const OptionRow& each) { return key == each.name; });
  if (row == std::end(kOptions)) return unknown_mode(text);
  if (options.count(key) != 0) return bad_mode(text, key + " is given twice");
  std::int64_t n = 0;
  bool flag = true;
  if (row->most == 0 && colon < part.size() && !parse_boolean(value, flag)) {
    return bad_mode(text, key + " is true or false");
  }
  if (row->most > 0 && !parse_integer(value, 1, row->most, n)) return unknown_mode(text);
  options[key] = row->most > 0 ? n : flag;
  return {};
}

/// The canonical text of options, of which flags are 0 or 1.
std::string name_of(const std::map<std::string, std::int64_t>& options) {
  std::string name, last;
  int count = 0;
  for (const OptionRow& row : kOptions) {
    const auto found = options.find(row.name);
    if (found == options.end() || found->second == 0) continue;
    last = row.name;
    const std::string value = row.most > 0 ? std::to_string(found->second) : "true";
    name += (count++ > 0 ? "+" : "") + last + ":" + value;
  }
  const bool word = count == 1 && name.ends_with(":true");
  return count == 0 ? "on" : word ? last : name;
}

}  // namespace

const std::vector<std::string>& cache_options() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const OptionRow& row : kOptions) out.emplace_back(row.name);
    return out;
  }();
  return names;
}

Result<CacheMode> parse_cache_mode(const std::string& text) {
  CacheMode mode;
  if (text == "on") return mode;
  if (text == "off") {
    mode.name = text;
    mode.keeps = false;
    return mode;
  }
  std::map<std::string, std::int64_t> options;
  for (std::size_t begin = 0, end; begin <= text.size(); begin = end + 1) {
    end = std::min(text.find('+', begin), text.size());
    if (auto ok = read_option(text, text.substr(begin, end - begin), options); !ok) {
      return ok.error();
    }
  }
  for (const OptionRow& row : kOptions) {
    const auto found = options.find(row.name);
    if (found != options.end() && found->second != 0) row.set(mode, found->second);
  }
  if (mode.shares_prefix && !mode.shuffled_pages) mode.page_size = kPrefixPage;
  if (mode.shares_prefix && mode.recomputes) {
    return bad_mode(text, "recomputed rebuilds every position, so no prefix could be shared");
  }
  mode.name = name_of(options);
  return mode;
}

}  // namespace isobit
