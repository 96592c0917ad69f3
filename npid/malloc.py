"""How the C library deals with freed memory."""

import ctypes
import os

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of glibc's malloc.h
_KEPT = 1 << 28  # bytes: the activations of a batch


def keep_freed() -> None:
    """Let glibc keep freed memory for the next batch.

    By default each batch's activations are given back to the system and faulted in again, page by page, which costs a
    tenth of a small network's time. Elsewhere, or where the user has set glibc's own variables, nothing happens.
    """
    if any(
        name in os.environ
        for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_TRIM, _KEPT)
    mallopt(_MAP, _KEPT)
