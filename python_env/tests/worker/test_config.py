import json

import pytest

from mixhead.worker.config import parse_assignment
from mixhead.worker.errors import WorkerError
from tests.worker.runs import raw_config


def welcome(**changes: object) -> str:
    return json.dumps({"config": raw_config(**changes), "dataDir": "d", "checkpointDir": "c", "resume": None})


def test_a_welcome_becomes_immutable_values():
    assignment = parse_assignment(welcome())
    assert assignment.resume is None and assignment.data_dir == "d"
    config = assignment.config
    assert config.views.global_ == 2 and config.views.global_scale == (0.3, 1.0)
    assert config.data.train == 40 and config.data.test == "all" and config.data.path is None
    with pytest.raises(AttributeError):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": {"batch": "many"}}, r"train\.batch cannot be 'many'"),
        ({"train": {"batch": True}}, r"train\.batch cannot be True"),
        ({"head": {"norm": "layer"}}, r"head\.norm must be one of \(batch, none\), not 'layer'"),
        ({"views": {"globalScale": [1]}}, r"views\.globalScale must be a list of 2"),
        ({"views": {"global": 1, "local": 0}}, "at least two"),
        ({"encoder": "conv-small"}, "encoder must be an object"),
    ],
)
def test_a_wrong_setting_is_named_by_its_key(changes: dict, sentence: str):
    with pytest.raises(WorkerError, match=sentence):
        parse_assignment(welcome(**changes))


def test_a_missing_setting_is_named_by_its_key():
    raw = json.loads(welcome())
    del raw["config"]["plugin"]["components"]
    with pytest.raises(WorkerError, match=r"plugin\.components is missing"):
        parse_assignment(json.dumps(raw))
    with pytest.raises(WorkerError, match="not JSON"):
        parse_assignment("{")
