"""What can be wrong is told in one sentence, within the deadline; the training process lives where it can."""

import os
import time
import warnings
from collections.abc import Callable

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import mixhead
from mixhead.bridge import DeadlinePassed, Rejected, client, protocol
from mixhead.dropin.registry import mixture

from .heads import DIM, IN, K, lightly_head, with_teacher

Attach = Callable[..., None]


def test_no_plugin_at_the_endpoint(tmp_path):
    mixhead.attach(f"ipc://{tmp_path}/nobody", {"bridge": {"deadline": 0.5}})
    start = time.monotonic()
    with pytest.raises(
        DeadlinePassed, match=r"waited for a welcome from the plugin at .*nobody: is it running"
    ):
        lightly_head()(torch.randn(2, IN))
    assert time.monotonic() - start < 10


def test_a_plugin_of_another_protocol_version(attach: Attach, monkeypatch: pytest.MonkeyPatch):
    attach()
    for module in (client, protocol):
        monkeypatch.setattr(module, "OLDEST_VERSION", 98)
        monkeypatch.setattr(module, "NEWEST_VERSION", 99)
    both = (
        r"speaks versions? 98( to 99)? of the protocol, this side versions 2 to 3: install the same mixhead"
    )
    with pytest.raises(Rejected, match=both):
        lightly_head()(torch.randn(2, IN))


def test_sizes_that_differ_from_the_plugins(attach: Attach):
    attach(plugin={"components": K + 1})
    with pytest.raises(Rejected, match=f"has {K} prototypes; the configuration says {K + 1}"):
        lightly_head()(torch.randn(2, IN))


