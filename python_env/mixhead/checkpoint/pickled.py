"""Unpickles into stand-ins: imports and calls nothing that a pickle names.

A pickle is a program that may call any function of any module. This unpickler replaces every name with a
class that records what the pickle does with it. So a pickle can only build a tree of records, which the
caller interprets.
"""

import pickle
import re
from collections.abc import Iterable
from typing import IO, ClassVar

# No training script puts these into a checkpoint. A file that contains them is an attack.
RUNS_CODE = re.compile(
    r"(os|posix|nt|sys|subprocess)\.|(builtins|__builtin__)\.(eval|exec|execfile|compile|open|__import__)$"
)


class RunsCodeError(Exception):
    """A pickle that would run code if it were loaded normally. The message is the name that it calls."""


class StandIn:
    """An object of a pickle: the name of its class or function, and the arguments that the pickle passes."""

    __slots__ = ("elements", "given", "items", "state")
    name: ClassVar[str] = ""
    given: tuple[object, ...]
    state: object
    items: dict[object, object]
    elements: list[object]

    def __new__(cls, /, *given: object, **_: object) -> "StandIn":
        self = super().__new__(cls)
        self.given = given
        self.state = None
        self.items = {}
        self.elements = []
        return self

    # The operations of a pickle on an object. Unpickling looks up only these names, on the class.
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
    """``getattr`` in a pickle, which names a class inside another class. Makes a stand-in class."""

    __slots__ = ()

    def __new__(  # type: ignore[misc]  # gives a class, as getattr does
        cls, /, of: object = None, attribute: object = None, *_: object
    ) -> type[StandIn]:
        return stand_in(f"{of.name}.{attribute}" if isinstance(of, type) and issubclass(of, StandIn) else "")


class Storage(StandIn):
    """The data of a tensor, which a checkpoint stores beside its pickle."""

    __slots__ = ()
    name = "storage"


# The unpickler in Python. In the one in C, a pickle of 15 bytes can allocate a memo of 64 GB.
class Unpickler(pickle._Unpickler):
    """``load`` returns the content of the pickle, with a stand-in for every object.

    Raises RunsCodeError, or any exception if the pickle is damaged.
    """

    def __init__(self, file: IO[bytes]) -> None:
        # latin1 preserves Python 2 strings that hold bytes, such as the data of NumPy arrays.
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
