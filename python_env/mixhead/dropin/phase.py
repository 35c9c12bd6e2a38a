"""The phases of a training step, as a mixture sees them, and what leads from one to the next.

| phase | `LEAD` | `SEND` | `END` | `NEXT` |
| --- | --- | --- | --- | --- |
| `COLLECTING`: teacher rows may come | `LED` | `SENT` | `ENDED` | |
| `LED`: the student was called before the teacher, whose rows may come | | `OVER` | `ENDED` | `COLLECTING` |
| `SENT`: the rows were sent; the teacher's next call begins the next step | | | `ENDED` | `COLLECTING` |
| `OVER`: the rows were sent; any call begins the next step | | | `ENDED` | `COLLECTING` |
| `ENDED`: the script ended the step; any call begins the next one | | | | `MANUAL` |
| `MANUAL`: teacher rows may come, and may be sent, until the script ends the step | | | `ENDED` | |

An event without an entry in the table leaves the phase as it is.
"""

from __future__ import annotations

from enum import Enum, auto


class Event(Enum):
    """What changes the phase of a step."""

    LEAD = auto()  # the student is called, and the teacher has not been
    SEND = auto()  # the teacher's rows are sent
    END = auto()  # the script ends the step by `mixhead.step()`
    NEXT = auto()  # the next step begins


class Phase(Enum):
    """The phase of the current step."""

    COLLECTING = auto()
    LED = auto()
    SENT = auto()
    OVER = auto()
    ENDED = auto()
    MANUAL = auto()

    def after(self, event: Event) -> Phase:
        """The phase after an event."""
        return _NEXT.get((self, event), self)


_NEXT = {
    (Phase.COLLECTING, Event.LEAD): Phase.LED,
    (Phase.COLLECTING, Event.SEND): Phase.SENT,
    (Phase.LED, Event.SEND): Phase.OVER,
    (Phase.LED, Event.NEXT): Phase.COLLECTING,
    (Phase.SENT, Event.NEXT): Phase.COLLECTING,
    (Phase.OVER, Event.NEXT): Phase.COLLECTING,
    (Phase.ENDED, Event.NEXT): Phase.MANUAL,
    **{(phase, Event.END): Phase.ENDED for phase in Phase},
}
