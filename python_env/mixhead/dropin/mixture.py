"""A mixture as the heads of one process share it: whose rows it sees, and when it takes a step."""

from __future__ import annotations

import gc
import os
import time
import warnings

import torch
from torch import Tensor

from mixhead.bridge import BatchError, BridgeError, Targets
from mixhead.dropin.connection import Connection, State
from mixhead.dropin.members import Head, Members
from mixhead.dropin.mirror import Mirror
from mixhead.dropin.settings import Settings
from mixhead.dropin.target_rows import target_rows
from mixhead.dropin.told import Told


class Mixture:
    """The mixture of one name: its prototypes, the teacher rows that it is owed, and its place in time.

    A step of the mixture is a step of the training. Its teacher rows go off at the first call of a
    student in training mode after them, and its answer is applied at the first teacher call after that.
    So teacher and student of a step see the same prototypes, those that the step before has left. Where the
    student is called first, its next call ends the step: the rows go off, and the answer is waited for.
    Once `step` was called, steps end there and nowhere else.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads = Members()
        self.components = self.dim = 0  # K and D; 0: not known yet
        self._settings = Settings.of()
        self._forget()

    def _forget(self) -> None:
        self._told = Told(self.name)
        self._pid = 0  # the process that has the connection
        self._connection: Connection | None = None
        self._mirror: Mirror | None = None
        self._given: State | None = None  # what to go on from once there is a plugin
        self._by_hand = False
        self._begin(0)

    def _begin(self, step: int) -> None:
        self._next = self._started = step  # the next step to send; the one that this connection began at
        self._rows: list[Tensor] = []  # the teacher's, of the step under way
        self._sent = self._waiting = self._over = False
        self._batch: Tensor | None = None  # the rows of the step that was sent, where targets are wanted
        self._own = slice(0)  # this rank's among them
        self._student_led = False  # whether the student was called before any of the rows
        self._answer: Targets | None = None
        self._saved: State | None = None

    @property
    def stats(self) -> dict[str, float]:
        """What a script may log."""
        return self._told.stats

    # Who takes part

    def join(self, head: Head, components: int, dim: int, copied: bool) -> None:
        """A new head of K and D, or a copy of one. Where no other is left, the mixture begins anew."""
        other_size = bool(self.heads) and (self.components, self.dim) != (components, dim)
        if self._connection is not None or other_size:
            gc.collect()  # heads of a training that has ended may still hang in reference cycles
        if not self.heads:
            self.close()
            self._forget()
        elif other_size:
            raise ValueError(
                f'the heads of mixture "{self.name}" have {self.components} prototypes of dimension '
                f'{self.dim}, this one {components} of {dim}: give it a mixture of its own, name="..."'
            )
        elif self._next > 0 and not copied:
            warnings.warn(
                f'a new head joins mixture "{self.name}", which has taken {self._next} steps, since heads of '
                "that training are still there: for a training of its own call mixhead.attach() first",
                stacklevel=2,
            )
        self.components, self.dim = components, dim
        self.heads.add(head)

    def attach(self, settings: Settings) -> None:
        """What to attach to at the next use. A mixture that is attached already begins anew there."""
        if self._connection is not None:
            self.close()
            self._forget()
        self._settings = settings

    # The steps

    def look_up(self, head: Head, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """The prototypes (K, D) for a call of `head`, whose unit rows (..., D) these are."""
        if self.heads.feeds(head):
            self.feed(rows)
        elif self.heads.ends_a_step(head):
            self._student_is_called(rows.device)
            if self._waiting:
                self._connection.poll()
        return self.prototypes(rows.device, dtype)

    def feed(self, rows: Tensor) -> None:
        """Takes the teacher's rows into the step under way, or into the next one where that was sent.

        Raises ValueError where they are of another dimension than the prototypes.
        """
        self.dim = self.dim or rows.shape[-1]
        if rows.shape[-1] != self.dim:
            raise ValueError(
                f'the rows that feed mixture "{self.name}" are {" x ".join(map(str, rows.shape))}: '
                f"its prototypes are of dimension {self.dim}"
            )
        self._attach(rows.device)
        if self._sent and (self._over or not self._by_hand):
            self._next_step()
        if len(flat := rows.detach().reshape(-1, rows.shape[-1])) or self._connection.world > 1:
            self._rows.append(flat.clone())

    def _student_is_called(self, device: torch.device) -> None:
        self._attach(device)
        if self._over:
            self._next_step()
        if self._by_hand or self._sent:
            return
        if not self._rows:
            self._student_led = True
            self._told.student_called(self._next)
            return
        self._send()
        if self._student_led:
            self._next_step()
            self._student_led = True

    def step(self) -> None:
        """Ends the step under way by hand."""
        self._by_hand = True
        if self._rows:
            self._send()
        self._over = self._sent

    def targets(self, device: torch.device) -> Tensor:
        """The plugin's target rows (N, K) for the teacher rows of the step under way; waits for them.

        NaN where the plugin refused the rows.
        """
        if not self._settings.targets:
            raise RuntimeError(
                f'mixture "{self.name}" was not asked for targets: mixhead.attach(config={{"targets": {{}}}})'
            )
        if self._rows:
            self._send_early()
        if not self._sent:
            raise RuntimeError(f'mixture "{self.name}" has seen no teacher rows in this step')
        self._receive()
        if self._answer is None:
            count = self._own.stop - self._own.start
            return torch.full((count, self.components), torch.nan, device=device)
        made = target_rows(self._answer, self._batch, self._mirror, self._connection.balance)
        if made is None:
            raise RuntimeError(f'the plugin of mixture "{self.name}" makes no targets: it was begun without')
        return made[self._own].to(device)

    def prototypes(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What the heads use now (K, D): shared, so nobody writes to it."""
        if self._mirror is None:
            self._attach()
        return self._mirror.on(device, dtype)

    def _send(self) -> None:
        batch, self._own = self._connection.gather(torch.cat(self._rows).float())
        self._rows = []
        if self._connection.on_device and len(batch) == 0:
            return  # no rank has any: no step
        self._connection.send(self._next, batch)
        self._batch = batch if self._settings.targets else None
        self._sent = self._waiting = True
        self._saved = None

    def _send_early(self) -> None:
        """Sends before the call that would have: where the student leads, its next call begins a step."""
        self._send()
        self._over = self._student_led

    def _receive(self) -> None:
        """Waits for the answer to the step that was sent. Rows that the plugin refuses change nothing."""
        if not self._waiting:
            return
        start, reads = time.perf_counter(), self._connection.reads
        try:
            self._answer = self._connection.receive(self._next)
        except BatchError as error:
            self._waiting = False
            if error.code != "row":
                raise
            self._told.refused(error)
        else:
            self._waiting = False
            self._next += 1
            self._told.answered(self._answer)
        self._told.waited(time.perf_counter() - start, self._connection.reads - reads)

    def _next_step(self) -> None:
        """Applies the answer: from here on it is the next step."""
        self._receive()
        if self._answer is not None:
            self._mirror = self._mirror.after(self._answer)
        self._answer = self._batch = None
        self._sent = self._over = self._student_led = False

    # The plugin and the state

    def _attach(self, device: torch.device | None = None) -> None:
        """Connects to the plugin, unless that is done. `device`: where rows are."""
        if self._connection is not None and os.getpid() != self._pid:
            raise RuntimeError(
                f'a head of mixture "{self.name}" belongs to process {self._pid} and was used in its fork '
                f"{os.getpid()} (a DataLoader worker?): use it in the training process, "
                "or call mixhead.attach() in this one"
            )
        if self._connection is not None:
            if device is None or not self._has_moved(device):
                return
            if self._connection.leads:
                self._given = self._connection.save()
            self._connection.close()
            self._connection = None
        device = device or self.heads.device()
        size = self.components, self.dim
        self._connection = Connection(self.name, self._settings, size, device, self._given)
        self._pid = os.getpid()
        self._given, student_led = None, self._student_led
        self._go_on()
        self._student_led = student_led

    def _has_moved(self, device: torch.device) -> bool:
        """Whether the heads have gone to another device before their first step: where a mixture is computed
        is decided by where its rows are."""
        idle = self._next == self._started and not (self._rows or self._sent)
        moved = device.type != self._connection.device.type
        return idle and moved and self._settings.placement != "host"

    def _go_on(self) -> None:
        welcome = self._connection.take_welcome()
        self.components, self.dim = welcome.prototypes.shape
        self._mirror = Mirror(welcome.prototypes)
        self._begin(welcome.step)

    def save(self) -> tuple[Tensor, State | None]:
        """The prototypes (K, D) after the step under way, and the mixture's whole state.

        Where the plugin is gone there are the prototypes alone, and a warning: a script that saves what it
        has is not stopped.
        """
        if self._connection is None and self._given is not None:
            return self._mirror.rows, None if self._given.start is not None else self._given
        try:
            self._attach()
            if self._rows and self._connection.world == 1:
                self._send_early()
            self._receive()
            self._saved = self._saved or self._connection.save()
        except BridgeError as error:
            if self._mirror is None:
                raise
            warnings.warn(f"the prototypes are saved without their mixture's state: {error}", stacklevel=2)
        mirror = self._mirror if self._answer is None else self._mirror.after(self._answer)
        return mirror.on(torch.device("cpu"), torch.float32), self._saved

    def load(self, prototypes: Tensor, state: State) -> None:
        """Goes on from a saved state, or begins anew from prototypes (K, D) alone."""
        if self._connection is None:
            self._given, self._mirror = state, Mirror(prototypes.clone())
            return
        # A teacher that is given its student's state, or an average of the two, changes nothing.
        self._receive()
        if not self._connection.agree(lambda: self._is_nearly(state)):
            if state.step < self._next:
                warnings.warn(
                    f'mixture "{self.name}" goes back from step {self._next} to step {state.step}, '
                    "where the state that is loaded was saved",
                    stacklevel=2,
                )
            self._connection.load(state)
            self._go_on()

    def _is_nearly(self, state: State) -> bool:
        saved = self.save()[1]
        return saved is not None and saved.is_nearly(state)

    def close(self) -> None:
        """Says goodbye to the plugin. Harmless when repeated."""
        if self._connection is not None:
            self._connection.close()
