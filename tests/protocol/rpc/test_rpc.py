"""The RPC conversation: who owes what, what ends it, and what a peer can make it hold."""

from __future__ import annotations

from typing import Any

import pytest

from pyconnector.protocol.capnp_format import schemas
from pyconnector.protocol.capnp_format.framing import MessageSplitter
from pyconnector.protocol.capnp_format.reader import Struct
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc import messages as messages
from pyconnector.protocol.rpc.conversation import (
    MAX_MESSAGE_BYTES,
    MAX_QUESTIONS,
    MAX_UNSENT_BYTES,
    Called,
    Conversation,
    Ended,
    Returned,
)
from pyconnector.protocol.rpc.messages import EMPTY, Body
from tests.support.wire.rpc_oracle import decoded, split
from tests.support.wire.wire import framed, words

INTERFACE = 0xF71695EC7FE85497


def said(conversation: Conversation) -> list[dict[str, Any]]:
    return [decoded(message) for message in split(conversation.bytes_to_send())]


def made(kind: str, **fields: Any) -> bytes:
    """A message as the library writes it."""
    root = schemas.rpc().Message.new_message()
    inner = root.init(kind)
    for name, value in fields.items():
        if isinstance(value, dict):
            part = inner.init(name)
            for key, content in value.items():
                if isinstance(content, dict):
                    deep = part.init(key)
                    for field, number in content.items():
                        setattr(deep, field, number)
                else:
                    setattr(part, key, content)
        else:
            setattr(inner, name, value)
    raw: bytes = root.to_bytes()
    return raw


def call_message(question: int, target: dict[str, Any], *, method: int = 1) -> bytes:
    return made("call", questionId=question, interfaceId=INTERFACE, methodId=method, target=target, params={})


def pair() -> tuple[Conversation, Conversation]:
    """A caller that has the capability of a host."""
    caller, host = Conversation(hosts=False), Conversation(hosts=True)
    caller.bootstrap()
    assert host.receive_data(caller.bytes_to_send()) == []
    assert caller.receive_data(host.bytes_to_send()) == []
    assert host.receive_data(caller.bytes_to_send()) == []
    return caller, host


def test_a_call_and_its_answer() -> None:
    caller, host = pair()
    question = caller.call(INTERFACE, 2, Body(0, 1, lambda params: params.set_data(0, b"config")))
    (called,) = host.receive_data(caller.bytes_to_send())
    assert isinstance(called, Called)
    assert (called.interface, called.method, called.params.data(0)) == (INTERFACE, 2, b"config")
    assert host.is_awaited(called.answer)
    host.return_results(called.answer, Body(1, 0, lambda results: results.set_uint(0, 4, 7)))
    (returned,) = caller.receive_data(host.bytes_to_send())
    assert isinstance(returned, Returned)
    assert returned.question == question
    assert returned.results is not None
    assert returned.results.uint(0, 4) == 7
    assert said(caller)[0] == {
        "kind": "finish",
        "questionId": question,
        "releaseResultCaps": False,
        "requireEarlyCancellationWorkaround": True,
    }


def test_an_exception_reaches_the_caller_and_its_capabilities_are_released() -> None:
    caller, host = pair()
    question = caller.call(INTERFACE, 2, EMPTY)
    (called,) = host.receive_data(caller.bytes_to_send())
    assert isinstance(called, Called)
    host.return_exception(called.answer, "no", messages.ExceptionType.UNIMPLEMENTED)
    raw = host.bytes_to_send()
    assert decoded(raw)["exception"]["reason"] == "no"
    assert decoded(raw)["exception"]["type"] == "unimplemented"
    assert caller.receive_data(raw) == [Returned(question, None, "no")]
    assert said(caller)[0]["releaseResultCaps"] is True


def test_question_numbers_are_used_again_the_latest_first() -> None:
    caller, host = pair()
    first, second = caller.call(INTERFACE, 1, EMPTY), caller.call(INTERFACE, 1, EMPTY)
    assert (first, second) == (0, 1)
    for event in host.receive_data(caller.bytes_to_send()):
        assert isinstance(event, Called)
        host.return_results(event.answer, EMPTY)
    caller.receive_data(host.bytes_to_send())
    assert caller.call(INTERFACE, 1, EMPTY) == 1
    assert caller.call(INTERFACE, 1, EMPTY) == 0
    assert caller.call(INTERFACE, 1, EMPTY) == 2


