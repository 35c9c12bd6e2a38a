import argparse
import json
import sys
from pathlib import Path

import numpy as np

from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.prototypes import __doc__ as how_found
from mixhead.checkpoint.prototypes import read_prototypes


def main(arguments: list[str] | None = None) -> int:
    """Writes the prototypes to a file, prints the name of their tensor as JSON, returns the exit status."""
    parser = argparse.ArgumentParser(prog="mixhead.checkpoint", description=how_found)
    parser.add_argument("file", type=Path, help="a checkpoint, or a folder of torch.distributed.checkpoint")
    parser.add_argument("--key", help="the name of the tensor; by default found by known names")
    parser.add_argument("--out", type=Path, required=True, help="the .npy file to write, float32, K x D")
    options = parser.parse_args(arguments)
    try:
        found = read_prototypes(options.file, options.key)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    np.save(options.out, found.rows.numpy())
    print(json.dumps({"key": found.key, "others": found.others, "guessed": found.guessed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
