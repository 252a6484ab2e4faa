"""Signals that arrive while a command is still loading its modules and reading its config.

Nothing is connected then, so there is nothing to let end: the process leaves as cleanly as it does later. Left alone,
Ctrl-C would print a traceback and a reload that comes too early would end the process.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from pyconnector.connector.cli.exits import CLEAN


@contextlib.contextmanager
def early_signals() -> Iterator[None]:
    """Leave on SIGTERM and SIGINT, and stay on SIGHUP, until the event loop takes the signals for itself."""
    before = {}
    for name, action in (("SIGTERM", _leave), ("SIGINT", _leave), ("SIGHUP", signal.SIG_IGN)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None:
            before[number] = signal.signal(number, action)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _leave(*_: object) -> None:
    raise SystemExit(CLEAN)
