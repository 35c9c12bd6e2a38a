"""The online probe: a linear classifier that is trained along with the encoder, to show its progress."""

from __future__ import annotations

from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.optimizer import StateDict

RATE = 0.003  # Adam's learning rate, high enough to follow a changing encoder
MEMORY = 50  # batches in the running mean of the accuracy


class Learned(TypedDict):
    """The state of a probe."""

    weight: Tensor  # (classes, F)
    bias: Tensor  # (classes,)
    optimizer: StateDict
    accuracy: Tensor
    batches: int


class OnlineProbe:
    """Logistic regression on features (B, F), standardised within each batch.

    ``accuracy`` is a running mean over the last batches. Each batch is classified before the probe learns
    from it. The weights start at zero, so the probe draws no random numbers and does not affect the training.
    """

    def __init__(self, features: int, classes: int, device: torch.device) -> None:
        self.weight = torch.zeros(classes, features, device=device, requires_grad=True)
        self.bias = torch.zeros(classes, device=device, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.weight, self.bias], lr=RATE, fused=True)
        self.accuracy = torch.zeros((), device=device)
        self.batches = 0

    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Takes a step on a batch: features (B, F), which get no gradient, and labels (B,), int64."""
        x = F.batch_norm(features.detach().float(), None, None, training=True)
        logits = F.linear(x, self.weight, self.bias)
        right = (logits.argmax(dim=1) == labels).float().mean()
        self.batches += 1
        self.accuracy = torch.lerp(self.accuracy, right, 1 / min(self.batches, MEMORY))
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(logits, labels).backward()
        self.optimizer.step()

    def state_dict(self) -> Learned:
        return {
            "weight": self.weight.detach(),
            "bias": self.bias.detach(),
            "optimizer": self.optimizer.state_dict(),
            "accuracy": self.accuracy,
            "batches": self.batches,
        }

    def load_state_dict(self, state: Learned) -> None:
        """Loads a state. Raises RuntimeError or LookupError if it has other features or classes."""
        with torch.no_grad():
            self.weight.copy_(state["weight"])
            self.bias.copy_(state["bias"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.accuracy, self.batches = state["accuracy"], state["batches"]
