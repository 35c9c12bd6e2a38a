"""The steps of a mixture: which rows it receives, and when it takes a step."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from mixhead.bridge import BatchError
from mixhead.dropin.attachment import Attachment
from mixhead.dropin.collected import Collected
from mixhead.dropin.connection import Connection
from mixhead.dropin.deferred_signals import signals_deferred
from mixhead.dropin.members import Member, Members, Role, in_backward
from mixhead.dropin.missing_teacher import MissingTeacher
from mixhead.dropin.paused import is_paused
from mixhead.dropin.phase import Event, Phase
from mixhead.dropin.reports import Reports
from mixhead.dropin.rows import Rows
from mixhead.dropin.sent import Sent
from mixhead.dropin.target_rows import target_rows
from mixhead.mirror import Mirror


class Steps:
    """The steps of a mixture: its prototypes, the teacher rows of the current step, and the step's phase.

    One step of the mixture is one step of the training. Teacher rows are sent at the next training-mode call
    of a student head, and the answer is applied at the first teacher call after that. So teacher and student
    of a step see the same prototypes, those after the step before. If the student is called before the
    teacher, its next call ends the step: it sends the rows and waits for the answer. After the first call of
    `end`, only `end` ends a step.
    """

    def __init__(self, name: str, heads: Members, attachment: Attachment) -> None:
        self._name, self._heads, self._attachment = name, heads, attachment
        self._reports = Reports(name)
        self._missing_teacher = MissingTeacher(name, self._reports)
        self.in_use: Mirror | None = None  # the prototypes, once they are known
        self._phase = Phase.COLLECTING
        self._rows = Collected()  # the teacher's rows of the current step
        self._begin(0)

    def _begin(self, step: int) -> None:
        self.taken = self._started = step  # steps that were taken; those before this connection
        self._phase = self._phase.after(Event.NEXT)
        self._rows.clear()
        self._sent: Sent | None = None  # the rows that were sent last in this step, if targets are wanted
        self._ahead: Mirror | None = None  # the prototypes after the answers of this step

    @property
    def stats(self) -> dict[str, float]:
        """Figures for a script to log."""
        return self._reports.stats

    @property
    def latest(self) -> Mirror:
        """The prototypes after the last answer, once they are known."""
        return self._ahead or self._known

    @property
    def _known(self) -> Mirror:
        """The prototypes in use, after `_attach`, or after those to start from were set."""
        assert self.in_use is not None
        return self.in_use

    @property
    def _attached(self) -> Connection:
        """The connection, after `_attach`."""
        assert self._attachment.connection is not None
        return self._attachment.connection

    @property
    def _at_start(self) -> bool:
        """Whether no answer has come on this connection."""
        return self.taken == self._started

    @property
    def _idle(self) -> bool:
        """Whether the connection has taken no step, and there are no rows to take one with."""
        connection = self._attachment.connection
        waiting = connection is not None and connection.waiting
        return self._at_start and not waiting and not self._rows

    def may_feed(self, member: Member) -> bool:
        """Whether the rows of the layer's next call will feed the mixture."""
        return (
            not (is_paused() or in_backward())
            and self._heads.role(member) is not Role.STUDENT
            and self._heads.another_trains(member)
        )

    @signals_deferred
    def look_up(self, member: Member, rows: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Records a call of `member` with unit rows (..., D). Returns the prototypes (K, D) for it.

        Raises ValueError if student and teacher are the same module, or share tensors.
        """
        if not is_paused():
            role = self._heads.called(member, rows)
            if not in_backward():
                self._is_called(member, role, rows, padding)
        return self.prototypes(rows.device, dtype)

    def _is_called(self, member: Member, role: Role, rows: Tensor, padding: Tensor | None) -> None:
        if role is not Role.STUDENT:
            if self._heads.another_trains(member):
                self._offer(Rows(rows, padding, None if role is Role.TEACHER else member), rows.device)
            elif len(self._heads) == 1 and member.training:
                self._missing_teacher.calls_alone_without_gradient()
        elif member.training:
            if self._at_start:
                self._missing_teacher.must_not_be_the_student(len(self._heads))
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
        dim = self._attachment.dim = self._attachment.dim or rows.dim
        if rows.dim != dim:
            raise ValueError(
                f'the rows that feed mixture "{self._name}" are {len(rows)} x {rows.dim}: '
                f"its prototypes are of dimension {dim}"
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
        self._rows.drop_students(self._heads)
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
    def end(self) -> None:
        """Ends the current step by hand."""
        self._rows.drop_students(self._heads)
        if self._rows:
            self._send()
        self._phase = self._phase.after(Event.END)

    @signals_deferred
    def targets(self, device: torch.device) -> Tensor:
        """Waits for the target rows (N, K) of the current step's teacher rows.

        All are NaN if the plugin refused the rows; padding gets rows of 0. Raises RuntimeError if the plugin
        was not asked for targets, or if there are no teacher rows.
        """
        if not self._attachment.settings.targets:
            raise RuntimeError(
                f'mixture "{self._name}" was not asked for targets: '
                'mixhead.attach(config={"targets": {}})'
            )
        if self._rows:
            self._send()
        if self._sent is None:
            raise RuntimeError(f'mixture "{self._name}" has seen no teacher rows in this step')
        self.receive()
        if self._sent.answer is None:
            return self._sent.fill(torch.nan, self._attachment.components, device)
        assert self._ahead is not None  # there is an answer
        made = target_rows(self._sent.answer, self._sent.batch, self._ahead, self._attached.balance)
        if made is None:
            raise RuntimeError(f'the plugin of mixture "{self._name}" makes no targets: it started without')
        return self._sent.fill(made, self._attachment.components, device)

    @signals_deferred
    def prototypes(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The prototypes in use (K, D). The tensor is shared; do not write to it."""
        if self.in_use is None:
            self._attach()
        return self._known.on(device, dtype)

    def _send(self) -> None:
        """Sends the rows. If the student was called first, this ends the step."""
        batch, own = self._attached.gather(self._rows.real())
        padding = self._rows.padding()
        self._rows.clear()
        self._phase = self._phase.after(Event.SEND)
        self._sent = Sent(batch, own, padding) if self._attachment.settings.targets else None
        if len(batch) == 0 and (self._attached.on_device or self._attached.world == 1):
            if len(padding):
                self._reports.only_padding()
            return  # no rank has any rows, so there is no step
        self._reports.sends(batch, self._known.rows, moves=self._attached.moves)
        self._attached.send(self.taken, batch)
        self._attachment.changes()

    def receive(self) -> None:
        """Waits for the answer to the step that was sent. If the plugin refuses its rows, nothing changes."""
        if not self._attached.waiting:
            return
        start, reads = time.perf_counter(), self._attached.reads
        try:
            answer = self._attached.receive(self.taken)
        except BatchError as error:
            if error.code != "row":
                raise
            self._reports.refused(error)
        else:
            self.taken += 1
            self._ahead = self.latest.after(answer)
            if self._sent is not None:
                self._sent.answer = answer
            self._reports.answered(answer, self._attached.leads)
        self._reports.waited(time.perf_counter() - start, self._attached.reads - reads)

    def _next_step(self) -> None:
        """Applies the answers and begins the next step."""
        self.receive()
        self.in_use = self._ahead or self.in_use
        self._ahead = self._sent = None
        self._phase = self._phase.after(Event.NEXT)

    # The plugin

    def settle(self) -> None:
        """Ends the exchange with the plugin about the current step: sends rows, waits for the answer.

        With several ranks, rows that were not sent yet stay here: a script may save in one rank only.
        """
        self._attach()
        if self._rows and self._attached.world == 1:
            self._send()
        self.receive()

    def go_on(self, step: int, prototypes: np.ndarray | Tensor) -> None:
        """Goes on from a step of the plugin, with its prototypes (K, D)."""
        self.in_use = Mirror(prototypes)
        self._begin(step)

    def _attach(self, device: torch.device | None = None) -> None:
        """Connects to the plugin if necessary. `device`: the device of the rows."""
        self._attachment.check_process()
        connected = self._attachment.connection is not None
        if connected and (device is None or not self._has_moved(device)):
            return
        led = self._phase is Phase.LED
        self.go_on(*self._attachment.connect(device or self._heads.device()))
        if led:
            self._phase = self._phase.after(Event.LEAD)

    def _has_moved(self, device: torch.device) -> bool:
        """Whether the heads have moved to another device before their first step. The device of the rows
        decides where a mixture is computed, so it has to attach again."""
        moved = device.type != self._attached.device.type
        return self._idle and moved and self._attachment.settings.placement != "host"
