from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixhead.worker.config import DataConfig
from mixhead.worker.data import cifar10, load
from mixhead.worker.data.__main__ import main
from mixhead.worker.errors import WorkerError

ROWS = 100  # images a file of the small stand-in for CIFAR-10


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """CIFAR-10's files with 100 random images each, and the images of all of them."""
    monkeypatch.setattr(cifar10, "PER_FILE", ROWS)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6 * ROWS, 3, 32, 32), np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, part in zip(names, np.split(images, 6), strict=True):
        Image.fromarray(part.reshape(ROWS, 3, 1024).swapaxes(1, 2)).save(folder / f"{name}.png")
    for name, count in (("train", 5 * ROWS), ("test", ROWS)):
        (folder / f"{name}_lables.json").write_text(json.dumps([i % 10 for i in range(count)]))
    return tmp_path, images


def test_cifar10_is_a_row_of_pixels_per_image(cifar: tuple[Path, np.ndarray]):
    data_dir, images = cifar
    dataset = load(DataConfig("cifar10"), data_dir)
    assert np.array_equal(dataset.train_images[np.arange(500)], images[:500])
    assert np.array_equal(dataset.test_images[np.arange(100)], images[500:])
    assert dataset.train_labels.tolist() == [i % 10 for i in range(500)]
    assert dataset.counts() == ([50] * 10, [10] * 10)
    # The second time from the decoded file alone.
    for picture in (data_dir / "cifar10").glob("*.png"):
        picture.unlink()
    again = load(DataConfig("cifar10", train=30, test=20), data_dir)
    assert len(again.train_images) == len(again.train_labels) == 30 and len(again.test_labels) == 20
    assert np.array_equal(again.train_images[np.array([29, 3])], images[[29, 3]])


def test_cifar10_lt_thins_the_classes_exponentially_by_the_seed(cifar: tuple[Path, np.ndarray]):
    data_dir, images = cifar
    config = DataConfig("cifar10-lt", imbalance=25)
    thin = [load(config, data_dir, seed=seed) for seed in (0, 0, 1)]
    # 5000 images a class in truth; the stand-in has 50, so its first classes are whole.
    train, test = thin[0].counts()
    assert train == [min(50, int(5000 * 25 ** (-c / 9))) for c in range(10)] and test == [10] * 10
    picked = [one.train_images[np.arange(5)] for one in thin]
    assert np.array_equal(picked[0], picked[1]) and not np.array_equal(picked[0], picked[2])
    full = {image.tobytes(): i % 10 for i, image in enumerate(images[:500])}
    first = thin[0].train_images[np.arange(20)]
    assert [full[image.tobytes()] for image in first] == thin[0].train_labels[:20].tolist()


def test_held_out_images_follow_those_of_the_training(cifar: tuple[Path, np.ndarray]):
    data_dir, images = cifar
    dataset = load(DataConfig("cifar10", train=450, held_out=50), data_dir)
    assert np.array_equal(dataset.test_images[np.arange(50)], images[450:500])
    assert dataset.counts() == ([45] * 10, [5] * 10)
    for train in (451, "all"):
        with pytest.raises(WorkerError, match=rf"heldOut is 50 and data\.train is {train}, but"):
            load(DataConfig("cifar10", train=train, held_out=50), data_dir)


def test_the_long_tail_and_its_balanced_references_do_without_the_held_out_images(
    cifar: tuple[Path, np.ndarray],
):
    data_dir, images = cifar
    config = DataConfig("cifar10-lt", imbalance=1000, held_out=100)
    tail = load(config, data_dir)
    assert np.array_equal(tail.test_images[np.arange(100)], images[400:500])
    drawn = {image.tobytes() for image in tail.train_images[np.arange(len(tail.train_labels))]}
    assert not drawn & {image.tobytes() for image in images[400:500]}
    references = load(cifar10.balanced_references(config), data_dir)
    assert np.array_equal(references.train_images[np.arange(400)], images[:400])
    assert len(references.train_labels) == 400
    with pytest.raises(WorkerError, match="heldOut is 500, but cifar10-lt is drawn from 500"):
        load(DataConfig("cifar10-lt", held_out=500), data_dir)


