"""The phases of a step: what is sent in each, and which call begins the next step."""

import pytest

from mixhead.dropin.phase import Event, Phase

COLLECTING, LED, SENT, OVER = Phase.COLLECTING, Phase.LED, Phase.SENT, Phase.OVER
ENDED, MANUAL = Phase.ENDED, Phase.MANUAL
LEAD, SEND, END, NEXT = Event.LEAD, Event.SEND, Event.END, Event.NEXT


@pytest.mark.parametrize(
    ("events", "phases"),
    [
        ([SEND, NEXT, SEND], [SENT, COLLECTING, SENT]),  # the teacher is called first
        ([LEAD, SEND, NEXT, LEAD], [LED, OVER, COLLECTING, LED]),  # the student is called first
        ([SEND, SEND, END, NEXT], [SENT, SENT, ENDED, MANUAL]),  # `mixhead.step()` ends the step
        ([LEAD, SEND, END, NEXT], [LED, OVER, ENDED, MANUAL]),  # also where the student led
        ([END, END, NEXT], [ENDED, ENDED, MANUAL]),  # also where there are no rows
        ([END, NEXT, LEAD, SEND, NEXT, END], [ENDED, MANUAL, MANUAL, MANUAL, MANUAL, ENDED]),  # only by hand
        ([LEAD, NEXT], [LED, COLLECTING]),  # another state is loaded
    ],
)
def test_events_lead_from_phase_to_phase(events: list[Event], phases: list[Phase]):
    phase, seen = COLLECTING, []
    for event in events:
        phase = phase.after(event)
        seen.append(phase)
    assert seen == phases
