"""Writes the seeds of the fuzz targets that no editor can write: files with lengths in them.

Usage: make_seeds.py [FOLDER]     default: corpus/ beside this script; one folder a target
Each seed is small and gets past the first checks, so that a fuzzer begins where the reader is deep.
The other files of the corpus are written by hand, or were found by a fuzzer and minimised.
"""
import json
import pathlib
import struct
import sys

U16, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 2, 4, 5, 6, 7, 8, 9, 10
F16, Q4_0, Q4_1, Q8_0, BF16 = 1, 2, 3, 8, 30
Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS = 6, 7, 10, 11, 12, 13, 14, 20, 23
# Bytes of a block and how many elements it holds, by GGUF's type number.
LAYOUT = {0: (4, 1), F16: (2, 1), Q4_0: (18, 32), Q4_1: (20, 32), Q8_0: (34, 32), BF16: (2, 1),
          Q5_0: (22, 32), Q5_1: (24, 32), Q2_K: (84, 256), Q3_K: (110, 256), Q4_K: (144, 256),
          Q5_K: (176, 256), Q6_K: (210, 256), IQ4_NL: (18, 32), IQ4_XS: (136, 256)}
TYPES = {bool: BOOL, int: U32, float: F32, str: STRING, list: ARRAY}
FORMATS = {U16: "<H", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}

