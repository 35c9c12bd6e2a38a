"""What docs/checkpoints.md says of each project's checkpoints is what happens."""

import re
from pathlib import Path

import pytest

from mixhead.checkpoint.errors import CheckpointError
from mixhead.checkpoint.prototypes import read_prototypes
from tests.checkpoint.layouts import LAYOUTS, D, K, write

PAGE = Path(__file__).parents[3] / "docs" / "checkpoints.md"
ROW = re.compile(r"\| ([^|`]+) \| `([^|]+)` \| ([^|]+) \|")
ROWS = {project: (file, says) for project, file, says in ROW.findall(PAGE.read_text())}


def test_the_page_has_every_layout() -> None:
    assert {project: name for project, (name, _) in LAYOUTS.items()} == {
        project: file for project, (file, _) in ROWS.items()
    }


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("project", LAYOUTS)
def test_a_checkpoint_of_each_layout_gives_what_the_page_says(tmp_path: Path, project: str) -> None:
    path, says = write(project, tmp_path), ROWS[project][1]
    try:
        found = read_prototypes(path)
    except CheckpointError as error:
        assert says in str(error)
    else:
        assert says == f"`{found.key}`" + (", a guess" if found.guessed else "")
        assert found.rows.shape == (K, D)
