"""``python -m mixhead.worker.data '{"name": "cifar10"}' --data-dir DIR --json``: counts images per class.

The argument is the run's ``data`` section as JSON, or just the name of a data set.
"""

from __future__ import annotations

import argparse
import json
import sys

from mixhead.worker.config import DataConfig, parse
from mixhead.worker.data import load
from mixhead.worker.errors import WorkerError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mixhead.worker.data", description="Images per class.")
    parser.add_argument("data", help="a name, or the configuration's data section as JSON")
    parser.add_argument("--data-dir", default="data", help="the folder of the data sets")
    parser.add_argument("--seed", type=int, default=0, help="chooses the images of cifar10-lt")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args(arguments)
    try:
        raw = json.loads(options.data) if options.data.startswith("{") else {"name": options.data}
        dataset = load(parse(DataConfig, raw, "data"), options.data_dir, seed=options.seed)
    except (WorkerError, json.JSONDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    train, test = dataset.counts()
    if options.json:
        print(json.dumps({"name": dataset.name, "train": train, "test": test}))
    else:
        for name, *counts in zip(dataset.class_names, train, test, strict=True):
            print(f"{name:20} {counts[0]:8} {counts[1]:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
