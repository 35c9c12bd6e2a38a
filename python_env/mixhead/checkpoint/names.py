"""Recognises tensors of a checkpoint by their names. Imports only the standard library."""

import re

# Wrapping modules add the name of their attribute to the names of tensors: DDP and DataParallel,
# torch.compile, FSDP, activation checkpointing, DeepSpeed.
WRAPPERS = {
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
# Weight-normalised layers store the direction (weight_v, original1) apart from the length.
LAST_LAYER = re.compile(
    r"(^|\.)((last_layers?|prototypes?)\d*(\.\d+)?|heads\.\d+|head\.layer|group_features)"
    r"(\.weight|\.weight_v|\.parametrizations\.weight(_v)?\.original1?)?$"
)
LAST_OF_SEQUENTIAL = re.compile(r"(?P<sequential>.*(proj|head|proto).*)\.(?P<index>\d+)\.weight$")
TEACHER = re.compile(r"teacher|target|momentum|(^|[._])ema([._]|$)")
STUDENT = re.compile(r"student|online")
PATCHES = re.compile(r"ibot|patch|last_layer2")
OPTIMIZER = re.compile(r"(^|\.)\w*optim\w*\.|\.(exp_avg|exp_avg_sq|momentum_buffer)$")
# FSDP1: one rank's part of all parameters of a module.
FLAT = re.compile(r"(^|\.)_?flat_param(_\d+)?$")


def plain_name(key: str) -> str:
    """``key`` without the names of wrappers: ``module.head._orig_mod.weight`` -> ``head.weight``."""
    parts = key.split(".")
    return ".".join([part for part in parts[:-1] if part not in WRAPPERS] + parts[-1:])


def owner(name: str) -> int:
    """0 for a teacher's tensor, 2 for a student's, 1 if the name does not tell."""
    return 0 if TEACHER.search(name) else 2 if STUDENT.search(name) else 1
