"""A mixture's attachment to a plugin: its connection, and the state that outlives one."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from mixhead.dropin.connection import Connection
from mixhead.dropin.settings import Settings
from mixhead.dropin.state import State


class Attachment:
    """A mixture's connection to its plugin, with the state that it starts from and saves.

    Before there is a connection, the state to resume from waits here. Later, the plugin's state is kept from
    when it is saved until it changes. Once the plugin is gone, names and shapes of its last state remain.
    """

    def __init__(self, name: str, settings: Settings, components: int, dim: int) -> None:
        self._name = name
        self.settings = settings  # of the next connection
        self.components, self.dim = components, dim  # K and D; 0: unknown yet
        self._pid = 0  # the process that owns the connection
        self._connection: Connection | None = None
        self.given: State | None = None  # the state that the next connection resumes from
        self._saved: State | None = None  # the plugin's state, until it changes
        self._blank: State | None = None  # of the names and shapes of the last state

    @property
    def connection(self) -> Connection | None:
        return self._connection

    @property
    def has_whole_state(self) -> bool:
        """Whether the next connection resumes from a whole state. If not, it has at most prototypes."""
        return self.given is not None and self.given.start is None

    def check_process(self) -> None:
        """Raises RuntimeError if the connection belongs to another process."""
        if self._connection is not None and os.getpid() != self._pid:
            raise RuntimeError(
                f'a head of mixture "{self._name}" belongs to process {self._pid} and was used in its fork '
                f"{os.getpid()} (a DataLoader worker?): use it in the training process, "
                "or call mixhead.attach() in this one"
            )

    def connect(self, device: torch.device) -> tuple[int, np.ndarray | Tensor]:
        """Connects to the plugin. An open connection is closed first, and its state goes on in the new one.

        `device`: the device of the rows. Returns the step and the prototypes (K, D) to begin with.
        """
        if self._connection is not None:
            if self._connection.leads:
                self.given = self._connection.save()
            self._connection.close()
            self._connection = None
        size = self.components, self.dim
        self._connection = Connection(self._name, self.settings, size, device, self.given)
        self._pid = os.getpid()
        self.given = self._saved = None
        return self._welcomed(self._connection)

    def load(self, state: State) -> tuple[int, np.ndarray | Tensor]:
        """Resumes the plugin from a state. Returns the step and the prototypes (K, D) to go on with.

        Every rank of a distributed training has to call this.
        """
        assert self._connection is not None
        self._connection.load(state)
        self._saved = None
        return self._welcomed(self._connection)

    def _welcomed(self, connection: Connection) -> tuple[int, np.ndarray | Tensor]:
        welcome = connection.take_welcome()
        assert welcome.prototypes is not None  # asked for by every connection
        self.components, self.dim = welcome.prototypes.shape
        return welcome.step, welcome.prototypes

    def save(self) -> None:
        """Fetches the plugin's state, unless it has not changed since the last call."""
        assert self._connection is not None
        if self._saved is None:
            self._saved = self._connection.save()
            self.knows(self._saved)

    def knows(self, state: State) -> None:
        """Keeps names and shapes of a state, for `saved`."""
        self._blank = state.blank()

    def changes(self) -> None:
        """Forgets the saved state, because the plugin's changes."""
        self._saved = None

    @property
    def is_saved(self) -> bool:
        """Whether the plugin's state is the one that was saved last."""
        return self._saved is not None

    @property
    def saved(self) -> State | None:
        """The plugin's state as saved last; a blank one if it has changed; None if no state was ever seen."""
        return self._saved or self._blank

    def close(self) -> None:
        """Closes the connection. May be called repeatedly."""
        if self._connection is not None:
            self._connection.close()