def test_calls_overtake_the_bootstrap() -> None:
    caller, host = Conversation(hosts=False), Conversation(hosts=True)
    caller.bootstrap()
    question = caller.call(INTERFACE, 1, EMPTY)
    (called,) = host.receive_data(caller.bytes_to_send())
    assert isinstance(called, Called)
    host.return_results(called.answer, EMPTY)
    capability, results = split(host.bytes_to_send())
    # The answers may come in any order.
    (returned,) = caller.receive_data(results + capability)
    assert isinstance(returned, Returned)
    assert returned.question == question


def test_a_side_without_capability_refuses_the_bootstrap_and_calls_on_it() -> None:
    conversation = Conversation(hosts=False)
    target = {"promisedAnswer": {"questionId": 5}}
    assert conversation.receive_data(made("bootstrap", questionId=5) + call_message(6, target)) == []
    answers = said(conversation)
    assert [answer["answer"] for answer in answers] == [5, 6]
    assert answers[0]["exception"]["reason"] == "rpc: no bootstrap interface"
    assert answers[1]["exception"]["reason"] == "the target of the call is no capability"
    assert conversation.receive_data(made("finish", questionId=5) + made("finish", questionId=6)) == []
    assert not conversation.is_over


def test_a_caller_whose_bootstrap_fails_is_told_so() -> None:
    caller = Conversation(hosts=False)
    caller.bootstrap()
    question = caller.call(INTERFACE, 1, EMPTY)
    events = caller.receive_data(made("return", answerId=0, exception={"reason": "not here"}))
    assert events == [Returned(question, None, "not here"), Ended("not here")]
    with pytest.raises(ProtocolError, match="over: not here"):
        caller.call(INTERFACE, 1, EMPTY)
    assert caller.receive_data(b"\xff" * 64) == []


def test_a_capability_that_is_none_fails_the_bootstrap() -> None:
    for raw in (
        made("return", answerId=0, results={}),
        made("return", answerId=0, canceled=None),
        # A capability pointer beyond the table.
        messages.encode_results(0, Body(0, 0, lambda _: None)),
    ):
        caller = Conversation(hosts=False)
        caller.bootstrap()
        events = caller.receive_data(raw)
        assert [type(event) for event in events] == [Ended]


@pytest.mark.parametrize("kind", ["resolve", "disembargo", "provide", "accept", "join"])
def test_unknown_kinds_are_answered_with_unimplemented(kind: str) -> None:
    conversation = Conversation(hosts=True)
    raw = made(kind)
    assert conversation.receive_data(raw) == []
    answer = conversation.bytes_to_send()
    with schemas.rpc().Message.from_bytes(answer) as root:
        assert str(root.which()) == "unimplemented"
        # It quotes what it answers.
        assert str(root.unimplemented.which()) == kind
        assert getattr(root.unimplemented, kind).to_dict() == decoded_kind(raw, kind)
    assert not conversation.is_over


def decoded_kind(raw: bytes, kind: str) -> dict[str, Any]:
    with schemas.rpc().Message.from_bytes(raw) as root:
        value: dict[str, Any] = getattr(root, kind).to_dict()
        return value


def test_kinds_of_the_future_and_large_ones_are_answered_without_a_quote() -> None:
    conversation = Conversation(hosts=True)
    future = framed(words(1 << 32 | 1 << 48, 99, 0))
    large = framed(words(1 << 32 | 1 << 48, 99, 0) + bytes(messages.MAX_QUOTED_BYTES))
    far = framed(words(2 | 1 << 32), words(1 << 32 | 1 << 48, 99, 0))
    same = framed(words(2 | 1 << 3, 1 << 32 | 1 << 48, 99, 0))
    for raw, quoted in ((future, True), (large, False), (far, False), (same, False)):
        assert conversation.receive_data(raw) == []
        answer = conversation.bytes_to_send()
        assert (len(answer) == len(raw) + 24) is quoted
        with schemas.rpc().Message.from_bytes(answer) as root:
            assert str(root.which()) == "unimplemented"


def test_what_the_peer_does_not_implement_fails() -> None:
    caller, _ = pair()
    question = caller.call(INTERFACE, 1, EMPTY)
    raw = split(caller.bytes_to_send())[0]
    events = caller.receive_data(messages.encode_unimplemented(raw))
    assert events == [Returned(question, None, "the peer does not implement this")]
    assert caller.bytes_to_send() == b""
    # Something that was no question, such as a Release, changes nothing.
    assert caller.receive_data(messages.encode_unimplemented(made("release"))) == []


