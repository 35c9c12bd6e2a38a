"""What the worker tells a person instead of a stack trace."""


class WorkerError(Exception):
    """Something known that failed; its text is one sentence: what, where, and what to do."""


class BadInput(WorkerError):
    """What the user can mend before a run begins: settings, data, a checkpoint."""


class WriteFailed(WorkerError):
    """The disk is full, or cannot be written to: which file, and why."""
