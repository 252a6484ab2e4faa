"""Where the command line writes the access log: a file or standard output, readable or as JSON lines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.observe.access_log import LOGGER
from pyconnector.connector.observe.log_output import FileLines, StreamLines

if TYPE_CHECKING:
    from pyconnector.connector.config.model import LogConfig

#: Permissions of a new log file: it says who was where, so it is for its owner alone.
FILE_MODE = 0o600


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class ReadableFormatter(logging.Formatter):
    """Time and key=value; a value with anything but letters, digits and harmless signs is in quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line."""
        return f"{_time(record)} {record.getMessage()}"


class JsonLinesFormatter(logging.Formatter):
    """One JSON object a line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line."""
        return json.dumps({"time": _time(record), **getattr(record, "fields", {})})


class AccessLogSetup:
    """The handler that the command line puts on the access log; `close` takes it off again."""

    def __init__(self, config: LogConfig) -> None:
        """Write where `config` says, if it says so.

        Raises:
            StartFailed: the file cannot be opened.
        """
        self._handler: logging.Handler | None = None
        if not config.access:
            return
        try:
            if config.access == "-":
                self._handler = StreamLines(sys.stdout, "standard output")
            else:
                path = Path(config.access).expanduser()
                self._handler = FileLines(path, f"the access log {path}", mode=FILE_MODE)
        except OSError as error:
            raise StartFailed(f"cannot open the access log {config.access}: {error.strerror}") from error
        self._handler.setFormatter(JsonLinesFormatter() if config.output == "json" else ReadableFormatter())
        LOGGER.addHandler(self._handler)

    def close(self) -> None:
        """Take the handler off and close it. Idempotent."""
        handler, self._handler = self._handler, None
        if handler is not None:
            LOGGER.removeHandler(handler)
            handler.close()
