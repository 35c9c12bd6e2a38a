"""A warning shows the line of the script that caused it, not one of mixhead's or torch's."""

import warnings
from collections.abc import Callable

import pytest
import torch

from mixhead.dropin.registry import mixture
from mixhead.dropin.reports import Reports

from .heads import IN, lightly_head, with_teacher

in_node = pytest.mark.parametrize("placement", ["host"])


@in_node
def test_a_warning_in_a_call_of_a_head_points_at_that_call(attach: Callable[..., None]):
    attach()
    student, teacher = with_teacher(lightly_head())
    reports = mixture("default").steps._reports
    reports._symptoms.answers = lambda _: reports._warn("look here")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            teacher(torch.randn(4, IN))
            student(torch.randn(4, IN))
    assert [warning.filename for warning in caught if "look here" in str(warning.message)] == [__file__]


@in_node
def test_a_warning_in_a_backward_pass_points_at_it(attach: Callable[..., None]):
    attach()
    student, _ = with_teacher(lightly_head())
    with pytest.warns(UserWarning, match="it gets no embeddings") as caught:
        student(torch.randn(4, IN)).sum().backward()
    assert caught[0].filename == __file__


def test_each_kind_of_warning_is_given_once_for_each_mixture():
    told = Reports("default")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for calls in (20, 30):
            told.only_padding()
            told.no_teacher()
            told.evaluated(calls, 2, "last")
    assert len(caught) == 3
    assert {warning.filename for warning in caught} == {__file__}
