"""A mixture's connection to its plugin."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from mixhead.bridge import BatchError, BridgeError, Client, PeerLost, Rejected, Targets, Welcome
from mixhead.dropin.gather import RowGather
from mixhead.dropin.plugin_process import PluginProcess, start_plugin
from mixhead.dropin.ranks import Ranks, ranks
from mixhead.dropin.secret import secret_of
from mixhead.dropin.settings import Settings
from mixhead.dropin.state import State
from mixhead.executor import Executor

_log = logging.getLogger("mixhead")
#: Seconds to wait for a run that a killed process still holds. The plugin notices its end within six.
_PATIENCE = 8.0
#: How many connections this process has made for each name. The counts agree in all ranks.
_made: Counter[str] = Counter()


class Connection:
    """One rank's connection to the plugin. In a distributed training, rank 0 finds or starts the plugin and
    loads the state to resume from; the other ranks join afterwards.

    size: K and D; 0 if unknown. device: the device of the rows.

    Raises PluginMissing, Rejected, DeadlinePassed or PeerLost, each with one sentence.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        size: tuple[int, int],
        device: torch.device,
        state: State | None = None,
    ) -> None:
        self._name, self._settings, self._size, self.device = name, settings, size, device
        self._ranks: Ranks = ranks(settings.deadline)
        self._key = f"{name}/{_made[name]}"
        _made[name] += 1
        self._loads = itertools.count()
        self._agreements = itertools.count()
        self._plugin: PluginProcess | None = None
        place = self._ranks.from_first(self._key, lambda: self._lead(state))
        self._endpoint, run, self._secret = json.loads(place)
        self._heard = False
        self.waiting = False  # for the answer to the step that was sent
        self._ranks.tell_reach(self._key, self._endpoint)
        if self._ranks.rank > 0:
            self._join(self._endpoint, run, None)
        assert self.welcome is not None  # having joined
        try:
            config = json.loads(self.welcome.config)
            self.balance: str = config["targets"]["balance"]
            self.on_device = config["placement"] == "device"
            self.moves = config["plugin"]["kind"] != "frozen"
        except (ValueError, KeyError, TypeError) as error:
            raise BridgeError(
                f"the plugin at {self._endpoint} sent an invalid configuration: {error!r:.200}"
            ) from error
        self._gather = RowGather(self.world, settings.deadline)
        where = f"by PyTorch on {device}" if self.on_device else "in Node"
        _log.info('mixture "%s" is computed %s (placement %s)', name, where, config["placement"])

    welcome: Welcome | None
    _secret: str
    on_device: bool  # computed on this rank's device instead of in the plugin's process

    def take_welcome(self) -> Welcome:
        """Returns the plugin's last welcome, once: keeping it would hold its prototypes for the whole
        training."""
        welcome, self.welcome = self.welcome, None
        assert welcome is not None
        return welcome

    @property
    def world(self) -> int:
        return self._ranks.world

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self._ranks.rank == 0

    @property
    def reads(self) -> int:
        """How often the plugin has read values from this rank's device."""
        return self._client.reads

    def gather(self, rows: Tensor) -> tuple[Tensor, slice]:
        """This rank's teacher rows (n, D) -> the rows (N, D) to send, and the slice of them that is its own.

        If the mixture is computed on the ranks' devices, N counts the rows of all ranks, and every rank has
        to call this."""
        if not self.on_device:
            return rows, slice(0, len(rows))
        self._hear()
        return self._gather(rows)

    def send(self, step: int, batch: Tensor) -> None:
        """Sends the rows (N, D) of a step, or announces them if they stay on this rank's device."""
        with self._last_words():
            self._client.send_embeddings(step, 0, batch, {}, len(batch) if self.on_device else 0)
        self.waiting = True

    def poll(self) -> None:
        """Launches work that has arrived for the GPU while an answer is awaited, without waiting for it."""
        if self.waiting and self.on_device and self.device.type == "cuda":
            with self._last_words():
                self._client.poll()

    def receive(self, step: int) -> Targets:
        """Waits for the answer to a step. Raises BatchError if the plugin refused the step; then nothing has
        changed."""
        self._hear()
        try:
            with self._last_words():
                answer = self._client.receive_targets(step)
        except BatchError:
            self.waiting = False
            raise
        self.waiting = False
        return answer

    def save(self) -> State:
        with self._last_words():
            return State(*self._client.request_state())

    def agree(self, decide: Callable[[], bool]) -> bool:
        """Returns rank 0's decision in every rank. Ranks that asked the plugin themselves could get different
        answers, depending on which of them has already changed its state."""
        key = f"{self._key}/agree/{next(self._agreements)}"
        return self._ranks.from_first(key, lambda: json.dumps(decide())) == json.dumps(True)

    def load(self, state: State) -> None:
        """Resumes from a state. Every rank of a distributed training has to call this."""
        self._hear()

        def load() -> None:
            with self._last_words():
                self.welcome = self._client.load_state(state.step, state.tensors)

        self._ranks.in_turn(f"{self._key}/load/{next(self._loads)}", load)

    def close(self) -> None:
        self._client.close()

    def _lead(self, state: State | None) -> str:
        endpoint, run = self._settings.endpoint, self._settings.run_name()
        if endpoint is None:
            self._plugin = start_plugin(self._settings.arguments)
            endpoint = self._plugin.endpoint
        self._secret = secret_of(run) if self._plugin is None else ""  # its own plugin has one script
        self._join(endpoint, run, None if state is None else state.start)
        if state is not None and state.start is None:
            try:
                with self._last_words():
                    self.welcome = self._client.load_state(state.step, state.tensors)
            except BaseException:
                self._client.close()  # an open socket would hold up the end of the process
                raise
        return json.dumps([endpoint, run, self._secret])

    def _hear(self) -> None:
        """Checks, before the first collective wait, that every rank reaches the plugin."""
        if not self._heard:
            self._ranks.hear_reach(self._key, self._endpoint)
            self._heard = True

    def _join(self, endpoint: str, run: str, start: np.ndarray | None) -> None:
        """Joins the run. If it is busy, tries again for a while: a rank that has died may still hold it."""
        until = time.monotonic() + min(_PATIENCE, self._settings.deadline)
        while True:
            try:
                self._join_once(endpoint, run, start)
                return
            except Rejected as error:
                if error.code != "busy" or time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def _join_once(self, endpoint: str, run: str, start: np.ndarray | None) -> None:
        components, dim = self._size
        self._client = Client(
            endpoint,
            run,
            self._name,
            rank=self._ranks.rank,
            world=self._ranks.world,
            components=components,
            dim=dim,
            deadline=self._settings.deadline,
            config=self._settings.wish,
            keys=self._settings.keys,
            executor=Executor(self.device, self._settings.device_memory),
            secret=self._secret,
        )
        try:
            with self._last_words():
                self.welcome = self._client.connect(start)
        except BaseException:
            self._client.close()
            raise

    @contextmanager
    def _last_words(self) -> Iterator[None]:
        """Appends what a plugin that died wrote last, or that it is still there but silent, to the error."""
        try:
            yield
        except PeerLost as error:
            if self._plugin is None or (self._client.connected and self._plugin.running()):
                raise
            raise PeerLost(f"{error}{self._plugin.last_words()}") from error
