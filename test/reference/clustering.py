"""Linear prototypes trained by torch.optim.AdamW and autograd on their own Sinkhorn assignments."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from targets import sinkhorn


def main(folder: Path, steps: int) -> None:
    weights = torch.nn.Parameter(torch.from_numpy(np.load(folder / "start.npy")).double())
    optimizer = torch.optim.AdamW([weights])
    losses, assignments = [], []
    for step in range(steps):
        scores = torch.from_numpy(np.load(folder / f"rows{step}.npy")).double() @ weights.t()
        q = sinkhorn(scores.detach() / 0.06, 3)
        loss = -(q * torch.log_softmax(scores / 0.12, dim=1)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assignments.append(q.ravel().tolist())
    print(json.dumps({"weights": weights.ravel().tolist(), "losses": losses, "assignments": assignments}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
