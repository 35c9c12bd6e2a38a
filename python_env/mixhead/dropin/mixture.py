"""A mixture in one process: its members, and how its state is saved and loaded."""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from mixhead.bridge import BridgeError
from mixhead.dropin.attachment import Attachment
from mixhead.dropin.deferred_signals import signals_deferred
from mixhead.dropin.members import Member, Members
from mixhead.dropin.node import PluginMissing
from mixhead.dropin.settings import Settings
from mixhead.dropin.state import State
from mixhead.dropin.steps import Steps
from mixhead.mirror import Mirror
from mixhead.warn import warn

#: The least cosine between prototypes that are equal up to rounding, even to half precision.
_SAME = 0.999


class Mixture:
    """A mixture of one name. `steps` takes its steps; the methods here save, load and replace its state."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads = Members()
        self._start_over(Settings.of(), 0, 0)

    def _start_over(self, settings: Settings, components: int, dim: int) -> None:
        self.attachment = Attachment(self.name, settings, components, dim)
        self.steps = Steps(self.name, self.heads, self.attachment)

    @property
    def size(self) -> tuple[int, int]:
        """K and D; 0 if unknown."""
        return self.attachment.components, self.attachment.dim

    def join(self, member: Member, copied: bool) -> None:
        """Adds a new layer, or a copy of one. If no other layer is left, the mixture starts over.

        Raises ValueError if the other layers have another size.
        """
        size = member.components, member.dim
        other_size = len(self.heads) > 0 and self.size != size
        if self.attachment.connection is not None or other_size:
            gc.collect()  # heads of a finished training may still be alive in reference cycles
        if len(self.heads) == 0:
            self.close()
            self._start_over(self.attachment.settings, *size)
        elif other_size:
            components, dim = self.size
            raise ValueError(
                f'the heads of mixture "{self.name}" have {components} prototypes of dimension {dim}, '
                f'this one {size[0]} of {size[1]}: give it a mixture of its own, name="...", '
                "or delete those first"
            )
        elif self.steps.taken > 0 and not copied:
            warn(
                f'a new head joins mixture "{self.name}", which has taken {self.steps.taken} steps, since '
                "heads of that training are still there: for a training of its own call "
                "mixhead.attach() first"
            )
        self.heads.add(member)

    @signals_deferred
    def attach(self, settings: Settings) -> None:
        """Sets what to attach to at the next use. A mixture that is already attached starts over."""
        if self.attachment.connection is None:
            self.attachment.settings = settings
        else:
            self.close()
            self._start_over(settings, *self.size)

    @signals_deferred
    def save(self, whole: bool = True) -> tuple[Tensor, State | None]:
        """Returns the prototypes (K, D) after the current step and, if `whole`, the mixture's whole state.

        If the plugin is gone, warns and returns a blank state (names and shapes only, step -1). It does not
        raise, so that the script can still save the rest of its checkpoint.
        """
        in_use, suffices = self.steps.in_use, self.attachment.has_whole_state or not whole
        if self.attachment.connection is None and in_use is not None and suffices:
            return in_use.rows, self.attachment.given
        try:
            self.steps.settle()
            if whole:
                self.attachment.save()
        except (BridgeError, PluginMissing) as error:
            if self.steps.in_use is None:
                raise
            if whole and not self.attachment.is_saved:
                warn(f"the prototypes are saved without their mixture's state: {error}")
        return self.steps.latest.on(torch.device("cpu"), torch.float32), self.attachment.saved

    @signals_deferred
    def load(self, prototypes: Tensor, state: State) -> None:
        """Resumes from a saved state with these prototypes (K, D)."""
        self.attachment.knows(state)
        connection = self.attachment.connection
        if connection is None:
            self._give(state, prototypes)
            return
        # Loading the student's state, or an average of both, into the teacher changes nothing.
        self.steps.receive()
        if not connection.agree(lambda: self._is_nearly(state)):
            if state.step < self.steps.taken:
                warn(
                    f'mixture "{self.name}" goes back from step {self.steps.taken} to step {state.step}, '
                    "where the state that is loaded was saved"
                )
            self.steps.go_on(*self.attachment.load(state))

    @signals_deferred
    def start(self, prototypes: Tensor) -> None:
        """Starts over from unit prototypes (K, D), unless they are in use already (a teacher's state)."""
        start = State(0, {"prototypes": prototypes.numpy()})
        connection, in_use = self.attachment.connection, self.steps.in_use
        if connection is None:
            if in_use is None or not _are_the_same(in_use.rows, prototypes):
                self._give(start, prototypes)
            return
        self.steps.receive()
        if not connection.agree(lambda: _are_the_same(self.save(whole=False)[0], prototypes)):
            self.steps.go_on(*self.attachment.load(start))

    def _give(self, state: State, prototypes: Tensor) -> None:
        """Resumes from a state with these prototypes (K, D) once there is a plugin."""
        self.attachment.given = state
        self.steps.in_use = Mirror(prototypes.clone())

    def _is_nearly(self, state: State) -> bool:
        saved = self.save()[1]
        return saved is not None and saved.is_nearly(state)

    @signals_deferred
    def close(self) -> None:
        """Closes the connection to the plugin. May be called repeatedly."""
        self.attachment.close()


def _are_the_same(one: Tensor, other: Tensor) -> bool:
    """Whether unit prototypes (K, D) are equal up to rounding."""
    return one.shape == other.shape and bool(((one.cpu() * other).sum(dim=1) > _SAME).all())