def test_the_long_tail_of_the_whole_set_has_12406_images():
    assert sum(int(5000 * 100 ** (-c / 9)) for c in range(10)) == 12_406


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda folder: (folder / "data_batch_3.png").unlink(), r"data_batch_3\.png is missing; `npm start`"),
        (lambda folder: (folder / "test_batch.png").write_bytes(b"no"), r"test_batch\.png is not a complete"),
        (lambda folder: (folder / "test_lables.json").write_text("[1, 2]"), "not a list of 100 labels"),
        (lambda folder: (folder / "train_lables.json").write_text("[1,"), "is damaged"),
        (lambda folder: (folder / "train_lables.json").unlink(), "`npm start` fetches it"),
        (lambda folder: (folder / "train.npy").write_bytes(b"no"), r"train\.npy is damaged"),
        (lambda folder: (folder / "train.npy").write_bytes(b""), r"train\.npy is damaged"),
        (lambda folder: np.save(folder / "train.npy", np.zeros(3)), "does not hold CIFAR-10"),
    ],
)
def test_missing_and_damaged_files_say_what_to_do(break_it, sentence: str, cifar):
    data_dir, _ = cifar
    break_it(data_dir / "cifar10")
    with pytest.raises(WorkerError, match=sentence):
        load(DataConfig("cifar10"), data_dir)


