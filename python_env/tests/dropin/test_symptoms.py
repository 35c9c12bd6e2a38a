"""Warnings of a training that goes wrong: each once, where it is so, and none where all is well."""

import math
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mixhead.bridge import Targets
from mixhead.dropin.reports import Reports
from mixhead.lightly import DINOProjectionHead

from .heads import DIM, IN, K, with_teacher

Attach = Callable[..., None]

#: How each warning can be told.
SIGNS = {
    "alike": "the teacher's rows are all alike",
    "flat": "the entropy of its responsibilities",
    "still": "its prototypes have not moved",
    "idle": "components have won a row",
}


def signs(batches: Iterator[Tensor], components: int = K, norm: str | None = None) -> dict[str, str]:
    """The warnings of a training on these batches, by their sign."""
    head = DINOProjectionHead(IN, 16, DIM, components, prototypes="online-gmm", norm=norm)
    student, teacher = with_teacher(head)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for batch in batches:
            teacher(batch)
            student(batch)
    sentences = [str(each.message) for each in caught]
    told = [(sign, each) for each in sentences for sign, begin in SIGNS.items() if begin in each]
    assert len(told) == len(sentences), sentences
    assert len(dict(told)) == len(told), "a warning came twice"
    return dict(told)


def spread(steps: int) -> Iterator[Tensor]:
    """Rows that lie in all directions."""
    return (torch.randn(16, IN) for _ in range(steps))


def alike(steps: int) -> Iterator[Tensor]:
    center = torch.randn(IN)
    return (center + 0.01 * torch.randn(16, IN) for _ in range(steps))


def two_spots(steps: int) -> Iterator[Tensor]:
    center = torch.randn(IN)
    turns = torch.tensor([1.0, -1.0]).repeat(8).unsqueeze(1)
    return (center * turns + 0.01 * torch.randn(16, IN) for _ in range(steps))


@pytest.mark.parametrize("placement", ["host"])
def test_a_healthy_training_gets_no_warning(attach: Attach):
    attach()
    assert signs(spread(1100)) == {}


def test_rows_that_are_all_alike_are_reported(attach: Attach):
    attach()
    told = signs(alike(260))
    assert told.keys() == {"alike"}
    assert 'mixture "default"' in told["alike"]
    assert f"ln K = {math.log(K):.2f}" in told["alike"]


@pytest.mark.parametrize("placement", ["host"])
def test_a_batch_norm_cures_the_symptom_of_the_warning_about_alike_rows(attach: Attach):
    attach()
    assert signs(alike(260), norm="batch") == {}


def test_responsibilities_near_ln_k_are_reported(attach: Attach):
    attach(plugin={"variance": 100})
    told = signs(spread(260))
    assert told.keys() == {"flat"}
    assert f"near ln K = {math.log(K):.2f}" in told["flat"]


@pytest.mark.parametrize("placement", ["host"])
def test_responsibilities_that_annealing_flattens_cause_no_warning(attach: Attach):
    attach(plugin={"annealing": 1e-4})
    assert signs(spread(260)) == {}


def test_a_mixture_that_never_moves_is_reported(attach: Attach):
    attach(plugin={"prior": {"strength": 1e9}})
    assert signs(spread(260)).keys() == {"still"}


@pytest.mark.parametrize("placement", ["host"])
def test_frozen_prototypes_that_do_not_move_cause_no_warning(attach: Attach):
    attach(plugin={"kind": "frozen"})
    assert signs(spread(260)) == {}


@pytest.mark.parametrize("placement", ["host"])
def test_few_components_in_use_are_reported_with_the_rows_that_came(attach: Attach):
    attach()
    told = signs(two_spots(1200))
    assert told.keys() == {"idle"}
    assert "after 16,000 rows in 1,000 steps" in told["idle"]


@pytest.mark.parametrize("placement", ["host"])
def test_no_warning_about_idle_components_if_there_are_too_few_rows_for_them(attach: Attach):
    attach()
    assert signs(two_spots(1200), components=96) == {}


@pytest.mark.parametrize("leads", [True, False])
def test_rank_0_reports_how_many_components_would_be_enough(leads: bool):
    told = Reports("default")
    told.sends(torch.ones(2, 4), torch.ones(65_536, 4), moves=True)
    scalars = {"used": 0.05, "enoughComponents": 8192.0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told.answered(Targets(11_999, scalars, [], None, None, None), leads)
    sentence = (
        'mixture "default": 3,277 of K = 65,536 prototypes (5.0%) are in use after 12,000 steps, and the '
        "number no longer grows: K = 8,192 would be more than enough"
    )
    assert [str(each.message) for each in caught] == [sentence] * leads
    assert told.stats == {"wait": 0.0, "used": 0.05}
