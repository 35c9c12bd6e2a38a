"""Folders of torch.distributed.checkpoint, and files of one rank."""

import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor import Shard as LocalShard
from torch.distributed._shard.sharded_tensor import ShardedTensor, ShardedTensorMetadata
from torch.distributed.checkpoint.metadata import (
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.files import read_entries
from mixhead.checkpoint.prototypes import read_prototypes
from tests.checkpoint.files import D, K, Ran, rows, saved

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

NAME = "model.teacher.dino_head.last_layer.weight"


def folder_of(tmp_path: Path, name: str, **more: object) -> Path:
    content = {
        "model": {
            "teacher.dino_head.last_layer.weight": rows(1),
            "student.dino_head.last_layer.weight": rows(2),
            "student.backbone.blocks.0.attn.qkv.weight": torch.ones(64, 64),
        },
        "iteration": 3,
        **more,
    }
    dcp.save(content, checkpoint_id=tmp_path / name, no_dist=True)
    return tmp_path / name


def metadata_of(folder: Path) -> Metadata:
    return dcp.FileSystemReader(folder).read_metadata()


def write_metadata(folder: Path, metadata: Metadata) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


@pytest.mark.parametrize("name", ["199", "last.ckpt"])
def test_a_folder_is_read_without_a_process_group(tmp_path: Path, name: str) -> None:
    found = read_prototypes(folder_of(tmp_path, name, path=Path("x")))
    assert found.key == NAME and torch.equal(found.rows, rows(1))
    assert found.others == ["model.student.dino_head.last_layer.weight"]
    assert not dist.is_initialized()


def test_only_the_wanted_tensor_of_a_folder_is_read(tmp_path: Path) -> None:
    content = {"teacher.last_layer.weight": rows(), "backbone.weight": torch.ones(64, 64)}
    writer = dcp.FileSystemWriter(tmp_path / "199", single_file_per_rank=False)
    dcp.save(content, storage_writer=writer, no_dist=True)
    wanted = next(
        place.relative_path
        for index, place in metadata_of(tmp_path / "199").storage_data.items()
        if index.fqn == "teacher.last_layer.weight"
    )
    for file in (tmp_path / "199").glob("*.distcp"):
        if file.name != wanted:
            file.unlink()
    assert torch.equal(read_prototypes(tmp_path / "199").rows, rows())


@pytest.fixture
def two_ranks() -> Iterator[None]:
    """This process is rank 0 of two; PyTorch's fake backend stands for the other."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


def test_pieces_of_several_ranks_become_one_tensor(tmp_path: Path) -> None:
    """Each rank writes its part to a file of its own; here one process writes both parts, of one tensor."""
    folder, whole = tmp_path / "99", "last_layer.weight"
    writer = dcp.FileSystemWriter(folder, single_file_per_rank=False)
    dcp.save({"first": rows()[:4].clone(), "second": rows()[4:].clone()}, storage_writer=writer, no_dist=True)
    metadata = metadata_of(folder)
    tensors, places = metadata.state_dict_metadata, metadata.storage_data
    parts = {name: tensors.pop(name).chunks[0] for name in ("first", "second")}
    files = {name: places.pop(MetadataIndex(name, torch.Size([0, 0]))) for name in parts}
    parts["second"].offsets = torch.Size([4, 0])
    tensors[whole] = TensorStorageMetadata(TensorProperties(), torch.Size([K, D]), list(parts.values()))
    places.update({MetadataIndex(whole, parts[name].offsets): files[name] for name in parts})
    write_metadata(folder, metadata)
    assert torch.equal(read_prototypes(folder).rows, rows())
    tensors[whole].chunks.pop()
    write_metadata(folder, metadata)
    with pytest.raises(CheckpointError, match=r"last_layer\.weight is not all there$"):
        read_prototypes(folder)
    tensors[whole].chunks.append(parts["second"])
    write_metadata(folder, metadata)
    (folder / files["second"].relative_path).unlink()
    with pytest.raises(CheckpointError, match=r"is not all there: .*\.distcp is missing; copy the files"):
        read_prototypes(folder)


def test_a_folder_that_is_no_checkpoint_or_not_whole_is_one_sentence(tmp_path: Path) -> None:
    folder_of(tmp_path, "ckpt/199")
    (tmp_path / "ckpt" / "notes.txt").write_text("")
    with pytest.raises(CheckpointError, match=r"ckpt is a folder, but .*; in it: 199, notes\.txt$"):
        read_prototypes(tmp_path / "ckpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"it is empty$"):
        read_prototypes(tmp_path / "empty")
    (tmp_path / "ckpt/199/.metadata").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"199: its \.metadata is not PyTorch's, or damaged"):
        read_prototypes(tmp_path / "ckpt/199")
    (tmp_path / "ckpt/199/.metadata").unlink()
    with pytest.raises(CheckpointError, match=r"has no \.metadata: it was not saved completely, or"):
        read_prototypes(tmp_path / "ckpt/199")


def test_code_in_the_metadata_of_a_folder_never_runs(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "199")
    metadata = metadata_of(folder)
    metadata.planner_data = Ran(sys.exit, "code in the pickle was run")
    write_metadata(folder, metadata)
    with pytest.raises(CheckpointError, match=r"its \.metadata holds a Python object \(sys\.exit\)"):
        read_prototypes(folder)
    metadata.planner_data = Ran(breakpoint)
    write_metadata(folder, metadata)
    assert torch.equal(read_prototypes(folder).rows, rows(1))


def test_a_folder_leads_to_no_file_outside(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "199")
    metadata = metadata_of(folder)
    (data,) = folder.glob("*.distcp")
    shutil.copy(data, tmp_path / "outside.distcp")
    for place in metadata.storage_data.values():
        place.relative_path = "../outside.distcp"
    write_metadata(folder, metadata)
    with pytest.raises(CheckpointError, match=r"its \.metadata is not PyTorch's, or damaged"):
        read_prototypes(folder)


SHARD = r"is one rank's shard of an FSDP checkpoint: give eval/\.\.\./teacher_checkpoint\.pth"


def test_flat_parameters_are_one_ranks_shard(tmp_path: Path) -> None:
    flat = {"teacher.dino_head._fsdp_wrapped_module._flat_param": torch.ones(40)}
    with pytest.raises(CheckpointError, match=rf"model_0124\.rank_0\.pth {SHARD}"):
        read_prototypes(saved(tmp_path, {"model": flat}, "model_0124.rank_0.pth"))


def sharded() -> ShardedTensor:
    half = K // 2
    places = [ShardMetadata([half * n, 0], [half, D], f"rank:{n}/cpu") for n in (0, 1)]
    return ShardedTensor._init_from_local_shards_and_global_metadata(
        [LocalShard(rows()[:half].clone(), places[0])],
        ShardedTensorMetadata(places, torch.Size([K, D])),
    )


@pytest.mark.parametrize("kind", ["DTensor", "ShardedTensor"])
def test_a_tensor_of_which_the_file_has_a_part_is_one_ranks_shard(
    tmp_path: Path, two_ranks: None, kind: str
) -> None:
    mesh = init_device_mesh("cpu", (2,))
    part = sharded() if kind == "ShardedTensor" else distribute_tensor(rows(), mesh, [Shard(0)])
    path = saved(tmp_path, {"teacher.last_layer.weight": part})
    assert read_entries(path)["teacher.last_layer.weight"].shape == (K, D)
    with pytest.raises(CheckpointError, match=rf"teacher\.last_layer\.weight {SHARD}"):
        read_prototypes(path)


def test_a_distributed_tensor_of_which_the_file_has_all_is_read(tmp_path: Path, two_ranks: None) -> None:
    whole = distribute_tensor(rows(), init_device_mesh("cpu", (2,)), [Replicate()])
    path = saved(tmp_path, {"last_layer.weight": whole})
    assert torch.equal(read_prototypes(path).rows, whole.to_local())


def test_a_file_of_one_rank_in_capis_layout_is_recognised_by_its_name(tmp_path: Path) -> None:
    content = {"model": {"teacher.head.module.layer.parametrizations.weight.original": rows()}}
    with pytest.raises(CheckpointError, match=SHARD):
        read_prototypes(saved(tmp_path, content, "model.0000099.rank_003.pth"))
    assert torch.equal(read_prototypes(saved(tmp_path, content, "orthogonal.pth")).rows, rows())
