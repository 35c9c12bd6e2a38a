"""``python -m mixhead.worker.evaluate FEATURES.npz --json``: k-NN, linear, per class, head/medium/tail.

The same of a checkpoint's folder, with ``--config`` and ``--data-dir``.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mixhead.worker.checkpoint import load_teacher
from mixhead.worker.config import Config, parse
from mixhead.worker.data import load
from mixhead.worker.errors import WorkerError
from mixhead.worker.groups import groups
from mixhead.worker.knn import knn_predictions
from mixhead.worker.linear import linear_probe
from mixhead.worker.measure import embed
from mixhead.worker.network import build_network
from mixhead.worker.step import choose_device

NEIGHBOURS = 20  # of the k-NN that per-class figures and groups are given for


def evaluate(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, name: str = ""
) -> dict[str, object]:
    """The object of `mixhead evaluate --json`, from features (N, F) and labels (N,) of both sets.

    Shares are in [0, 1]. A class without test images has None per class; an empty group has None.
    ``name`` is the data set's, which decides how iNaturalist's classes are grouped.
    """
    classes = int(max(train_y.max(), test_y.max())) + 1
    nearest = knn_predictions(train_x, train_y, test_x, classes)
    linear = linear_probe(train_x, train_y, test_x, classes)
    right = {"knn": nearest[NEIGHBOURS] == test_y, "linear": linear.predictions == test_y}

    def share(of: Tensor, labels: list[int]) -> float | None:
        chosen = of[torch.isin(test_y, torch.tensor(labels, device=test_y.device))]
        return chosen.double().mean().item() if len(chosen) else None

    result: dict[str, object] = {
        "knn": {str(k): (p == test_y).double().mean().item() for k, p in nearest.items()},
        "linear": right["linear"].double().mean().item(),
        "linearRate": linear.rate,
        "perClass": {by: [share(of, [c]) for c in range(classes)] for by, of in right.items()},
    }
    split = groups(torch.bincount(train_y, minlength=classes).tolist(), name)
    if split is not None:
        result["groups"] = {
            group: {by: share(of, labels) for by, of in right.items()} for group, labels in split.items()
        }
    return result


def read_features(path: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """train_x, train_y, test_x, test_y of a .npz. Raises WorkerError, with what is wrong with the file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in ("train_x", "train_y", "test_x", "test_y") if key not in file]
            if missing:
                raise WorkerError(f"{path} has no {', '.join(missing)}")
            arrays = {key: file[key] for key in ("train_x", "train_y", "test_x", "test_y")}
    except FileNotFoundError as error:
        raise WorkerError(f"{path} does not exist") from error
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError) as error:
        raise WorkerError(f"{path} is not an .npz file that can be read") from error
    for part in ("train", "test"):
        _check(path, part, arrays[f"{part}_x"], arrays[f"{part}_y"])
    if arrays["train_x"].shape[1] != arrays["test_x"].shape[1]:
        raise WorkerError(f"{path}: train_x and test_x do not have the same number of features")
    x = {part: torch.from_numpy(arrays[f"{part}_x"].astype(np.float32)) for part in ("train", "test")}
    y = {part: torch.from_numpy(arrays[f"{part}_y"].astype(np.int64)) for part in ("train", "test")}
    return x["train"], y["train"], x["test"], y["test"]


def _check(path: Path, part: str, x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or len(x) == 0 or not np.issubdtype(x.dtype, np.floating):
        raise WorkerError(f"{path}: {part}_x must be floats (images, features), it is {x.dtype} {x.shape}")
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise WorkerError(f"{path}: {part}_y must be {len(x)} labels from 0, it is {y.dtype} {y.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1) | ~x.any(axis=1))
    if len(bad):
        raise WorkerError(f"{path}: row {bad[0]} of {part}_x is all zero or not finite")


def checkpoint_features(
    folder: Path, config: Config, data_dir: str, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """train_x, train_y, test_x, test_y of a checkpoint's teacher on the data set of its run."""
    dataset = load(config.data, data_dir, config.views.global_size, config.seed)
    network = build_network(config)
    load_teacher(network, folder)
    network.to(device, memory_format=torch.channels_last).eval()
    size = config.views.global_size
    train_x, _ = embed(network, dataset.train_images, dataset, size, device)
    test_x, _ = embed(network, dataset.test_images, dataset, size, device)
    train_y, test_y = (torch.from_numpy(np.array(y)) for y in (dataset.train_labels, dataset.test_labels))
    return train_x, train_y, test_x, test_y


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.worker.evaluate", description="Evaluates frozen features.")
    parser.add_argument("of", type=Path, help="a checkpoint, or .npz with train_x, train_y, test_x, test_y")
    parser.add_argument("--config", help="of a checkpoint: its run's configuration as JSON")
    parser.add_argument("--data-dir", default="data", help="of a checkpoint: where the data sets are")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(arguments)
    name = ""
    try:
        if options.config is None:
            device = choose_device("auto")
            features = read_features(options.of)
        else:
            config = parse(Config, json.loads(options.config), "")
            name, device = config.data.name, choose_device(config.device)
            features = checkpoint_features(options.of, config, options.data_dir, device)
    except (WorkerError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    result = evaluate(*(tensor.to(device) for tensor in features), name=name)
    print(json.dumps(result, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
