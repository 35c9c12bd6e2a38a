"""Runs programs of tensor kernels for the plugin, on the device that holds the embeddings.

Programs can only call functions of a fixed list (`kernels/`): nothing is evaluated, and no code is sent.
"""

from mixhead.executor.executor import Executor, Outcome
from mixhead.executor.kernels import KERNELS, KERNELS_VERSION
from mixhead.executor.run import ExecutorError, Run

__all__ = ["KERNELS", "KERNELS_VERSION", "Executor", "ExecutorError", "Outcome", "Run"]
