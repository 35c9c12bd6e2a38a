"""A mixture in one process: which rows it receives, and when it takes a step."""

from __future__ import annotations

import gc
import time

import torch
from torch import Tensor

from mixhead.bridge import BatchError, BridgeError, Welcome
from mixhead.dropin.attachment import Attachment
from mixhead.dropin.collected import Collected
from mixhead.dropin.connection import Connection
from mixhead.dropin.deferred_signals import signals_deferred
from mixhead.dropin.members import Member, Members, Role, in_backward
from mixhead.dropin.missing_teacher import MissingTeacher
from mixhead.dropin.node import PluginMissing
from mixhead.dropin.paused import is_paused
from mixhead.dropin.phase import Event, Phase
from mixhead.dropin.reports import Reports
from mixhead.dropin.rows import Rows
from mixhead.dropin.sent import Sent
from mixhead.dropin.settings import Settings
from mixhead.dropin.state import State
from mixhead.dropin.target_rows import target_rows
from mixhead.mirror import Mirror
from mixhead.warn import warn

#: The least cosine between prototypes that are equal up to rounding, even to half precision.
_SAME = 0.999


class Mixture:
    """A mixture of one name: its prototypes, the teacher rows of the current step, and the step's phase.

    One step of the mixture is one step of the training. Teacher rows are sent at the next training-mode call
    of a student head, and the answer is applied at the first teacher call after that. So teacher and student
    of a step see the same prototypes, those after the step before. If the student is called before the
    teacher, its next call ends the step: it sends the rows and waits for the answer. After the first call of
    `step`, only `step` ends a step.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads = Members()
        self.components = self.dim = 0  # K and D; 0: unknown yet
        self._settings = Settings.of()
        self._forget()

    def _forget(self) -> None:
        self._reports = Reports(self.name)
        self._missing_teacher = MissingTeacher(self.name, self._reports)
        self._attachment = Attachment(self.name)
        self._mirror: Mirror | None = None
        self._phase = Phase.COLLECTING
        self._rows = Collected()  # the teacher's rows of the current step
        self._begin(0)

    def _begin(self, step: int) -> None:
        self._next = self._started = step  # the next step to send; the one that this connection began at
        self._phase = self._phase.after(Event.NEXT)
        self._rows.clear()
        self._sent: Sent | None = None  # the rows that were sent last in this step, if targets are wanted
        self._ahead: Mirror | None = None  # the prototypes after the answers of this step

    @property
    def _connection(self) -> Connection | None:
        return self._attachment.connection

    @property
    def _attached(self) -> Connection:
        """The connection, after `_attach`."""
        assert self._connection is not None
        return self._connection

    @property
    def _idle(self) -> bool:
        """Whether the connection has taken no step, and there are no rows to take one with."""
        waiting = self._connection is not None and self._connection.waiting
        return self._at_start and not waiting and not self._rows

    @property
    def _at_start(self) -> bool:
        """Whether no answer has come on this connection."""
        return self._next == self._started

    @property
    def _in_use(self) -> Mirror:
        """The prototypes in use, after `_attach`, `load` or `start`."""
        assert self._mirror is not None
        return self._mirror

    @property
    def stats(self) -> dict[str, float]:
        """Figures for a script to log."""
        return self._reports.stats

    # The members

    def join(self, member: Member, copied: bool) -> None:
        """Adds a new layer, or a copy of one. If no other layer is left, the mixture starts over.

        Raises ValueError if the other layers have another size.
        """
        components, dim = member.components, member.dim
        other_size = len(self.heads) > 0 and (self.components, self.dim) != (components, dim)
        if self._connection is not None or other_size:
            gc.collect()  # heads of a finished training may still be alive in reference cycles
        if len(self.heads) == 0:
            self.close()
            self._forget()
        elif other_size:
            raise ValueError(
                f'the heads of mixture "{self.name}" have {self.components} prototypes of dimension '
                f'{self.dim}, this one {components} of {dim}: give it a mixture of its own, name="...", '
                "or delete those first"
            )
        elif self._next > 0 and not copied:
            warn(
                f'a new head joins mixture "{self.name}", which has taken {self._next} steps, since heads of '
                "that training are still there: for a training of its own call mixhead.attach() first"
            )
        self.components, self.dim = components, dim
        self.heads.add(member)

    @signals_deferred
    def attach(self, settings: Settings) -> None:
        """Sets what to attach to at the next use. A mixture that is already attached starts over."""
        if self._connection is not None:
            self.close()
            self._forget()
        self._settings = settings

    # The steps

    def may_feed(self, member: Member) -> bool:
        """Whether the rows of the layer's next call will feed the mixture."""
        return (
            not (is_paused() or in_backward())
            and self.heads.role(member) is not Role.STUDENT
            and self.heads.another_trains(member)
        )

    @signals_deferred
    def look_up(self, member: Member, rows: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Records a call of `member` with unit rows (..., D). Returns the prototypes (K, D) for it.

        Raises ValueError if student and teacher are the same module, or share tensors.
        """
        if not is_paused():
            role = self.heads.called(member, rows)
            if not in_backward():
                self._is_called(member, role, rows, padding)
        return self.prototypes(rows.device, dtype)

    def _is_called(self, member: Member, role: Role, rows: Tensor, padding: Tensor | None) -> None:
        if role is not Role.STUDENT:
            if self.heads.another_trains(member):
                self._offer(Rows(rows, padding, None if role is Role.TEACHER else member), rows.device)
            elif len(self.heads) == 1 and member.training:
                self._missing_teacher.calls_alone_without_gradient()
        elif member.training:
            if self._at_start:
                self._missing_teacher.must_not_be_the_student(len(self.heads))
            self._student_is_called(rows)
            self._attached.poll()

    @signals_deferred
    def feed(self, rows: Tensor) -> None:
        """Adds unit rows (..., D) of a module that is not a mixhead head.

        Raises ValueError if the prototypes have another dimension.
        """
        self._missing_teacher.feeds_from_outside()
        self._offer(Rows(rows, None, None), rows.device)

    def _offer(self, rows: Rows, device: torch.device) -> None:
        """Adds a teacher's rows to the current step, or to the next one if the current one was sent."""
        self.dim = self.dim or rows.dim
        if rows.dim != self.dim:
            raise ValueError(
                f'the rows that feed mixture "{self.name}" are {len(rows)} x {rows.dim}: '
                f"its prototypes are of dimension {self.dim}"
            )
        self._attach(device)
        if self._phase in (Phase.SENT, Phase.OVER, Phase.ENDED):
            self._next_step()
        self._rows.add(rows)
        if self._phase is not Phase.MANUAL:
            self._rows.limit(self._phase is Phase.LED)

    def _student_is_called(self, rows: Tensor) -> None:
        self._attach(rows.device)
        if self._phase in (Phase.OVER, Phase.ENDED):
            self._next_step()
        if self._phase in (Phase.SENT, Phase.MANUAL):
            return
        self._rows.drop_students(self.heads)
        if not self._rows:
            self._phase = self._phase.after(Event.LEAD)
            if self._at_start:
                self._missing_teacher.watch(rows, self._has_no_teacher)
            return
        led = self._phase is Phase.LED
        calls = self._rows.calls
        if self._rows.drop_evaluation(led):
            self._reports.evaluated(calls, self._rows.usual, "first" if led else "last")
        self._send()
        if led:
            self._next_step()
            self._phase = self._phase.after(Event.LEAD)

    def _has_no_teacher(self) -> bool:
        # If the step is over, rows were sent, but they were only padding, or the plugin refused them.
        return self._idle and self._phase is not Phase.OVER

    @signals_deferred
    def step(self) -> None:
        """Ends the current step by hand."""
        self._rows.drop_students(self.heads)
        if self._rows:
            self._send()
        self._phase = self._phase.after(Event.END)

    @signals_deferred
    def targets(self, device: torch.device) -> Tensor:
        """Waits for the target rows (N, K) of the current step's teacher rows.

        All are NaN if the plugin refused the rows; padding gets rows of 0. Raises RuntimeError if the plugin
        was not asked for targets, or if there are no teacher rows.
        """
        if not self._settings.targets:
            raise RuntimeError(
                f'mixture "{self.name}" was not asked for targets: mixhead.attach(config={{"targets": {{}}}})'
            )
        if self._rows:
            self._send()
        if self._sent is None:
            raise RuntimeError(f'mixture "{self.name}" has seen no teacher rows in this step')
        self._receive()
        if self._sent.answer is None:
            return self._sent.fill(torch.nan, self.components, device)
        assert self._ahead is not None  # there is an answer
        made = target_rows(self._sent.answer, self._sent.batch, self._ahead, self._attached.balance)
        if made is None:
            raise RuntimeError(f'the plugin of mixture "{self.name}" makes no targets: it started without')
        return self._sent.fill(made, self.components, device)

    @signals_deferred
    def prototypes(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The prototypes in use (K, D). The tensor is shared; do not write to it."""
        if self._mirror is None:
            self._attach()
        return self._in_use.on(device, dtype)

    def _send(self) -> None:
        """Sends the rows. If the student was called first, this ends the step."""
        batch, own = self._attached.gather(self._rows.real())
        padding = self._rows.padding()
        self._rows.clear()
        self._phase = self._phase.after(Event.SEND)
        self._sent = Sent(batch, own, padding) if self._settings.targets else None
        if len(batch) == 0 and (self._attached.on_device or self._attached.world == 1):
            if len(padding):
                self._reports.only_padding()
            return  # no rank has any rows, so there is no step
        self._reports.sends(batch, self._in_use.rows, moves=self._attached.moves)
        self._attached.send(self._next, batch)
        self._attachment.changes()

    def _receive(self) -> None:
        """Waits for the answer to the step that was sent. If the plugin refuses its rows, nothing changes."""
        if not self._attached.waiting:
            return
        start, reads = time.perf_counter(), self._attached.reads
        try:
            answer = self._attached.receive(self._next)
        except BatchError as error:
            if error.code != "row":
                raise
            self._reports.refused(error)
        else:
            self._next += 1
            self._ahead = (self._ahead or self._in_use).after(answer)
            if self._sent is not None:
                self._sent.answer = answer
            self._reports.answered(answer, self._attached.leads)
        self._reports.waited(time.perf_counter() - start, self._attached.reads - reads)

    def _next_step(self) -> None:
        """Applies the answers and begins the next step."""
        self._receive()
        self._mirror = self._ahead or self._mirror
        self._ahead = self._sent = None
        self._phase = self._phase.after(Event.NEXT)

    # The plugin and the state

    def _attach(self, device: torch.device | None = None) -> None:
        """Connects to the plugin if necessary. `device`: the device of the rows."""
        self._attachment.check_process()
        if self._connection is not None and (device is None or not self._has_moved(device)):
            return
        size, led = (self.components, self.dim), self._phase is Phase.LED
        self._go_on(self._attachment.connect(self._settings, size, device or self.heads.device()))
        if led:
            self._phase = self._phase.after(Event.LEAD)

    def _has_moved(self, device: torch.device) -> bool:
        """Whether the heads have moved to another device before their first step. The device of the rows
        decides where a mixture is computed, so it has to attach again."""
        moved = device.type != self._attached.device.type
        return self._idle and moved and self._settings.placement != "host"

    def _go_on(self, welcome: Welcome) -> None:
        assert welcome.prototypes is not None  # asked for by every connection
        self.components, self.dim = welcome.prototypes.shape
        self._mirror = Mirror(welcome.prototypes)
        self._begin(welcome.step)

    @signals_deferred
    def save(self, whole: bool = True) -> tuple[Tensor, State | None]:
        """Returns the prototypes (K, D) after the current step and, if `whole`, the mixture's whole state.

        If the plugin is gone, warns and returns a blank state (names and shapes only, step -1) instead of
        raising, so that the script can still save the rest of its checkpoint.
        """
        suffices = self._attachment.has_whole_state or not whole
        if self._connection is None and self._mirror is not None and suffices:
            return self._mirror.rows, self._attachment.given
        try:
            self._attach()
            if self._rows and self._attached.world == 1:
                self._send()
            self._receive()
            if whole:
                self._attachment.save()
        except (BridgeError, PluginMissing) as error:
            if self._mirror is None:
                raise
            if whole and not self._attachment.is_saved:
                warn(f"the prototypes are saved without their mixture's state: {error}")
        mirror = self._ahead or self._in_use
        return mirror.on(torch.device("cpu"), torch.float32), self._attachment.saved

    @signals_deferred
    def load(self, prototypes: Tensor, state: State) -> None:
        """Resumes from a saved state with these prototypes (K, D)."""
        self._attachment.knows(state)
        if self._connection is None:
            self._attachment.given, self._mirror = state, Mirror(prototypes.clone())
            return
        # Loading the student's state, or an average of both, into the teacher changes nothing.
        self._receive()
        if not self._connection.agree(lambda: self._is_nearly(state)):
            if state.step < self._next:
                warn(
                    f'mixture "{self.name}" goes back from step {self._next} to step {state.step}, '
                    "where the state that is loaded was saved"
                )
            self._go_on(self._attachment.load(state))

    @signals_deferred
    def start(self, prototypes: Tensor) -> None:
        """Starts over from unit prototypes (K, D), unless they are in use already (a teacher's state)."""
        start = State(0, {"prototypes": prototypes.numpy()})
        if self._connection is None:
            if self._mirror is None or not _are_the_same(self._mirror.rows, prototypes):
                self._attachment.given, self._mirror = start, Mirror(prototypes.clone())
            return
        self._receive()
        if not self._connection.agree(lambda: _are_the_same(self.save(whole=False)[0], prototypes)):
            self._go_on(self._attachment.load(start))

    def _is_nearly(self, state: State) -> bool:
        saved = self.save()[1]
        return saved is not None and saved.is_nearly(state)

    @signals_deferred
    def close(self) -> None:
        """Closes the connection to the plugin. May be called repeatedly."""
        self._attachment.close()


def _are_the_same(one: Tensor, other: Tensor) -> bool:
    """Whether unit prototypes (K, D) are equal up to rounding."""
    return one.shape == other.shape and bool(((one.cpu() * other).sum(dim=1) > _SAME).all())
