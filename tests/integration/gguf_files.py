"""Model files without a package: safetensors read and written, GGUF written.

A tensor is (shape, bytes), the shape outermost first. What is written as safetensors is F32. The
names of GGUF's tensors and the order of their rows are those of llama.cpp's converter.
"""
import json
import re
import struct

import tiny_project

U16, U32, F32, STRING, ARRAY = 2, 4, 6, 8, 9  # GGUF's types of metadata


def read_safetensors(path):
    """{name: (shape, bytes)}"""
    data = path.read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["shape"], data[8 + size:][slice(*t["data_offsets"])])
            for name, t in header.items()}


def write_safetensors(path, tensors):
    header, blob = {}, b""
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def entry(key, kind, value):
    """A line of GGUF's metadata; an array comes as bytes."""
    packed = {U16: "<H", U32: "<I", F32: "<f"}
    if kind in packed:
        value = struct.pack(packed[kind], value)
    elif kind == STRING:
        value = string(value)
    return string(key) + struct.pack("<I", kind) + value


GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    # routers, and the matrices of all experts on top of each other
    "mlp.gate": "ffn_gate_inp", "block_sparse_moe.gate": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps", "block_sparse_moe.experts.w1": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps", "block_sparse_moe.experts.w3": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps", "block_sparse_moe.experts.w2": "ffn_down_exps",
    # GPT-2
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down"}
# Families whose layers also have norms of outputs, where the same name says another place.
OUTPUT_NORMS = {"post_attention_layernorm": "post_attention_norm",
                "pre_feedforward_layernorm": "ffn_norm",
                "post_feedforward_layernorm": "post_ffw_norm"}
LAYER = re.compile(r"(?:model\.layers|transformer\.h)\.(\d+)\.(.+)")


def gguf_name(name, others=None):
    """`others`: names of a family that has its own."""
    names = GGUF_NAMES | (others or {})
    stem, suffix = name.rsplit(".", 1)
    layer = LAYER.fullmatch(stem)
    return f"blk.{layer[1]}.{names[layer[2]]}.{suffix}" if layer else f"{names[stem]}.{suffix}"


def rows_of(shape, data):
    """The rows of a matrix, or the numbers of a vector."""
    size = len(data) // shape[0]
    return [data[i:i + size] for i in range(0, len(data), size)]


def interleaved(shape, data, heads):
    """llama.cpp's order of q's and k's rows: halves of a head become neighbours."""
    rows = rows_of(shape, data)
    d = len(rows) // heads
    return b"".join(rows[h * d + a * (d // 2) + i]
                    for h in range(heads) for i in range(d // 2) for a in range(2))


def write_gguf_file(path, entries, tensors, version=3):
    """`entries`: of entry(); `tensors`: {GGUF's name: (shape, ggml type, bytes)}."""
    records, blob = b"", b""
    for name, (shape, kind, data) in tensors.items():
        blob += b"\0" * (-len(blob) % 32)
        records += string(name) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, len(blob))
        blob += data
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    head += b"".join(entries) + records
    path.write_bytes(head + b"\0" * (-len(head) % 32) + blob)


def write_gguf(path, tensors, layers=tiny_project.LAYERS, version=3, part=None):
    """A Llama of tiny_project's sizes. `layers`: what block_count says. `part`: (which, of how
    many) of a split model; only the first has the metadata."""
    c = tiny_project.CONFIG
    entries = [entry("general.architecture", STRING, "llama"),
               entry("tokenizer.ggml.model", STRING, "gpt2"),
               entry("tokenizer.ggml.pre", STRING, "gpt-2")]
    for key, value in [("block_count", layers), ("context_length", 256),
                       ("embedding_length", c["hidden_size"]),
                       ("feed_forward_length", c["intermediate_size"]),
                       ("attention.head_count", c["num_attention_heads"]),
                       ("attention.head_count_kv", c["num_key_value_heads"])]:
        entries.append(entry(f"llama.{key}", U32, value))
    for key, value in [("attention.layer_norm_rms_epsilon", c["rms_norm_eps"]),
                       ("rope.freq_base", c["rope_theta"])]:
        entries.append(entry(f"llama.{key}", F32, value))
    tokens = ["a", *(f"t{i}" for i in range(1, c["vocab_size"]))]
    entries.append(entry("tokenizer.ggml.tokens", ARRAY,
                         struct.pack("<IQ", STRING, len(tokens)) + b"".join(map(string, tokens))))
    if part:
        entries = (entries if part[0] == 0 else []) + [
            entry("split.no", U16, part[0]), entry("split.count", U16, part[1])]
    written = {}
    for name, (shape, data) in tensors.items():
        if ".q_proj." in name or ".k_proj." in name:
            data = interleaved(shape, data, tiny_project.HEADS)
        written[gguf_name(name)] = (shape, 0, data)
    write_gguf_file(path, entries, written, version)
