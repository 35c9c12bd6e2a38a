"""The state of a mixture, as its plugin saves and loads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: The step of a blank state.
_NO_STEP = -1


@dataclass(frozen=True)
class State:
    """A mixture's whole state after `step` steps.

    If "prototypes" (K, D) is the only tensor, it is not a state but a start.
    """

    step: int
    tensors: dict[str, np.ndarray]

    @property
    def start(self) -> np.ndarray | None:
        return self.tensors["prototypes"] if self.tensors.keys() == {"prototypes"} else None

    @property
    def is_blank(self) -> bool:
        return self.step < 0

    def blank(self) -> State:
        """A state of the same names and shapes, filled with 0, that cannot be resumed from."""
        return State(_NO_STEP, {name: np.zeros(t.shape, np.float32) for name, t in self.tensors.items()})

    def is_nearly(self, other: State) -> bool:
        """Equal up to rounding, as an average of two equal states is."""
        return (self.step, self.tensors.keys()) == (other.step, other.tensors.keys()) and all(
            tensor.shape == other.tensors[name].shape
            and np.allclose(tensor, other.tensors[name], rtol=1e-5, atol=1e-6)
            for name, tensor in self.tensors.items()
        )
