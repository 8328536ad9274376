"""Sequence-level unlikelihood against looping prose (Welleck et al. 2019), on the model's own text.

Small models loop under greedy decoding. Now and then the model continues openings of its training
prose greedily; a generated token that completes a 4-gram seen before in the same text is made less
likely. Called by train.py in the last part of the training.
"""

import numpy as np
import torch

import model as llama
import tokens

PROMPT, NEW, SEQUENCES, SLICE = 48, 112, 512, 128
REFRESH, EVERY = 48, 4  # in steps


class Repetition:
    def __init__(self, model, prose, device, arguments):
        self.model, self.device, self.weight = model, device, arguments.unlikelihood
        self.sequences = SEQUENCES if device == "cuda" else 8
        self.prose = prose
        self.random = np.random.default_rng(arguments.seed)
        self.text = self.repeats = None
        self.rate, self.made = 0.0, None

    def backward(self, step):
        """Adds this term's gradient, every few steps."""
        if not self.weight or step % EVERY:
            return
        if self.made is None or step - self.made >= REFRESH:
            self.generate()
            self.made = step
        rows = torch.randint(self.sequences, (min(SLICE, self.sequences),), device=self.device)
        ids, bad = self.text[rows], self.repeats[rows]
        logits = self.model.logits(self.model.hidden(ids[:, :-1], llama.causal)[:, PROMPT - 1:])
        chosen = logits.log_softmax(-1).gather(-1, ids[:, PROMPT:, None])[..., 0]
        each = -torch.log1p(-chosen.exp().clamp(max=1 - 1e-4))
        (self.weight * (each * bad).sum() / bad.numel()).backward()

    @torch.no_grad()
    def generate(self):
        """Greedy text and where it repeats; one synchronisation."""
        starts = self.random.integers(0, len(self.prose) - PROMPT, self.sequences)
        prompt = np.stack([self.prose[s:s + PROMPT - 1] for s in starts]).astype(np.int64)
        prompt = np.concatenate([np.full((self.sequences, 1), tokens.BEGIN_ID), prompt], 1)
        ids = torch.zeros((self.sequences, PROMPT + NEW), dtype=torch.long, device=self.device)
        ids[:, :PROMPT] = torch.from_numpy(prompt).to(self.device)
        cache = self.model.new_cache(self.sequences, PROMPT + NEW)
        for position in range(PROMPT + NEW - 1):
            logits = self.model.step(ids[:, position], position, cache)
            if position + 1 >= PROMPT:
                ids[:, position + 1] = logits.argmax(-1)
        self.text, self.repeats = ids, repeated(ids).float()
        ended = (ids[:, PROMPT:] == tokens.END_ID).cumsum(1) > 0
        self.repeats = self.repeats[:, PROMPT:] * ~ended
        self.rate = float(self.repeats.mean())


def repeated(ids):
    """True where a token completes a 4-gram that occurred before in its row."""
    base = 8192
    gram = torch.zeros_like(ids)
    for back in range(4):
        gram = gram * base + torch.roll(ids, back, 1)
    gram[:, :3] = -1 - torch.arange(3, device=ids.device)  # incomplete: all different
    same = gram[:, :, None] == gram[:, None, :]
    return (same & same.new_ones(same.shape[1:]).tril(-1)).any(2)