def test_invalid_settings_are_refused(attach: Attach):
    attach(plugin={"varience": 1})
    with pytest.raises(Rejected, match="varience"):
        lightly_head()(torch.randn(2, IN))
    with pytest.raises(ValueError, match="config has no 'plugins'; allowed: run, seed, plugin"):
        mixhead.attach(config={"plugins": {}})
    with pytest.raises(ValueError, match="deadline is -1"):
        mixhead.attach(config={"bridge": {"deadline": -1}})
    with pytest.raises(FileNotFoundError, match=r"the configuration file .* does not exist"):
        mixhead.attach(config="nowhere.yaml")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"bridge": {"deadlin": 5}}, "bridge has no 'deadlin'; allowed: endpoint, deadline, keys"),
        ({"bridge": "x"}, "bridge is 'x'; allowed: a dict"),
        ({"plugin": {"variance": torch.ones(())}}, "numbers, strings, lists and dicts"),
        (["plugin"], r"config is \['plugin'\]; allowed: a dict"),
    ],
)
def test_settings_of_another_kind(config: object, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        mixhead.attach(config=config)


def test_a_second_script_on_the_same_run(endpoint: str):
    mine = {"run": "mine", "bridge": {"deadline": 0.5}}
    for name in ("a", "b"):
        mixhead.attach(endpoint, mine, name)
    heads = lightly_head(name="a"), lightly_head(name="b")
    for head in heads:
        head(torch.randn(2, IN))
    mixture("b").name = "a"
    mixhead.attach(endpoint, mine, "b")  # starts over, under the name of the other
    with pytest.raises(Rejected, match='rank 0 of run "mine" is held by another process'):
        heads[1](torch.randn(2, IN))


class Embedded(Dataset):
    """A data set that uses the head where it must not: in its worker."""

    def __init__(self, head: torch.nn.Module) -> None:
        self.head = head

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.head(torch.randn(1, IN)).detach()


def test_a_head_in_a_forked_worker(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    teacher(torch.randn(4, IN))
    student(torch.randn(4, IN))
    loader = DataLoader(Embedded(student), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(RuntimeError, match=rf"belongs to process {os.getpid()} and was used in its fork"):
        next(iter(loader))
    teacher(torch.randn(4, IN))
    student(torch.randn(4, IN))
    student.eval()
    assert next(iter(loader)).shape == (1, 1, K)


def test_a_batch_of_one(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    for _ in range(3):
        teacher(torch.randn(1, IN))
        student(torch.randn(1, IN)).sum().backward()
    assert mixture("default").save()[1].step == 3
    attach("normed")
    student, teacher = with_teacher(lightly_head(norm="batch", name="normed"))
    with pytest.raises(ValueError, match='norm="batch" needs at least two rows'):
        teacher(torch.randn(1, IN))
    assert teacher(torch.randn(0, IN)).shape == (0, K)
    student.eval()
    assert student(torch.randn(1, IN)).shape == (1, K)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, 8), "dim is 0; allowed: whole numbers from 1"),
        ((4.5, 8), "dim is 4.5; allowed: whole numbers from 1"),
        ((4, 0), "components is 0; allowed: whole numbers from 1"),
        ((4, -3), "components is -3; allowed: whole numbers from 1"),
        ((4, 8, "default", None, 0), "scale is 0; allowed: a finite number above 0, or None"),
        ((4, 8, "default", None, torch.inf), "scale is inf; allowed: a finite number above 0, or None"),
        ((4, 8, "default", None, "x"), "scale is 'x'; allowed: a finite number above 0, or None"),
    ],
)
def test_invalid_sizes_of_a_layer_are_refused(arguments: tuple[object, ...], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        mixhead.Prototypes(*arguments)


def feed(batches: list[torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[list[str]]]:
    """Each batch is a step of a mixture that sees the rows as they are. The state then, and the warnings that
    came when each batch was fed, and at the end."""
    mixture("default").attachment.components = K
    target = mixhead.teacher(torch.nn.Linear(DIM, DIM, bias=False).requires_grad_(False))
    torch.nn.init.eye_(target.weight)
    told = []
    for batch in [*batches, None]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if batch is None:
                state = mixture("default").save()[1]
            else:
                target(batch)
                mixhead.step()
        told.append([str(warning.message) for warning in caught])
    return state.tensors, told


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 0.0])
@pytest.mark.parametrize("kind", ["online-gmm", "kmeans"])
def test_a_row_that_is_not_finite_or_zero_changes_nothing(
    attach: Attach, placement: str, kind: str, bad: float
):
    """On a device, where nobody waits for what a step finds, it is told one step later."""
    batches = [torch.randn(8, DIM) for _ in range(5)]
    broken = batches[2].index_fill(0, torch.tensor([3]), bad)
    attach(plugin={"kind": kind})
    expected, told = feed(batches)
    assert not any(told)
    attach(plugin={"kind": kind})
    got, told = feed([*batches[:2], broken, *batches[2:]])
    assert got.keys() == expected.keys()
    assert all(torch.equal(torch.tensor(got[name]), torch.tensor(expected[name])) for name in expected)
    where = 3 if placement == "host" else 4
    (sentence,) = told[where]
    assert not any(told[:where] + told[where + 1 :])
    row = "row 3 of the embeddings is not finite or all zero"
    if placement == "device":
        row = 'mixture "default": row 3 of the embeddings of step 2 was not finite or all zero'
    assert row in sentence and "has not changed the mixture" in sentence


def test_targets_that_nobody_asked_for(attach: Attach):
    attach()
    student, teacher = with_teacher(lightly_head())
    teacher(torch.randn(4, IN))
    student(torch.randn(4, IN))
    with pytest.raises(RuntimeError, match="was not asked for targets"):
        mixhead.targets()
    attach("asked", targets={})
    student, teacher = with_teacher(lightly_head(name="asked"))
    with pytest.raises(RuntimeError, match="no teacher rows in this step"):
        mixhead.targets("asked")


def test_rows_of_another_dimension(attach: Attach):
    attach()
    mixture("default").attachment.dim = DIM
    target = mixhead.teacher(torch.nn.Linear(IN, DIM + 1))
    with pytest.raises(ValueError, match=f"are 4 x {DIM + 1}: its prototypes are of dimension {DIM}"):
        target(torch.randn(4, IN))
