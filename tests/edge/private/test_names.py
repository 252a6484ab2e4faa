"""Answers about private names, whatever a connector sends for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import dns.message
import pytest

from pyconnector.edge.private.names import MAX_LOOKS, MAX_RECORDS, NameQueries

if TYPE_CHECKING:
    from collections.abc import Callable


class Tunnel:
    tunnel_id = UUID(int=1)


class Flow:
    """A flow to a resolver that answers a question with `answers` at once."""

    def __init__(self, answers: Callable[[bytes], list[bytes]], on_data: Callable[[bytes], None]) -> None:
        self._answers, self._on_data = answers, on_data

    async def open(self, first: bytes) -> None:
        for data in self._answers(first):
            self._on_data(data)

    def send(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


async def resolved(answers: Callable[[bytes], list[bytes]]) -> str:
    queries = NameQueries(lambda tunnel, address, port, on_data: cast("Any", Flow(answers, on_data)))
    return str(await queries.resolve(cast("Any", Tunnel()), "a.internal"))


def good(question: bytes) -> bytes:
    return question[:2] + b"\x84\0\0\1\0\1\0\0\0\0" + question[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1"


def other_number(question: bytes) -> bytes:
    return bytes([question[0] ^ 1]) + good(question)[1:]


def other_counts(at: int, count: int) -> Callable[[bytes], bytes]:
    return lambda question: good(question)[:at] + count.to_bytes(2) + good(question)[at + 2 :]


@pytest.mark.parametrize(
    "bad",
    [
        other_number,
        lambda question: good(question)[:5],
        lambda question: good(question) + bytes(2_000),
        other_counts(4, 200),
        other_counts(6, MAX_RECORDS + 1),
        other_counts(8, MAX_RECORDS + 1),
        other_counts(10, MAX_RECORDS + 1),
    ],
    ids=["another number", "too short", "too long", "questions", "answers", "authorities", "additional"],
)
async def test_answers_that_are_dear_or_foreign_are_not_read(
    bad: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    parse = dns.message.from_wire

    def from_wire(data: bytes) -> dns.message.Message:
        read.append(data)
        return parse(data)

    monkeypatch.setattr(dns.message, "from_wire", from_wire)
    async with asyncio.timeout(30):
        assert await resolved(lambda question: [bad(question)] * 100 + [good(question)]) == "10.0.0.1"
    assert len(read) == 1


async def test_a_few_answers_to_a_question_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def from_wire(data: bytes) -> dns.message.Message:
        read.append(data)
        raise ValueError

    monkeypatch.setattr(dns.message, "from_wire", from_wire)
    monkeypatch.setattr("pyconnector.edge.private.names.QUERY_TIMEOUT", 0.01)
    with pytest.raises(Exception, match="did not answer"):
        await resolved(lambda question: [good(question)] * 100)
    assert len(read) == MAX_LOOKS
