"""A mixture as the heads of one process share it: whose rows it sees, and when it takes a step."""

from __future__ import annotations

import gc
import os
import time
import warnings
from enum import Enum, auto

import numpy as np
import torch
from torch import Tensor

from mixhead.bridge import BatchError, BridgeError, Targets
from mixhead.dropin.connection import Connection, State
from mixhead.dropin.members import Member, Members, Role, in_backward
from mixhead.dropin.mirror import Mirror
from mixhead.dropin.paused import is_paused
from mixhead.dropin.plugin_process import PluginMissing
from mixhead.dropin.rows import Rows
from mixhead.dropin.settings import Settings
from mixhead.dropin.target_rows import target_rows
from mixhead.dropin.told import Told
from mixhead.dropin.undisturbed import undisturbed

#: A teacher that is called this many times as often as in the steps before is being evaluated.
_EVALUATION = 4
#: The least cosine between prototypes that are the same but for rounding, to half precision too.
_SAME = 0.999
#: The step of a state that holds no more than the names and shapes of one.
_NO_STEP = -1


class Phase(Enum):
    """Of the step under way."""

    COLLECTING = auto()  # its rows are not complete
    SENT = auto()  # its rows were sent, if there were any; the teacher's next call begins the next step
    OVER = auto()  # its rows were sent, and any next call begins the next step


