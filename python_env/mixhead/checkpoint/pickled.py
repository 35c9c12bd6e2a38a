"""Unpickles into stand-ins: no name in a pickle is imported, nothing in it is called.

A pickle is a program that may call any function of any module. Here every name that it asks for becomes a
class of its own, which records what the pickle does with it. So a pickle can build a tree of records and
nothing else; what the tree means is for the reader to find out.
"""

import pickle
import re
from collections.abc import Iterable
from typing import BinaryIO, ClassVar

# No training script has these in its checkpoint; a file that does attacks who loads it.
RUNS_CODE = re.compile(
    r"(os|posix|nt|sys|subprocess)\.|(builtins|__builtin__)\.(eval|exec|execfile|compile|open|__import__)$"
)


class RunsCodeError(Exception):
    """A pickle that would run code where it is loaded in the usual way; holds the name that it calls."""


class StandIn:
    """An object of a pickle: the name of its class or function, and what the pickle gives it."""

    __slots__ = ("elements", "given", "items", "state")
    name: ClassVar[str] = ""

    def __new__(cls, /, *given: object, **_: object) -> "StandIn":
        self = super().__new__(cls)
        self.given = given
        self.state: object = None
        self.items: dict[object, object] = {}
        self.elements: list[object] = []
        return self

    # What a pickle can do to an object. Only these names are looked up on one, on its class alone.
    def __setstate__(self, state: object, /) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object, /) -> None:
        self.items[key] = value

    def append(self, value: object, /) -> None:
        self.elements.append(value)

    add = append

    def extend(self, values: Iterable[object], /) -> None:
        self.elements.extend(values)

    def __call__(self, /, *given: object) -> "StandIn":
        return StandIn(*given)


def stand_in(name: str) -> type[StandIn]:
    return type("StandIn", (StandIn,), {"__slots__": (), "name": name})


class Attribute(StandIn):
    """``getattr`` of a pickle, by which it names a class inside another one: makes a class."""

    __slots__ = ()

    def __new__(cls, /, of: object = None, attribute: object = None, *_: object) -> type[StandIn]:
        return stand_in(f"{of.name}.{attribute}" if isinstance(of, type) and issubclass(of, StandIn) else "")


class Storage(StandIn):
    """The numbers of a tensor, which a checkpoint keeps beside its pickle."""

    __slots__ = ()
    name = "storage"


# The one in Python. For the one in C, a pickle of 15 bytes can claim a memo of 64 GB.
class Unpickler(pickle._Unpickler):
    """``load`` gives what the pickle holds, with a stand-in for every object; raises RunsCodeError.

    Of a damaged pickle it raises anything.
    """

    def __init__(self, file: BinaryIO) -> None:
        # Bytes of Python 2 that are no text, such as a numpy array's, survive latin1.
        super().__init__(file, encoding="latin1")
        self.storages: list[Storage] = []
        self._classes: dict[str, type[StandIn]] = {
            "builtins.getattr": Attribute,
            "__builtin__.getattr": Attribute,
        }

    def find_class(self, module: str, name: str) -> type[StandIn]:
        full = f"{module}.{name}"
        if RUNS_CODE.match(full):
            raise RunsCodeError(full)
        if full not in self._classes:
            self._classes[full] = stand_in(full)
        return self._classes[full]

    def persistent_load(self, pid: object) -> Storage:
        storage = Storage(*pid) if isinstance(pid, tuple) else Storage(pid)
        self.storages.append(storage)
        return storage
