"""Limits of the machine that a command runs into: memory, threads and files."""

from __future__ import annotations

import errno
import os
import sys

OUT_OF_MEMORY = "out of memory"
_NO_THREAD = "can't start new thread"
_OF_FILES = [
    os.strerror(number)
    for number in (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP),
    )
]
"""What TensorFlow, whose errors have no number, ends a message about a file with."""


def exhausted(error: Exception) -> str | None:
    """Return which limit of the machine an exception is about, or None if it is about something else."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return "the system starts no more threads for this process; raise the limit (ulimit -u) or end others"
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)  # help is printed without TensorFlow
    if errors is None or not isinstance(error, errors.OpError):
        return None
    about_file = [line for line in str(error.message).splitlines() if line.endswith(tuple(_OF_FILES))]
    if about_file:
        return about_file[0].strip()
    return OUT_OF_MEMORY if isinstance(error, errors.ResourceExhaustedError) else None
