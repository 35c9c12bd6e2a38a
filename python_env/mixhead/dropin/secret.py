"""The secret of a run: on a shared server a run can be continued only with it, not by its name alone."""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from pathlib import Path

from mixhead.warn import warn


def secret_of(run: str) -> str:
    """Derives the run's secret, so that a restarted script has the same one.

    The source is MIXHEAD_SECRET, or else a key that is made once for each account and kept in
    `$XDG_STATE_HOME/mixhead/secret` (~/.local/state/mixhead/secret).

    Returns:
        64 hex digits; "", with a warning, if the account's key can neither be read nor made.

    Raises:
        ValueError: If the file of the account's key is damaged.
    """
    key = os.environ.get("MIXHEAD_SECRET", "").encode()
    try:
        key = key or _account_key()
    except OSError as error:
        warn(
            f'run "{run}" has no secret: on a server without keys, anybody with its name can continue it. '
            f"The key of this account can neither be read nor made ({error}); set MIXHEAD_SECRET"
        )
        return ""
    return hmac.digest(key, run.encode(), "sha256").hex()


def _account_key() -> bytes:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    file = Path(state) / "mixhead" / "secret"
    if not file.exists():
        _make_key(file)
    try:
        key = bytes.fromhex(file.read_text())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError(f"{file} is damaged: it holds 64 hex digits. Remove it to have a new one made")
    return key


def _make_key(file: Path) -> None:
    """Creates the key in one step, readable by this account alone. If another process is faster, its key
    is kept."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    try:
        with open(descriptor, "w") as made:
            made.write(secrets.token_hex(32))
        os.link(name, file)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)