def test_close_releases_then_aborts() -> None:
    caller, host = pair()
    caller.close()
    caller.close()
    released, aborted = said(caller)
    assert released == {"kind": "release", "id": 0, "referenceCount": 1}
    assert aborted["kind"] == "abort"
    assert aborted["reason"] == "rpc: shutdown"
    assert host.receive_data(messages.encode_release(0, 1) + messages.encode_abort("rpc: shutdown")) == [
        Ended("rpc: shutdown")
    ]
    assert host.is_over
    assert host.receive_eof() == []


def test_closing_without_a_capability_only_aborts() -> None:
    caller = Conversation(hosts=False)
    caller.bootstrap()
    caller.close()
    assert [message["kind"] for message in said(caller)] == ["bootstrap", "abort"]
    assert caller.receive_eof() == []


def test_the_end_of_the_stream_fails_what_is_open() -> None:
    caller, _ = pair()
    question = caller.call(INTERFACE, 1, EMPTY)
    assert caller.receive_eof() == [
        Returned(question, None, "the peer ended the stream"),
        Ended("the peer ended the stream"),
    ]
    assert caller.receive_eof() == []
    halfway = Conversation(hosts=True)
    halfway.receive_data(made("bootstrap")[:9])
    assert halfway.receive_eof() == [Ended("the peer ended the stream, in the middle of a message")]


def test_a_call_that_was_cancelled_is_not_answered() -> None:
    caller, host = pair()
    question = caller.call(INTERFACE, 1, EMPTY)
    (called,) = host.receive_data(caller.bytes_to_send())
    assert isinstance(called, Called)
    assert host.receive_data(messages.encode_finish(question, release_result_caps=True)) == []
    assert not host.is_awaited(called.answer)
    host.return_results(called.answer, EMPTY)
    host.return_exception(called.answer, "late")
    assert host.bytes_to_send() == b""


def test_no_finish_where_none_is_needed() -> None:
    caller, _ = pair()
    question = caller.call(INTERFACE, 1, EMPTY)
    caller.bytes_to_send()
    raw = made("return", answerId=question, noFinishNeeded=True, results={})
    (returned,) = caller.receive_data(raw)
    assert isinstance(returned, Returned)
    assert caller.bytes_to_send() == b""


