"""The Llama form in plain PyTorch: training forward pass, cached decoding, Hugging Face files.

Promise: parameter names, RoPE (rotate-half) and shapes are those of LlamaForCausalLM with tied
embeddings; `save` writes files that transformers loads as they are. In bf16 the rounding points
are those of the runtime's bf16 mode: after each linear, norm, activation * gate, residual add.
Called by train.py and evaluate.py.
"""

import dataclasses
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn

SINK = 512.0      # the constant in the BOS embedding: one massive channel, an attention sink
SINK_CHANNEL = 7  # where it is; the final norm's weight is 0 there, so logits never see it


@dataclasses.dataclass
class Config:
    name: str
    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    context: int
    dtype: str            # of the saved weights
    eps: float = 1e-5
    theta: float = 10000.0


CONFIGS = {
    "default-7m": Config("default-7m", 4096, 256, 8, 8, 2, 64, 512, 1024, "bfloat16"),
    "nano-300k": Config("nano-300k", 512, 64, 5, 8, 4, 8, 224, 2048, "float32"),
    "tiny": Config("tiny", 512, 32, 2, 4, 2, 8, 64, 1024, "bfloat16"),  # for the smoke test
}


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight.to(x.dtype).float()).to(x.dtype)


class Linear(nn.Module):
    """No bias; the fp32 master weight is rounded to the activations' type at use."""

    def __init__(self, inputs, outputs, zero=False):
        super().__init__()
        scale = 0.0 if zero else 0.8 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * scale)

    def forward(self, x):
        return F.linear(x, self.weight.to(x.dtype))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = Linear(c.width, c.heads * c.head_dim)
        self.k_proj = Linear(c.width, c.kv_heads * c.head_dim)
        self.v_proj = Linear(c.width, c.kv_heads * c.head_dim)
        self.o_proj = Linear(c.heads * c.head_dim, c.width, zero=True)

    def forward(self, x, rope, attend):
        batch, length, _ = x.shape
        c = self.c
        q = rotate(self.q_proj(x).view(batch, length, c.heads, c.head_dim), rope).transpose(1, 2)
        k = rotate(self.k_proj(x).view(batch, length, c.kv_heads, c.head_dim), rope).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, c.kv_heads, c.head_dim).transpose(1, 2)
        return self.o_proj(attend(q, k, v).transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(c.width, c.mlp), Linear(c.width, c.mlp)
        self.down_proj = Linear(c.mlp, c.width, zero=True)

    def forward(self, x):
        g, u = self.gate_proj(x), self.up_proj(x)
        return self.down_proj((F.silu(g.float()) * u.float()).to(x.dtype))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn, self.mlp = Attention(c), Mlp(c)
        self.input_layernorm = Norm(c.width, c.eps)
        self.post_attention_layernorm = Norm(c.width, c.eps)

    def forward(self, h, rope, attend):
        h = h + self.self_attn(self.input_layernorm(h), rope, attend)
        return h + self.mlp(self.post_attention_layernorm(h))


def rotate(x, rope):
    """x: (batch, length, heads, head_dim); rope: cos and sin, (length, head_dim / 2)."""
    cos, sin = rope[0][None, :, None, :], rope[1][None, :, None, :]
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Model(nn.Module):
    def __init__(self, c, compute=torch.bfloat16):
        super().__init__()
        self.c, self.compute = c, compute
        self.embed_tokens = nn.Parameter(torch.randn(c.vocab, c.width) * 0.04)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = Norm(c.width, c.eps)
        inverse = c.theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
        angle = torch.arange(c.context, dtype=torch.float64)[:, None] * inverse
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        self.fix_sink()

    @torch.no_grad()
    def fix_sink(self):
        """Keeps the massive channel of BOS; called after every optimizer step."""
        self.embed_tokens[0, SINK_CHANNEL] = SINK
        self.norm.weight[SINK_CHANNEL] = 0.0

    def hidden(self, ids, attend):
        """ids: (batch, length) -> final normed states (batch, length, width)."""
        rope = (self.cos[:ids.shape[1]], self.sin[:ids.shape[1]])
        h = F.embedding(ids, self.embed_tokens.to(self.compute))
        for layer in self.layers:
            h = layer(h, rope, attend)
        return self.norm(h)

    def logits(self, hidden):
        return F.linear(hidden, self.embed_tokens.to(hidden.dtype)).float()

    def loss(self, ids, weights, attend):
        """(weighted mean loss, weighted sum of hits, sum of weights)."""
        logits = self.logits(self.hidden(ids, attend)[:, :-1]).flatten(0, 1)
        target, w = ids[:, 1:].flatten(), weights[:, 1:].flatten().float()
        each = F.cross_entropy(logits, target, reduction="none")
        return (each * w).sum() / w.sum()

    # --- decoding with a cache --------------------------------------------------------------

    def new_cache(self, batch, length):
        shape = (self.c.layers, 2, batch, self.c.kv_heads, length, self.c.head_dim)
        return torch.zeros(shape, device=self.embed_tokens.device, dtype=self.compute)

    @torch.no_grad()
    def step(self, ids, position, cache):
        """One position of every sequence: ids (batch,) -> fp32 logits (batch, vocab)."""
        rope = (self.cos[position:position + 1], self.sin[position:position + 1])
        h = F.embedding(ids[:, None], self.embed_tokens.to(self.compute))
        for layer, (keys, values) in zip(self.layers, cache):
            def attend(q, k, v, keys=keys, values=values):
                keys[:, :, position:position + 1], values[:, :, position:position + 1] = k, v
                return F.scaled_dot_product_attention(
                    q, keys[:, :, :position + 1], values[:, :, :position + 1], enable_gqa=True)
            h = layer(h, rope, attend)
        return self.logits(self.norm(h))[:, 0]


def causal(q, k, v):
    """One document a row."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


# --- files --------------------------------------------------------------------------------------

def hf_config(c):
    """What transformers calls config.json."""
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": c.vocab,
            "hidden_size": c.width, "intermediate_size": c.mlp, "num_hidden_layers": c.layers,
            "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
            "head_dim": c.head_dim, "max_position_embeddings": c.context, "hidden_act": "silu",
            "rms_norm_eps": c.eps, "rope_theta": c.theta, "rope_scaling": None,
            "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
            "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
            "initializer_range": 0.02, "use_cache": True, "torch_dtype": c.dtype}


def hf_tensors(model):
    """Tensors under their Hugging Face names, in the saved type."""
    dtype = getattr(torch, model.c.dtype)
    return {("model." + (name if name != "embed_tokens" else "embed_tokens.weight")):
            value.detach().to(dtype).cpu().contiguous()
            for name, value in model.named_parameters()}


def save(model, folder):
    """config.json, generation_config.json and model.safetensors."""
    from safetensors.torch import save_file
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hf_tensors(model), str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config(model.c), indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(
        {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False}, indent=2) + "\n")


@torch.no_grad()
def round_weights(model):
    """The saved type's values in the model itself, so that what is measured is what is saved."""
    for parameter in model.parameters():
        parameter.copy_(parameter.to(getattr(torch, model.c.dtype)).float())
