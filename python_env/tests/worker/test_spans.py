"""The parts of a step, timed and traced."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from mixhead.worker.spans import VARIABLE, Spans

CPU = torch.device("cpu")


def spans_of(path: Path) -> list[dict]:
    return [event for event in map(json.loads, path.read_text().splitlines()) if event["ph"] == "X"]


def test_times_without_a_trace_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with Spans(CPU) as span, span("step", 0), span("part"):
        time.sleep(0.01)
    assert 0.01 <= span.seconds["part"] <= span.seconds["step"]
    assert list(tmp_path.iterdir()) == []


def test_a_trace_holds_nested_spans_with_their_step(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    with Spans(CPU, str(path)) as span:
        for step in (3, 4):
            with span("step", step), span("part"):
                pass
    written = [(event["name"], event["args"]["step"]) for event in spans_of(path)]
    assert written == [("part", 3), ("step", 3), ("part", 4), ("step", 4)]
    inner, outer, *_ = spans_of(path)
    assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]


def test_a_step_that_fails_is_in_the_trace(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    with pytest.raises(RuntimeError, match="as meant"), Spans(CPU, str(path)) as span, span("step", 0):
        raise RuntimeError("as meant")
    assert [event["name"] for event in spans_of(path)] == ["step"]