GPT2 = ("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
QWEN2 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
OTHER_RULES = ("\\p{N}+", "[0-9][0-9][0-9]", "[\\p{P}\\$\\+<=>\\^~\\|]+")
TEXT = ("it's we'LL \u017f 1234 \u0663\u0664  +=$ (a)\r\n\n  b\u0301 e\u0301\u0323 "
        "\uac00\u11a8 \u1100\u1161 \u3000x\ud7a3 <s> \U0001f600")


def gguf_string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def gguf_value(value, kind=None):
    kind = TYPES[type(value)] if kind is None else kind
    if kind == STRING:
        return kind, gguf_string(value)
    if kind == ARRAY:
        inner = TYPES[type(value[0])] if value else U32
        return kind, struct.pack("<IQ", inner, len(value)) + b"".join(
            gguf_value(item, inner)[1] for item in value)
    return kind, struct.pack(FORMATS[kind], value)


def gguf(metadata, tensors, alignment=32, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, data = gguf_value(*value) if isinstance(value, tuple) else gguf_value(value)
        out += gguf_string(key) + struct.pack("<I", kind) + data
    data = b""
    for name, shape, kind in tensors:  # shape: innermost first
        data += b"\0" * (-len(data) % alignment)
        out += gguf_string(name) + struct.pack("<I", len(shape))
        out += b"".join(struct.pack("<Q", size) for size in shape)
        out += struct.pack("<IQ", kind, len(data))
        size, elements = LAYOUT[kind]
        count = 1
        for extent in shape:
            count *= extent
        data += b"\x3c" * (count // elements * size)
    return out + b"\0" * (-len(out) % alignment) + data


def model(family, kind=F16, tied=False, extra=(), heads=(1, 1), version=3, split=False,
          **metadata):
    """A whole model of one layer, as narrow as its blocks allow. heads: of queries, of K and V.
    split: in two parts, as gguf_fuzz.cc reads them."""
    width = max(8, LAYOUT[kind][1])
    mlp, head = LAYOUT[kind][1], 8 if heads[0] > 1 else width
    tokens = ["a", "b", "ab", "\u0120", "1", "<s>", "</s>", "un"]
    keys = {
        "general.alignment": 8, "general.architecture": family, "general.name": "seed",
        f"{family}.block_count": 1,
        f"{family}.context_length": 8, f"{family}.embedding_length": width,
        f"{family}.feed_forward_length": mlp, f"{family}.attention.head_count": heads[0],
        f"{family}.attention.layer_norm_rms_epsilon": 1e-5, f"{family}.rope.freq_base": 1e4,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.token_type": ([1, 1, 1, 1, 1, 3, 4, 5], ARRAY),
        "tokenizer.ggml.bos_token_id": 5, "tokenizer.ggml.eos_token_id": 6,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True,
        "tokenizer.chat_template": "{{ bos_token }}"}
    if heads[0] > 1:
        keys[f"{family}.attention.head_count_kv"] = heads[1]
        keys[f"{family}.attention.key_length"] = keys[f"{family}.attention.value_length"] = head
    keys.update({key.replace("__", "."): value for key, value in metadata.items()})
    query, cached = heads[0] * head, heads[1] * head
    rows = [("token_embd", [width, len(tokens)]), ("blk.0.attn_norm", [width]),
            ("blk.0.attn_q", [width, query]), ("blk.0.attn_k", [width, cached]),
            ("blk.0.attn_v", [width, cached]), ("blk.0.attn_output", [query, width]),
            ("blk.0.ffn_norm", [width]), ("blk.0.ffn_gate", [width, mlp]),
            ("blk.0.ffn_up", [width, mlp]), ("blk.0.ffn_down", [mlp, width]),
            ("output_norm", [width])]
    if not tied:
        rows.append(("output", [width, len(tokens)]))
    if family == "qwen3":
        rows += [("blk.0.attn_q_norm", [head]), ("blk.0.attn_k_norm", [head])]
    tensors = [(f"{name}.weight", shape, kind if len(shape) > 1 else 0) for name, shape in rows]
    if family == "qwen2":
        tensors += [(f"blk.0.attn_{part}.bias", [query if part == "q" else cached], 0)
                    for part in "qkv"]
    tensors += list(extra)
    if not split:
        return gguf(keys, tensors, 8, version)
    shares = [tensors[::2], tensors[1::2]]
    parts = [gguf((keys if no == 0 else {"general.alignment": 8}) | {
        "split.no": (no, U16), "split.count": (2, U16),
        "split.tensors.count": (len(tensors), I32)}, shares[no], 8) for no in range(2)]
    return b"S" + struct.pack("<I", len(parts[0])) + parts[0] + parts[1]


def gguf_seeds():
    yield "whole_llama", model("llama")
    yield "whole_llama_tied_q8_0", model("llama", Q8_0, tied=True)
    yield "whole_llama_q4_0", model("llama", Q4_0, tokenizer__ggml__pre="llama-bpe")
    yield "whole_llama_factors", model("llama", BF16, extra=[("rope_freqs.weight", [4], 0)])
    for name, kind in (("q5_0", Q5_0), ("q5_1", Q5_1), ("iq4_nl", IQ4_NL)):
        yield f"whole_llama_{name}", model("llama", kind, tied=True)
    # A super-block has 256 columns: the matrices of one layer that have as many, and few rows.
    for name, kind in (("q2_k", Q2_K), ("q3_k", Q3_K), ("q4_k", Q4_K), ("q5_k", Q5_K),
                       ("q6_k", Q6_K), ("iq4_xs", IQ4_XS)):
        yield f"rows_{name}", model("llama", extra=[("blk.0.ffn_down.bias", [256, 2], kind)],
                                    llama__block_count=1)
    yield "whole_llama_v2", model("llama", version=2)
    yield "whole_llama_split", model("llama", split=True)
    yield "rotated", model("llama", extra=[("blk.0.attn_rot_embd.weight", [4], 0)])
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "whole_qwen2", model("qwen2", Q4_1, tokenizer__ggml__pre="qwen2")
    yield "whole_qwen3", model("qwen3", BF16, tokenizer__ggml__pre="default")
    yield "bias_llama", model("llama", extra=[("blk.0.attn_q.bias", [8], 0)])
    yield "longrope", model("llama", llama__rope__scaling__original_context_length=4, extra=[
        ("rope_factors_long.weight", [4], 0), ("rope_factors_short.weight", [4], 0)])
    yield "longrope_half", model("llama", extra=[("rope_factors_long.weight", [4], 0)])
    yield "yarn", model("llama", llama__rope__scaling__factor=2.0,
                        llama__rope__scaling__type="yarn",
                        llama__rope__scaling__yarn_beta_fast=16.0,
                        llama__rope__scaling__original_context_length=4)
    yield "scaling", model("llama", llama__rope__scaling__factor=2.0,
                           llama__rope__scaling__type="linear", isobit__segments=16)
    yield "softcap", model("llama", llama__attn_logit_softcapping=30.0)
    yield "heads", model("llama", heads=(4, 2), llama__vocab_size=8)
    yield "nested", gguf({"n": [[[1, 2], [3]], [["a"], []]], "s": ["", "x"], "b": [True, False]},
                         [])
    yield "alignment", gguf({"general.alignment": 8, "general.architecture": "llama"},
                            [("t", [2, 1, 1, 2], 0)], 8)


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors_seeds():
    two = {"a": tensor("F32", [2], 0, 8), "b": tensor("F16", [2, 2, 1], 8, 16)}
    yield "two", safetensors(two, b"\x7f" * 16)
    yield "hole", safetensors({**two, "b": tensor("F32", [1], 12, 16)}, b"0" * 16)
    yield "left_over", safetensors(two, b"0" * 17)
    yield "backwards", safetensors({"a": tensor("F32", [2], 8, 0)}, b"0" * 8)
    yield "outside", safetensors({"a": tensor("F32", [2], 0, 8)}, b"0" * 4)
    yield "zeros", safetensors({"a": tensor("F64", [2 ** 40, 0, 2 ** 40], 0, 0),
                                "b": tensor("F8_E4M3", [0] * 8, 0, 0)}, b"")
    yield "huge", safetensors({"a": tensor("F64", [2 ** 48, 2 ** 48], 0, 8)}, b"0" * 8)
    yield "negative", safetensors({"a": tensor("F64", [-1], -8, 1.5)}, b"0" * 8)
    yield "dtype", safetensors({"a": tensor("I32", [1], 0, 4), "c": 1}, b"0" * 4)
    yield "unknown_key", safetensors({"a": {**two["a"], "x": None}}, b"0" * 8)
    yield "metadata", safetensors({"__metadata__": {"a": 1}}, b"")
    yield "escaped", safetensors(json.dumps({"\u00e9\n\"": tensor("BF16", [9], 0, 18)}).encode(),
                                 b"\xff" * 18)
    yield "twice", safetensors(b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":1}',
                               b"00")
    # Scales of 8-bit weights: one, one a row, one for 2 x 4 elements; what nothing reads.
    eight = {"a.weight": tensor("F8_E4M3", [3, 5], 0, 15)}
    yield "scale_of_tensor", safetensors(
        {**eight, "a.weight_scale": tensor("F32", [], 15, 19)}, bytes(range(19)))
    yield "scale_of_channels", safetensors(
        {**eight, "a.weight_scale": tensor("BF16", [3, 1], 15, 21),
         "a.input_scale": tensor("F16", [1], 21, 23)}, bytes(range(23)))
    yield "scale_of_blocks", safetensors(
        {**eight, "a.weight_scale_inv": tensor("F32", [2, 2], 15, 31)}, b"\x40" * 31)
    yield "other_types", safetensors(
        {"ids": tensor("I64", [1, 1], 0, 8), "mask": tensor("BOOL", [1, 1, 2, 2], 8, 12)},
        b"\1" * 12)
    yield "null_metadata", safetensors(b'{"__metadata__":null}', b"")
    yield "deep", safetensors(b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", b"")
    yield "zero_byte", safetensors(b'{"a":1}\0', b"")
    yield "no_length", struct.pack("<Q", 2 ** 63)


def tokenizer_file(steps, **changes):
    vocab = {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4, "1": 5, "\u010a": 6, "e": 7}
    file = {
        "added_tokens": [{"id": 8, "content": "<s>", "special": True, "rstrip": True},
                         {"id": 9, "content": "e\u0301", "normalized": True},
                         {"id": 10, "content": " ", "lstrip": True, "rstrip": True}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel"},
            {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}},
                        {"SpecialToken": {"id": "<s>"}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [8, 0]}}}]},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["a b", "\u0120 a"],
                  "unk_token": "e"}}
    file.update(changes)
    return file


