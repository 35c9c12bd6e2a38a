from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mixhead.knn import knn_predictions
from mixhead.worker.evaluate import main
from mixhead.worker.groups import groups
from mixhead.worker.linear import RATES, linear_probe


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x).float(), torch.from_numpy(y).long()
    return x[:900], y[:900], x[900:], y[900:]


def noisy_digits() -> tuple[torch.Tensor, ...]:
    """Digits that no plane separates, with correlated features."""
    train_x, train_y, test_x, test_y = digits()
    random = torch.Generator().manual_seed(0)
    mixing = torch.eye(64) + 0.3 * torch.randn(64, 64, generator=random)
    train_x, test_x = (
        (x + 6 * torch.randn(x.shape, generator=random)) @ mixing + 5 for x in (train_x, test_x)
    )
    return train_x, train_y, test_x, test_y


def test_knn_equals_the_definition_row_by_row():
    train_x, train_y, test_x, _ = noisy_digits()
    # Around their mean, where cosines, and with them the weights of the votes, differ.
    train_x, test_x = train_x - train_x.mean(dim=0), test_x[:200] - train_x.mean(dim=0)
    found = knn_predictions(train_x, train_y, test_x, 10, neighbours=(5, 300))
    for k, predictions in found.items():
        for row, predicted in zip(test_x.double(), predictions, strict=True):
            cosine = train_x.double() @ row / (train_x.double().norm(dim=1) * row.norm())
            nearest = cosine.argsort(descending=True)[:k]
            votes = torch.zeros(10, dtype=torch.float64)
            votes.index_add_(0, train_y[nearest], torch.exp(cosine[nearest] / 0.07))
            assert predicted == votes.argmax()


def test_knn_cuts_k_to_the_references_and_works_in_blocks(monkeypatch: pytest.MonkeyPatch):
    train_x, train_y, test_x, _ = digits()
    few = knn_predictions(train_x[:30], train_y[:30], test_x, 10)
    assert torch.equal(few[100], few[200]) and not torch.equal(few[10], few[200])
    whole = knn_predictions(train_x, train_y, test_x, 10)
    monkeypatch.setattr("mixhead.knn.SIMILARITIES", 900 * 7)
    for k, predictions in knn_predictions(train_x, train_y, test_x, 10).items():
        assert torch.equal(predictions, whole[k])


def test_the_linear_probe_reaches_the_optimum_that_scikit_learn_finds():
    train_x, train_y, test_x, test_y = noisy_digits()
    scaler = StandardScaler().fit(train_x.numpy())
    reference = LogisticRegression(C=1, tol=1e-8, max_iter=20_000)
    reference.fit(scaler.transform(train_x.numpy()), train_y.numpy())
    expected = torch.from_numpy(reference.predict(scaler.transform(test_x.numpy())))
    probe = linear_probe(train_x, train_y, test_x, 10)
    assert (probe.predictions == expected).float().mean() > 0.995
    accuracy, reached = ((p == test_y).double().mean().item() for p in (expected, probe.predictions))
    assert reached == pytest.approx(accuracy, abs=0.005)
    assert probe.rate in [pytest.approx(rate / 2**halvings) for rate in RATES for halvings in range(20)]


def test_the_scale_of_the_features_does_not_matter():
    train_x, train_y, test_x, _ = digits()
    probes = [linear_probe(train_x * scale + 7, train_y, test_x * scale + 7, 10) for scale in (0.01, 100)]
    assert (probes[0].predictions == probes[1].predictions).float().mean() > 0.99


@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e-12, 1e-7, 1e-5, 1e13, 1e25, 1e36])
def test_extreme_features_are_classified_as_usual_ones(scale: float):
    train_x, train_y, test_x, _ = digits()
    usual, extreme = (knn_predictions(train_x * s, train_y, test_x * s, 10)[20] for s in (1, scale))
    assert (usual == extreme).float().mean() > 0.99
    usual, extreme = (linear_probe(train_x * s, train_y, test_x * s, 10) for s in (1, scale))
    assert (usual.predictions == extreme.predictions).float().mean() > 0.99


def test_one_extreme_row_or_column_leaves_the_others_unchanged():
    train_x, train_y, test_x, _ = digits()
    rows, columns = torch.ones(897, 1), torch.ones(64)
    rows[::2], columns[::3], columns[1::3] = 1e25, 1e25, 1e-25
    usual, extreme = (knn_predictions(train_x, train_y, test_x * s, 10)[20] for s in (1, rows))
    assert torch.equal(usual[1::2], extreme[1::2]) and (usual == extreme).float().mean() > 0.99
    usual, extreme = (linear_probe(train_x * s, train_y, test_x * s, 10) for s in (1, columns))
    assert (usual.predictions == extreme.predictions).float().mean() > 0.99


def test_groups_of_ten_classes_are_three_four_three_by_count():
    counts = [50, 5000, 83, 2997, 139, 1796, 232, 1077, 387, 645]
    assert groups(counts) == {"head": [1, 3, 5], "medium": [7, 9, 8, 6], "tail": [4, 2, 0]}


def test_other_sets_are_split_in_thirds_and_inaturalist_by_count():
    assert groups([9, 1, 5, 3, 7, 2]) == {"head": [0, 4], "medium": [2, 3], "tail": [5, 1]}
    assert groups([500, 100, 20, 19], "inat2018") == {"head": [0], "medium": [1, 2], "tail": [3]}


