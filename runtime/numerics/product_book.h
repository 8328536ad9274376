// Schedule books of libraries: which order each product of an engine has, by its shape.
//
// A book is a text file. It begins with "isobit products 1", then lines of facts
//   key NAME VALUE          engine, device, variant (the GPU or core type), library.FILE,
//                           variable.NAME, threads, driver: what the book speaks of
// and of products
//   PRECISION N K M ORDER EVIDENCE
// PRECISION is bf16, fp16, tf32, fp32 or fp8-e4m3 (the operands' format); N and K are outputs and
// inputs; M is rows, n or n..m. EVIDENCE is "proved CALLS RESULTS" (so many calls were reproduced,
// so many results compared, none differed), "forecast" (a rule's, not called), or "open FIT
// RESULTS" with an order that fits so many results; such a product is refused. Lines about
// attention are attention_book.h's. '#' begins a comment.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/numerics/attention_book.h"
#include "runtime/numerics/product_order.h"

namespace isobit {

/// "sm90", "sm90+slice:1408", "sm90+group:8", "fma+deal:1+lanes:16+block:256+meet:halves".
std::string text_of(const ProductOrder& order);
/// Errors name the option and what it may be.
Result<ProductOrder> parse_product_order(const std::string& text);

/// "bf16", "fp16", "tf32", "fp32", "fp8-e4m3".
std::string name_of_operand(Format operand);

struct ProductLine {
  using Evidence = BookEvidence;
  Format operand = Format::bf16;
  std::int64_t outputs = 0, inputs = 0;
  std::int64_t from_rows = 1, to_rows = 1;
  ProductOrder order;
  Evidence evidence = Evidence::proved;
  std::int64_t calls = 0, results = 0;  // proved: reproduced; open: results that fit, of how many
  bool operator==(const ProductLine&) const = default;
};

/// What ran, and where, by name: keys of a book, facts of a capture.
using BookKeys = std::map<std::string, std::string>;
/// "" where there is no such name.
std::string text_at(const BookKeys& keys, const std::string& name);
/// Multiprocessors of the GPU that the keys name, by which FlashAttention-2 chooses its splits;
/// kUsualMultiprocessors where they do not say.
std::int64_t multiprocessors_of(const BookKeys& keys);

struct ProductBook {
  std::string name;    // of the file, without ".book"
  std::string digest;  // 16 digits of the SHA-256 of its bytes
  BookKeys keys;
  std::vector<ProductLine> lines;        // by operand, outputs, inputs and rows
  std::vector<AttentionLine> attention;  // by shape
  /// nullptr where no line speaks of it.
  [[nodiscard]] const ProductLine* find(Format operand, std::int64_t outputs, std::int64_t inputs,
                                        std::int64_t rows) const;
};

/// Whether a book's engine was told to multiply 8-bit operands as they are (operands:fp8).
bool keeps_fp8(const ProductBook& book);
/// The operands by which a book's library takes a matrix of a mode, and the rows beside it: 8-bit
/// ones (`scaled`) as they are where it keeps_fp8(), else library_operand().
Format operand_of(const ProductBook& book, const Mode& mode, bool scaled);

/// The text of a file, lines sorted.
std::string text_of(const ProductBook& book);
/// Errors of a line have the place "NAME:line", those of the whole book NAME. Two lines that speak
/// of one product are an error.
Result<ProductBook> parse_product_book(const std::string& bytes, const std::string& name);
/// `file` relative to `folder`. One that this process has read is not read again.
Result<std::shared_ptr<const ProductBook>> read_product_book(const std::string& file,
                                                             const std::string& folder);

}  // namespace isobit
