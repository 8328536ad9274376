#!/usr/bin/env python3
"""Writes the Unicode tables of the tokenizers: character classes, or normalisation (--nfc).

Usage (needs unicodedata2 == 16.0.0):
  make_unicode_tables.py       > runtime/tokenizer/unicode_tables.cc
  make_unicode_tables.py --nfc > runtime/tokenizer/unicode_tables_nfc.cc

The version is the one that Hugging Face tokenizers 0.23 uses, so that token ids agree on every
code point: its regular expressions (Oniguruma 6.9.10) know Unicode 16.0.0. Its Digits step uses
Rust's char::is_numeric instead, which is one version ahead; NUMERIC_17 is that difference. Its
Punctuation step knows Unicode 8 alone; NOT_PUNCTUATION_8 and PUNCTUATION_8 are that difference.
Its NFC is much older, Unicode 9.0.0. By Unicode's stability policy that is 16.0.0 without the
characters that are newer: NEW_SINCE_9 lists those that have a combining class or a decomposition.
A change of version changes token ids and is visible in every tokenizer's fingerprint.
"""
import sys

import unicodedata2

VERSION = "16.0.0"
NUMERIC_17 = [(0x11DE0, 0x11DE9), (0x16FF4, 0x16FF6)]  # category N in 17.0.0 and not in 16.0.0
LETTER, NUMBER, MARK, SPACE, PUNCTUATION, DIGITS = 1, 2, 4, 8, 16, 32
UPPER, LOWER, WORD, PUNCTUATION_STEP = 64, 128, 256, 512
CLASS_BITS = 10
BY_CATEGORY = {"L": LETTER, "N": NUMBER | DIGITS, "M": MARK, "Z": SPACE, "P": PUNCTUATION}
CONTROL_SPACES = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85}
COLUMNS = 9
# \w is what is alphabetic, a mark, a decimal digit, a connector or a joiner; of what is alphabetic
# these alone are neither letters nor marks nor numbers.
WORD_SYMBOLS = "24B6-24E9 1F130-1F149 1F150-1F169 1F170-1F189 200C-200D"
# The Punctuation step knows the punctuation of Unicode 8 (and ASCII's symbols).
NOT_PUNCTUATION_8 = """
61D 9FD A76 C77 C84 1B4E-1B4F 1B7D-1B7F 2E43-2E4F 2E52-2E5D 10D6E 10EAD 10F55-10F59 10F86-10F89
113D4-113D5 113D7-113D8 1144B-1144F 1145A-1145B 1145D 11660-1166C 116B9 1183B 11944-11946 119E2
11A3F-11A46 11A9A-11A9C 11A9E-11AA2 11B00-11B09 11BE1 11C41-11C45 11C70-11C71 11EF7-11EF8
11F43-11F4F 11FFF 12FF1-12FF2 16D6D-16D6F 16E97-16E9A 16FE2 1E5FF 1E95E-1E95F
"""
PUNCTUATION_8 = "166D 111C9"
NFC_VERSION = "9.0.0"
NEW_SINCE_9 = """
7FD 897-89F 8CA-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1ACE 1DF6-1DFA A82C 105C9 105E4 10D24-10D27
10D69-10D6D 10EAB-10EAC 10EFD-10EFF 10F46-10F50 10F82-10F85 11070 1133B 11383 11385 1138E 11391
113C5 113C7-113C8 113CE-113D0 1145E 11839-1183A 11938 1193D-1193E 11943 119E0 11A34 11A47 11A99
11D42 11D44-11D45 11D97 11F41-11F42 16121-16128 1612F 16D68-16D6A 16FF0-16FF1 1E08F 1E130-1E136
1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF
"""


def codes_of(ranges: str) -> set:
    """The code points of "1F130-1F149 200C"."""
    out = set()
    for part in ranges.split():
        first, _, last = part.partition("-")
        out.update(range(int(first, 16), int(last or first, 16) + 1))
    return out


IN_WORD = codes_of(WORD_SYMBOLS)
NOT_IN_STEP, IN_STEP = codes_of(NOT_PUNCTUATION_8), codes_of(PUNCTUATION_8)


