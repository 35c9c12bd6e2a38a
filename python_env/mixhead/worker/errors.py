"""What the worker tells a person instead of a stack trace."""


class WorkerError(Exception):
    """Something known that failed; its text is one sentence: what, where, and what to do."""


class BadInput(WorkerError):
    """What the user can mend before a run begins: settings, data, a checkpoint."""
