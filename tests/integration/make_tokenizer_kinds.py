#!/usr/bin/env python3
"""Writes the vectors of the tokenizers that are not byte-level BPE.

Usage: make_tokenizer_kinds.py FOLDER, FOLDER being tests/unit/runtime/tokenizer. Needs the packages
tokenizers, sentencepiece, protobuf and transformers.

kinds_vectors.inc: small tokenizer.json files trained here, one a kind, and digests of their ids.
spm_vectors.inc: small tokenizer.model files with the ids of transformers, and one of them with
SentencePiece's own ids, which are llama.cpp's for the same vocabulary in GGUF. Digests as in
make_token_vectors.py.
"""
import base64
import io
import json
import os
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, __version__, models, trainers
from tokenizers import decoders as D, normalizers as N, pre_tokenizers as P

import check_tokens
import make_token_vectors as plain
from make_token_vectors import c_string, ids_digest, raw

U, L = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT4O = (rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+{SHORT}|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*{SHORT}"
         r"|\p{N}{1,3}" + REST)
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{U}*{L}+|[^\r\n\p{{L}}\p{{N}}]?{U}+{L}*|\p{{N}}" + REST
MARK = "\u2581"
FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]
ENDS = ["<unk>", "<s>", "</s>"]
EXTRA = ["HTTPServer runs IT'S x86/64", "  two  spaces ", "a<s>b</s> c", "<0x41>",
         "\ufb01\u2460 \uff21", "e\u0301 \u200d \u200b", "the and ing tion\n\n",
         "\u2581 \u2581a", "<ab> the<ab>", "x<unk>y", "ab\u0e33 \u01c5 \u02b0 \u017f",
         "\x00\x01", " ", ""]
CORPUS = check_tokens.hand_made() + ["the cat sat on the mat and the dog ran to the house"] * 3


def texts():
    return list(dict.fromkeys(t for t in EXTRA + check_tokens.hand_made()[::2] if len(t) < 120))


def with_ends(tokenizer):
    """The byte tokens are no added tokens, as in published files."""
    value = json.loads(tokenizer.to_str())
    value["added_tokens"] = [t for t in value["added_tokens"] if t["id"] < 3]
    return Tokenizer.from_str(json.dumps(value))