def tokenizer_input(file, config, text=TEXT):
    parts = [json.dumps(file).encode(), json.dumps(config).encode() if config else b"",
             text.encode("utf-8", "surrogatepass")]
    return b"J" + b"\0".join(parts)


def tokenizer_seeds():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    prefix = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}

    def split(regex, behavior="Isolated", invert=False):
        return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior,
                "invert": invert}
    nfc = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    yield "json_qwen2", tokenizer_input(tokenizer_file([split(QWEN2), byte_level], normalizer=nfc),
                                        {"bos_token": None, "eos_token": {"content": "<s>"}})
    yield "json_gpt2", tokenizer_input(tokenizer_file([split(GPT2, "Removed", True), byte_level]),
                                       {"chat_template": [{"name": "default", "template": "{{"}]})
    yield "json_rules", tokenizer_input(
        tokenizer_file([split(regex) for regex in OTHER_RULES] +
                       [{"type": "Digits", "individual_digits": False}, prefix],
                       normalizer={"type": "NFC"}), {"bos_token": "<s>", "eos_token": "a"})
    yield "json_one_step", tokenizer_input(
        tokenizer_file([], pre_tokenizer=prefix, post_processor=None, added_tokens=None), None)
    growing = tokenizer_file([], pre_tokenizer=prefix)
    growing["added_tokens"] = [{"id": 8 + i, "content": f"<{i}>", "lstrip": i % 2 == 0}
                               for i in range(40)] + [{"id": 2, "content": "ab"}]
    growing["post_processor"] = None
    yield "json_many_added", tokenizer_input(growing, None, "<1><39> <2>ab <3>a")
    wrong = tokenizer_file([byte_level])
    wrong["model"] = {**wrong["model"], "merges": [["a", "b", "c"]], "dropout": 0.0}
    yield "json_bad_merge", tokenizer_input(wrong, None)
    yield "json_byte_fallback", tokenizer_input(
        tokenizer_file([byte_level], model={"type": "BPE", "byte_fallback": True}), None)
    yield "json_last_id", tokenizer_input(
        tokenizer_file([byte_level], added_tokens=[],
                       model={"type": "BPE", "vocab": {"a": 1023, "b": 0}, "merges": []},
                       post_processor=None), None)
    yield from character_seeds()
    yield "merges_nfc", (b"\x02e \xcc\x81,<\xff{% for\xffe\xcc\x81 \xea\xb0\x80\xe1\x86\xa8 "
                         b"\xff\xc0\xed")


