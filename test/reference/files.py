"""Writes arrays with the real numpy and safetensors, and says what they read from files of ours."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

VALUES = [[0.0, 1.0, 2.5], [3.0, 200.0, 7.25]]


def write(folder: Path) -> None:
    values = np.array(VALUES)
    for dtype in ["f4", "f8", "f2", "u1", "i4", "i8"]:
        np.save(folder / f"{dtype}.npy", values.astype(dtype))
    np.save(folder / "scalar.npy", np.float32(2.5))
    np.save(folder / "vector.npy", np.arange(5, dtype=np.float32))
    np.save(folder / "empty.npy", np.zeros((0, 3), dtype=np.float32))
    np.save(folder / "fortran.npy", np.asfortranarray(values))
    np.save(folder / "complex.npy", values.astype("c8"))
    np.save(folder / "big-endian.npy", values.astype(">f4"))
    np.save(folder / "record.npy", np.zeros(3, dtype=[("a", "<f4"), ("b", "<i4")]))
    special = [6e-8, -6.1e-5, 65504, float("inf"), float("-inf"), float("nan")]
    scales = np.array([1, 1e200, 1e308, 1e-60, 1e-40, 1e-305])
    np.save(folder / "far.npy", np.array([0.75, 0, -1]) * scales[:, None])
    # As many as take two reads, whose border is within a row that float32 cannot hold.
    many = np.ones((700_000, 3))
    many[699_050] = [0, 1e200, 0]
    np.save(folder / "many.npy", many)
    for name, row in {"infinite": [np.inf, 1e200], "nan": [1e-60, np.nan], "zero": [0, 0]}.items():
        np.save(folder / f"{name}.npy", np.array([[1e200, 1], row]))
    np.save(folder / "half.npy", np.array(special, dtype="f2"))
    tensors = {
        "F64": torch.tensor(VALUES, dtype=torch.float64),
        "F32": torch.tensor(VALUES),
        "F16": torch.tensor(VALUES, dtype=torch.float16),
        "BF16": torch.tensor(VALUES, dtype=torch.bfloat16),
        "I64": torch.tensor(VALUES).long(),
        "I32": torch.tensor(VALUES).int(),
        "U8": torch.tensor(VALUES).byte(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }
    save_file(tensors, folder / "all.safetensors", metadata={"made by": "Python"})
    save_file({"kept": torch.ones(2), "flags": torch.tensor([True])}, folder / "bool.safetensors")


def read(folder: Path) -> None:
    array = np.load(folder / "ours.npy")
    with safe_open(folder / "ours.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    print(
        json.dumps(
            {
                "npy": {"dtype": str(array.dtype), "values": array.tolist()},
                "tensors": {name: value.tolist() for name, value in tensors.items()},
                "shapes": {name: list(value.shape) for name, value in tensors.items()},
                "metadata": metadata,
            }
        )
    )


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
