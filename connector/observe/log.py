"""Log lines that a person can read: `2026-11-24T10:00:00Z INF Registered tunnel connection connIndex=0 location=LHR`.

The whole package logs to children of the logger `pyconnector`, with fields beside the message. A library user
configures `logging` as usual; only the command line calls `set_up`. What peers sent is escaped, so that a line stays a
line, and fields that may hold a secret are masked.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.observe.log_output import FileLines, StreamLines, make_folder
from pyconnector.connector.observe.log_taps import TAPS

if TYPE_CHECKING:
    from pyconnector.connector.config.model import LogConfig

ROOT = "pyconnector"
MASK = "*****"
#: Field names whose value is never written.
SECRET_FIELDS = frozenset({"token", "secret", "tunnel_secret", "credentials-contents", "authorization"})
#: Longest field value that is written; what is longer is cut.
MAX_VALUE_CHARS = 2048
#: Size of one file in `--log-directory`, and how many older ones are kept (reference/lifecycle.md 12).
ROTATE_BYTES = 1024 * 1024
ROTATE_KEPT = 5

#: What lines are about, in the words of the reference: the connector itself, or what it carries.
GENERAL, HTTP, TCP, UDP = KINDS = ("cloudflared", "http", "tcp", "udp")

LEVELS = {
    "trace": logging.DEBUG, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING,
    "error": logging.ERROR, "fatal": logging.CRITICAL, "panic": logging.CRITICAL,
}  # fmt: skip
_SHORT = {"DEBUG": "DBG", "INFO": "INF", "WARNING": "WRN", "ERROR": "ERR", "CRITICAL": "FTL"}
_JSON_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "fatal"}
_COLOURS = {"DBG": "\x1b[33m", "INF": "\x1b[32m", "WRN": "\x1b[31m", "ERR": "\x1b[1;31m", "FTL": "\x1b[1;31m"}


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger that adds its own fields to each line: `log.info("Registered", **fields(location="LHR"))`."""

    def __init__(self, name: str, values: Mapping[str, object] | None = None, *, kind: str = GENERAL) -> None:
        """`kind` is what its lines are about, for those who listen to the log from afar."""
        super().__init__(logging.getLogger(f"{ROOT}.{name}"), dict(values or {}))
        self._kind = kind

    def bound(self, **values: object) -> Log:
        """Return a logger of the same name that adds `values` too."""
        name = self.logger.name.removeprefix(f"{ROOT}.")
        return Log(name, {**(self.extra or {}), **values}, kind=self._kind)

    def of_kind(self, kind: str) -> Log:
        """Return the same logger for lines about something else."""
        return Log(self.logger.name.removeprefix(f"{ROOT}."), self.extra, kind=kind)

    def isEnabledFor(self, level: int) -> bool:
        """Whether anybody wants lines of `level`: the log, or who listens to it from afar."""
        return level >= TAPS.level or self.logger.isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line. Never raises."""
        if level >= TAPS.level:
            values = {**(self.extra or {}), **(kwargs.get("extra") or {}).get("fields", {})}
            TAPS.hand(level, str(msg) % args if args else str(msg), shown(values), self._kind)
        if self.logger.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Merge this logger's fields with those of the call."""
        extra = dict(kwargs.get("extra") or {})
        extra["fields"] = {**(self.extra or {}), **extra.get("fields", {})}
        kwargs["extra"] = extra
        return msg, kwargs


def fields(**values: object) -> dict[str, Any]:
    """Return the keyword argument of a log call that puts `values` beside its message; None and "" are left out."""
    kept = {name: value for name, value in values.items() if value is not None and value != ""}
    return {"extra": {"fields": kept}}


def escape(text: str) -> str:
    """Write control characters so that they are seen and do nothing."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


class ConsoleFormatter(logging.Formatter):
    """Time, level, message, key=value."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line; a traceback follows on lines of its own."""
        level = _SHORT.get(record.levelname, record.levelname)
        if self._colour:
            level = f"{_COLOURS.get(level, '')}{level}\x1b[0m"
        line = f"{_time(record)} {level} {escape(record.getMessage())}"
        for name, value in _fields_of(record).items():
            text = escape(str(value))
            quoted = json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=') else text
            line += f" {name}={quoted}"
        stack = _stack(self, record)
        return f"{line}\n{stack}" if stack else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, keys sorted."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line."""
        entry: dict[str, object] = {
            **_fields_of(record),
            "level": _JSON_LEVELS.get(record.levelname, record.levelname.lower()),
            "time": _time(record),
            "message": record.getMessage(),
        }
        if stack := _stack(self, record):
            entry["stack"] = stack
        return json.dumps(entry, sort_keys=True, default=str, ensure_ascii=False)


def _stack(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback of a record; one that comes from another process brings it as text."""
    return formatter.formatException(record.exc_info) if record.exc_info else record.exc_text or ""


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    return shown(getattr(record, "fields", {}))


def shown(values: Mapping[str, object]) -> dict[str, object]:
    """Return fields as they may be shown: secrets masked, long ones cut."""
    return {name: MASK if name.lower() in SECRET_FIELDS else _cut(value) for name, value in values.items()}


def _cut(value: object) -> object:
    if isinstance(value, int | float):
        return value
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS] + "..."


class LogSetup:
    """The handlers that the command line put on `pyconnector`; `close` takes them off again.

    They are on the root logger too, for what libraries warn of: the standard library would print that bare.
    """

    def __init__(self, config: LogConfig, stream: IO[str] | None = None) -> None:
        """Log to `stream` (stderr by default) and where `config` says.

        Raises:
            StartFailed: the log file cannot be opened.
        """
        self._logger = logging.getLogger(ROOT)
        self._handlers: list[logging.Handler] = []
        self._propagate = self._logger.propagate
        self._logger.propagate = False
        self.apply_level(config.level)
        stream = stream or sys.stderr
        if stream is not None:
            as_json = config.output == "json"
            self._add(
                StreamLines(stream, "standard error"),
                JsonFormatter() if as_json else ConsoleFormatter(colour=stream.isatty()),
            )
        try:
            if config.file or config.directory:
                self._add(_file_handler(config), JsonFormatter())
        except OSError as error:
            self.close()
            raise StartFailed(f"cannot open the log file {error.filename}: {error.strerror}") from error

    def apply_level(self, level: str) -> None:
        """Log what is at least as grave as `level`; an unknown level means info."""
        self._logger.setLevel(LEVELS.get(level, logging.INFO))

    def close(self) -> None:
        """Take the handlers off and close them. Idempotent."""
        self._logger.propagate = self._propagate
        for handler in self._handlers:
            self._logger.removeHandler(handler)
            logging.getLogger().removeHandler(handler)
            handler.close()
        self._handlers.clear()

    def _add(self, handler: logging.Handler, formatter: logging.Formatter) -> None:
        handler.setFormatter(formatter)
        self._handlers.append(handler)
        self._logger.addHandler(handler)
        logging.getLogger().addHandler(handler)


def _file_handler(config: LogConfig) -> logging.Handler:
    if config.file:
        path = Path(config.file).expanduser()
        make_folder(path.parent)
        return FileLines(path, f"the log file {path}")
    path = Path(config.directory or ".").expanduser() / f"{config.name}.log"
    make_folder(path.parent)
    return FileLines(path, f"the log file {path}", rotate_bytes=ROTATE_BYTES, kept=ROTATE_KEPT)


logging.getLogger(ROOT).addHandler(logging.NullHandler())
