"""The kinds of failure that are not bugs of ours; everything else keeps its traceback."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: with more room the same will do
REFUSED = (  # of an OSError: a place that a person has to choose anew, or make usable
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
)


class BadInput(Exception):
    """Something the user gave is wrong. One line that names the file, the field and the value; exit code 2, no retry."""


class CorruptArtifact(BadInput):
    """Stored bytes no longer fit their sha256, or a manifest no longer fits its own digest."""


class ProgramFailed(RuntimeError):
    """A program ended badly for a reason that is not the user's input; the message holds the last lines of its log."""


class ProgramKilled(ProgramFailed):
    """A signal ended it, its own input and code may be in order: it may be started again."""


class OutOfMemory(ProgramFailed):
    """A step needs more memory than there is, by settings that its user can change: it fails, other steps go on."""


class Unavailable(RuntimeError):
    """Something outside is missing for now: a worker, a GPU, an endpoint's quota. Later may work."""


class LeaseLost(Unavailable):
    """This process was silent for longer than its lease, or another one has taken it: nothing more is written or deleted."""


class StoreUnreachable(ConnectionError):
    """The store did not answer, or was too busy, for longer than its client's own retries last."""


class SourceFailed(ProgramFailed):
    """One model of several cannot be sampled, and no retry mends it; what does not need its responses goes on."""


TRANSIENT = (Unavailable, StoreUnreachable)  # tried again after a pause, several times