class Mixture:
    """The mixture of one name: its prototypes, the teacher rows that it is owed, and its place in time.

    A step of the mixture is a step of the training. Teacher rows are sent at the next training-mode call of a
    student, and the answer is applied at the first teacher call after that. So teacher and student of a step
    see the same prototypes, those that the step before has left. Where the student is called first, its next
    call ends the step: the rows are sent, and the answer is waited for. Once `step` was called, steps end
    there and nowhere else.
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
        self._shapes: dict[str, tuple[int, ...]] = {}  # of a state's tensors, once one was seen
        self._by_hand = False
        self._fed_from_outside = False  # by a module that is no head of ours
        self._alone_without_gradient = False  # whether the only layer was called so
        self._usual_calls = 0  # of the teacher in a step
        self._begin(0)

    def _begin(self, step: int) -> None:
        self._next = self._started = step  # the next step to send; the one that this connection began at
        self._phase = Phase.COLLECTING
        self._rows: list[Rows] = []  # the teacher's, of the step under way
        self._calls = 0  # how often the teacher was called since the student was
        self._waiting = False  # for the answer to the step that was sent
        self._batch: Tensor | None = None  # the rows that were sent last, where targets are wanted
        self._own = slice(0)  # this rank's among them
        self._padding: Tensor | None = None  # which of this rank's rows are no part of them
        self._student_led = False  # whether the student was called before any of the rows
        self._answer: Targets | None = None  # to what was sent last in the step under way
        self._ahead: Mirror | None = None  # the prototypes that its answers so far leave
        self._saved: State | None = None

    @property
    def stats(self) -> dict[str, float]:
        """What a script may log."""
        return self._told.stats

    # Who takes part

    def join(self, member: Member, copied: bool) -> None:
        """A new layer, or a copy of one. Where no other is left, the mixture begins anew."""
        components, dim = member.components, member.dim
        other_size = len(self.heads) > 0 and (self.components, self.dim) != (components, dim)
        if self._connection is not None or other_size:
            gc.collect()  # heads of a training that has ended may still hang in reference cycles
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
            warnings.warn(
                f'a new head joins mixture "{self.name}", which has taken {self._next} steps, since heads of '
                "that training are still there: for a training of its own call mixhead.attach() first",
                stacklevel=2,
            )
        self.components, self.dim = components, dim
        self.heads.add(member)

    @undisturbed
    def attach(self, settings: Settings) -> None:
        """What to attach to at the next use. A mixture that is attached already begins anew there."""
        if self._connection is not None:
            self.close()
            self._forget()
        self._settings = settings

    # The steps

    def may_feed(self, member: Member) -> bool:
        """Whether the rows of a call that is about to come belong to the mixture."""
        return (
            not (is_paused() or in_backward())
            and self.heads.role(member) is not Role.STUDENT
            and self.heads.another_trains(member)
        )

    @undisturbed
    def look_up(self, member: Member, rows: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The prototypes (K, D) for a call of `member`, whose unit rows (..., D) these are.

        Raises ValueError where student and teacher are one module, or share tensors.
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
                self._alone_without_gradient = True
        elif member.training:
            self._must_not_be_its_own_teacher()
            self._student_is_called(rows)
            if self._waiting:
                self._connection.poll()

    def _must_not_be_its_own_teacher(self) -> None:
        alone = len(self.heads) == 1 and not self._fed_from_outside
        if alone and self._alone_without_gradient and self._next == self._started:
            raise ValueError(
                f'mixture "{self.name}" has one head, which is called as a student and, without a gradient, '
                "as a teacher: a teacher is a head of its own, such as copy.deepcopy(student)"
            )

    @undisturbed
    def feed(self, rows: Tensor) -> None:
        """Takes the rows (..., D) of a module that is none of the heads, of unit length.

        Raises ValueError where they are of another dimension than the prototypes.
        """
        self._fed_from_outside = True
        self._offer(Rows(rows, None, None), rows.device)

    def _offer(self, rows: Rows, device: torch.device) -> None:
        """Takes a teacher's rows into the step under way, or into the next one where that was sent."""
        self.dim = self.dim or rows.dim
        if rows.dim != self.dim:
            raise ValueError(
                f'the rows that feed mixture "{self.name}" are {len(rows)} x {rows.dim}: '
                f"its prototypes are of dimension {self.dim}"
            )
        self._attach(device)
        if self._phase is Phase.OVER or (self._phase is Phase.SENT and not self._by_hand):
            self._next_step()
        self._calls += 1
        self._rows.append(rows)
        if self._usual_calls and len(self._rows) > _EVALUATION * self._usual_calls and not self._by_hand:
            del self._rows[-1 if self._student_led else 0]

    def _student_is_called(self, rows: Tensor) -> None:
        self._attach(rows.device)
        if self._phase is Phase.OVER:
            self._next_step()
        if self._by_hand or self._phase is Phase.SENT:
            return
        self._drop_what_was_no_teachers()
        if not self._rows:
            self._student_led = True
            self._watch_for_a_teacher(rows)
            return
        self._drop_what_was_an_evaluations()
        self._send()
        if self._student_led:
            self._next_step()
            self._student_led = True

    def _drop_what_was_no_teachers(self) -> None:
        """Rows of a layer that has turned out to be a student's."""
        self._rows = [
            rows
            for rows in self._rows
            if rows.caller is None or self.heads.role(rows.caller) is not Role.STUDENT
        ]

    def _drop_what_was_an_evaluations(self) -> None:
        """Where the teacher was called much more often than in other steps, the calls that are nearest to the
        student's of that step are the step's."""
        usual = self._usual_calls
        if usual and self._calls > _EVALUATION * usual:
            self._rows = self._rows[:usual] if self._student_led else self._rows[-usual:]
            self._told.evaluated(self._calls, usual, "first" if self._student_led else "last")
        else:
            self._usual_calls = max(usual, self._calls)

    def _watch_for_a_teacher(self, rows: Tensor) -> None:
        """At the first backward pass every teacher has been called."""
        if self._next == self._started and rows.requires_grad:
            rows.register_hook(self._is_trained)

    def _is_trained(self, gradient: Tensor) -> None:
        if not self._rows and self._next == self._started and self._phase is Phase.COLLECTING:
            self._told.no_teacher()

    @undisturbed
    def step(self) -> None:
        """Ends the step under way by hand."""
        self._by_hand = True
        self._drop_what_was_no_teachers()
        if self._rows:
            self._send()
        if self._phase is Phase.SENT:
            self._phase = Phase.OVER

    @undisturbed
    def targets(self, device: torch.device) -> Tensor:
        """The plugin's target rows (N, K) for the teacher rows of the step under way; waits for them.

        NaN where the plugin refused the rows, and 0 for rows that are padding.
        """
        if not self._settings.targets:
            raise RuntimeError(
                f'mixture "{self.name}" was not asked for targets: mixhead.attach(config={{"targets": {{}}}})'
            )
        if self._rows:
            self._send_early()
        if self._phase is Phase.COLLECTING:
            raise RuntimeError(f'mixture "{self.name}" has seen no teacher rows in this step')
        self._receive()
        real = ~self._padding
        made = torch.zeros(len(real), self.components, device=device)
        if self._answer is None:
            made[real] = torch.nan
            return made
        rows = target_rows(self._answer, self._batch, self._ahead, self._connection.balance)
        if rows is None:
            raise RuntimeError(f'the plugin of mixture "{self.name}" makes no targets: it was begun without')
        made[real] = rows[self._own].to(device)
        return made

    @undisturbed
    def prototypes(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What the heads use now (K, D): shared, so nobody writes to it."""
        if self._mirror is None:
            self._attach()
        return self._mirror.on(device, dtype)

    def _send(self) -> None:
        batch, self._own = self._connection.gather(torch.cat([rows.real() for rows in self._rows]))
        padding = torch.cat([rows.padding() for rows in self._rows])
        self._rows, self._calls = [], 0
        self._phase, self._answer = Phase.SENT, None
        self._batch, self._padding = (batch, padding) if self._settings.targets else (None, None)
        if len(batch) == 0 and (self._connection.on_device or self._connection.world == 1):
            if len(padding):
                self._told.only_padding()
            return  # no rank has any: no step
        self._told.sends(batch, self._mirror.rows, moves=self._connection.moves)
        self._connection.send(self._next, batch)
        self._waiting, self._saved = True, None

    def _send_early(self) -> None:
        """Sends before the call that would have: where the student leads, its next call begins a step."""
        self._send()
        if self._student_led:
            self._phase = Phase.OVER

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
            self._ahead = (self._ahead or self._mirror).after(self._answer)
            self._told.answered(self._answer, self._connection.leads)
        self._told.waited(time.perf_counter() - start, self._connection.reads - reads)

    def _next_step(self) -> None:
        """Applies the answers: from here on it is the next step."""
        self._receive()
        self._mirror = self._ahead or self._mirror
        self._answer = self._ahead = self._batch = self._padding = None
        self._phase, self._student_led = Phase.COLLECTING, False

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
        idle = self._next == self._started and not self._rows and self._phase is Phase.COLLECTING
        moved = device.type != self._connection.device.type
        return idle and moved and self._settings.placement != "host"

    def _go_on(self) -> None:
        welcome = self._connection.take_welcome()
        self.components, self.dim = welcome.prototypes.shape
        self._mirror = Mirror(welcome.prototypes)
        self._begin(welcome.step)

    @undisturbed
    def save(self, whole: bool = True) -> tuple[Tensor, State | None]:
        """The prototypes (K, D) after the step under way, and, if asked, the mixture's whole state.

        Where the plugin is gone the state has names and shapes alone, its step is -1, and a warning tells: a
        script that saves what it has is not stopped.
        """
        if self._connection is None and self._mirror is not None and not (whole and self._has_only_a_start()):
            return self._mirror.rows, self._given
        try:
            self._attach()
            if self._rows and self._connection.world == 1:
                self._send_early()
            self._receive()
            if whole and self._saved is None:
                self._saved = self._connection.save()
                self._shapes = _shapes(self._saved)
        except (BridgeError, PluginMissing) as error:
            if self._mirror is None:
                raise
            if whole and self._saved is None:
                warnings.warn(
                    f"the prototypes are saved without their mixture's state: {error}", stacklevel=2
                )
        mirror = self._ahead or self._mirror
        return mirror.on(torch.device("cpu"), torch.float32), self._saved or self._blank()

    def _has_only_a_start(self) -> bool:
        return self._given is None or self._given.start is not None

    def _blank(self) -> State | None:
        """A state of the shapes that the last one had, and nothing in it."""
        if not self._shapes:
            return None
        return State(_NO_STEP, {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()})

    @undisturbed
    def load(self, prototypes: Tensor, state: State) -> None:
        """Goes on from a saved state, whose prototypes (K, D) these are."""
        self._shapes = _shapes(state)
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

    @undisturbed
    def start(self, prototypes: Tensor) -> None:
        """Begins anew from unit prototypes (K, D), unless they are those in use, as in a teacher's state."""
        start = State(0, {"prototypes": prototypes.numpy()})
        if self._connection is None:
            if self._mirror is None or not _are_the_same(self._mirror.rows, prototypes):
                self._given, self._mirror = start, Mirror(prototypes.clone())
            return
        self._receive()
        if not self._connection.agree(lambda: _are_the_same(self.save(whole=False)[0], prototypes)):
            self._connection.load(start)
            self._go_on()

    def _is_nearly(self, state: State) -> bool:
        saved = self.save()[1]
        return saved is not None and saved.is_nearly(state)

    @undisturbed
    def close(self) -> None:
        """Says goodbye to the plugin. Harmless when repeated."""
        if self._connection is not None:
            self._connection.close()


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in state.tensors.items()}


def _are_the_same(one: Tensor, other: Tensor) -> bool:
    """Whether unit prototypes (K, D) are the same but for rounding."""
    return one.shape == other.shape and bool(((one.cpu() * other).sum(dim=1) > _SAME).all())
