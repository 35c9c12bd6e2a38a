"""Bytes that a step of a drop-in head sends and receives, after the first steps."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from head import HeadStep, Options
from mixhead.bridge.link import Link
from rounds import WARM_UP, say


class Counted:
    """Counts the bytes of a link, frame by frame."""

    def __init__(self) -> None:
        self.up = self.down = 0
        send, receive = Link.send, Link.receive

        def counted_send(link: Link, frames: list[Any]) -> None:
            self.up += sum(memoryview(frame).nbytes for frame in frames)
            send(link, frames)

        def counted_receive(link: Link, seconds: float) -> list[Any] | None:
            frames = receive(link, seconds)
            self.down += sum(memoryview(frame).nbytes for frame in frames or [])
            return frames

        Link.send, Link.receive = counted_send, counted_receive


def main(options: Options) -> None:
    counted = Counted()
    step = HeadStep(replace(options, prototypes="online-gmm"))
    for _ in range(WARM_UP):
        step()
    say({})
    for _ in sys.stdin:
        up, down = counted.up, counted.down
        step()
        say({"up": counted.up - up, "down": counted.down - down})


if __name__ == "__main__":
    main(Options(**json.loads(sys.argv[1])))
