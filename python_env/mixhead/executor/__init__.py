"""Runs programs of tensor kernels for the plugin, on the device that holds the embeddings.

What can be run is a list of functions (`kernels/`): there is no eval, and no code on the wire.
"""

from mixhead.executor.executor import Executor, Outcome
from mixhead.executor.kernels import KERNELS, KERNELS_VERSION
from mixhead.executor.run import ExecutorError, Run

__all__ = ["KERNELS", "KERNELS_VERSION", "Executor", "ExecutorError", "Outcome", "Run"]
