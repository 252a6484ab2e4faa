"""Files of authorities that rules name (`caPool`), which the edge may name too by pushing a configuration.

So whatever is wrong with one gets the same sentence, which does not tell whether there is such a file; the log of this
machine has the cause. Nothing is read that could block or go on for ever: regular files only, up to a limit.
"""

from __future__ import annotations

import logging
import os
import stat

from pyconnector.origins.base import OriginError

#: Bytes of one file. The bundles of operating systems have some 250 KiB.
MAX_POOL_BYTES = 1024 * 1024
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_log = logging.getLogger("pyconnector.origins")


def read_pool(path: str, *, log: bool = True) -> str:
    """Return the certificates in the file `path`, in PEM form. `log`: say in the log why it is of no use.

    Raises:
        OriginError: it is no readable regular file of at most MAX_POOL_BYTES, or holds no certificate.
    """
    try:
        data = _read_regular(os.path.expanduser(path))
    except (OSError, ValueError) as error:
        raise unusable(path, getattr(error, "strerror", None) or str(error), log=log) from error
    # Comments around the blocks may hold any bytes; OpenSSL takes ASCII only.
    blocks = [part.split(_END, 1)[0] for part in data.decode("ascii", "replace").split(_BEGIN)[1:]]
    if not blocks:
        raise unusable(path, "it holds no certificate in PEM form", log=log)
    return "".join(f"{_BEGIN}{block}{_END}\n" for block in blocks)


def unusable(path: str, cause: str, *, log: bool = True) -> OriginError:
    """Log why a pool is of no use, if wanted, and return the one error for all causes."""
    if log:
        _log.warning("caPool %s: %s", path, cause)
    return OriginError(
        f"caPool {path} cannot be used; it must be a file of certificates in PEM form that may be read, "
        f"of at most {MAX_POOL_BYTES // 1024} KiB"
    )


def _read_regular(path: str) -> bytes:
    # Looked at before it is opened: opening a device may do something, and opening a pipe waits for its other end.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no regular file")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(MAX_POOL_BYTES + 1)
    if len(data) > MAX_POOL_BYTES:
        raise ValueError(f"it is larger than {MAX_POOL_BYTES} bytes")
    return data
