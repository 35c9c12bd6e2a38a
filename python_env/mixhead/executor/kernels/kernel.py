"""A kernel: a torch function, and the arguments that its signature allows."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

Function = Callable[..., Tensor | tuple[Tensor, ...]]

_NO_JSON = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


@dataclass(frozen=True)
class Kernel:
    """A function of the allow-list.

    Its positional parameters are tensors. The parameters after `*` are attributes under tfjs's names, with
    the allowed types as annotations. A parameter `device` is not an attribute: it gets the executor's device.
    """

    name: str
    function: Function
    least: int  # the least number of tensors
    most: int | None  # the largest number of tensors; None: any number
    attributes: Mapping[str, Any]  # name -> type
    required: frozenset[str]
    open: bool  # accepts any attribute, by `**attributes`
    wants_device: bool

    @classmethod
    def of(cls, name: str, function: Function) -> Kernel:
        """Makes a kernel of a function. Raises TypeError if a kernel cannot have the function's signature."""
        hints = get_type_hints(function)
        least, most, endless, takes_any = 0, 0, False, False
        attributes: dict[str, Any] = {}
        required: set[str] = set()
        for parameter in inspect.signature(function).parameters.values():
            hint = hints.get(parameter.name)
            if parameter.kind is parameter.VAR_KEYWORD:
                takes_any = True
            elif parameter.kind is parameter.KEYWORD_ONLY:
                attributes[parameter.name] = hint
                if parameter.default is parameter.empty:
                    required.add(parameter.name)
            elif hint is not Tensor:
                raise TypeError(f"kernel {name}: {parameter.name} is a tensor, or an attribute after *")
            elif parameter.kind is parameter.VAR_POSITIONAL:
                endless = True
            else:
                least, most = least + (parameter.default is parameter.empty), most + 1
        wants_device = attributes.pop("device", None) is torch.device
        for attribute, hint in attributes.items():
            if not _is_known(hint):
                raise TypeError(f"kernel {name}: the attribute {attribute} has no type that JSON can hold")
        needed = frozenset(required - {"device"})
        limit = None if endless else most
        return cls(name, function, least, limit, attributes, needed, takes_any, wants_device)

    def takes(self, count: int) -> bool:
        """Whether it accepts `count` tensors."""
        return self.least <= count and (self.most is None or count <= self.most)

    def read(self, values: Mapping[str, object]) -> dict[str, Any]:
        """Checks attributes from JSON and converts them. Raises ValueError naming the first that does not
        fit."""
        read = {}
        for name, value in values.items():
            if name in self.attributes:
                read[name] = _read(value, self.attributes[name], name)
            elif self.open:
                read[name] = value
            else:
                raise ValueError(f"it has no attribute {name}")
        if missing := self.required - values.keys():
            raise ValueError(f"it lacks the attribute {min(missing)}")
        return read


def _read(value: Any, hint: Any, name: str) -> Any:
    """A JSON value as the annotated type. Numbers that JSON lacks are sent as text: "Infinity", "NaN"."""
    if hint is float and isinstance(value, str) and value in _NO_JSON:
        return _NO_JSON[value]
    if not _fits(value, hint):
        raise ValueError(f"its attribute {name} is {value!r:.60}, not {_words(hint)}")
    return float(value) if hint is float else value


def _fits(value: Any, hint: Any) -> bool:
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    if hint in (bool, str):
        return isinstance(value, hint)
    if hint is types.NoneType:
        return value is None
    if get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    return any(_fits(value, each) for each in get_args(hint))


def _is_known(hint: Any) -> bool:
    if hint in (bool, int, float, str, types.NoneType):
        return True
    is_compound = get_origin(hint) in (list, types.UnionType, Union)
    return is_compound and all(_is_known(each) for each in get_args(hint))


def _words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)
