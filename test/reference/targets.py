"""Teacher targets as PyTorch makes them in float64: Sinkhorn-Knopp over the batch, and lightly's center."""

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


def main(folder: Path, temperature: float) -> None:
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
                "centered": centered,
                "center": loss.center.ravel().tolist(),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