def test_a_balanced_set_has_no_groups():
    assert groups([100, 51, 60]) is None
    assert groups([100, 50]) is not None


def test_a_class_without_images_is_in_no_tail_and_makes_none():
    assert groups([20, 20, 0, 20, 20]) is None
    assert groups([0, 9, 1, 0, 3]) == {"head": [1], "medium": [4], "tail": [2]}
    assert groups([500, 0, 20, 19], "inat2018") == {"head": [0], "medium": [2], "tail": [3]}


@pytest.fixture
def features(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    train_x, train_y, test_x, test_y = (tensor.numpy() for tensor in digits())
    arrays = {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}
    np.savez(tmp_path / "features.npz", **arrays)
    return tmp_path / "features.npz", arrays


def test_evaluate_prints_the_documented_object(features, capsys: pytest.CaptureFixture[str]):
    path, arrays = features
    assert main([str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["knn", "linear", "linearRate", "perClass"]
    assert list(result["knn"]) == ["10", "20", "100", "200"] and result["knn"]["20"] > 0.9
    counts = np.bincount(arrays["test_y"])
    for by, share in (("knn", result["knn"]["20"]), ("linear", result["linear"])):
        assert np.average(result["perClass"][by], weights=counts) == pytest.approx(share)


def test_evaluate_groups_a_long_tail(features, capsys: pytest.CaptureFixture[str]):
    path, arrays = features
    keep = np.concatenate([np.flatnonzero(arrays["train_y"] == c)[: 80 - 8 * c] for c in range(10)])
    thinned = {**arrays, "train_x": arrays["train_x"][keep], "train_y": arrays["train_y"][keep]}
    np.savez(path, **thinned)
    assert main([str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["groups"]) == ["head", "medium", "tail"]
    tail = np.isin(arrays["test_y"], [7, 8, 9])
    expected = np.average(result["perClass"]["knn"][7:], weights=np.bincount(arrays["test_y"][tail])[7:])
    assert result["groups"]["tail"]["knn"] == pytest.approx(expected)


def test_evaluate_finds_no_tail_in_a_hole_in_the_labels(features, capsys: pytest.CaptureFixture[str]):
    path, arrays = features
    kept = np.concatenate([np.flatnonzero(arrays["train_y"] == c)[:20] for c in (0, 1, 3, 4)])
    tested = np.isin(arrays["test_y"], [0, 1, 3, 4])
    train = {"train_x": arrays["train_x"][kept], "train_y": arrays["train_y"][kept]}
    np.savez(path, **train, test_x=arrays["test_x"][tested], test_y=arrays["test_y"][tested])
    assert main([str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "groups" not in result and result["perClass"]["knn"][2] is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_x": None}, "has no train_x"),
        ({"test_y": np.zeros(3, int)}, "test_y must be 897 labels"),
        ({"train_y": np.full(900, 0.5)}, "row 0 of train_y is 0.5; labels are whole numbers"),
        ({"train_y": np.full(900, -1)}, "row 0 of train_y is -1"),
        ({"train_y": np.array(["cat"] * 900)}, "train_y must be 900 labels"),
        ({"test_y": np.full(897, 11)}, "class 11 is in test_y, but not in train_y"),
        ({"test_y": np.full(897, 10**9)}, "a label is 1000000000"),
        ({"test_x": np.ones((897, 3))}, "must be the same"),
        ({"train_x": np.ones((900, 64), int)}, "train_x must be floats"),
        ({"test_x": np.where(np.arange(897)[:, None] == 5, np.nan, 1.0) * np.ones(64)}, "row 5 of test_x"),
        ({"test_x": np.where(np.arange(897)[:, None] == 6, 0.0, 1.0) * np.ones(64)}, "row 6 of test_x"),
        ({"test_x": np.full((897, 64), 1e39)}, "row 0 of test_x is all zero or not finite in float32"),
    ],
)
@pytest.mark.filterwarnings("error")  # would be another line
def test_bad_features_are_one_sentence(features, change: dict, sentence: str, capsys):
    path, arrays = features
    np.savez(path, **{key: value for key, value in {**arrays, **change}.items() if value is not None})
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.splitlines()) == 1


def test_an_invalid_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "text.npz").write_text("no")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text.npz", "empty.npz", "array.npy", "absent.npz"):
        assert main([str(tmp_path / name)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def overwritten(raw: bytes, offset: int, damage: bytes) -> bytes:
    return raw[:offset] + damage + raw[offset + len(damage) :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: overwritten(raw, 200, bytes(range(64))),
        lambda raw: overwritten(raw, raw.index(b"PK\1\2") + 10, b"\x63"),  # the method of compression
        lambda raw: raw[: len(raw) // 2],
    ],
)
def test_a_damaged_file_is_one_sentence(features, damage, capsys: pytest.CaptureFixture[str]):
    path, arrays = features
    np.savez_compressed(path, **arrays)
    path.write_bytes(damage(path.read_bytes()))
    assert main([str(path)]) == 2
    assert capsys.readouterr().err == f"{path} cannot be read as an .npz file\n"


def test_members_that_are_no_arrays_are_one_sentence(features, capsys):
    path, _ = features
    with zipfile.ZipFile(path, "w") as file:
        for name in ("train_x", "train_y", "test_x", "test_y"):
            file.writestr(name, "no")
    assert main([str(path)]) == 2
    error = capsys.readouterr().err
    assert "train_x must be floats" in error and len(error.splitlines()) == 1
