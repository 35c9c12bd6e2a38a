"""Random numbers as a function of seed, purpose and step, so that no generator's state has to be saved."""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed that depends on (seed, purpose, step) alone, so that it is the same in all ranks."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}/0".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A new CPU generator. The same arguments give the same numbers, on every device."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, step))
