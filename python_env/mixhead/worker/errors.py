"""Failures that the worker reports in one sentence instead of a stack trace."""


class WorkerError(Exception):
    """A known failure. The message is one sentence: what failed, where, and what to do."""


class BadInput(WorkerError):
    """Settings, data or a checkpoint that the user has to fix before a run can begin."""


class WriteFailed(WorkerError):
    """A file that cannot be written, for example because the disk is full."""
