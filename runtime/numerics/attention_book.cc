// Reads, writes and finds lines about attention.
#include "runtime/numerics/attention_book.h"

#include <algorithm>
#include <sstream>
#include <tuple>

#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 24, kMostCounted = std::int64_t{1} << 40;
constexpr std::int64_t kMostHeads = 65536;  // and sequences
constexpr std::int64_t kMostHeadDim = 256;
constexpr std::size_t kMostLines = 4096;  // each is compared with each

const std::vector<std::string> kMasks = {"free", "causal", "left"};
const std::vector<std::string> kEvidence = {"proved", "forecast", "open"};
const std::vector<std::pair<std::string, FusedChoice>> kChoices = {
    {"fa2", {FusedKernel::fa2, 0}},
    {"cudnn:sm90", {FusedKernel::cudnn_sm90, 0}},
    {"cudnn:sm80:32", {FusedKernel::cudnn_sm80, 32}},
    {"cudnn:sm80:64", {FusedKernel::cudnn_sm80, 64}},
    {"efficient", {FusedKernel::efficient, 0}},
};

std::string range_text(const BookRange& range) {
  const std::string from = std::to_string(range.from);
  return range.to == range.from ? from : from + ".." + std::to_string(range.to);
}

bool read_range(const std::string& text, std::int64_t most, BookRange& range) {
  const std::size_t dots = text.find("..");
  if (!parse_integer(text.substr(0, dots), 1, most, range.from)) return false;
  range.to = range.from;
  return dots == std::string::npos ||
         parse_integer(text.substr(dots + 2), range.from + 1, most, range.to);
}

bool read_heads(const std::string& text, AttentionLine& line) {
  const std::size_t colon = text.find(':');
  return colon != std::string::npos &&
         parse_integer(text.substr(0, colon), 1, kMostHeads, line.heads) &&
         parse_integer(text.substr(colon + 1), 1, kMostHeads, line.kv_heads) &&
         line.heads % line.kv_heads == 0;
}

auto key_of(const AttentionLine& line) {
  return std::tuple(line.format, line.heads, line.kv_heads, line.head_dim, line.mask, line.batch,
                    line.queries, line.keys);
}

bool overlap(const BookRange& a, const BookRange& b) {
  return a.from <= b.to && b.from <= a.to;
}
bool speak_of_one(const AttentionLine& a, const AttentionLine& b) {
  return a.format == b.format && a.heads == b.heads && a.kv_heads == b.kv_heads &&
         a.head_dim == b.head_dim && a.mask == b.mask && overlap(a.batch, b.batch) &&
         overlap(a.queries, b.queries) && overlap(a.keys, b.keys);
}

/// "proved 12 768", "forecast", "open 40 64". Gives what is wrong, or empty.
std::string read_evidence(std::istringstream& words, AttentionLine& line) {
  std::string evidence, calls, outputs, more;
  words >> evidence >> calls >> outputs;
  const auto known = std::find(kEvidence.begin(), kEvidence.end(), evidence);
  if (known == kEvidence.end()) {
    return "unknown evidence " + in_quotes(evidence) + among_known(evidence, kEvidence);
  }
  line.evidence = BookEvidence(known - kEvidence.begin());
  if (line.evidence == BookEvidence::forecast) {
    return calls.empty() ? "" : "nothing follows forecast";
  }
  const std::int64_t least = line.evidence == BookEvidence::proved ? 1 : 0;
  const bool counted = parse_integer(calls, least, kMostCounted, line.calls) &&
                       parse_integer(outputs, least, kMostCounted, line.outputs) &&
                       !(words >> more);
  return counted ? "" : evidence + " is followed by two whole numbers";
}

}  // namespace

std::string text_of(const FusedChoice& choice) {
  for (const auto& [name, known] : kChoices) {
    if (known == choice) return name;
  }
  return "none";
}

Result<FusedChoice> parse_fused_choice(const std::string& text) {
  std::vector<std::string> names;
  for (const auto& [name, choice] : kChoices) {
    if (name == text) return choice;
    names.push_back(name);
  }
  return Error{"unknown kernel " + in_quotes(text) + among_known(text, names), ""};
}

