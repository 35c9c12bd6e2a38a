"""One training step as functions of (state, views, answer): no socket, no clock, no random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mixhead.cosines import cosine_logits
from mixhead.heads import JointHead
from mixhead.losses import koleo_loss, softmax_targets, targets_in_blocks
from mixhead.mirror import Answer as PrototypeAnswer
from mixhead.worker.config import Config
from mixhead.worker.errors import WorkerError
from mixhead.worker.methods import Batch, method_of
from mixhead.worker.network import Network, PatchNetwork
from mixhead.worker.ranks import ALONE, Ranks
from mixhead.worker.state import State

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Answer(PrototypeAnswer, Protocol):
    """The plugin's answer to a step: the clock's values, and prototypes and targets if the arm has them."""

    @property
    def scalars(self) -> dict[str, float]:
        """The clock's values."""

    @property
    def targets(self) -> np.ndarray | Tensor | None:
        """Target probabilities (N, K), if the plugin makes them."""


def teacher_rows(state: State, views: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """The teacher's embeddings of the global views, float32 unit rows (N, D), without gradient.

    With a mask (see ``Batch``), the rows of masked patches follow. The teacher sees these patches.
    """
    return teacher_pass(state, views, mask)[1]


def teacher_pass(state: State, views: Sequence[Tensor], mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The teacher's features (N, F), and its embeddings as in ``teacher_rows``."""
    with torch.no_grad(), _autocast(state):
        if mask is None:
            features, patches = state.teacher.features(views), 0
        else:
            assert isinstance(state.teacher, PatchNetwork)
            features, patches = state.teacher.masked_features(views, mask, hide=False), int(mask.sum())
        return features, state.teacher.head.embed(features, patches)


def student_rows(state: State, views: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
    """The student's embeddings of all views, global ones first, float32 unit rows (V B, D).

    With a mask, the rows of masked patches follow. The student does not see these patches.
    """
    with _autocast(state):
        rows: Tensor = state.replica(views, mask)
    return rows


def learn_online(state: State, features: Tensor, labels: Tensor) -> None:
    """Trains the online probe on the first view of each image, in every rank on the images of all ranks.

    Args:
        state: The state.
        features: The teacher's features, (N, F), of which the first B are those of the first view.
        labels: The labels of the B images, int64.
    """
    if state.online is not None:
        counts = [len(labels)] * state.ranks.world
        of_all = state.ranks.gather(features[: len(labels)].float(), counts)
        state.online.learn(of_all, state.ranks.gather(labels, counts))


def finish(state: State, h: Tensor, z: Tensor, answer: Answer, mask: Tensor | None = None) -> None:
    """Finishes a step: computes the loss, updates the student, averages the teacher, counts the step.

    Args:
        state: The state.
        h: The teacher's unit rows, (N, D).
        z: The student's unit rows.
        answer: The plugin's answer to this step.
        mask: The masked patches of this rank's global views, (G B, rows, columns) bool.

    Raises:
        WorkerError: If the answer lacks a value or targets, or if the loss is not a scalar with a gradient.
    """
    clock = answer.scalars
    if state.mirror is not None:
        state.mirror = state.mirror.after(answer)
    batch = Batch(
        config=state.config,
        step=state.step,
        h=h,
        z=z,
        prototypes=_students_prototypes(state),
        targets=lambda: _targets(state, h, answer),
        targets_in=lambda partition: targets_in_blocks(
            lambda logits: _balanced(state, logits, answer), _teacher_logits(state, h), partition
        ),
        balanced=lambda logits: _balanced(state, logits, answer),
        temperature=_value(clock, "studentTemperature"),
        teacher_temperature=_value(clock, "teacherTemperature"),
        clock=clock,
        mask=mask,
    )
    loss = _scalar(method_of(state.config).loss(batch), state.config.method)
    state.measured = {"loss": state.ranks.mean(loss.detach())}
    if state.config.train.koleo > 0 and state.mirror is None:
        koleo = koleo_loss(batch.prototypes)
        loss = loss + state.config.train.koleo * koleo
        state.measured["koleo"] = koleo.detach()

    for group in state.optimizer.param_groups:
        group["lr"] = _value(clock, "lr")
        group["weight_decay"] = _value(clock, "weightDecay") if group["decays"] else 0.0
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    if state.mirror is None and _value(clock, "freezePrototypes"):
        _joint(state.student).last_layer.weight_v.grad = None
    state.scaler.unscale_(state.optimizer)
    clip = state.config.train.clip
    norm = torch.nn.utils.clip_grad_norm_(
        state.student.parameters(), clip if clip > 0 else float("inf"), foreach=True
    )
    state.scaler.step(state.optimizer)
    state.scaler.update()

    with torch.no_grad():
        torch._foreach_lerp_(
            state.teacher.averaged(), state.student.averaged(), 1 - _value(clock, "momentum")
        )
    state.step += 1
    state.measured |= {"gradNorm": norm, "spread": spread(h, state.ranks)}
    if state.online is not None:
        state.measured["online"] = state.online.accuracy
    if state.device.type == "cuda":
        _copy_measured(state)


def _copy_measured(state: State) -> None:
    """Starts one copy of all measurements of a step. Reading them waits for this step, but not for later work
    of the GPU."""
    values = torch.stack(
        [torch.as_tensor(value, device=state.device).float() for value in state.measured.values()]
    )
    host = torch.empty(values.shape, pin_memory=True).copy_(values, non_blocking=True)
    state.copied = torch.cuda.Event()
    state.copied.record()
    state.measured = dict(zip(state.measured, host.unbind(), strict=True))


def measured(state: State) -> dict[str, float]:
    """The last step's measurements as numbers; empty before the first step.

    Raises WorkerError if the loss is not finite.
    """
    if state.copied is not None:
        state.copied.synchronize()
    values = {name: float(value) for name, value in state.measured.items()}
    if not math.isfinite(values.get("loss", 0.0)):
        step = state.step - 1
        raise WorkerError(f"the loss of step {step} is {values['loss']}: {_remedy(step, state.config)}")
    return values


def _remedy(step: int, config: Config) -> str:
    """What may help if the loss of a step is not finite."""
    half = config.precision != "float32"
    if step > 0:
        return "a lower train.lr may help" + (", or precision=float32" if half else "")
    # No update came before, so the learning rate had no part in it.
    advice = f"no weight had changed before, so check the loss of method {config.method} and the encoder"
    return advice + (", or try precision=float32" if half else "")


def spread(rows: Tensor, ranks: Ranks = ALONE) -> Tensor:
    """1 - |mean| of all ranks' unit rows (N, D): 0 if all rows are equal, near 1 if they fill the sphere."""
    if ranks.world == 1:
        length: Tensor = rows.mean(dim=0).norm()
        return 1 - length
    sums = ranks.mean(torch.cat([rows.sum(dim=0), rows.new_full((1,), len(rows))]))
    length = (sums[:-1] / sums[-1]).norm()
    return 1 - length


def prototypes(state: State) -> Tensor:
    """The unit prototypes (K, D) with which the teacher's embeddings are compared."""
    if state.mirror is not None:
        return state.mirror.rows
    return _joint(state.teacher).last_layer.weight.detach()


def _joint(network: Network) -> JointHead:
    """The joint arm's head, which includes the prototypes."""
    assert isinstance(network.head, JointHead)
    return network.head


def _students_prototypes(state: State) -> Tensor:
    """The unit prototypes (K, D) of the student's logits, with a gradient in the joint arm."""
    return _joint(state.student).last_layer.weight if state.mirror is None else state.mirror.rows


def _targets(state: State, h: Tensor, answer: Answer) -> Tensor:
    """Target probabilities (N, K) of the teacher's rows, computed from similarities or sent by the plugin."""
    config = state.config.targets
    if state.mirror is None or (config.from_, config.by) == ("similarity", "rank"):
        return _balanced(state, _teacher_logits(state, h), answer)

    if answer.targets is None:
        raise WorkerError(f"step {state.step}: the plugin sent no targets")
    return torch.as_tensor(answer.targets, dtype=torch.float32).to(state.device)


@torch.no_grad()
def _teacher_logits(state: State, h: Tensor) -> Tensor:
    """The cosines (N, K) of the teacher's rows with its prototypes."""
    return cosine_logits(h, prototypes(state))


def _balanced(state: State, logits: Tensor, answer: Answer) -> Tensor:
    """Target probabilities (N, K) from logits (N, K), balanced according to `targets.balance`."""
    balances: dict[str, Callable[[Tensor, float], Tensor]] = {
        "sinkhorn": state.sinkhorn,
        "center": state.center.targets,
        "none": softmax_targets,
    }
    return balances[state.config.targets.balance](logits, _value(answer.scalars, "teacherTemperature"))


def _value(clock: dict[str, float], name: str) -> float:
    if name not in clock:
        raise WorkerError(f"the plugin's answer has no value for {name}")
    return clock[name]


def _scalar(loss: object, method: str) -> Tensor:
    """Checks that a method's loss is one number with a gradient."""
    if not isinstance(loss, Tensor):
        problem = f"is a {type(loss).__name__}; allowed: a scalar tensor"
    elif loss.ndim > 0:
        problem = f"has shape {tuple(loss.shape)}; allowed: a scalar tensor"
    elif not loss.requires_grad:
        problem = "has no gradient: it does not depend on the student's rows"
    else:
        return loss
    raise WorkerError(f"the loss of method {method} {problem}")


def _autocast(state: State) -> torch.autocast:
    precision = _PRECISIONS[state.config.precision]
    return torch.autocast(state.device.type, dtype=precision, enabled=precision != torch.float32)