def class_of(code: int) -> int:
    category = unicodedata2.category(chr(code))
    bits = BY_CATEGORY.get(category[0], 0)
    if category in ("Lu", "Lt"):
        bits |= UPPER
    if category == "Ll":
        bits |= LOWER
    if category[0] in "LM" or category in ("Nd", "Nl", "Pc") or code in IN_WORD:
        bits |= WORD
    punctuation = category[0] == "P" or (code < 0x80 and category[0] == "S")
    if (punctuation and code not in NOT_IN_STEP) or code in IN_STEP:
        bits |= PUNCTUATION_STEP
    if code in CONTROL_SPACES:
        bits |= SPACE
    if any(first <= code <= last for first, last in NUMERIC_17):
        bits |= DIGITS
    return bits


def runs():
    """(first code point, class) of each stretch of equal class, from U+0000 on."""
    previous = None
    for code in range(0x110000):
        bits = class_of(code)
        if bits != previous:
            yield code, bits
            previous = bits


def in_nfc():
    """Code points that NFC_VERSION knows, surrogates and Hangul syllables left out."""
    new = codes_of(NEW_SINCE_9)
    for code in range(0x110000):
        if code not in new and not 0xD800 <= code <= 0xDFFF and not 0xAC00 <= code <= 0xD7A3:
            yield code


def combining_runs():
    """(first code point, combining class) of each stretch of equal class, from U+0000 on."""
    combining = {code: unicodedata2.combining(chr(code)) for code in in_nfc()}
    previous = None
    for code in range(0x110000):
        if combining.get(code, 0) != previous:
            previous = combining.get(code, 0)
            yield code, previous


def decompositions():
    """Composable bit << 63 | second << 42 | first << 21 | code point, by code point."""
    for code in in_nfc():
        parts = unicodedata2.decomposition(chr(code))
        if not parts or parts.startswith("<"):
            continue
        first, second = (int(part, 16) for part in (parts + " 0").split()[:2])
        composable = second != 0 and unicodedata2.normalize("NFC", chr(code)) == chr(code)
        yield composable << 63 | second << 42 | first << 21 | code


def print_rows(name, count, entries):
    print(f"const {name}[{count}] = {{  // {len(entries)}")
    row = ""
    for entry in entries:
        if len(row) + len(entry) + 1 > 100:
            print(row)
            row = ""
        row += entry + ","
    print(row + "\n};")


def print_nfc() -> None:
    print("// Canonical decompositions and combining classes. Generated by")
    print(f"// ci/checks/make_unicode_tables.py --nfc for Unicode {NFC_VERSION}; do not edit. "
          "The layout")
    print("// is described in unicode_tables.h. Only tokenizer/nfc.cc may refer to it.")
    print('#include "runtime/tokenizer/unicode_tables.h"\n')
    print("namespace isobit {\n")
    print(f'const char* const kNfcUnicodeVersion = "{NFC_VERSION}";\n')
    print("// clang-format off")
    print_rows("std::uint32_t kCombiningRuns", "kCombiningRunCount",
               [f"0x{code << 8 | value:x}" for code, value in combining_runs()])
    print_rows("std::uint64_t kDecompositions", "kDecompositionCount",
               [f"0x{entry:x}" for entry in decompositions()])
    print("// clang-format on\n")
    print("}  // namespace isobit")


def main() -> int:
    if unicodedata2.unidata_version != VERSION:
        print(f"need unicodedata2 {VERSION}, have {unicodedata2.unidata_version}", file=sys.stderr)
        return 1
    if sys.argv[1:] == ["--nfc"]:
        print_nfc()
        return 0
    table = [f"0x{code << CLASS_BITS | bits:08x}" for code, bits in runs()]
    print("// Character classes by runs of code points. "
          "Generated by ci/checks/make_unicode_tables.py")
    print(f"// from the Unicode Character Database {VERSION}; do not edit. "
          "Entry: first code point of")
    print("// the run << 10 | class bits of unicode_tables.h. "
          "Only unicode_tables.h may refer to it.")
    print('#include "runtime/tokenizer/unicode_tables.h"\n')
    print('#include "runtime/tokenizer/tokenizer.h"\n')
    print("namespace isobit {\n")
    print(f'const char* const kUnicodeVersion = "{VERSION}";\n')
    print("// clang-format off")
    print(f"const std::uint32_t kClassRuns[kClassRunCount] = {{  // {len(table)} runs")
    for at in range(0, len(table), COLUMNS):
        print(",".join(table[at:at + COLUMNS]) + ",")
    print("};")
    print("// clang-format on\n")
    print("}  // namespace isobit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
