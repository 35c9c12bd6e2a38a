import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.models.modules import DINOProjectionHead
from lightly.models.modules.heads import CAPIProjectionHead, SwaVPrototypes
from safetensors.torch import save_file
from torch import nn

from mixhead.checkpoint.__main__ import main
from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.prototypes import read_prototypes
from tests.checkpoint.files import DISTRACTING, D, K, rows, saved


@pytest.mark.parametrize(
    "key",
    [
        "head.last_layer.weight_v",
        "module.head.last_layer.weight_v",
        "head.last_layer.parametrizations.weight.original1",
        "dino_head.last_layer.weight",
        "_orig_mod.module.head.last_layer.weight_v",
        "module.prototypes.weight",
        "prototypes.prototypes0.weight",
        "prototypes.heads.0.weight",
        "heads.0.weight",
        "head.layer.weight",
        "smog.group_features",
        "prototypes",
        "prototypes.0.weight",
        "teacher.dino_head.last_layers.2.weight_v",
        "head.last_layer.module.weight_v",
        "head.last_layer._orig_mod.weight_v",
        "head._fsdp_wrapped_module.last_layer._checkpoint_wrapped_module.weight_v",
        "_forward_module.model.teacher_dino_head.last_layer.parametrizations.weight.original1",
        "student.head.module.last_layer.parametrizations.weight_v.original",
    ],
)
@pytest.mark.parametrize("format", ["pth", "safetensors"])
def test_the_last_layer_is_found_by_its_name(tmp_path: Path, key: str, format: str) -> None:
    content = {**DISTRACTING, key: rows(), "head.last_layer.weight_g": torch.ones(K, 1)}
    path = tmp_path / f"checkpoint.{format}"
    torch.save({"state_dict": content}, path) if format == "pth" else save_file(content, path)
    found = read_prototypes(path)
    assert found.key == (f"state_dict.{key}" if format == "pth" else key)
    assert torch.equal(found.rows, rows())
    assert found.others == []


def test_the_teacher_comes_first_and_image_heads_before_patch_heads(tmp_path: Path) -> None:
    head = {"module.head.last_layer.weight_v": rows(1), "module.head.last_layer2.weight_v": rows(2)}
    student = {name: -value for name, value in head.items()}
    path = saved(tmp_path, {"student": student, "teacher": dict(reversed(head.items())), "epoch": 3})
    found = read_prototypes(path)
    assert found.key == "teacher.module.head.last_layer.weight_v"
    assert torch.equal(found.rows, rows(1))
    assert found.others == [
        "teacher.module.head.last_layer2.weight_v",
        "student.module.head.last_layer.weight_v",
        "student.module.head.last_layer2.weight_v",
    ]


def test_dinov2_heads_in_one_dictionary(tmp_path: Path) -> None:
    model = {
        f"{owner}.{head}.last_layer.weight_v": rows()
        for owner in ("student", "teacher")
        for head in ("ibot_head", "dino_head")
    }
    assert (
        read_prototypes(saved(tmp_path, {"model": model})).key
        == "model.teacher.dino_head.last_layer.weight_v"
    )


def test_the_nested_head_with_most_rows_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    layers = {f"teacher.dino_head.last_layers.{n}.weight_v": rows(n, 4 + n) for n in (0, 2, 1)}
    found = read_prototypes(saved(tmp_path, layers))
    assert found.key == "teacher.dino_head.last_layers.2.weight_v" and torch.equal(found.rows, rows(2, 6))
    assert found.others == [f"teacher.dino_head.last_layers.{n}.weight_v" for n in (1, 0)]


def sequential(owner: str, **options: object) -> dict[str, torch.Tensor]:
    """stable-pretraining's projector: an MLP, a norm without weights, and prototypes."""
    layers = nn.Sequential(
        nn.Linear(8, 8),
        nn.GELU(),
        nn.Linear(8, D),
        nn.Identity(),
        nn.Linear(D, K, **{"bias": False, **options}),
    )
    return {f"projector.{owner}.{name}": tensor for name, tensor in layers.state_dict().items()}


