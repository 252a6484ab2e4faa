"""Where the command line writes the access log: a file or standard output, readable or as JSON lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.observe.access_log import JsonLinesFormatter, ReadableFormatter
from pyconnector.connector.observe.log_output import FileLines, LineHandler, StreamLines

if TYPE_CHECKING:
    from pyconnector.connector.config.model import LogConfig

#: Permissions of a new log file: it says who was where, so it is for its owner alone.
FILE_MODE = 0o600


def open_access_log(config: LogConfig) -> LineHandler | None:
    """Return what writes the access log where `config` says, if it says so; whoever asked closes it.

    Raises:
        StartFailed: the file cannot be opened.
    """
    if not config.access:
        return None
    handler: LineHandler
    try:
        if config.access == "-":
            handler = StreamLines(sys.stdout, "standard output")
        else:
            path = Path(config.access).expanduser()
            handler = FileLines(path, f"the access log {path}", mode=FILE_MODE)
    except OSError as error:
        raise StartFailed(f"cannot open the access log {config.access}: {error.strerror}") from error
    handler.setFormatter(JsonLinesFormatter() if config.output == "json" else ReadableFormatter())
    return handler
