"""Functions of single elements, and softmax along the last axis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mixhead.executor.kernels.numbers import DTYPES, host_sees, of_each, one, stored


def absolute(x: Tensor) -> Tensor:
    return x if x.dtype is torch.bool else x.abs()


def negative(x: Tensor) -> Tensor:
    return x if x.dtype is torch.bool else x.neg()


def relu(x: Tensor) -> Tensor:
    """max(x, 0). NaN stays NaN, and -0 becomes 0."""
    return x if x.dtype is torch.bool else x.clamp(min=0)


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN and -0."""
    return stored(x.gt(0).to(torch.int8) - x.lt(0).to(torch.int8), x.dtype)


def square(x: Tensor) -> Tensor:
    return x if x.dtype is torch.bool else torch.square(x)


def exponential(x: Tensor) -> Tensor:
    return torch.exp(x.float())


def step(x: Tensor, alpha: Tensor) -> Tensor:
    """1 above 0, alpha elsewhere. NaN stays NaN."""
    above = torch.where(x > 0, 1.0, alpha)
    if x.dtype is torch.float32:
        return torch.where(x.isnan(), x, above)
    return stored(above, x.dtype)


def leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    x = x.float()
    return torch.where(x < 0, alpha * x, x)


def clip(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Limits x to [low, high]. NaN stays NaN."""
    if x.dtype is torch.float32:
        # Python numbers are faster than one-element tensors if the host can read them.
        return torch.clamp(x, low.item(), high.item()) if host_sees(low) else torch.clamp(x, low, high)
    return stored(torch.clamp(x.double(), low.double(), high.double()), x.dtype)


def cast(x: Tensor, *, dtype: str) -> Tensor:
    """Converts to int32 as typed arrays do, to bool by comparison with 0. Raises KeyError for other types."""
    return x.ne(0) if dtype == "bool" else stored(x, DTYPES[dtype])


def softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits.float(), -1)


def log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.float(), -1)


KERNELS = {
    "Abs": absolute,
    "Neg": negative,
    "Relu": relu,
    "Sign": sign,
    "Square": square,
    "Exp": exponential,
    "Step": step,
    "LeakyRelu": leaky_relu,
    "ClipByValue": clip,
    "Cast": cast,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "IsFinite": one(torch.isfinite),
    "IsInf": one(torch.isinf),
    "IsNan": one(torch.isnan),
    "LogicalNot": one(torch.logical_not),
    "Acos": of_each(torch.acos),
    "Acosh": of_each(torch.acosh),
    "Asin": of_each(torch.asin),
    "Asinh": of_each(torch.asinh),
    "Atan": of_each(torch.atan),
    "Atanh": of_each(torch.atanh),
    "Ceil": of_each(torch.ceil),
    "Cos": of_each(torch.cos),
    "Cosh": of_each(torch.cosh),
    "Elu": of_each(functional.elu),
    "Erf": of_each(torch.erf),
    "Expm1": of_each(torch.expm1),
    "Floor": of_each(torch.floor),
    "Log": of_each(torch.log),
    "Log1p": of_each(torch.log1p),
    "Reciprocal": of_each(torch.reciprocal),
    "Relu6": of_each(lambda x: x.clamp(0, 6)),
    "Round": of_each(torch.round),  # half to even
    "Rsqrt": of_each(torch.rsqrt),
    "Selu": of_each(functional.selu),
    "Sigmoid": of_each(torch.sigmoid),
    "Sin": of_each(torch.sin),
    "Sinh": of_each(torch.sinh),
    "Softplus": of_each(functional.softplus),
    "Sqrt": of_each(torch.sqrt),
    "Tan": of_each(torch.tan),
    "Tanh": of_each(torch.tanh),
}
