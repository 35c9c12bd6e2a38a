"""Continue training from a backbone released without its head: fit a mixture, and start the head from it.

    python examples/continue_from_backbone.py --backbone test_resnet --weights backbone.safetensors

docs/continue.md says when to do so, and what it gave. Compare it with `--start empty` and `--start joint`.
"""

import argparse
import copy
import math
import subprocess
import tempfile
from pathlib import Path

import mixhead
import numpy as np
import timm
import torch
import torch.nn.functional as F
from cifar10 import batches, cifar10, embed
from meta import MultiCropWrapper
from mixhead.dino import DINOHead, SinkhornDINOLoss
from mixhead.knn import knn_predictions
from torch import Tensor

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="test_resnet", help="any of timm's")
parser.add_argument("--weights", default="", help="its file; left out, the backbone is random")
parser.add_argument(
    "--start", choices=["fitted", "empty", "joint"], default="fitted", help="of the prototypes"
)
parser.add_argument("--components", type=int, default=1024)
parser.add_argument("--fit-batches", type=int, default=100, help="the mixture is fitted to so many batches")
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--every", type=int, default=100, help="steps from one k-NN to the next")
parser.add_argument("--references", type=int, default=10_000, help="training images for k-NN")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
args = parser.parse_args()
torch.manual_seed(args.seed)


def knn(backbone: torch.nn.Module) -> float:
    """The accuracy of the 20 nearest neighbours on the test images."""
    data = cifar10()
    train_x = embed(backbone, data, data.train_images[: args.references])
    test_x = embed(backbone, data, data.test_images[: args.references // 2])
    backbone.train()
    train_y, test_y = (
        torch.from_numpy(each).to(args.device) for each in (data.train_labels, data.test_labels)
    )
    found = knn_predictions(train_x, train_y[: len(train_x)], test_x, 10, [20])[20]
    return (found == test_y[: len(test_x)]).float().mean().item()


# 1. The backbone and a new head. Student and teacher start alike: the mixture is fitted to one head.

backbone = timm.create_model(args.backbone, num_classes=0, checkpoint_path=args.weights)
prototypes = "joint" if args.start == "joint" else "online-gmm"
sizes = {"out_dim": args.components, "hidden_dim": 256, "bottleneck_dim": 64}
head = DINOHead(backbone.num_features, **sizes, prototypes=prototypes, norm="batch")
student = MultiCropWrapper(backbone, head).to(args.device)
teacher = copy.deepcopy(student).requires_grad_(False)
print(f"as released  k-NN {knn(teacher.backbone):.3f}", flush=True)

# 2. The embeddings that will feed the mixture: of augmented global views, after the head's MLP and norms.


def embeddings(crops: list[Tensor]) -> Tensor:
    """Views (batch, 3, H, W) -> the input of the teacher's last layer, unit rows (views * batch, D)."""
    features = torch.cat([teacher.backbone(crop) for crop in crops])
    return F.normalize(teacher.head.norm(teacher.head.mlp(features)), dim=1)


# 3. Run `mixhead fit` on them, and start the head from the result.

if args.start == "fitted":
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "embeddings.npy", Path(folder) / "fitted"
        own = {"steps": args.fit_batches, "seed": args.seed + 1000}
        views = batches(argparse.Namespace(**vars(args) | own))
        np.save(file, torch.cat([embeddings(crops[:2]) for crops in views]).cpu().numpy())
        settings = ["plugin.init.from=data", f"plugin.components={args.components}"]
        settings += [f"fit.batch={2 * args.batch}", "fit.epochs=2"]
        command = ["npx", "mixhead", "fit", file, "--out", out, *settings]
        subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
        mixhead.start_from(out)

# 4. DINO, as in meta_dino.py.

criterion = SinkhornDINOLoss(args.components, 4, 0.04, 0.04, 0, 1)
optimizer = torch.optim.AdamW(student.parameters(), lr=args.lr, weight_decay=0.04)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps + 1, pct_start=0.15)
losses: list[float] = []
for step, crops in enumerate(batches(args)):
    teacher_output = teacher(crops[:2])
    loss = criterion(student(crops), teacher_output, epoch=0)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 3)
    optimizer.step()
    schedule.step()
    momentum = 1 - 0.01 * (1 + math.cos(math.pi * step / args.steps)) / 2
    with torch.no_grad():
        for ours, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
            theirs.mul_(momentum).add_(ours, alpha=1 - momentum)
    losses.append(loss.item())
    if (step + 1) % args.every == 0:
        mean = sum(losses[-args.every :]) / args.every
        nearest = len(teacher_output.argmax(dim=1).unique())
        print(
            f"step {step + 1:4}   k-NN {knn(teacher.backbone):.3f}  student's {knn(student.backbone):.3f}  "
            f"loss {mean:.3f}  prototypes of the last batch {nearest}",
            flush=True,
        )
