"""CIFAR-10 for a machine that cannot fetch it: some of its images, lossless, in parts for separate transfer.

``python bench/gpu_data.py pack DATA FOLDER`` lays them in FOLDER/data and, where FOLDER is then as large as
it may be, in FOLDER-2/data and so on; ``--help`` says which images it takes.
``python bench/gpu_data.py unpack FOLDER TARGET`` makes the files of TARGET that the worker reads, of the
parts that are here and those that were unpacked there before. Images that none of them holds are black.
TARGET/missing names the files of the parts that have not come yet.
"""

from __future__ import annotations

import argparse
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("train_lables.json", "test_lables.json")
SIZES = {"train": 50_000, "test": 10_000}
STRIP = 500  # images in a file, one below the other: WebP ends at 16,383 pixels
WHICH = "which.npz"  # by split, where in the set each packed image is
MISSING = "missing"

Which = dict[str, np.ndarray]


def chosen(data: Path, train: int, test: int, long_tail: list[int], held_out: int) -> Which:
    """The first ``train`` training images, and what CIFAR-10-LT has with these seeds."""
    # Imported here, since unpacking does not need the worker.
    from mixhead.worker.config import DataConfig
    from mixhead.worker.data import load
    from mixhead.worker.data.dataset import Selected

    if not (data / "test.npy").exists():
        load(DataConfig("cifar10"), data.parent)  # leaves train.npy and test.npy
    needed = [np.arange(train)]
    for seed in long_tail:
        tail = load(DataConfig("cifar10-lt", held_out=held_out or None), data.parent, seed=seed)
        both = (tail.train_images, tail.test_images)
        needed += [images.positions for images in both if isinstance(images, Selected)]
    return {"train": np.unique(np.concatenate(needed)), "test": np.arange(test)}


def pack(data: Path, folder: Path, which: Which, limit: int) -> None:
    """Packs the images into parts. ``limit``: bytes of a part, including other files in FOLDER."""
    for old in [folder / "data", *parts(folder)[1:]]:
        shutil.rmtree(old, ignore_errors=True)
    images = {split: np.load(data / f"{split}.npy", mmap_mode="r") for split in which}
    part, room = begin(folder, data, which, limit)
    with ThreadPoolExecutor() as pool:
        for name, strip in pool.map(lambda at: (at[0], encoded(images[at[1]][at[2]])), strips(which)):
            if len(strip) > room:
                part, room = begin(
                    folder.with_name(f"{folder.name}-{len(parts(folder)) + 1}"), data, which, limit
                )
            (part / name).write_bytes(strip)
            room -= len(strip)


def begin(part: Path, data: Path, which: Which, limit: int) -> tuple[Path, int]:
    """The part's folder of images, and the bytes left in it."""
    target = part / "data"
    target.mkdir(parents=True)
    np.savez_compressed(target / WHICH, **which)
    for name in LABELS:
        shutil.copy(data / name, target)
    return target, limit - sum(file.stat().st_size for file in part.rglob("*") if file.is_file())


def unpack(folder: Path, target: Path) -> None:
    for part in parts(folder):
        packed = part / "data" / WHICH
        if not packed.exists():
            continue
        with np.load(packed) as file:
            which = dict(file)
        if not (target / WHICH).exists() or (target / WHICH).read_bytes() != packed.read_bytes():
            prepare(part / "data", target, which)
        images = {split: np.load(target / f"{split}.npy", mmap_mode="r+") for split in which}

        def write(at: tuple[str, str, np.ndarray], part: Path = part, images: Which = images) -> str:
            name, split, positions = at
            images[split][positions] = decoded(part / "data" / name)
            return name

        missing = (target / MISSING).read_text().split()
        here = [at for at in strips(which) if at[0] in missing and (part / "data" / at[0]).exists()]
        with ThreadPoolExecutor() as pool:
            come = set(pool.map(write, here))
        (target / MISSING).write_text("\n".join(name for name in missing if name not in come))


def prepare(part: Path, target: Path, which: Which) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for split, size in SIZES.items():
        shape = (size, 3, 32, 32)
        np.lib.format.open_memmap(target / f"{split}.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    (target / MISSING).write_text("\n".join(name for name, _, _ in strips(which)))
    for name in (*LABELS, WHICH):
        shutil.copy(part / name, target)


def parts(folder: Path) -> list[Path]:
    return [folder, *sorted(folder.parent.glob(f"{folder.name}-[0-9]"))]


def strips(which: Which) -> list[tuple[str, str, np.ndarray]]:
    """The file name, the split and the positions of each strip."""
    return [
        (f"{split}-{start:05}.webp", split, positions[start : start + STRIP])
        for split, positions in which.items()
        for start in range(0, len(positions), STRIP)
    ]


def encoded(images: np.ndarray) -> bytes:
    file = io.BytesIO()
    rows = np.ascontiguousarray(images.transpose(0, 2, 3, 1).reshape(-1, 32, 3))
    Image.fromarray(rows).save(file, "WEBP", lossless=True, quality=100, method=4)
    return file.getvalue()


def decoded(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("data", type=Path, help="the folder cifar10, with train.npy and test.npy")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--train", type=int, default=10_000, help="the first so many training images")
    packing.add_argument("--test", type=int, default=1000)
    packing.add_argument("--long-tail", type=int, nargs="*", default=[], help="seeds of CIFAR-10-LT")
    packing.add_argument("--held-out", type=int, default=0, help="the data.heldOut of CIFAR-10-LT")
    packing.add_argument("--megabytes", type=int, default=60, help="2^20 bytes that a part may have")
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("folder", type=Path)
    unpacking.add_argument("target", type=Path)
    options = parser.parse_args()
    if options.command == "unpack":
        unpack(options.folder, options.target)
    else:
        which = chosen(options.data, options.train, options.test, options.long_tail, options.held_out)
        pack(options.data, options.folder, which, options.megabytes << 20)


if __name__ == "__main__":
    main()
