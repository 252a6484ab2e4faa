"""HTTP/1.1 messages as plain data that two runs can be compared by: what was on the wire, in a fixed order.

Written for well-meaning bytes: what it cannot take apart it keeps whole, and a comparison shows it.
"""

from __future__ import annotations

import hashlib
from typing import Any

#: A message as plain data, ready for JSON.
Message = dict[str, Any]
#: Bodies and values up to this size are kept as text, and so many fields as they are.
MAX_SHOWN = 300
MAX_FIELDS = 40


def take(data: bytes, *, body: bool = True, ended: bool = False) -> tuple[Message, bytes] | None:
    """Take one message off the front of `data`; None while it is not whole.

    `body` is False where none may follow (the response to a HEAD), `ended` says that nothing more will come.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    fields = [[name, value.strip(" \t")] for name, _, value in (line.partition(":") for line in lines)]
    rest = data[end + 4 :]
    message: Message = {"line": first, "fields": sorted(fields, key=lambda field: field[0].lower())}
    lengths = [value for name, value in fields if name.lower() == "content-length"]
    chunked = any(name.lower() == "transfer-encoding" and "chunked" in value.lower() for name, value in fields)
    is_response = first.startswith("HTTP/")
    status = first.split(" ")[1] if is_response else ""
    if not body or status.startswith("1") or status in ("204", "304"):
        return message, rest
    if chunked:
        taken = take_chunks(rest)
        if taken is None:
            return None
        content, trailers, rest = taken
        message["body"] = shown(content)
        if trailers:
            message["trailers"] = trailers
    elif lengths and lengths[0].isdigit():
        size = int(lengths[0])
        if len(rest) < size:
            return None
        message["body"], rest = shown(rest[:size]), rest[size:]
    elif is_response:
        if not ended:
            return None
        message["body"], rest = shown(rest), b""
    return message, rest


def take_chunks(data: bytes) -> tuple[bytes, list[list[str]], bytes] | None:
    """Take a chunked body off the front of `data`: content, trailer fields, what follows."""
    content = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None
        size = int(line.partition(b";")[0], 16)
        if not size:
            break
        if len(data) < size + 2:
            return None
        content += data[:size]
        data = data[size + 2 :]
    trailers: list[list[str]] = []
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None
        if not line:
            return content, sorted(trailers), data
        name, _, value = line.decode("latin-1").partition(":")
        trailers.append([name, value.strip()])


def shown(content: bytes) -> str:
    """A body as text, or what identifies it where it is long."""
    if len(content) <= MAX_SHOWN:
        return content.decode("latin-1")
    return f"<{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}>"


def shortened(message: Message) -> Message:
    """`message` with long values, and very many fields, as what identifies them."""
    fields: object = [[name, shown(value.encode("latin-1"))] for name, value in message["fields"]]
    if len(message["fields"]) > MAX_FIELDS:
        fields = f"<{len(message['fields'])} fields: {shown(repr(fields).encode())}>"
    return {**message, "line": shown(message["line"].encode("latin-1")), "fields": fields}
