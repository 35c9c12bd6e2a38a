from pathlib import Path

import pytest

from tests.worker.runs import write_pictures


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with a small data set in it."""
    write_pictures(tmp_path / "data")
    return tmp_path / "data"
