"""Exceptions for failures that are not bugs in this project; every other exception keeps its traceback."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)  # OSError: no space left; the same call works once there is room
REFUSED = (  # OSError: the path is unusable; a person must change it or its permissions
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


class BadInput(Exception):
    """Wrong user input. The message is one line that names the file, the field and the value. Exit code 2, no retry."""


class BudgetReached(BadInput):
    """The run has spent its budget; a higher one continues it."""


class CorruptArtifact(BadInput):
    """Stored bytes do not match their sha256, or a manifest does not match its own digest."""


class ProgramFailed(RuntimeError):
    """A program failed, and not because of user input; the message holds the last lines of its log."""


class ProgramKilled(ProgramFailed):
    """A signal ended the program, so a restart may help. A training is restarted only after this error; a program that makes
    rows is restarted after every ProgramFailed except OutOfMemory."""


class OutOfMemory(ProgramFailed):
    """A step needs more memory than there is; the user can change its settings. Nothing restarts it: the step fails, other
    steps continue."""


class Unavailable(RuntimeError):
    """An external resource is missing for now: a worker, a GPU, an endpoint's quota. A later try may work."""


class LeaseLost(Unavailable):
    """This process did not renew its lease in time, or another process took it; it may not write or delete any more."""


class StoreUnreachable(ConnectionError):
    """The store did not answer or was too busy, also after all retries of its client."""


class SourceFailed(ProgramFailed):
    """One of several models cannot be sampled, and no retry helps; steps that do not need its responses continue."""


TRANSIENT = (Unavailable, StoreUnreachable)  # steps retry after these errors
