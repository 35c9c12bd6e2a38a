import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mixhead
from mixhead.dropin import registry
from mixhead.dropin.plugin_process import PluginProcess

ECHO = str(Path(__file__).parent / "echo.ts")
_runs = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The account's key from which runs' secrets are derived is not that of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("MIXHEAD_SECRET", raising=False)
        yield


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """A real plugin in Node, shared by all tests: each has a run of its own on it."""
    plugin = PluginProcess(("backend=wasm", "bridge.deadline=20"))
    yield plugin.endpoint
    plugin.stop()


@pytest.fixture(params=["host", "device"])
def placement(request: pytest.FixtureRequest) -> str:
    """Where the mixture is computed: whatever a script sees holds for both."""
    return request.param


@pytest.fixture
def attach(endpoint: str, placement: str) -> Callable[..., None]:
    """Attaches a mixture to the shared plugin, with a run of its own."""

    def attach(name: str = "default", **config: object) -> None:
        own = {"run": f"test-{next(_runs)}", "placement": placement, "bridge": {"deadline": 20}}
        mixhead.attach(endpoint, own | config, name)

    return attach


@pytest.fixture
def echo(attach: Callable[..., None]) -> Callable[..., None]:
    """Attaches a mixture whose prototypes after a step are the rows that it was sent, see echo.ts."""
    return lambda name="default", **config: attach(name, plugin={"kind": ECHO}, **config)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No test sees the mixtures of another."""
    yield
    for each in registry.mixtures():
        each.close()
    registry._mixtures.clear()
