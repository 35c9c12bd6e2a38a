"""The secret of a run, and the account's key that it is derived from."""

import stat
from pathlib import Path

import pytest

from mixhead.dropin.secret import secret_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_a_script_that_starts_again_has_the_same_secret_and_each_run_its_own(home: Path):
    secret = secret_of("a")
    assert len(secret) == 64
    assert secret_of("a") == secret != secret_of("b")
    (home / "mixhead" / "secret").unlink()
    assert secret_of("a") != secret


def test_the_key_is_readable_by_its_account_alone(home: Path):
    secret_of("a")
    folder = home / "mixhead"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [(each.name, stat.S_IMODE(each.stat().st_mode)) for each in folder.iterdir()] == [
        ("secret", 0o600)
    ]


def test_the_environment_may_say_it(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MIXHEAD_SECRET", "of this project")
    secret = secret_of("a")
    assert secret_of("a") == secret
    assert "project" not in secret
    assert not (home / "mixhead").exists()


def test_a_damaged_key_is_a_sentence_and_one_that_cannot_be_made_a_warning(home: Path):
    secret_of("a")
    (home / "mixhead" / "secret").write_text("x")
    with pytest.raises(ValueError, match="secret is damaged"):
        secret_of("a")
    (home / "mixhead" / "secret").unlink()
    (home / "mixhead").rmdir()
    (home / "mixhead").write_text("a file")
    with pytest.warns(UserWarning, match='run "a" has no secret'):
        assert secret_of("a") == ""
