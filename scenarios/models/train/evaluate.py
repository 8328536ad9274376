"""Measures a model on the project's prompt sets: accuracy, near ties, looping, the sink.

`measure` is called at the end of training on the rounded weights. Answers are scored as the
prompt sets define it: after the last "#### " where the answer has one, else the whole reply. A
reply ends at the end token or where the model opens another turn.
"""

import json
import pathlib

import torch

import tokens

PROMPTS = pathlib.Path(__file__).resolve().parents[2] / "prompts"
GAP = 1.0 / 16.0
SETS = {"gsm-like": 96, "arithmetic": 12, "recall": 12, "instructions": 40, "prose": 128,
        "mixed-lengths": 96}


def read_prompts(name, take=None):
    with open(PROMPTS / f"{name}.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    return lines[:take]


def prompt_ids(tokenizer, prompt):
    if "tokens" in prompt:
        return prompt["tokens"]
    if "messages" in prompt:
        text = tokens.chat_prompt([(m["role"], m["content"]) for m in prompt["messages"]])
    else:
        text = prompt["text"]
    return tokenizer.encode(text).ids


@torch.no_grad()
def generate(model, prompts, new):
    """Greedy continuations of ragged prompts: ([ids], [gaps top1 - top2])."""
    device, batch = model.embed_tokens.device, len(prompts)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    total = min(int(lengths.max()) + new, model.c.context)
    ids = torch.zeros((batch, total), dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, :len(prompt)] = torch.tensor(prompt)
    gaps = torch.full((batch, total), float("inf"), device=device)
    cache = model.new_cache(batch, total)
    for position in range(total - 1):
        top = model.step(ids[:, position], position, cache).topk(2, -1)
        free = position + 1 >= lengths
        ids[:, position + 1] = torch.where(free, top.indices[:, 0], ids[:, position + 1])
        gaps[:, position + 1] = top.values[:, 0] - top.values[:, 1]
    outputs, distances = [], []
    for row, length in enumerate(lengths.tolist()):
        out = ids[row, length:length + new].tolist()
        end = next((at for at, token in enumerate(out) if token in tokens.ENDS), len(out))
        outputs.append(out[:end])
        distances.append(gaps[row, length:length + min(end + 1, new)].tolist())
    return outputs, distances


def right(reply, answer):
    """Whether a reply holds the answer."""
    if "####" in reply:
        return reply.rsplit("####", 1)[1].strip() == answer
    return reply.strip() == answer


def distinct(ids, n=4):
    grams = [tuple(ids[i:i + n]) for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def measure(model, tokenizer_path, quick=False):
    """Everything that can be measured with the model alone."""
    tokenizer = tokens.load_tokenizer(tokenizer_path)
    result, all_gaps = {}, []
    for name, new in SETS.items():
        prompts = read_prompts(name, 8 if quick else None)
        encoded = [prompt_ids(tokenizer, p) for p in prompts]
        keep = [i for i, e in enumerate(encoded) if len(e) + new // 2 <= model.c.context]
        outputs, gaps = generate(model, [encoded[i] for i in keep], new)
        replies = [tokenizer.decode(o) for o in outputs]
        flat = [g for row in gaps for g in row]
        all_gaps += flat
        entry = {"prompts": len(keep), "tokens": len(flat),
                 "gap_share": round(sum(g < GAP for g in flat) / max(1, len(flat)), 5)}
        scored = [(prompts[i]["id"], right(reply, prompts[i]["answer"]))
                  for i, reply in zip(keep, replies) if "answer" in prompts[i]]
        entry.update(accuracy_by_group(scored))
        if name in ("prose", "mixed-lengths"):
            entry["distinct_4grams"] = round(sum(map(distinct, outputs)) / len(outputs), 4)
        entry["examples"] = replies[:2]
        result[name] = entry
    result["gap_share_all"] = round(sum(g < GAP for g in all_gaps) / max(1, len(all_gaps)), 5)
    result["sink"] = sink(model, tokenizer)
    return result


def accuracy_by_group(scored):
    """Accuracy for each id prefix: "recall-400-007" counts for "recall-400"."""
    groups = {}
    for name, hit in scored:
        groups.setdefault(name.rpartition("-")[0], []).append(hit)
    return {"accuracy": {g: round(sum(h) / len(h), 4) for g, h in groups.items()}} if groups else {}


@torch.no_grad()
def sink(model, tokenizer):
    """Mean attention to BOS by layer and the largest residual value against the median."""
    text = "It was a fine morning, and they walked together to the village before breakfast."
    ids = torch.tensor([tokenizer.encode(text).ids], device=model.embed_tokens.device)
    shares = []

    def attend(q, k, v):
        keys = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        values = v.repeat_interleave(q.shape[1] // v.shape[1], 1)
        scores = (q.float() @ keys.float().mT) / q.shape[-1] ** 0.5
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        p = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        shares.append(round(float(p[:, :, 4:, 0].mean()), 3))
        return (p @ values.float()).to(q.dtype)

    model.hidden(ids, attend)
    return {"attention_to_bos_by_layer": shares}


@torch.no_grad()
def check_transformers(model, folder):
    """The saved files through transformers in fp32 against this model in fp32."""
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # reported, not fatal: the weights are already saved
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    import model as llama
    ids = tokenizer("It is a truth universally acknowledged.", return_tensors="pt").input_ids
    ours = llama.Model(model.c, torch.float32)
    ours.load_state_dict({k: v.cpu() for k, v in model.state_dict().items()})
    a, b = theirs(ids).logits[0], ours.logits(ours.hidden(ids, llama.causal))[0]
    spread = (b.max(-1).values - b.min(-1).values)[:, None]
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False)
    return {"bos_first": bool(ids[0, 0] == 0), "chat": text,
            "worst_over_range": float(((a - b).abs() / spread).max())}
