"""Log lines of workers, written by the main process: one log with one order, one file, one rotation."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from pyconnector.connector.workers.messages import Logged

_FORMATTER = logging.Formatter()


class RelayHandler(logging.Handler):
    """Hands each record to `tell`, from whatever thread it comes. Lines that `is_clogged` forbids are counted."""

    def __init__(self, tell: Callable[[Logged], None], is_clogged: Callable[[], bool], worker: int) -> None:
        super().__init__()
        self._tell = tell
        self._is_clogged = is_clogged
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        try:
            line = Logged(
                name=record.name,
                level=record.levelno,
                created=record.created,
                message=record.getMessage(),
                fields=self._fields(record),
                stack=_FORMATTER.formatException(record.exc_info) if record.exc_info else "",
            )
        except Exception:  # noqa: BLE001 - a defect of the caller's: said by `logging`, as for any handler
            self.handleError(record)
            return
        if threading.get_ident() == self._thread:
            self._send(line)
        else:
            try:
                self._loop.call_soon_threadsafe(self._send, line)
            except RuntimeError:
                pass  # the loop is closed, and the process about to end

    def _send(self, line: Logged) -> None:
        if self._is_clogged():
            self._dropped += 1
            return
        dropped, self._dropped = self._dropped, 0
        if dropped:
            text = f"{dropped} lines are missing: they came faster than they could be written"
            self._tell(replace(line, level=logging.WARNING, message=text, fields={"worker": self._worker}, stack=""))
        self._tell(line)

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        values: dict[str, object] = getattr(record, "fields", {})
        plain = {name: value if isinstance(value, int | float) else str(value) for name, value in values.items()}
        return {**plain, "worker": self._worker}


def write_relayed(line: Logged) -> None:
    """Write a worker's line to the log of this process, as if it came from here."""
    logger = logging.getLogger(line.name)
    if not logger.isEnabledFor(line.level):
        return
    record = logger.makeRecord(line.name, line.level, "", 0, line.message, (), None, extra={"fields": line.fields})
    record.created = line.created
    record.exc_text = line.stack or None
    logger.handle(record)
