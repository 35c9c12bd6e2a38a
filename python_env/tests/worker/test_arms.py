"""What the arms of a method share, and what a seed decides, method by method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mixhead.worker import methods
from mixhead.worker.data import Dataset, load
from mixhead.worker.feed import fetch
from mixhead.worker.loop import draw_mask, draw_views
from mixhead.worker.state import State
from mixhead.worker.step import finish, student_rows, teacher_rows
from tests.worker.runs import Reply, clock, config, reply
from tests.worker.test_step import PROTOTYPES, assert_same, begin, weights

METHODS = list(methods.METHODS)
ARMS = ["joint", "decoupled", "frozen"]


def settings(method: str, arm: str, **changes: object) -> dict:
    encoder = {"encoder": {"name": "vit-tiny-32"}} if method == "ibot" else {}
    return {"method": method, "prototypes": arm, **encoder, **changes}


@pytest.fixture
def dataset(data_dir: Path) -> Dataset:
    plain = config()
    return load(plain.data, str(data_dir), plain.views.global_size, plain.seed)


def drawn(state: State, dataset: Dataset) -> list[torch.Tensor]:
    """All that a step draws: the views, the labels, and the mask where there is one."""
    images, labels = fetch(dataset, state.config.train.batch, state.config.seed, state.step)
    views = draw_views(state.config, dataset, images, state.step)
    mask = draw_mask(state.config, state.student, state.step)
    return [*views, labels] if mask is None else [*views, labels, mask]


@pytest.mark.parametrize("method", METHODS)
def test_the_arms_of_a_method_start_from_the_same_weights_and_see_the_same_batches(
    method: str, dataset: Dataset
):
    joint, *others = (begin(**settings(method, arm)) for arm in ARMS)
    of_joint = weights(joint)
    for other in others:
        assert all(torch.equal(tensor, of_joint[name]) for name, tensor in weights(other).items())
    for step in (0, 7):
        for state in (joint, *others):
            state.step = step
        batches = drawn(joint, dataset)
        for other in others:
            for ours, theirs in zip(batches, drawn(other, dataset), strict=True):
                assert torch.equal(ours, theirs)
    joint.step = 0
    assert not torch.equal(batches[0], drawn(joint, dataset)[0]), "a batch is its step's"


def three_steps(state: State, dataset: Dataset) -> State:
    for step in range(3):
        images, _ = fetch(dataset, state.config.train.batch, state.config.seed, step)
        views = draw_views(state.config, dataset, images, step)
        mask = draw_mask(state.config, state.student, step)
        h, z = teacher_rows(state, views[:1], mask), student_rows(state, views, mask)
        finish(state, h, z, reply(step, h, PROTOTYPES) if state.mirror else Reply(clock(step)), mask)
    return state


@pytest.mark.parametrize("arm", ["joint", "decoupled"])
@pytest.mark.parametrize("method", METHODS)
def test_a_seed_decides_every_bit_of_the_first_steps(method: str, arm: str, dataset: Dataset):
    first, again = (three_steps(begin(**settings(method, arm)), dataset) for _ in range(2))
    assert_same(first, again)
    other = three_steps(begin(**settings(method, arm, seed=4)), dataset)
    assert first.measured["loss"] != other.measured["loss"]
