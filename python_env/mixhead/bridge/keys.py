"""The keys of a client, from the file that the plugin's side has made."""

import json
import os
from pathlib import Path

from mixhead.bridge.link import Keys


def read_keys(file: str | os.PathLike[str]) -> Keys:
    """The keys that `--keys FOLDER` of `mixhead serve` or `train` has written to FOLDER/client.json.

    Raises ValueError if the file holds none.
    """
    try:
        keys = Keys(**json.loads(Path(file).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"the keys in {file} cannot be read ({error}): "
            "give the client.json that `mixhead serve --keys FOLDER` or `mixhead train --keys FOLDER` makes"
        ) from error
    if not all(isinstance(key, str) and len(key) == 40 for key in (keys.server, keys.public, keys.secret)):
        raise ValueError(f"the keys in {file} are invalid: each has 40 characters of Z85")
    return keys