VIOLATIONS = {
    "return of nothing": made("return", answerId=9, canceled=None),
    "finish of nothing": made("finish", questionId=9),
    "release of nothing": made("release", id=0, referenceCount=1),
    "release of another": made("release", id=4, referenceCount=0),
    "call of nothing": call_message(1, {"importedCap": 0}),
    "call of another": call_message(1, {"importedCap": 3}),
    "call of an answer never asked": call_message(1, {"promisedAnswer": {"questionId": 7}}),
    "same question twice": made("bootstrap", questionId=1) * 2,
    "unimplemented of nothing": messages.encode_unimplemented(made("bootstrap", questionId=3)),
    "no root": framed(b""),
    "too many segments": b"\xff\xff\xff\xff",
    "too large": b"\0\0\0\0" + (MAX_MESSAGE_BYTES // 8).to_bytes(4, "little"),
    "release of more than given": made("bootstrap") + made("release", id=0, referenceCount=2),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_peer_that_breaks_the_rules_is_told_and_left(name: str) -> None:
    for size in (1, 8, 1 << 20):
        host = Conversation(hosts=True)
        raw = VIOLATIONS[name]
        events = [event for at in range(0, len(raw), size) for event in host.receive_data(raw[at : at + size])]
        assert [type(event) for event in events] == [Ended]
        assert events[0].reason.startswith("the peer broke the protocol: ")  # type: ignore[union-attr]
        assert said(host)[-1]["kind"] == "abort"
        assert "over" in repr(host)


def test_what_came_before_a_violation_is_not_lost() -> None:
    caller, _ = pair()
    question = caller.call(INTERFACE, 1, EMPTY)
    events = caller.receive_data(made("return", answerId=question, results={}) + b"\xff" * 8)
    assert [type(event) for event in events] == [Returned, Ended]


def test_references_are_counted() -> None:
    host = Conversation(hosts=True)
    host.receive_data(made("bootstrap", questionId=0) + made("bootstrap", questionId=1))
    # One goes with its Finish, one with a Release; then nothing is left to call.
    assert host.receive_data(messages.encode_finish(0, release_result_caps=True)) == []
    assert host.receive_data(messages.encode_finish(1, release_result_caps=False)) == []
    (called,) = host.receive_data(call_message(0, {"importedCap": 0}))
    assert isinstance(called, Called)
    assert host.receive_data(messages.encode_release(0, 1)) == []
    (ended,) = host.receive_data(call_message(1, {"importedCap": 0}))
    assert isinstance(ended, Ended)


def test_a_field_of_an_answer_is_no_capability() -> None:
    host = Conversation(hosts=True)
    host.receive_data(made("bootstrap", questionId=0))
    host.bytes_to_send()
    root = schemas.rpc().Message.new_message()
    call = root.init("call")
    call.questionId = 1
    operations = call.init("target").init("promisedAnswer").init("transform", 1)
    operations[0].getPointerField = 0
    assert host.receive_data(root.to_bytes()) == []
    assert said(host)[0]["exception"]["reason"] == "the target of the call is no capability"


def test_questions_of_a_peer_are_bounded() -> None:
    host = Conversation(hosts=True)
    for number in range(MAX_QUESTIONS):
        assert host.receive_data(made("bootstrap", questionId=number)) == []
    (ended,) = host.receive_data(made("bootstrap", questionId=MAX_QUESTIONS))
    assert isinstance(ended, Ended)
    assert str(MAX_QUESTIONS) in ended.reason


def test_questions_of_ours_are_bounded() -> None:
    caller, _ = pair()
    for _number in range(MAX_QUESTIONS):
        caller.call(INTERFACE, 1, EMPTY)
    with pytest.raises(RuntimeError, match=str(MAX_QUESTIONS)):
        caller.call(INTERFACE, 1, EMPTY)


def test_a_peer_that_asks_without_reading_is_left() -> None:
    host = Conversation(hosts=True)
    flood = framed(words(1 << 32 | 1 << 48, 99, 0) + bytes(messages.MAX_QUOTED_BYTES - 64))
    for _ in range(MAX_UNSENT_BYTES // len(flood) + 2):
        if host.is_over:
            break
        host.receive_data(flood)
    assert host.is_over
    assert len(host.bytes_to_send()) < MAX_UNSENT_BYTES + 2 * len(flood)


def test_calling_comes_after_bootstrap() -> None:
    with pytest.raises(RuntimeError, match="bootstrap"):
        Conversation(hosts=False).call(INTERFACE, 1, EMPTY)


def test_a_long_reason_is_cut() -> None:
    host = Conversation(hosts=True)
    (ended,) = host.receive_data(messages.encode_abort("x" * 100_000))
    assert ended == Ended("x" * messages.MAX_REASON_BYTES)


@pytest.mark.parametrize("how", ["canceled", "resultsSentElsewhere"])
def test_answers_without_results_fail(how: str) -> None:
    caller, _ = pair()
    question = caller.call(INTERFACE, 1, EMPTY)
    (returned,) = caller.receive_data(made("return", answerId=question, **{how: None}))
    assert isinstance(returned, Returned)
    assert returned.results is None
    assert returned.reason


def test_the_splitter_holds_one_message_at_most() -> None:
    splitter = MessageSplitter(max_bytes=1 << 16)
    message = framed(words(0, 1, 2))
    assert [raw for raw, _ in splitter.feed(message * 3 + message[:5])] == [message] * 3
    assert splitter.unfinished
    assert [raw for raw, _ in splitter.feed(message[5:])] == [message]
    assert not splitter.unfinished


def test_an_empty_struct_reads_as_defaults() -> None:
    empty = Struct.empty()
    assert empty.uint(0, 8) == 0
    assert empty.sint(0, 4) == 0
    assert not empty.flag(3)
    assert empty.text(0) == empty.data(0) == b""
    assert empty.structs(0) == []
    assert empty.texts(0) == []
    assert empty.struct(0).text(0) == b""
    assert empty.capability(0) is None


def test_a_conversation_shows_its_state() -> None:
    caller, host = pair()
    caller.call(INTERFACE, 1, EMPTY)
    host.receive_data(caller.bytes_to_send())
    assert repr(caller) == "<Conversation open, 1 asked, 0 to answer>"
    assert repr(host) == "<Conversation open, 0 asked, 1 to answer>"
