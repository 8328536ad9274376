"""Muon for the matrices (momentum, then an orthogonalised step), batched by shape.

Called by train.py; embeddings and norms go to AdamW.
"""

import torch


def orthogonalise(g):
    """Five Newton-Schulz steps on a batch of matrices; singular values come near 1."""
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon:
    """lr is for the spectral norm of a step; `decay` is decoupled."""

    def __init__(self, parameters, lr=0.02, momentum=0.95, decay=0.05):
        self.groups, self.lr, self.momentum, self.decay = {}, lr, momentum, decay
        for parameter in parameters:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.state = {shape: torch.zeros((len(group), *shape), device=group[0].device)
                      for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, scale):
        for shape, group in self.groups.items():
            gradient = torch.stack([p.grad for p in group])
            velocity = self.state[shape]
            velocity.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(velocity, self.momentum))
            lr = self.lr * scale * max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_mul_(group, 1 - self.lr * scale * self.decay)
            torch._foreach_add_(group, list(update.unbind(0)), alpha=-lr)

    def zero_grad(self):
        for group in self.groups.values():
            for parameter in group:
                parameter.grad = None
