"""The access log: one record for each request, saying who asked for what, which rule it met, and how it ended.

An observer of a Connector, given by the command line or an embedding program. Records hold no query, header, cookie or
token, and nothing in them can end a line or look like another field.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyconnector.connector.observe.log import escape
from pyconnector.connector.observe.observer import Observer
from pyconnector.ingress.config.services import redacted
from pyconnector.origins.base import RequestKind

if TYPE_CHECKING:
    from pyconnector.connector.observe.observer import RequestRecord

#: The name that records have. No logger of that name is involved: parents and their levels have no say.
NAME = "pyconnector.access_log"
#: Longest text of one field; what is longer is cut, and ends in "...".
MAX_FIELD_CHARS = 512

_PLAIN = frozenset("!#$%&'()*+,-./:;<>?@[]^_`{|}~").union(
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


class AccessLog(Observer):
    """Writes one record for each request, when it is over.

    `handlers` get records of the name `pyconnector.access_log` with the fields in `record.fields`. One that has no
    formatter of its own gets readable lines. Whoever made the handlers closes them.
    """

    def __init__(self, *handlers: logging.Handler) -> None:
        for handler in handlers:
            if handler.formatter is None:
                handler.setFormatter(ReadableFormatter())
        self._handlers = handlers

    def __repr__(self) -> str:
        return f"<AccessLog {', '.join(type(handler).__name__ for handler in self._handlers)}>"

    def end(self, record: RequestRecord) -> None:
        """Write the record of a request."""
        fields = fields_of(record)
        line = logging.LogRecord(NAME, logging.INFO, "", 0, _Line(fields), (), None)
        vars(line)["fields"] = fields
        for handler in self._handlers:
            if line.levelno >= handler.level:
                handler.handle(line)


def fields_of(record: RequestRecord) -> dict[str, object]:
    """Return what is known of a request, by field name; every text is escaped and cut."""
    fields: dict[str, object] = {"connIndex": record.connection}
    request = record.request
    if record.kind is not None:
        fields["kind"] = record.kind.value
        if record.kind is RequestKind.TCP:
            fields["destination"] = _text("" if request is None else request.destination)
        else:
            fields |= _asked(record)
    if record.rule is not None:
        fields["rule"] = record.rule_index
        fields["service"] = _text(redacted(record.rule.service))
    if record.status:
        fields["status"] = record.status
    if record.refused:
        fields["refused"] = _text(record.refused)
    if record.error:
        fields["error"] = _text(record.error)
    fields["bytesIn"] = record.bytes_in
    fields["bytesOut"] = record.bytes_out
    fields["durationMs"] = round(record.duration * 1000, 3)
    if request is not None and request.identity is not None:
        fields["identityKind"] = request.identity.kind
        fields["identity"] = _text(request.identity.name)
    return fields


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


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class _Line:
    """Fields as one line of text, made when a handler wants it."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return " ".join([f"{name}={_quoted(str(value))}" for name, value in self._fields.items()])


def _asked(record: RequestRecord) -> dict[str, object]:
    """What the visitor asked for; of a request that could not be read, what the edge said of it."""
    request = record.request
    if request is not None:
        method, host, target = request.method, request.host, request.target
    else:
        (method, host), target = record.claimed, ""
    asked = {"method": method, "host": host, "path": target.partition("?")[0]}
    return {name: _text(value) for name, value in asked.items() if value}


def _text(text: str) -> str:
    safe = escape(text[: MAX_FIELD_CHARS + 1])
    return safe if len(safe) <= MAX_FIELD_CHARS else safe[:MAX_FIELD_CHARS] + "..."


def _quoted(text: str) -> str:
    """`text` as it is where nothing in it could be taken for the end of a field, else in quotes."""
    return text if text and _PLAIN.issuperset(text) else json.dumps(text)
