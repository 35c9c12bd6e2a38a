"""The prototypes in a process: an answer reaches every device and dtype; older mirrors stay as they are."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixhead.mirror import Mirror


@dataclass
class Answer:
    rows: np.ndarray | None = None
    indices: np.ndarray | None = None
    prototypes: Tensor | None = None


def test_changed_rows_reach_every_dtype_and_leave_the_mirror_before_alone():
    first = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    mirror = Mirror(first)
    mirror.on(torch.device("cpu"), torch.bfloat16)
    after = mirror.after(Answer(np.ones((2, 3), np.float32), np.array([4, 1], np.int32)))
    expected = torch.from_numpy(first.copy())
    assert torch.equal(mirror.rows, expected)
    expected[[4, 1]] = 1
    assert torch.equal(after.rows, expected)
    assert torch.equal(after.on(torch.device("cpu"), torch.bfloat16), expected.bfloat16())


def test_all_rows_replace_the_old_ones():
    mirror = Mirror(np.zeros((5, 3), np.float32))
    assert torch.equal(mirror.after(Answer(np.ones((5, 3), np.float32))).rows, torch.ones(5, 3))
    on_device = torch.full((5, 3), 2.0)
    assert torch.equal(mirror.after(Answer(prototypes=on_device)).rows, on_device)


@pytest.mark.parametrize("answer", [Answer(), Answer(np.zeros((0, 3), np.float32), np.zeros(0, np.int32))])
def test_an_answer_without_rows_changes_nothing(answer: Answer):
    mirror = Mirror(np.ones((5, 3), np.float32))
    assert mirror.after(answer) is mirror


def test_a_module_that_holds_a_mirror_neither_saves_nor_casts_it():
    module = nn.Module()
    module.mirror = Mirror(np.ones((5, 3), np.float32))
    module.half()
    assert not module.state_dict() and not list(module.parameters())
    assert module.mirror.rows.dtype == torch.float32
