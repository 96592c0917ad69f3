"""The settings of the C library's memory allocator that training wants."""

import ctypes
import os

_M_TRIM_THRESHOLD = -1  # as in glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 28  # the activations of a batch
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Let glibc keep freed memory for the next batch.

    By default each batch's activations are given back to the system and faulted in again, page by
    page, which costs a tenth of a small network's time. With another C library, or where the user
    has set glibc's own variables, nothing happens.
    """
    if any(name in os.environ for name in _USERS_OWN):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
