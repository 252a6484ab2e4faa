"""The messages of Cap'n Proto RPC that this protocol uses, level 1 without promises and capability parameters.

Written by hand over `reader` and `writer` rather than through a library, because they come from a peer: see `schemas`
for what a library does with a hostile one. Layouts are those of the public rpc.capnp; wire.md 5.1 says which of them
occur. Used by `rpc`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from pyconnector.protocol.capnp_format.writer import StructWriter, framed, new_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.protocol.capnp_format.reader import Struct

#: Largest message that an Unimplemented answer quotes whole.
MAX_QUOTED_BYTES: Final = 16_384
#: As much of a peer's reason for an exception or an Abort as is kept.
MAX_REASON_BYTES: Final = 4_096


class Kind(IntEnum):
    """Discriminants of Message's union that have a meaning here; all others are answered with UNIMPLEMENTED."""

    UNIMPLEMENTED = 0
    ABORT = 1
    CALL = 2
    RETURN = 3
    FINISH = 4
    RELEASE = 6
    BOOTSTRAP = 8


class ExceptionType(IntEnum):
    """Why a call failed."""

    FAILED = 0
    UNIMPLEMENTED = 3


class Bootstrap(NamedTuple):
    """Ask for the peer's main capability."""

    question: int


class ImportedCap(NamedTuple):
    """A target by the number under which its owner exported it."""

    id: int


class PromisedAnswer(NamedTuple):
    """A target that is the answer, perhaps still to come, of an earlier question."""

    question: int
    itself: bool = True
    "False where it is a field inside of that answer."


class Call(NamedTuple):
    """Invoke a method."""

    question: int
    target: ImportedCap | PromisedAnswer | None
    "None where it is of an unknown kind."
    interface: int
    method: int
    params: Struct


class Failure(NamedTuple):
    """A call came to nothing."""

    reason: str


class Results(NamedTuple):
    """A call's results, or the capability that was asked for."""

    payload: Struct

    def content(self) -> Struct:
        """Return the results struct."""
        return self.payload.struct(0)

    def capability(self) -> int | None:
        """Return the export number of the capability that the whole content is; None if it is none."""
        entry = self.payload.capability(0)
        table = self.payload.structs(1)
        if entry is None or entry >= len(table):
            return None
        # 1 is senderHosted; 2 is senderPromise, which takes calls under the same number.
        return table[entry].uint(4, 4) if table[entry].uint(0, 2) in {1, 2} else None


class Return(NamedTuple):
    """Answer a question."""

    answer: int
    outcome: Results | Failure
    finish_needed: bool = True


class Finish(NamedTuple):
    """The asker is done with a question; one without an answer yet is cancelled by it."""

    question: int
    release_result_caps: bool


class Release(NamedTuple):
    """Give back references to an exported capability."""

    id: int
    references: int


class Abort(NamedTuple):
    """The peer ends the whole conversation."""

    reason: str


class Unimplemented(NamedTuple):
    """The peer did not know what to do with a message of ours."""

    question: int | None
    "Which question that was; None if it was none."


class Unknown(NamedTuple):
    """A message that must be answered with Unimplemented."""

    kind: int


RpcMessage: TypeAlias = Bootstrap | Call | Return | Finish | Release | Abort | Unimplemented | Unknown


class Body(NamedTuple):
    """Params or results to be written: the struct's layout and what fills it."""

    data_words: int
    pointers: int
    fill: Callable[[StructWriter], None]


EMPTY: Final = Body(0, 0, lambda _: None)


def decode(root: Struct) -> RpcMessage:
    """Read the message whose root is `root`.

    Raises:
        ProtocolError: a pointer in it is malformed.
    """
    kind = root.uint(0, 2)
    match kind:
        case Kind.CALL:
            return _call(root.struct(0))
        case Kind.RETURN:
            return _return(root.struct(0))
        case Kind.FINISH:
            inner = root.struct(0)
            # This Bool's default is true, and fields are stored as their difference from the default.
            return Finish(inner.uint(0, 4), not inner.flag(32))
        case Kind.BOOTSTRAP:
            return Bootstrap(root.struct(0).uint(0, 4))
        case Kind.RELEASE:
            inner = root.struct(0)
            return Release(inner.uint(0, 4), inner.uint(4, 4))
        case Kind.ABORT:
            return Abort(_reason(root.struct(0)))
        case Kind.UNIMPLEMENTED:
            inner = root.struct(0)
            is_question = inner.uint(0, 2) in {Kind.CALL, Kind.BOOTSTRAP}
            return Unimplemented(inner.struct(0).uint(0, 4) if is_question else None)
    return Unknown(kind)


def _call(call: Struct) -> Call:
    target = call.struct(0)
    where: ImportedCap | PromisedAnswer | None = None
    if target.uint(4, 2) == 0:
        where = ImportedCap(target.uint(0, 4))
    elif target.uint(4, 2) == 1:
        promised = target.struct(0)
        # Operations are noop, 0, or getPointerField, 1.
        plain = all(operation.uint(0, 2) == 0 for operation in promised.structs(0))
        where = PromisedAnswer(promised.uint(0, 4), plain)
    return Call(call.uint(0, 4), where, call.uint(8, 8), call.uint(4, 2), call.struct(1).struct(0))


