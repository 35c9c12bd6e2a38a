"""Fuses pairs of instructions to save passes over memory, once, when a program is loaded.

Measured with 2 threads on 65,536 x 256 float32 numbers, best of 15, as two instructions and as one:

    x + a * b            102 ms    50 ms    addcmul
    x - a * b             77       39       addcmul
    sum(a * b, last)      75       24       a batch of products of a row and a column; vecdot: 69
    sum(a ** 2, last)     68        8       the norm, squared

The transpose of a product is also replaced by the product of the transposes. That costs nothing, and it
avoids a column-major view, which would slow down everything computed from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mixhead.executor.kernels import Function, Kernel
from mixhead.executor.program import Instruction, Program


def add_mul(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.addcmul(x, a, b)


def sub_mul(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.addcmul(x, a, b, value=-1)


def sum_mul(a: Tensor, b: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    """sum(a * b) along the last axis. On a GPU two plain passes are as fast."""
    if a.device.type != "cpu" or a.numel() == 0:
        return (a * b).sum(axis, keepDims)
    size = a.shape[-1]
    pairs = a.reshape(-1, size), b.reshape(-1, size)
    if size >= _LONG:
        sums = torch.stack([torch.dot(x, y) for x, y in zip(*pairs, strict=True)])
    else:
        sums = torch.bmm(pairs[0].unsqueeze(1), pairs[1].unsqueeze(2))
    return sums.view([*a.shape[:-1], 1] if keepDims else a.shape[:-1])


def sum_of_squares(a: Tensor, *, axis: list[int], keepDims: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(a, dim=axis, keepdim=keepDims)
    return norm.square()


#: From this length on, one call per row is faster: 128 rows of 8,192 take 0.6 ms, as a batch 2.8 ms.
_LONG = 2048
#: How much more memory fusing may hold, as a share of the product that it saves.
_SLACK = 0.05

_FUNCTIONS: dict[str, Function] = {
    "AddMul": add_mul,
    "SubMul": sub_mul,
    "SumMul": sum_mul,
    "SumOfSquares": sum_of_squares,
}
#: Kernels that only fusing creates: no definition can name them.
FUSED = {name: Kernel.of(name, function) for name, function in _FUNCTIONS.items()}


def fuse(program: Program) -> Program:
    """The same program with fewer instructions. Slots keep their numbers; those of removed products stay
    empty."""
    maker = {each.first: each for each in program.code if each.kernel.name in ("Multiply", "Square")}
    products = {each.first: each for each in program.code if each.kernel.name == "BatchMatMul"}
    uses = Counter(slot for each in program.code for slot in each.inputs)
    uses.update(program.outputs)
    last_use = {slot: each.at for each in program.code for slot in each.inputs}
    fixed = len(program.inputs) + len(program.literals)  # slots that live as long as the program does
    gone: set[int] = set()

    def fused(each: Instruction) -> Instruction:
        for place in _places(each):
            product = maker.get(each.inputs[place])
            if product is None or uses[product.first] != 1:
                continue
            new = _together(each, place, product, program)
            longer = {slot for slot in product.inputs if slot >= fixed and last_use[slot] < each.at}
            # Inputs that live longer may hold hardly more memory than the removed product would have.
            held = sum(program.specs[slot].nbytes for slot in longer)
            if new and held <= (1 + _SLACK) * product.outputs[0].nbytes:
                gone.add(product.at)
                return new
        return each

    code = [_turned(fused(each), products, uses, gone) for each in program.code]
    return replace(program, code=tuple(each for each in code if each.at not in gone))


def _turned(
    each: Instruction, products: dict[int, Instruction], uses: Counter[int], gone: set[int]
) -> Instruction:
    """Replaces (x y)^T by y^T x^T, which is row-major, instead of a view of x y."""
    product = products.get(each.inputs[0]) if each.kernel.name == "Transpose" else None
    if product is None or each.attributes["perm"] != [1, 0] or uses[product.first] != 1:
        return each
    gone.add(product.at)
    x, y = product.inputs
    turns = {
        "transposeA": not product.attributes["transposeB"],
        "transposeB": not product.attributes["transposeA"],
    }
    return replace(each, kernel=product.kernel, inputs=(y, x), attributes=turns)


def _places(each: Instruction) -> tuple[int, ...]:
    """The positions of inputs that may be a product to fuse into the instruction."""
    return {"Add": (1, 0), "Sub": (1,), "Sum": (0,)}.get(each.kernel.name, ())


def _together(each: Instruction, place: int, product: Instruction, program: Program) -> Instruction | None:
    """The instruction fused with the product; None if the result would differ."""
    specs = [program.specs[slot] for slot in (*product.inputs, *each.inputs)]
    if any(spec.dtype != torch.float32 for spec in specs):
        return None
    shapes = [program.specs[slot].shape for slot in product.inputs]
    if product.outputs[0].shape != _broadcast(shapes):
        return None  # a wrong declaration, which the run will detect
    if each.kernel.name != "Sum":
        if product.kernel.name == "Square":
            return None
        name = "AddMul" if each.kernel.name == "Add" else "SubMul"
        inputs = (each.inputs[1 - place], *product.inputs)
        return replace(each, kernel=FUSED[name], inputs=inputs)
    if each.attributes["axis"] != [len(shapes[0]) - 1]:
        return None
    if len(set(product.inputs)) == 1:
        return replace(each, kernel=FUSED["SumOfSquares"], inputs=product.inputs[:1])
    return replace(each, kernel=FUSED["SumMul"], inputs=product.inputs) if shapes[0] == shapes[1] else None


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        return None