def character_model():
    """One vocabulary for all kinds of BPE over characters."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = N.Sequence([N.Prepend(MARK), N.Replace(" ", MARK)])
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=370, limit_alphabet=45, show_progress=False, special_tokens=ENDS + FALLBACK))
    return json.loads(with_ends(tokenizer).to_str())


def of_characters(base, normal, pre, decoder, fallback=True):
    value = json.loads(json.dumps(base))
    value["model"]["byte_fallback"] = fallback
    tokenizer = Tokenizer.from_str(json.dumps({**value, "normalizer": None}))
    if normal:
        tokenizer.normalizer = normal
    if pre:
        tokenizer.pre_tokenizer = pre
    if decoder:
        tokenizer.decoder = decoder
    return tokenizer


def unigram(normal, pre, decoder, fallback):
    tokenizer = Tokenizer(models.Unigram())
    if normal:
        tokenizer.normalizer = normal
    tokenizer.pre_tokenizer = pre
    ascii_only = [text for text in CORPUS if text.isascii()]
    tokenizer.train_from_iterator(ascii_only, trainers.UnigramTrainer(
        vocab_size=120, special_tokens=ENDS, unk_token="<unk>", show_progress=False))
    value = json.loads(tokenizer.to_str())
    if fallback:
        value["model"]["vocab"] += [[token, -12.5] for token in FALLBACK]
        value["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(value))
    tokenizer.decoder = decoder
    return tokenizer


def of_bytes(model, regex, behavior, invert):
    value = json.loads(Tokenizer(models.BPE()).to_str())
    tokenizer = Tokenizer.from_str(json.dumps({**value, "model": model}))
    tokenizer.pre_tokenizer = P.Sequence([P.Split(Regex(regex), behavior, invert),
                                          plain.byte_level(regex=False)])
    tokenizer.decoder = D.ByteLevel()
    return tokenizer


def kinds(base, bytes_model):
    strip = [D.Replace(MARK, " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]
    legacy = N.Sequence([N.Prepend(MARK), N.Replace(" ", MARK)])
    yield "llama2", of_characters(base, legacy, None, D.Sequence(strip))
    yield "mistral", of_characters(base, None, P.Metaspace(prepend_scheme="first", split=False),
                                   D.Sequence(strip))
    yield "gemma", of_characters(base, N.Replace(" ", MARK), P.Split(" ", "merged_with_previous"),
                                 D.Sequence(strip[:3]))
    yield "metaspace", of_characters(base, N.Sequence([N.NFD(), N.Strip()]), P.Metaspace(),
                                     D.Metaspace(), False)
    words = of_characters(base, None, P.Sequence([P.Whitespace(),
                                                  P.Punctuation("merged_with_next")]), None, False)
    words.add_tokens([AddedToken("the", single_word=True)])
    yield "words", words
    yield "unigram", unigram(N.Sequence([N.NFC(), N.Replace(Regex(" {2,}"), " ")]), P.Metaspace(),
                             D.Metaspace(), False)
    yield "unigram_bytes", unigram(None, P.Metaspace(prepend_scheme="first", split=False),
                                   D.Sequence(strip[:3]), True)
    yield "gpt4o", of_bytes(bytes_model, GPT4O, "removed", True)
    yield "tekken", of_bytes(bytes_model, TEKKEN, "isolated", False)


def head(name, version):
    print(f"// Generated by tests/integration/make_tokenizer_kinds.py from {version};")
    print(f"// do not edit. Included by {name}.")


def print_texts(columns, names):
    print(f"struct {columns}Text {{\n  std::string_view text;\n  std::uint32_t ids[{len(names)}];")
    print(f"}};\ninline const {columns}Text k{columns}Texts[] = {{")
    for text in texts():
        row = ", ".join(f"0x{ids_digest(encode(text)):08x}" for encode in names)
        print(f"    {{{{{c_string(text)}, {len(text.encode())}}}, {{{row}}}}},")
    print("};")


def print_kinds():
    head("kinds_test.cc", f"Hugging Face tokenizers {__version__}")
    plain.RULES = {"gpt4o": plain.isolate(GPT4O), "tekken": plain.isolate(TEKKEN),
                   "punctuation": P.Punctuation("isolated")}
    print("struct MoreDigest {\n  const char* rule;\n  std::uint64_t digest;\n};")
    print("constexpr MoreDigest kMoreDigests[] = {")
    for rule in plain.RULES:
        print(f'    {{"{rule}", 0x{plain.pieces_digest(rule):016x}}},')
    base, bytes_model = character_model(), plain.bytes_model()
    print("};\nconstexpr char kCharacterModel[] =")
    print(raw(json.dumps(base["model"], separators=(",", ":"))) + ";")
    print("/// The model: kCharacterModel (\"c\", \"u\" without byte_fallback), kModel (\"b\"), or")
    print("/// as it stands.\nstruct Kind {\n  const char* name;\n  const char* before_model;")
    print("  const char* model;\n};\nconstexpr Kind kKinds[] = {")
    encoders = []
    for name, tokenizer in kinds(base, bytes_model):
        value = json.loads(tokenizer.to_str())
        model = value.pop("model")
        bytes_kind, unigram_kind = name in ("gpt4o", "tekken"), name.startswith("unigram")
        shown = '"b"' if bytes_kind else ("\n" + raw(json.dumps(model, separators=(",", ":")))
                                          if unigram_kind else
                                          '"c"' if model["byte_fallback"] else '"u"')
        print(f'    {{"{name}",\n' + raw(json.dumps(value, separators=(",", ":"))[:-1]) + ", "
              + shown + "},")
        encoders.append(lambda text, made=tokenizer: made.encode(text).ids)
    print("};")
    print_texts("Kind", encoders)


def spm(kind, **options):
    out = io.BytesIO()
    lines = [line for text in CORPUS for line in text.split("\n") if line.isascii()]
    lines += ["\u00e9\u00e0 \u4e2d\u6587 \u65e5\u672c"] * 3
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type=kind, hard_vocab_limit=False,
        minloglevel=2, character_coverage=0.98, **options)
    return out.getvalue()


def of_transformers(model, config):
    from transformers import AutoTokenizer
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tokenizer.model"), "wb") as file:
            file.write(model)
        for name, value in (("tokenizer_config.json", config), ("config.json",
                                                                {"model_type": "mixtral"})):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump({**config, **value, "tokenizer_class": "PreTrainedTokenizerFast"}, file)
        return AutoTokenizer.from_pretrained(folder)


def print_spm():
    head("kinds_test.cc", f"transformers and SentencePiece {sentencepiece.__version__}")
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as rules:
        rules.write("FB01\t66 69\n2460\t31\nFF21\t41\nA0\t20\n65 301\tE9\n200B\t20\n301\t\n"
                    "E33\t65\n")
        rules.flush()
        table = [
            ("bpe", "bpe", {"vocab_size": 420, "byte_fallback": True,
                            "normalization_rule_name": "identity",
                            "remove_extra_whitespaces": False}, {"add_bos_token": True}),
            ("bpe_user", "bpe", {"vocab_size": 430, "byte_fallback": True,
                                 "normalization_rule_tsv": rules.name,
                                 "user_defined_symbols": ["<ab>", "the"]},
             {"legacy": False, "add_eos_token": True}),
            ("unigram", "unigram", {"vocab_size": 160, "normalization_rule_tsv": rules.name,
                                    "control_symbols": ["<ctl>"]}, {}),
        ]
        made = [(name, spm(kind, **options), config) for name, kind, options, config in table]
    print("struct SpmModel {\n  const char* name;\n  const char* config;")
    print("  const char* file;  // base 64")
    print("};\nconstexpr SpmModel kSpmModels[] = {")
    encoders = []
    for name, model, config in made:
        print(f'    {{"{name}", R"json({json.dumps(config)})json",\n'
              + raw(base64.b64encode(model).decode()) + "},")
        tokenizer = of_transformers(model, config)
        encoders.append(lambda text, made=tokenizer: made(text)["input_ids"])
    print("};")
    own = sentencepiece.SentencePieceProcessor(model_proto=made[0][1])
    count = own.get_piece_size()
    types = [2 if own.is_unknown(i) else 3 if own.is_control(i) else 6 if own.is_byte(i) else 1
             for i in range(count)]
    print("constexpr char kSpmTypes[] =\n" + raw("".join(str(t) for t in types)) + ";")
    print("constexpr float kSpmScores[] = {")
    for at in range(0, count, 12):
        scores = [own.get_score(i) for i in range(at, min(at + 12, count))]
        print("    " + " ".join(f"{s:g}F," if s % 1 else f"{s:.1f}F," for s in scores))
    print("};")
    encoders.append(own.encode)
    print_texts("Spm", encoders)


def main():
    for name, write in (("kinds_vectors.inc", print_kinds), ("spm_vectors.inc", print_spm)):
        kept, sys.stdout = sys.stdout, io.StringIO()
        write()
        text, sys.stdout = sys.stdout.getvalue(), kept
        with open(os.path.join(sys.argv[1], name), "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
