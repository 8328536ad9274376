#!/usr/bin/env python3
"""Writes tests/unit/runtime/tokenizer/tokenizer_vectors.inc: what Hugging Face tokenizers gives.

Usage: make_token_vectors.py > tests/unit/runtime/tokenizer/tokenizer_vectors.inc
Needs the package `tokenizers`.

Three things: a small byte-level BPE model trained on the texts of check_tokens.py; for each of
these texts a digest of its ids under every variant; for each splitting rule a digest of the pieces
of every code point in a context, and for NFC one of its normal forms there. Digests are FNV-1a
steps over whole numbers, see step().
"""
import json
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, __version__, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

import check_tokens

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"


def isolate(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


RULES = {
    "gpt2": isolate(GPT2), "llama3": isolate(LLAMA3), "qwen2": isolate(QWEN2),
    "digits_each": pre_tokenizers.Digits(individual_digits=True),
    "digits_runs": pre_tokenizers.Digits(individual_digits=False),
    "number_runs": isolate(r"\p{N}+"), "digit_triples": isolate("[0-9][0-9][0-9]"),
    "punctuation_runs": isolate(PUNCTUATION),
}


def step(digest, value, bits):
    prime = 0x100000001b3 if bits == 64 else 0x01000193
    return ((digest ^ value) * prime) & ((1 << bits) - 1)


def pieces_digest(rule):
    digest = 0xcbf29ce484222325
    for code in range(0x110000):
        if 0xD800 <= code <= 0xDFFF:
            continue
        c = chr(code)
        text = f"a{c}b 1{c}2 {c} {c}{c}\n"
        ends, total = [0], 0
        for char in text:
            total += len(char.encode())
            ends.append(total)
        for _, (_, end) in RULES[rule].pre_tokenize_str(text):
            digest = step(digest, ends[end], 64)
    return digest


def nfc_digest():
    digest, normalize = 0xcbf29ce484222325, normalizers.NFC().normalize_str
    for code in range(0x110000):
        if 0xD800 <= code <= 0xDFFF:
            continue
        c = chr(code)
        for char in normalize(f"{c}a{c}\u0301\u0327{c}\u1100{c}\u1161{c}\u11a8"):
            digest = step(digest, ord(char), 64)
    return digest


def ids_digest(ids):
    digest = 0x811c9dc5
    for value in ids:
        digest = step(digest, value, 32)
    return digest


def byte_level(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def trained_model(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.train_from_iterator(texts * 2, trainers.BpeTrainer(
        vocab_size=520, show_progress=False, initial_alphabet=byte_level().alphabet()))
    return json.loads(tokenizer.to_str())["model"]


def variants(model):
    plain = [AddedToken(t, special=True, normalized=False) for t in ("<|im_start|>", "<|im_end|>")]
    odd = [AddedToken("<l>", lstrip=True, normalized=False), AddedToken("ab", normalized=False),
           AddedToken("<r>", rstrip=True, normalized=False), AddedToken("abcd", normalized=False),
           AddedToken("bcde", normalized=False), AddedToken("e\u0301t", normalized=True)]
    digits = pre_tokenizers.Digits(individual_digits=True)
    ends = processors.TemplateProcessing(single="<|im_start|> $A <|im_end|>", pair="$A $B",
                                         special_tokens=[("<|im_start|>", 520),
                                                         ("<|im_end|>", 521)])
    sequence = pre_tokenizers.Sequence
    table = [  # name, pre-tokenizer, normalizer, post-processor, added tokens, ignore_merges
        ("smollm", sequence([digits, byte_level()]), None, None, plain, False),
        ("gpt2_prefix", byte_level(prefix=True), None, processors.ByteLevel(), plain, False),
        ("llama3", sequence([isolate(LLAMA3), byte_level(regex=False)]), None,
         processors.Sequence([processors.ByteLevel(), ends]), plain, True),
        ("qwen2", sequence([isolate(QWEN2), byte_level(regex=False)]), normalizers.NFC(), None,
         plain, False),
        ("odd", sequence([digits, byte_level()]), normalizers.NFC(), None, plain + odd, False),
    ]
    for name, pre, normal, post, added, ignore in table:
        text = json.dumps({**model, "ignore_merges": ignore})
        tokenizer = Tokenizer(models.BPE())
        tokenizer = Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()),
                                                   "model": json.loads(text)}))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
        if normal:
            tokenizer.normalizer = normal
        tokenizer.add_tokens(added)
        if post:
            tokenizer.post_processor = post
        yield name, tokenizer


def c_string(text):
    """`text` as a C++ string literal; octal escapes, since they end after three digits."""
    shown = ""
    for byte in text.encode():
        plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        shown += chr(byte) if plain else f"\\{byte:03o}"
    return '"' + shown + '"'


def raw(text, width=82):
    lines = [text[at:at + width] for at in range(0, len(text), width)]
    return "\n".join(f'    R"json({line})json"' for line in lines)


def all_texts():
    extra = ["a <l> b", "<r>  x", "x <r>\n<l> y", "<l> <l>", "abcde", "ababcd", "e\u0301t \u00e9t",
             "\u1100\u1161\u11a8", "q\u0307\u0323", "\u212b", "\u0344", "\u2126<l>"]
    return list(dict.fromkeys(t for t in check_tokens.hand_made() + extra if len(t) < 400))


def bytes_model():
    return trained_model(all_texts())


def main():
    texts, model = all_texts(), bytes_model()
    made = list(variants(model))
    print("// Generated by tests/integration/make_token_vectors.py from Hugging Face tokenizers")
    print(f"// {__version__}; do not edit. Included by tokenizer_test.cc and pretokenize_test.cc.")
    print("struct RuleDigest {\n  const char* rule;\n  std::uint64_t digest;\n};")
    print("constexpr RuleDigest kRuleDigests[] = {")
    for rule in RULES:
        print(f'    {{"{rule}", 0x{pieces_digest(rule):016x}}},')
    print(f'    {{"nfc", 0x{nfc_digest():016x}}},')
    print("};\nconstexpr char kModel[] =")
    print(raw(json.dumps(model, separators=(",", ":"))) + ";")
    print("struct Variant {\n  const char* name;\n  const char* before_model;\n};")
    print("constexpr Variant kVariants[] = {")
    for name, tokenizer in made:
        head = {k: v for k, v in json.loads(tokenizer.to_str()).items() if k != "model"}
        print(f'    {{"{name}",\n' + raw(json.dumps(head, separators=(",", ":"))[:-1]) + "},")
    print("};\nstruct TextDigests {\n  std::string_view text;")
    print(f"  std::uint32_t digests[{len(made)}];\n}};")
    print("inline const TextDigests kTexts[] = {")
    for text in texts:
        digests = ", ".join(f"0x{ids_digest(t.encode(text).ids):08x}" for _, t in made)
        print(f"    {{{{{c_string(text)}, {len(text.encode())}}}, {{{digests}}}}},")
    print("};")
    return 0


if __name__ == "__main__":
    sys.exit(main())
