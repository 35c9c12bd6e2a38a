"""The phases of a step: what is sent in each, and which call begins the next step."""

import pytest

from mixhead.dropin.phase import Event, Phase

COLLECTING, LED, SENT, OVER = Phase.COLLECTING, Phase.LED, Phase.SENT, Phase.OVER
LEAD, SEND, END, NEXT = Event.LEAD, Event.SEND, Event.END, Event.NEXT


@pytest.mark.parametrize(
    ("events", "phases"),
    [
        ([SEND, NEXT, SEND], [SENT, COLLECTING, SENT]),  # the teacher is called first
        ([LEAD, SEND, NEXT, LEAD], [LED, OVER, COLLECTING, LED]),  # the student is called first
        ([SEND, SEND, END, NEXT], [SENT, SENT, OVER, COLLECTING]),  # `mixhead.step()` ends the step
        ([END, LEAD, END], [COLLECTING, LED, LED]),  # a step without rows does not end
    ],
)
def test_events_lead_from_phase_to_phase(events: list[Event], phases: list[Phase]):
    phase, seen = COLLECTING, []
    for event in events:
        phase = phase.after(event)
        seen.append(phase)
    assert seen == phases
