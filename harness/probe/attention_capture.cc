// The text of attention captures (attention_capture.h).
#include "harness/probe/attention_capture.h"

#include <algorithm>
#include <sstream>

#include "runtime/base/words.h"
#include "runtime/numerics/attention_book.h"
#include "runtime/numerics/product_book.h"

namespace isobit::probe {
namespace {

constexpr const char* kHeader = "isobit attention capture 1";
constexpr std::int64_t kMostRows = 16384, kMostHeadDim = 256, kMostHeads = 65536, kMostDraw = 63;
constexpr std::int64_t kMostOutputs = std::int64_t{1} << 40;

bool whole(std::istringstream& words, std::int64_t least, std::int64_t most, std::int64_t& out) {
  std::string word;
  return bool(words >> word) && parse_integer(word, least, most, out);
}

std::string rest_of(std::istringstream& words) {
  std::string rest;
  std::getline(words >> std::ws, rest);
  return rest;
}

/// What is wrong with a mask, or empty.
std::string read_mask(const std::string& text, AttentionCall& call) {
  if (text == name_of_mask(FusedMask::free)) return "";
  if (text == name_of_mask(FusedMask::causal)) {
    call.shape.mask = FusedMask::causal;
    if (call.shape.queries == call.shape.keys) return "";
    return "a causal call has as many queries as keys";
  }
  if (!text.starts_with("left:")) {
    return "a mask is free, causal or left:P,P,…, not " + in_quotes(text);
  }
  call.shape.mask = FusedMask::left;
  if (call.shape.queries > call.shape.keys) return "a padded call has no more queries than keys";
  std::istringstream pads(text.substr(5) + ",");
  for (std::string word; std::getline(pads, word, ',');) {
    std::int64_t pad = 0;
    if (!parse_integer(word, 0, call.shape.keys - 1, pad)) {
      return "padding is a number below the number of keys, not " + in_quotes(word);
    }
    call.pad.push_back(pad);
  }
  if (std::int64_t(call.pad.size()) == call.shape.batch) return "";
  return "the mask pads " + std::to_string(call.pad.size()) + " sequences, the call has " +
         std::to_string(call.shape.batch);
}

/// What is wrong with a call, or empty.
std::string read_call(std::istringstream& words, AttentionCall& call) {
  std::string precision, mask, bar;
  FusedShape& shape = call.shape;
  if (!(words >> call.asked >> precision)) return "a call names its kernel and precision";
  const std::vector<std::string> known = {"fa2", "cudnn", "efficient", "default"};
  if (std::find(known.begin(), known.end(), call.asked) == known.end()) {
    return "unknown kernel " + in_quotes(call.asked) + among_known(call.asked, known);
  }
  if (precision != "bf16" && precision != "fp16") {
    return "a precision is bf16 or fp16, not " + in_quotes(precision);
  }
  call.format = precision == "bf16" ? Format::bf16 : Format::fp16;
  if (!whole(words, 1, kMostHeads, shape.batch) ||
      !whole(words, 1, kMostHeads / shape.batch, shape.heads)) {
    return "batch times heads is at most " + std::to_string(kMostHeads);
  }
  if (!whole(words, 1, shape.heads, shape.kv_heads) || shape.heads % shape.kv_heads != 0) {
    return "the number of KV heads divides that of heads";
  }
  if (!whole(words, 1, kMostRows, shape.queries) || !whole(words, 1, kMostRows, shape.keys)) {
    return "queries and keys are at most " + std::to_string(kMostRows);
  }
  if (!whole(words, 1, kMostHeadDim, shape.head_dim)) {
    return "a head has at most " + std::to_string(kMostHeadDim) + " columns";
  }
  if (!(words >> mask)) return "a call has a mask";
  if (std::string why = read_mask(mask, call); !why.empty()) return why;
  if (!whole(words, 0, kMostDraw, call.draw)) {
    return "a draw is at most " + std::to_string(kMostDraw);
  }
  if (!(words >> bar) || bar != "|") return "what a call started is behind a bar";
  call.kernels = rest_of(words);
  return "";
}

/// The value of a hexadecimal digit in small letters; -1: none.
int digit_of(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// What is wrong with a row, or empty.
std::string read_row(std::istringstream& words, const AttentionCall& call, AttentionRow& row) {
  if (!whole(words, 0, call.shape.batch - 1, row.sequence) ||
      !whole(words, 0, call.shape.heads - 1, row.head) ||
      !whole(words, 0, call.shape.queries - 1, row.query)) {
    return "a row is SEQUENCE HEAD QUERY HEX, within its call";
  }
  std::string hex, more;
  words >> hex;
  if (std::int64_t(hex.size()) != 4 * call.shape.head_dim || words >> more) {
    return "a row of this call has " + std::to_string(4 * call.shape.head_dim) +
           " hexadecimal digits";
  }
  row.bits.reserve(std::size_t(call.shape.head_dim));
  for (std::size_t at = 0; at < hex.size(); at += 4) {
    int value = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
      const int digit = digit_of(hex[i]);
      if (digit < 0) return "outputs have hexadecimal digits; " + in_quotes(hex.substr(at, 4));
      value = value * 16 + digit;
    }
    row.bits.push_back(std::uint16_t(value));
  }
  return "";
}

/// A file as it is read.
struct Reading {
  AttentionCapture capture;
  std::int64_t outputs = 0;
  bool ended = false;
};

/// What is wrong with a line, or empty.
std::string read_line(const std::string& line, std::int64_t number, Reading& reading) {
  std::istringstream words(line);
  std::string kind;
  words >> kind;
  if (reading.ended) return "the capture has ended";
  std::vector<AttentionCall>& calls = reading.capture.calls;
  if (kind == "fact") {
    std::string name;
    words >> name;
    reading.capture.facts[name] = rest_of(words);
    return name.empty() ? "a fact has a name" : "";
  }
  if (kind == "attention") return read_call(words, calls.emplace_back());
  if (kind == "row") {
    if (calls.empty()) return "there is no call before it";
    AttentionRow& row = calls.back().rows.emplace_back();
    row.line = number;
    reading.outputs += calls.back().shape.head_dim;
    return read_row(words, calls.back(), row);
  }
  if (kind != "end") return "unknown word " + in_quotes(kind);
  std::int64_t outputs = 0;
  reading.ended = true;
  const bool all = whole(words, 0, kMostOutputs, outputs) && outputs == reading.outputs;
  return all ? "" : "the capture has " + std::to_string(reading.outputs) + " outputs";
}

std::string mask_text(const AttentionCall& call) {
  std::string out = name_of_mask(call.shape.mask);
  for (std::size_t i = 0; i < call.pad.size(); ++i) {
    out += (i == 0 ? ":" : ",") + std::to_string(call.pad[i]);
  }
  return out;
}

void add_call(const AttentionCall& call, std::string& out) {
  out += "attention " + call.asked + " " + name_of_operand(call.format);
  const FusedShape& shape = call.shape;
  for (const std::int64_t number :
       {shape.batch, shape.heads, shape.kv_heads, shape.queries, shape.keys, shape.head_dim}) {
    out += " " + std::to_string(number);
  }
  out += " " + mask_text(call) + " " + std::to_string(call.draw) + " | " + call.kernels + "\n";
  for (const AttentionRow& row : call.rows) {
    out += "row " + std::to_string(row.sequence) + " " + std::to_string(row.head) + " " +
           std::to_string(row.query) + " ";
    for (const std::uint16_t bits : row.bits) {
      for (const int shift : {12, 8, 4, 0}) out += "0123456789abcdef"[bits >> shift & 15];
    }
    out += "\n";
  }
}

}  // namespace

std::string text_of(const AttentionCapture& capture) {
  std::string out = std::string(kHeader) + "\n";
  for (const auto& [name, value] : capture.facts) out += "fact " + name + " " + value + "\n";
  std::int64_t outputs = 0;
  for (const AttentionCall& call : capture.calls) {
    add_call(call, out);
    outputs += std::int64_t(call.rows.size()) * call.shape.head_dim;
  }
  return out + "end " + std::to_string(outputs) + "\n";
}

Result<AttentionCapture> parse_attention_capture(const std::string& bytes,
                                                 const std::string& name) {
  Reading reading;
  std::istringstream text(bytes);
  std::string line;
  for (std::int64_t number = 1; std::getline(text, line); ++number) {
    const std::string place = name + ":" + std::to_string(number);
    if (number == 1) {
      if (line == kHeader) continue;
      return Error{std::string("an attention capture begins with ") + in_quotes(kHeader), place};
    }
    if (const std::string why = read_line(line, number, reading); !why.empty()) {
      return Error{why, place};
    }
  }
  if (!reading.ended) return Error{"the capture has no end: it is not whole", name};
  if (reading.capture.calls.empty()) return Error{"the capture holds no call", name};
  return std::move(reading.capture);
}

}  // namespace isobit::probe
