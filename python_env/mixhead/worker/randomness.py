"""Random numbers as a function of their purpose: no generator has a state worth saving."""

from __future__ import annotations

import hashlib

import torch


def seed_of(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed that (seed, purpose, step) alone decides: each rank draws for all, and takes its part."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}/0".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator seeded anew; the same arguments draw the same numbers on every device."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, step))
