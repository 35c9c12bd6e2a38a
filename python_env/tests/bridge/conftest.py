from collections.abc import Iterator

import pytest
import zmq

from tests.bridge.plugin import Plugin


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    context = zmq.Context()
    plugin = Plugin(context)
    yield plugin
    plugin.socket.close(0)
    context.term()
