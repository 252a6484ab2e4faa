"""What pycapnp makes of RPC messages: plain dicts, to compare with ours and to write messages that ours must read.

Only for well-formed bytes: see `protocol.capnp_format.schemas`.
"""

from __future__ import annotations

from typing import Any

from pyconnector.protocol.capnp_format import schemas
from pyconnector.protocol.capnp_format.framing import MessageSplitter


def split(data: bytes) -> list[bytes]:
    """Cut a row of framed messages apart."""
    splitter = MessageSplitter(max_bytes=1 << 20)
    messages = [message for message, _ in splitter.feed(data)]
    assert not splitter.unfinished, "bytes are left over"
    return messages


def decoded(message: bytes) -> dict[str, Any]:
    """Return everything that an RPC message says."""
    with schemas.rpc().Message.from_bytes(message) as root:
        kind = str(root.which())
        found: dict[str, Any] = {"kind": kind}
        inner = getattr(root, kind)
        if kind == "call":
            found |= {
                "question": inner.questionId,
                "interface": inner.interfaceId,
                "method": inner.methodId,
                "target": _target(inner.target),
                "send_to": str(inner.sendResultsTo.which()),
                "params": _struct(inner.params, _method(inner.interfaceId, inner.methodId).param_type),
            }
        elif kind == "return":
            found |= {"answer": inner.answerId, "release": inner.releaseParamCaps, "how": str(inner.which())}
            if found["how"] == "results":
                found["caps"] = [(str(cap.which()), getattr(cap, str(cap.which()))) for cap in inner.results.capTable]
            else:
                found["exception"] = inner.exception.to_dict()
        else:
            found |= inner.to_dict()
        return found


def results(message: bytes, interface: int, method: int) -> dict[str, Any]:
    """Return the results of a Return, which was an answer to that method."""
    with schemas.rpc().Message.from_bytes(message) as root:
        return _struct(getattr(root, "return").results, _method(interface, method).result_type)


def _struct(payload: Any, kind: Any) -> dict[str, Any]:
    value: dict[str, Any] = payload.content.as_struct(kind).to_dict()
    return value


def _target(target: Any) -> tuple[str, Any]:
    kind = str(target.which())
    return kind, target.importedCap if kind == "importedCap" else target.promisedAnswer.to_dict()


def _method(interface: int, method: int) -> Any:
    module = schemas.tunnel()
    for name in ("RegistrationServer", "SessionManager", "ConfigurationManager"):
        schema = getattr(module, name).schema
        if schema.node.id == interface:
            by_number = {m.codeOrder: m.name for m in schema.node.interface.methods}
            return schema.methods[by_number[method]]
    raise AssertionError(f"no interface {interface:#x}")
