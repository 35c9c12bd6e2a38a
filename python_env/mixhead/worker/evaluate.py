"""``python -m mixhead.worker.evaluate FEATURES.npz --json``: k-NN, linear, per class, head/medium/tail.

With ``--config`` and ``--data-dir`` it evaluates an encoder, from a checkpoint's folder or a file of weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mixhead.knn import knn_predictions
from mixhead.worker.config import Config, parse
from mixhead.worker.errors import WorkerError
from mixhead.worker.features import Features, encoder_features, progress, read_features
from mixhead.worker.frozen import Labelled
from mixhead.worker.groups import groups
from mixhead.worker.linear import linear_probe
from mixhead.worker.state import choose_device

NEIGHBOURS = 20  # k of the k-NN whose accuracy is given for each class and group


def evaluate(features: Features, name: str = "", tell: Callable[[str], None] = progress) -> dict[str, object]:
    """Evaluates frozen features.

    Args:
        features: Features and labels of the training and test images.
        name: The data set, which decides how iNaturalist's classes are grouped.
        tell: Called with a sentence about the progress.

    Returns:
        The object of `mixhead evaluate --json`. Accuracies are in [0, 1], and None for a class or group
        without test images. If there are balanced references, "balanced" holds the same figures with those,
        for the groups of the long-tailed training set.
    """
    train, test = features.train, features.test
    classes = int(max(train.y.max(), test.y.max())) + 1
    split = groups(torch.bincount(train.y, minlength=classes).tolist(), name)
    result = _figures(train, test, classes, split, tell)
    if features.balanced is not None:
        tell("again with balanced references")
        result["balanced"] = _figures(features.balanced, test, classes, split, tell)
    return result


def _figures(
    train: Labelled,
    test: Labelled,
    classes: int,
    split: dict[str, list[int]] | None,
    tell: Callable[[str], None],
) -> dict[str, object]:
    tell(f"k-NN with {len(train.x):,} references")
    nearest = knn_predictions(train.x, train.y, test.x, classes)
    tell(f"linear probe on {len(train.x):,} rows of {train.x.shape[1]:,} features")
    linear = linear_probe(train.x, train.y, test.x, classes)
    right = {"knn": nearest[NEIGHBOURS] == test.y, "linear": linear.predictions == test.y}

    def share(of: Tensor, labels: list[int]) -> float | None:
        chosen = of[torch.isin(test.y, torch.tensor(labels, device=test.y.device))]
        return chosen.double().mean().item() if len(chosen) else None

    result: dict[str, object] = {
        "knn": {str(k): (p == test.y).double().mean().item() for k, p in nearest.items()},
        "linear": right["linear"].double().mean().item(),
        "linearRate": float(f"{linear.rate:.6g}"),
        "perClass": {by: [share(of, [c]) for c in range(classes)] for by, of in right.items()},
    }
    if split is not None:
        result["groups"] = {
            group: {by: share(of, labels) for by, of in right.items()} for group, labels in split.items()
        }
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.worker.evaluate", description="Evaluates frozen features.")
    parser.add_argument(
        "of",
        type=Path,
        help="a checkpoint's folder, an encoder's weights, or .npz with train_x, train_y, test_x, test_y",
    )
    parser.add_argument("--config", help="for an encoder: the run's configuration as JSON")
    parser.add_argument("--data-dir", default="data", help="for an encoder: the folder of the data sets")
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
            features = encoder_features(options.of, config, options.data_dir, device)
    except (WorkerError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    balanced = features.balanced and features.balanced.to(device)
    result = evaluate(Features(features.train.to(device), features.test.to(device), balanced), name=name)
    print(json.dumps(result, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