BLOCKS = {f"backbone.teacher.blocks.{n}.attn.qkv.weight": torch.ones(24, 8) for n in range(24)}


def test_the_last_layer_of_a_sequential_is_taken_and_called_a_guess(tmp_path: Path) -> None:
    content = {**BLOCKS, **sequential("student"), **sequential("teacher")}
    found = read_prototypes(saved(tmp_path, {"state_dict": content}))
    assert found.guessed and found.key == "state_dict.projector.teacher.4.weight"
    assert found.others == ["state_dict.projector.student.4.weight"]
    assert torch.equal(found.rows, content["projector.teacher.4.weight"])


def test_a_projector_that_does_not_end_in_prototypes_is_ignored(tmp_path: Path) -> None:
    fewer = {"projector.0.weight": torch.ones(8, 8), "projector.2.weight": torch.ones(4, 8)}
    for content in (sequential("teacher", bias=True), fewer):
        with pytest.raises(CheckpointError, match="has no last layer with a known name"):
            read_prototypes(saved(tmp_path, content))


def test_candidates_are_listed_by_rows_a_teachers_first_and_the_layer_of_many_blocks_once(
    tmp_path: Path,
) -> None:
    odd = {"student.x.weight": torch.ones(512, 4), "teacher.x.weight": torch.ones(512, 4)}
    optimizer = {"optimizer.state.3.exp_avg": torch.ones(512, 4)}
    with pytest.raises(CheckpointError) as error:
        read_prototypes(saved(tmp_path, {**BLOCKS, **optimizer, **odd}))
    assert str(error.value).endswith(
        "2-D tensors: teacher.x.weight (512 x 4), student.x.weight (512 x 4), "
        "backbone.teacher.blocks.*.attn.qkv.weight (24 of 24 x 8)"
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_modules_of_lightly(tmp_path: Path) -> None:
    dino = DINOProjectionHead(8, 8, D, K)
    swav = SwaVPrototypes(D, K)
    capi = nn.ModuleDict({"head": CAPIProjectionHead(D, K)})
    for module, expected in [
        (dino, dino.last_layer.weight_v),
        (swav, swav.heads[0].weight),
        (capi, capi["head"].layer.weight),
    ]:
        assert torch.equal(read_prototypes(saved(tmp_path, module.state_dict())).rows, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_checkpoint_of_metas_dino_with_its_arguments_and_optimizer(tmp_path: Path) -> None:
    last_layer = nn.utils.weight_norm(nn.Linear(D, K, bias=False))
    head = nn.ModuleDict({"head": nn.ModuleDict({"last_layer": last_layer})})
    optimizer = torch.optim.AdamW(head.parameters())
    sum(p.sum() for p in head.parameters()).backward()
    optimizer.step()
    content = {
        "student": head.state_dict(),
        "teacher": head.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(out_dim=K, lr=np.float64(0.1)),
        "best": np.float32(0.5),
        "dino_loss": {"center": torch.zeros(1, K)},
    }
    for legacy in (False, True):
        path = saved(tmp_path, content, _use_new_zipfile_serialization=not legacy)
        found = read_prototypes(path)
        assert found.key == "teacher.head.last_layer.weight_v"
        assert found.others == ["student.head.last_layer.weight_v"]
        assert torch.equal(found.rows, last_layer.weight_v)


def test_a_bare_tensor_and_half_precision_become_float32(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = read_prototypes(saved(tmp_path, nn.Parameter(rows().to(dtype))))
        assert found.rows.dtype == torch.float32
        assert torch.equal(found.rows, rows().to(dtype).float())


def test_float64_rows_beyond_float32_keep_their_direction(tmp_path: Path) -> None:
    scales = torch.tensor([1, 1e100, 1e308, 1e-60, 1e-40, 1e-305], dtype=torch.float64)[:, None]
    content = rows().double() / rows().double().abs().amax(1, keepdim=True) * scales
    found = read_prototypes(saved(tmp_path, content)).rows
    assert torch.equal(found[0], content[0].float()), "what float32 can hold stays as it is"
    cosines = torch.cosine_similarity(found.double(), content / scales)
    assert torch.allclose(cosines, torch.ones(K, dtype=torch.float64), atol=1e-12)


def test_bad_float64_rows_are_still_bad_in_float32(tmp_path: Path) -> None:
    content = torch.tensor([[torch.inf, 1e100], [torch.nan, 1e100], [0, 0]], dtype=torch.float64)
    found = read_prototypes(saved(tmp_path, content)).rows
    assert not found[:2].isfinite().all(1).any()
    assert torch.equal(found[2], torch.zeros(2))


def test_a_key_selects_a_tensor_in_full_or_by_the_end_of_its_name(tmp_path: Path) -> None:
    path = saved(
        tmp_path, {"a": {"odd.weight": rows(1)}, "b": {"last_layer.weight": rows(2)}, "n": torch.ones(3)}
    )
    for key in ("a.odd.weight", "odd.weight"):
        assert torch.equal(read_prototypes(path, key).rows, rows(1))
    wrapped = saved(tmp_path, {"a": {"odd.module.weight": rows(1)}, "even.weight": rows(2)}, "wrapped.pth")
    assert torch.equal(read_prototypes(wrapped, "a.odd.weight").rows, rows(1))
    with pytest.raises(CheckpointError, match=r"has 2 tensors of the name weight; its 2-D.*: a\.odd\.weight"):
        read_prototypes(path, "weight")
    with pytest.raises(CheckpointError, match="has no tensor of the name c"):
        read_prototypes(path, "c")
    with pytest.raises(CheckpointError, match="n is 3; prototypes x dimensions are needed"):
        read_prototypes(path, "n")


def test_without_a_known_name_the_matrices_are_listed(tmp_path: Path) -> None:
    path = saved(tmp_path, {**DISTRACTING, "norm.weight": torch.ones(4)})
    with pytest.raises(CheckpointError) as error:
        read_prototypes(path)
    assert "backbone.blocks.0.attn.qkv.weight (12 x 4), head.mlp.0.weight (8 x 4)" in str(error.value)
    assert "norm.weight" not in str(error.value)


def contains_itself() -> list:
    content: list = [rows()]
    content.append(content)
    return content


ODD = [
    (contains_itself(), "a dictionary or list that contains itself"),
    (torch.eye(3).to_sparse(), "is sparse; save it with to_dense()"),
    (torch.empty(K, D, device="meta"), "is on the meta device"),
    (torch.ones(1, 1).expand(10**6, 10**6), "repeats numbers, as expand does"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("content", "words"), ODD, ids=["cyclic", "sparse", "meta", "expanded"])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_holds_no_matrix_of_numbers_is_one_sentence_and_exit_2(
    tmp_path: Path, content: object, words: str, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, content, _use_new_zipfile_serialization=zipped)
    assert main([str(path), "--out", str(tmp_path / "out.npy")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and words in message and str(path) in message
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_tensors_beside_the_last_layer_are_skipped(tmp_path: Path) -> None:
    content = {
        "adjacency": torch.eye(3).to_sparse(),
        "words": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "last_layer.weight": rows(),
    }
    assert torch.equal(read_prototypes(saved(tmp_path, content)).rows, rows())


def test_a_view_is_read_as_it_looks(tmp_path: Path) -> None:
    for view in (rows().t(), rows()[1:4, 1:3]):
        assert torch.equal(read_prototypes(saved(tmp_path, view)).rows, view)


def test_the_command_writes_the_rows_and_says_which_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(
        tmp_path, {"student": {"last_layer.weight": rows(2)}, "teacher": {"last_layer.weight": rows(1)}}
    )
    assert main([str(path), "--out", str(tmp_path / "out.npy")]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "key": "teacher.last_layer.weight",
        "others": ["student.last_layer.weight"],
        "guessed": False,
    }
    written = np.load(tmp_path / "out.npy")
    assert written.dtype == np.float32 and np.array_equal(written, rows(1).numpy())
    assert main([str(tmp_path / "missing.pt"), "--out", "x.npy"]) == 2
    assert "no such file" in capsys.readouterr().err