def character_seeds():
    """Every step around BPE over characters and Unigram, the files beside, SentencePiece."""
    mark = "\u2581"
    vocab = {"<unk>": 0, "<s>": 1, mark: 2, "a": 3, "b": 4, "ab": 5, mark + "a": 6,
             **{f"<0x{byte:02X}>": 7 + at for at, byte in enumerate((0xc3, 0xa9, 0x0a))}}
    bpe = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
           "vocab": vocab, "merges": [["a", "b"], [mark, "a"]]}
    decoder = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": mark}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    normal = {"type": "Sequence", "normalizers": [
        {"type": "NFD"}, {"type": "Strip", "strip_left": True, "strip_right": False},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        {"type": "Prepend", "prepend": mark},
        {"type": "Replace", "pattern": {"String": " "}, "content": mark}]}
    added = [{"id": 1, "content": "<s>", "special": True},
             {"id": 10, "content": "ba", "single_word": True, "normalized": True}]
    steps = [{"type": "WhitespaceSplit"}, {"type": "Whitespace"},
             {"type": "Punctuation", "behavior": "Contiguous"},
             {"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithPrevious"},
             {"type": "Metaspace", "replacement": mark, "prepend_scheme": "first", "split": True}]
    text = "ab \u00e9<s> a.b ba\n\u4e2d <ab> e\u0301"
    file = {"model": bpe, "decoder": decoder, "normalizer": normal, "added_tokens": added,
            "truncation": {}, "pre_tokenizer": None, "post_processor": None}
    yield "json_llama2", tokenizer_input(file, {"eos_token": "</s>"}, text)
    yield "json_steps", tokenizer_input(
        {**file, "normalizer": None, "decoder": {"type": "Metaspace", "replacement": mark},
         "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}, None, text)
    # One entry, U+FB01 to "fi": a double array of 1024 units over its three bytes.
    unigram = {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
               "vocab": [["<unk>", 0], [mark, -2], ["a", -3], ["ab", -3.5], [mark + "a", -4.0]]}
    yield "json_unigram", tokenizer_input(
        {**file, "model": unigram, "added_tokens": [], "decoder": None,
         "normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAAAEAAAAAAAAYQA="},
         "pre_tokenizer": steps[4]}, None, text)
    parts = [json.dumps(part).encode() for part in (
        {**file, "added_tokens": added[:1]},
        {"bos_token": "<s>", "x_token": "<x>", "additional_special_tokens": [
            {"__type": "AddedToken", "content": "ab", "lstrip": True}]},
        {"eos_token": {"content": "</s>", "rstrip": True}}, {"<ab>": 11})]
    yield "folder", b"F" + b"\0".join(parts + [text.encode()])

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    def piece(token, score, kind=1):
        return field(1, field(1, token.encode()) + b"\x15" + struct.pack("<f", score) +
                     bytes([0x18, kind]))
    for name, kind in (("unigram", 1), ("bpe", 2)):
        proto = b"".join([piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("the", 0, 4),
                          piece(mark, -1), piece("a", -2), piece("b", -3), piece("ab", -4),
                          piece(mark + "a", -5), piece("<0xC3>", 0, 6)])
        proto += field(2, bytes([3 << 3, kind]) + b"\x98\x02\x01")
        proto += field(3, b"\x18\x01\x20\x01\x28\x01")
        yield f"spm_{name}", b"S" + struct.pack(">H", len(proto)) + proto + text.encode()
    yield "llama_scores", (b"\x30" + ",".join(["ab", "a", mark + "a", "b"]).encode() +
                            b"\xffab a\xc3\xa9 \xff b")


def text_bytes(text):
    return struct.pack("<Q", len(text)) + text


def observed():
    """By the order of visit_fields: texts, 64-bit numbers and booleans."""
    text, number, flag = text_bytes(b"cpu"), struct.pack("<q", 3), b"\1"
    return (text * 8 + number * 3 + flag + text + number * 17 + text * 3 + number * 3 + text * 2 +
            number * 5 + flag + text * 2)


def trace():
    token = struct.pack("<qii16sfi8i8f?7xd", 5, 1, 1, b"d" * 16, 0.5, 8, *range(8), *range(8), True,
                        2.5)
    seen = struct.pack("<qiB16s3x", 5, 0, 11, b"o" * 16)
    prompt = (text_bytes(b"p0") + b"t" * 32 + struct.pack("<q", 4) + text_bytes(b"42") +
              text_bytes(b"") + b"\1" + struct.pack("<Q", 1) + token + struct.pack("<Q", 1) + seen)
    return (b"\0" + text_bytes(b"") + observed() + b"\1" + struct.pack("<Q", 2) + prompt * 2 +
            struct.pack("<ddd", 1.5, 0.25, 0))


def wire_seeds():
    yield "observed", b"O" + observed()
    yield "trace", b"T" + trace()
    yield "result", (b"R" + struct.pack("<ii", 3, 1) + trace() +
                     struct.pack("<QiqQdiqQ", 2, 0, 5, 1, 0.5, 1, 2, 0))
    yield "job", (b"J" + struct.pack("<iiQQii", 3, 1, 2, 2, 7, 8) + struct.pack("<Q", 0) +
                  text_bytes(b"/tmp/s") + struct.pack("<Qiq", 1, 0, 9))
    yield "count", b"T\0" + text_bytes(b"") + observed() + b"\0" + struct.pack("<Q", 1 << 40)


def task_file(store, tensors, grids):
    """A file of task vectors without its digest; all codes are 0. grids: of each record."""
    (kind, bits), = store.items()
    tasks = ["a", "b"]
    widths = [bits] * 2 if kind == "tvq" else [bits[0], bits[1], bits[1]]
    header = json.dumps({"base": "0123456789abcdef" * 4, "store": store, "tasks": tasks,
                         "tensors": tensors}).encode()
    out = b"ISOTASK1" + struct.pack("<Q", len(header)) + header
    for _, shape in tensors:
        values = 1
        for size in shape:
            values *= size
        for width, grid in zip(widths, grids):
            out += struct.pack("<ff", *grid) + bytes((values * width + 7) // 8)
    return out


def task_seeds():
    two = [["a", [2, 3]], ["b", [5]]]
    some = [(0.5, -1), (0.25, 0.125), (1e-3, 1)]
    yield "tvq", task_file({"tvq": 3}, two, some)
    yield "rtvq", task_file({"rtvq": [3, 2]}, two, some)
    yield "wide", task_file({"rtvq": [8, 1]}, [["x", []], ["y", [1, 1, 9]]], some)
    yield "constant", task_file({"tvq": 1}, two, [(0, 0.5), (0, -0.0)])
    yield "far", task_file({"tvq": 8}, two, [(1, -2.0**32), (2.0**119, 2.0**126)])
    yield "not_finite", task_file({"tvq": 2}, two, [(float("inf"), 0), (1, float("nan"))])
    yield "truncated", task_file({"tvq": 4}, [["a", [2**40]]], [])[:-3]
    yield "long_header", b"ISOTASK1" + struct.pack("<Q", 1 << 63) + b"{}" + bytes(40)
    yield "text", json.dumps({"base": "m", "tasks": ["f/a", "g.tasks:b"],
                              "merge": {"arithmetic": -0.5}, "store": {"rtvq": [3, 2]}}).encode()
    yield "text_none", b'{"base":"m","tasks":[],"merge":"none","store":"none"}'
    yield "text_twice", b'{"base":"m","base":"n","tasks":[["a"]]}'


def npy(header, data, version=1):
    head = header.encode() + b"\n"
    return (b"\x93NUMPY" + bytes([version, 0]) +
            struct.pack("<H" if version == 1 else "<I", len(head)) + head + data)


def import_seeds():
    text = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }   "
    yield "npy_1", npy(text % ("<f4", "False", "(2, 3)"), struct.pack("<6f", *range(6)))
    yield "npy_2", npy(text % ("<f2", "False", "(1, 2)"), b"\0\x3c\0\x7e", 2)
    yield "npy_3", npy(text % ("<f8", "False", "(1, 1)"), struct.pack("<d", -0.0), 3)
    yield "npy_empty", npy(text % ("<f8", "False", "(0, 281474976710656)"), b"")
    yield "npy_no_columns", npy(text % ("<f4", "False", "(5, 0)"), b"")
    yield "npy_fortran", npy(text % ("<f4", "True", "(1, 1)"), b"1234")
    yield "npy_type", npy(text % (">f4", "False", "(1, 1)"), b"1234")
    yield "npy_overflow", npy(text % ("<f4", "False", "(4294967296, 4294967296)"), b"")
    yield "npy_dimensions", npy(text % ("<f4", "False", "(1,)"), b"1234")
    yield "npy_twice", npy("{'descr': '<f4', 'descr': '<f4'}", b"")
    yield "npy_short", npy(text % ("<f4", "False", "(2, 3)"), b"1234")
    yield "npy_header", b"\x93NUMPY\x01\0\xff\xff{"
    yield "npy_version", b"\x93NUMPY\x04\0\x01\0\0\0\n"


def main():
    folder = pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).parent / "corpus"
    targets = {"gguf": gguf_seeds, "safetensors": safetensors_seeds, "tokenizer": tokenizer_seeds,
               "wire": wire_seeds, "tasks": task_seeds, "import": import_seeds}
    for target, seeds in targets.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