def _return(answer: Struct) -> Return:
    kind = answer.uint(6, 2)
    outcome: Results | Failure
    if kind == 0:
        outcome = Results(answer.struct(0))
    elif kind == 1:
        outcome = Failure(_reason(answer.struct(0)))
    else:
        outcome = Failure("the call was cancelled" if kind == 2 else "the answer went elsewhere")
    return Return(answer.uint(0, 4), outcome, not answer.flag(33))


def _reason(exception: Struct) -> str:
    return exception.text(0)[:MAX_REASON_BYTES].decode("utf-8", "replace")


def _message(kind: Kind, data_words: int, pointers: int) -> tuple[bytearray, StructWriter]:
    segment, root = new_root(1, 1)
    root.set_uint(0, 2, kind)
    return segment, root.struct(0, data_words, pointers)


def encode_bootstrap(question: int) -> bytes:
    """Return a Bootstrap."""
    segment, inner = _message(Kind.BOOTSTRAP, 1, 1)
    inner.set_uint(0, 4, question)
    return framed(segment)


def encode_call(call: Call, params: Body) -> bytes:
    """Return `call` with `params` in place of its own; results go to the caller."""
    segment, inner = _message(Kind.CALL, 3, 3)
    inner.set_uint(0, 4, call.question)
    inner.set_uint(4, 2, call.method)
    inner.set_uint(8, 8, call.interface)
    target = inner.struct(0, 1, 1)
    if isinstance(call.target, ImportedCap):
        target.set_uint(0, 4, call.target.id)
    elif call.target is not None:
        target.set_uint(4, 2, 1)
        promised = target.struct(0, 1, 1)
        promised.set_uint(0, 4, call.target.question)
        promised.structs(0, 0, 1, 0)
    _payload(inner.struct(1, 0, 2), params)
    return framed(segment)


def _payload(payload: StructWriter, content: Body) -> None:
    content.fill(payload.struct(0, content.data_words, content.pointers))
    payload.structs(1, 0, 1, 1)


def _returning(answer: int, outcome: int) -> tuple[bytearray, StructWriter]:
    segment, inner = _message(Kind.RETURN, 2, 1)
    inner.set_uint(0, 4, answer)
    # releaseParamCaps is true by default; there are no params with capabilities to release.
    inner.set_flag(32, True)
    inner.set_uint(6, 2, outcome)
    return segment, inner


def encode_results(answer: int, results: Body) -> bytes:
    """Return a Return with results."""
    segment, inner = _returning(answer, 0)
    _payload(inner.struct(0, 0, 2), results)
    return framed(segment)


def encode_capability(answer: int, export: int) -> bytes:
    """Return a Return whose content is the capability that this side hosts as number `export`."""
    segment, inner = _returning(answer, 0)
    payload = inner.struct(0, 0, 2)
    payload.set_capability(0, 0)
    (descriptor,) = payload.structs(1, 1, 1, 1)
    descriptor.set_uint(0, 2, 1)
    descriptor.set_uint(4, 4, export)
    return framed(segment)


def encode_exception(answer: int, reason: str, kind: ExceptionType = ExceptionType.FAILED) -> bytes:
    """Return a Return with an exception."""
    segment, inner = _returning(answer, 1)
    _exception(inner.struct(0, 1, 2), reason, kind)
    return framed(segment)


def _exception(exception: StructWriter, reason: str, kind: ExceptionType) -> None:
    exception.set_text(0, reason)
    exception.set_uint(4, 2, kind)


def encode_finish(question: int, *, release_result_caps: bool) -> bytes:
    """Return a Finish."""
    segment, inner = _message(Kind.FINISH, 1, 0)
    inner.set_uint(0, 4, question)
    inner.set_flag(32, not release_result_caps)
    return framed(segment)


def encode_release(export: int, count: int) -> bytes:
    """Return a Release."""
    segment, inner = _message(Kind.RELEASE, 1, 0)
    inner.set_uint(0, 4, export)
    inner.set_uint(4, 4, count)
    return framed(segment)


def encode_abort(reason: str) -> bytes:
    """Return an Abort."""
    segment, inner = _message(Kind.ABORT, 1, 2)
    _exception(inner, reason, ExceptionType.FAILED)
    return framed(segment)


def encode_unimplemented(message: bytes) -> bytes:
    """Return an Unimplemented that quotes `message`, where that is one plain segment and not too large."""
    segment, root = new_root(1, 1)
    root.set_uint(0, 2, Kind.UNIMPLEMENTED)
    if message[:4] == b"\0\0\0\0" and not message[8] & 3 and len(message) <= MAX_QUOTED_BYTES:
        root.embed(0, message[8:])
    return framed(segment)