def test_fashion_mnist_is_padded_and_grey_in_three_channels(data_dir: Path):
    dataset = load(DataConfig("fashion-mnist"), data_dir)
    path = data_dir / "fashion-mnist" / "train-images-idx3-ubyte"
    raw = np.frombuffer(path.read_bytes(), np.uint8, offset=16).reshape(60, 28, 28)
    images = dataset.train_images[np.arange(60)]
    assert images.shape == (60, 3, 32, 32)
    for channel in range(3):
        assert np.array_equal(images[:, channel, 2:-2, 2:-2], raw)
    assert images[:, :, :2].max() == images[..., -2:].max() == 0
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    held_out = load(DataConfig("fashion-mnist", train=50, held_out=10), data_dir)
    assert np.array_equal(held_out.test_images[np.arange(10)], images[50:])
    packed = load(DataConfig("fashion-mnist"), data_dir)
    assert np.array_equal(packed.train_images[np.arange(60)], images)
    path.with_suffix(".gz").write_bytes(b"no")
    with pytest.raises(WorkerError, match="not a whole gzip file"):
        load(DataConfig("fashion-mnist"), data_dir)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """train and val of two classes, one colour each, in pictures that are not square."""
    for split, count in (("train", 6), ("val", 2)):
        for c, name in enumerate(("red", "blue")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                picture = np.zeros((40, 60, 3), np.uint8)
                picture[..., 2 * c] = 200
                Image.fromarray(picture).save(folder / f"{i}.jpg", quality=100)
    return tmp_path


@pytest.mark.parametrize("small", [True, False])
def test_a_folder_of_photographs_is_resized_and_cut_square(photographs: Path, small: bool, monkeypatch):
    monkeypatch.setattr("mixhead.worker.data.folder.IN_MEMORY", 1 << 30 if small else 0)
    dataset = load(DataConfig("folder", path=str(photographs)), "unused", size=24)
    assert dataset.class_names == ["blue", "red"] and dataset.counts() == ([6, 6], [2, 2])
    images = dataset.train_images[np.arange(12)]
    assert images.shape == (12, 3, 24, 24) and images.dtype == np.uint8
    bright = np.where(dataset.train_labels == 0, 2, 0)  # blue is class 0
    for image, channel in zip(images, bright, strict=True):
        assert image[channel].min() > 190 and np.delete(image, channel, axis=0).max() < 10
    assert len(set(dataset.train_labels[:6].tolist())) == 2


def test_inaturalist_is_split_by_its_lists(photographs: Path):
    for split, folder in (("train", "train"), ("val", "val")):
        files = sorted((photographs / folder).glob("*/*.jpg"))
        listed = {
            "images": [{"id": i, "file_name": str(f.relative_to(photographs))} for i, f in enumerate(files)],
            "annotations": [
                {"image_id": i, "category_id": int(f.parent.name == "red")} for i, f in enumerate(files)
            ],
        }
        (photographs / f"{split}2018.json").write_text(json.dumps(listed))
    dataset = load(DataConfig("inat2018", path=str(photographs)), "unused", size=24)
    assert dataset.counts() == ([6, 6], [2, 2])
    red = dataset.test_images[np.flatnonzero(dataset.test_labels == 1)]
    assert red[:, 0].min() > 190


def broken_png(path: Path) -> None:
    """Its second chunk of pixels has no name: a SyntaxError in Pillow."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(path, "PNG")
    first, second, rest = path.read_bytes().split(b"IDAT", 2)
    path.write_bytes(first + b"IDAT" + second + bytes(4) + rest)


@pytest.mark.parametrize(
    ("break_it", "most"),
    [
        (broken_png, 1 << 20),
        (lambda path: path.write_bytes(b"P6 8 x"), 1 << 20),
        (lambda path: path.write_bytes(b"no"), 1 << 20),
        (lambda path: None, 1000),
    ],
)
def test_a_picture_that_cannot_be_decoded_is_one_sentence(
    break_it, most: int, photographs: Path, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    break_it(photographs / "val" / "red" / "1.jpg")
    dataset = load(DataConfig("folder", path=str(photographs)), "unused", size=24)
    with pytest.raises(WorkerError, match=r"\d\.jpg cannot be read as an image: \w"):
        dataset.test_images[np.arange(4)]


def test_a_file_in_place_of_a_folder_of_photographs_is_one_sentence(photographs: Path):
    (photographs / "val").rename(photographs / "other")
    (photographs / "val").write_text("no")
    with pytest.raises(WorkerError, match=r"data\.path: .*val"):
        load(DataConfig("folder", path=str(photographs)), "unused")


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_inaturalist_list_without_images_is_one_sentence(split: str, tmp_path: Path):
    one = {"images": [{"id": 0, "file_name": "0.jpg"}], "annotations": [{"image_id": 0, "category_id": 0}]}
    for name in ("train", "val"):
        listed = {"images": [], "annotations": []} if name == split else one
        (tmp_path / f"{name}2018.json").write_text(json.dumps(listed))
    with pytest.raises(WorkerError, match=rf"{split}2018\.json lists no images"):
        load(DataConfig("inat2018", path=str(tmp_path)), "unused")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (DataConfig("mnist"), "there is no data set 'mnist'; allowed: cifar10"),
        (DataConfig("folder"), r"data\.path is missing"),
        (DataConfig("folder", path="/nowhere"), "is not a folder"),
        (DataConfig("inat2018", path="."), r"train2018\.json is missing"),
        (DataConfig("fashion-mnist"), "dataset-fashion-mnist"),
        (DataConfig("cifar10"), "`npm start` fetches it"),
    ],
)
def test_an_absent_set_is_one_sentence_with_what_to_do(config: DataConfig, sentence: str, tmp_path: Path):
    with pytest.raises(WorkerError, match=sentence):
        load(config, tmp_path)


def test_images_per_class_on_the_command_line(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    assert main(['{"name": "fashion-mnist", "train": 15}', "--data-dir", str(data_dir), "--json"]) == 0
    counts = {"name": "fashion-mnist", "train": [2] * 5 + [1] * 5, "test": [3] * 10}
    assert json.loads(capsys.readouterr().out) == counts
    assert main(["nothing", "--data-dir", str(data_dir)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
