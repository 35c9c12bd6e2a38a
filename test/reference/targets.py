"""Teacher targets as PyTorch makes them in float64: Sinkhorn-Knopp, with and without a memory; lightly's center."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lightly.loss import DINOLoss


def sinkhorn(logits: torch.Tensor, iterations: int) -> torch.Tensor:
    """dinov2's sinkhorn_knopp_teacher: Q is prototypes x samples."""
    q = torch.exp(logits).t()
    prototypes, samples = q.shape
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / samples
    return (q * samples).t()


def remembering(batches: list[torch.Tensor], iterations: int, memory: int) -> list[list[float]]:
    """Balanced by the mean over the batch and the rows before it."""
    sums, seen, targets = torch.ones(batches[0].shape[1], dtype=torch.float64), 0, []
    for q in map(torch.exp, batches):
        now = sums
        for _ in range(iterations):
            terms = q / (q / now).mean(dim=1, keepdim=True)
            now = (seen * sums + terms.sum(dim=0)) / (seen + len(q))
        targets.append(torch.softmax(torch.log(q / now), dim=1).ravel().tolist())
        sums, seen = now, min(seen + len(q), memory)
    return targets


def main(folder: Path, temperature: float, memory: int) -> None:
    batches = [torch.from_numpy(np.load(folder / f"scores{i}.npy")).double() for i in range(3)]
    loss = DINOLoss(output_dim=batches[0].shape[1], center_momentum=0.9).double()
    centered = []
    for scores in batches:
        centered.append(
            torch.softmax((scores - loss.center.reshape(1, -1)) / temperature, dim=-1).ravel().tolist()
        )
        views = list(scores.chunk(2))
        loss(views, views, teacher_temp=temperature)
    print(
        json.dumps(
            {
                "sinkhorn": [sinkhorn(scores / temperature, 3).ravel().tolist() for scores in batches],
                "remembering": remembering([scores / temperature for scores in batches], 3, memory),
                "centered": centered,
                "center": loss.center.ravel().tolist(),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
