from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mixhead.worker.data import load
from mixhead.worker.encoders import build_encoder
from mixhead.worker.errors import WorkerError
from mixhead.worker.evaluate import evaluate, main
from mixhead.worker.features import Features, Labelled, encoder_features
from mixhead.worker.groups import groups
from mixhead.worker.weights import load_encoder
from tests.worker.runs import config, raw_config

NAME = "conv-small"


def encoder(seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_encoder(NAME)[0].eval()


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    images = torch.randn(4, 3, 32, 32)
    return torch.equal(a.eval()(images), b.eval()(images))


def test_weights_are_read_from_a_checkpoints_folder(tmp_path: Path):
    trained, other = encoder(1), encoder(2)
    save_file(trained.state_dict(), tmp_path / "encoder.safetensors")
    load_encoder(other, tmp_path, NAME)
    assert same(trained, other)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "backbone._orig_mod."])
def test_weights_are_read_from_a_file_under_any_prefix(prefix: str, tmp_path: Path):
    trained, other = encoder(1), encoder(2)
    tensors = {prefix + key: tensor for key, tensor in trained.state_dict().items()}
    torch.save({**tensors, "head.weight": torch.zeros(3, 128)}, tmp_path / "weights.pth")
    load_encoder(other, tmp_path / "weights.pth", NAME)
    assert same(trained, other)


def test_a_teacher_goes_before_a_student_wherever_both_lie(tmp_path: Path):
    student, teacher, loaded = encoder(1), encoder(2), encoder(3)
    content = {
        f"{role}": {f"module.backbone.{key}": tensor for key, tensor in network.state_dict().items()}
        for role, network in (("student", student), ("teacher", teacher))
    }
    torch.save({**content, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, tmp_path / "checkpoint.pth")
    load_encoder(loaded, tmp_path / "checkpoint.pth", NAME)
    assert same(teacher, loaded)


def test_weights_without_the_counters_of_old_files_load(tmp_path: Path):
    trained, other = encoder(1), encoder(2)
    kept = {key: t for key, t in trained.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(kept, tmp_path / "weights.pt")
    load_encoder(other, tmp_path / "weights.pt", NAME)
    assert same(trained, other)


def test_another_encoders_weights_are_one_sentence(tmp_path: Path):
    save_file(encoder().state_dict(), tmp_path / "encoder.safetensors")
    resnet, _ = build_encoder("resnet18-32")
    with pytest.raises(
        WorkerError, match=r"does not hold the encoder resnet18-32: .* missing, such as conv1"
    ):
        load_encoder(resnet, tmp_path, "resnet18-32")
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "imagenet.pth")
    with pytest.raises(WorkerError, match=r"conv1.weight is 64 x 3 x 7 x 7 in the file, and 64 x 3 x 3 x 3"):
        load_encoder(resnet, tmp_path / "imagenet.pth", "resnet18-32")


@pytest.mark.parametrize("name", ["absent.pth", "empty", "text.pth"])
def test_what_holds_no_weights_is_one_sentence(name: str, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pth").write_text("no")
    with pytest.raises(WorkerError) as error:
        load_encoder(encoder(), tmp_path / name, NAME)
    assert name in str(error.value) and len(str(error.value).splitlines()) == 1


def test_the_features_of_a_run_are_its_teachers_of_images_as_they_are(tmp_path: Path, data_dir: Path):
    trained = encoder(5)
    save_file(trained.state_dict(), tmp_path / "encoder.safetensors")
    run = config()
    found = encoder_features(tmp_path, run, str(data_dir), torch.device("cpu"))
    dataset = load(run.data, data_dir)
    assert found.train.x.shape == (40, 128) and found.test.x.shape == (30, 128) and found.balanced is None
    np.testing.assert_array_equal(found.train.y.numpy(), dataset.train_labels)
    pixels = torch.from_numpy(dataset.test_images[np.array([7])]).float() / 255
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (dataset.mean, dataset.std))
    with torch.no_grad():
        expected = trained((pixels - mean) / std)
    torch.testing.assert_close(found.test.x[7:8], expected, rtol=1e-4, atol=1e-5)


def test_evaluate_takes_a_file_of_weights_with_a_configuration(tmp_path: Path, data_dir: Path, capsys):
    torch.save(encoder().state_dict(), tmp_path / "weights.pt")
    settings = ["--config", json.dumps(raw_config()), "--data-dir", str(data_dir), "--json"]
    assert main([str(tmp_path / "weights.pt"), *settings]) == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)) == ["knn", "linear", "linearRate", "perClass"]
    assert all(line.startswith("... ") for line in printed.err.splitlines())


def test_balanced_references_are_reported_beside_the_long_tail_with_the_tails_groups():
    random = torch.Generator().manual_seed(0)
    centres = 0.6 * torch.randn(3, 8, generator=random)

    def drawn(counts: list[int]) -> Labelled:
        y = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        return Labelled(centres[y] + torch.randn(len(y), 8, generator=random), y)

    tail, test, balanced = drawn([400, 40, 3]), drawn([50, 50, 50]), drawn([200, 200, 200])
    result = evaluate(Features(tail, test, balanced))
    assert groups([400, 40, 3]) == {"head": [0], "medium": [1], "tail": [2]}
    assert list(result) == ["knn", "linear", "linearRate", "perClass", "groups", "balanced"]
    assert list(result["balanced"]) == ["knn", "linear", "linearRate", "perClass", "groups"]
    assert result["balanced"]["groups"]["tail"]["knn"] > result["groups"]["tail"]["knn"]
    assert result["balanced"]["groups"]["tail"]["knn"] == result["balanced"]["perClass"]["knn"][2]