std::string name_of_mask(FusedMask mask) {
  return kMasks[std::size_t(mask)];
}

std::string line_text(const AttentionLine& line) {
  std::string out = std::string("attention ") + (line.format == Format::bf16 ? "bf16 " : "fp16 ") +
                    std::to_string(line.heads) + ":" + std::to_string(line.kv_heads) + " " +
                    std::to_string(line.head_dim) + " " + name_of_mask(line.mask) + " " +
                    range_text(line.batch) + " " + range_text(line.queries) + " " +
                    range_text(line.keys) + " " + text_of(line.choice) + " " +
                    kEvidence[std::size_t(line.evidence)];
  if (line.evidence != BookEvidence::forecast) {
    out += " " + std::to_string(line.calls) + " " + std::to_string(line.outputs);
  }
  return out + "\n";
}

Result<AttentionLine> parse_attention_line(const std::string& text) {
  std::istringstream words(text);
  std::string kind, precision, heads, width, mask, batch, queries, keys, kernel;
  words >> kind >> precision >> heads >> width >> mask >> batch >> queries >> keys >> kernel;
  AttentionLine line;
  if (kind != "attention" || kernel.empty()) {
    return Error{
        "a line is attention PRECISION HEADS:KV_HEADS D MASK BATCH QUERIES KEYS KERNEL EVIDENCE, "
        "e.g. attention bf16 9:3 64 free 1..8 1 33..256 cudnn:sm80:64 proved 12 6912",
        ""};
  }
  if (precision != "bf16" && precision != "fp16") {
    return Error{"fused attention is in bf16 or fp16, not " + in_quotes(precision), ""};
  }
  line.format = precision == "bf16" ? Format::bf16 : Format::fp16;
  if (!read_heads(heads, line))
    return Error{"heads are HEADS:KV_HEADS, the second divides the first", ""};
  if (!parse_integer(width, 1, kMostHeadDim, line.head_dim) || line.head_dim % 8 != 0) {
    return Error{"a head's width is a multiple of 8, 256 at most", ""};
  }
  const auto known = std::find(kMasks.begin(), kMasks.end(), mask);
  if (known == kMasks.end()) {
    return Error{"unknown mask " + in_quotes(mask) + among_known(mask, kMasks), ""};
  }
  line.mask = FusedMask(known - kMasks.begin());
  if (!read_range(batch, kMostHeads, line.batch) || !read_range(queries, kMost, line.queries) ||
      !read_range(keys, kMost, line.keys)) {
    return Error{"batch, queries and keys are n or n..m", ""};
  }
  auto choice = parse_fused_choice(kernel);
  ISOBIT_TRY(choice);
  line.choice = *choice;
  if (const char* what = fused_lacks(line.choice, line.head_dim, line.mask)) {
    return Error{kernel + " has no " + what, ""};
  }
  if (const std::string why = read_evidence(words, line); !why.empty()) return Error{why, ""};
  return line;
}

Result<void> order_attention(std::vector<AttentionLine>& lines) {
  if (lines.size() > kMostLines) {
    return Error{"a book has at most " + std::to_string(kMostLines) + " lines about attention", ""};
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return key_of(a) < key_of(b); });
  for (std::size_t i = 0; i < lines.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!speak_of_one(lines[j], lines[i])) continue;
      std::string text = line_text(lines[i]);
      text.pop_back();
      return Error{"two lines speak of one call: " + text, ""};
    }
  }
  return {};
}

const AttentionLine* find_attention(const std::vector<AttentionLine>& lines, Format format,
                                    const FusedShape& shape) {
  const auto fits = [&](const AttentionLine& line) {
    return line.format == format && line.heads == shape.heads && line.kv_heads == shape.kv_heads &&
           line.head_dim == shape.head_dim && line.mask == shape.mask &&
           line.batch.has(shape.batch) && line.queries.has(shape.queries) &&
           line.keys.has(shape.keys);
  };
  const auto found = std::find_if(lines.begin(), lines.end(), fits);
  return found == lines.end() ? nullptr : &*found;
}

}  // namespace isobit
