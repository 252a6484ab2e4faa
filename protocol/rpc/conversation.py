"""One Cap'n Proto RPC conversation over one stream, without I/O: which questions are open, who owes what to whom.

`registration` and `edge_rpc` say what is called; this says how (wire.md 5.1). Each side may ask, answer or both. A call
may be sent before the bootstrap's answer came (pipelining), questions end with Finish, the capability with Release, all
with Abort. What a peer can make this side hold is bounded: one message, some answers, some unsent bytes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from pyconnector.protocol.capnp_format.framing import MessageSplitter
from pyconnector.protocol.capnp_format.reader import Message, Struct
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc import messages as rpc

if TYPE_CHECKING:
    from pyconnector.protocol.rpc.messages import Body

#: Largest RPC message of a peer that may be anybody.
MAX_MESSAGE_BYTES: Final = 1_048_576
#: Largest RPC message where a configuration is to be expected, the largest thing there is: 4 MiB of JSON.
MAX_CONFIGURATION_MESSAGE_BYTES: Final = 4_194_304 + 65_536
#: Bytes of a conversation that are read at once: some 250 of the smallest messages. Everybody else gets a turn between.
READ_BYTES: Final = 4096
#: Most calls of this side, and most questions of the peer, that may be unfinished at one time.
MAX_QUESTIONS: Final = 64
#: Most bytes that wait for `bytes_to_send`; a peer that provokes more without reading is given up.
MAX_UNSENT_BYTES: Final = 4_194_304

_BOOTSTRAP_EXPORT: Final = 0


class Called(NamedTuple):
    """The peer calls a method of ours and waits for `answer`."""

    answer: int
    interface: int
    method: int
    params: Struct


class Returned(NamedTuple):
    """A call of ours ended: with results, or with why there are none."""

    question: int
    results: Struct | None
    reason: str = ""


class Ended(NamedTuple):
    """The conversation is over; open questions were answered with `Returned` before this."""

    reason: str


Event: TypeAlias = Called | Returned | Ended


class Conversation:
    """The state of one conversation. `hosts` tells whether this side offers a capability to a peer that asks.

    A message of the peer may have `max_message_bytes`.
    """

    def __init__(
        self,
        *,
        hosts: bool,
        no_capability: str = "rpc: no bootstrap interface",
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._hosts = hosts
        self._no_capability = no_capability
        self._splitter = MessageSplitter(max_bytes=max_message_bytes)
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._over: str | None = None
        # What this side asked. Free numbers are used again, the latest freed first.
        self._questions: set[int] = set()
        self._free: list[int] = []
        self._next = 0
        self._bootstrap_question: int | None = None
        self._import: int | None = None
        # What the peer asked: the number, and whether the answer is our capability.
        self._answers: dict[int, bool] = {}
        self._pending: set[int] = set()
        self._references = 0

    def __repr__(self) -> str:
        state = "open" if self._over is None else f"over: {self._over}"
        return f"<Conversation {state}, {len(self._questions)} asked, {len(self._pending)} to answer>"

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._over is not None

    # What goes out

    def bytes_to_send(self) -> bytes:
        """Return what is to be written to the stream now, and forget it."""
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_bytes = 0
        return data

    def _send(self, message: bytes) -> None:
        self._unsent.append(message)
        self._unsent_bytes += len(message)

    def _take_number(self) -> int:
        if len(self._questions) >= MAX_QUESTIONS:
            raise RuntimeError(f"more than {MAX_QUESTIONS} calls wait for an answer")
        if self._free:
            number = self._free.pop()
        else:
            number = self._next
            self._next += 1
        self._questions.add(number)
        return number

    def bootstrap(self) -> None:
        """Ask for the peer's capability. Once, before the first call."""
        self._bootstrap_question = self._take_number()
        self._send(rpc.encode_bootstrap(self._bootstrap_question))

    def call(self, interface: int, method: int, params: Body) -> int:
        """Call a method of the peer's capability; return the question's number, which `Returned` will bear.

        Raises:
            ProtocolError: the conversation is over.
        """
        if self._over is not None:
            raise ProtocolError(f"the conversation is over: {self._over}")
        target: rpc.ImportedCap | rpc.PromisedAnswer
        if self._import is not None:
            target = rpc.ImportedCap(self._import)
        elif self._bootstrap_question is not None:
            target = rpc.PromisedAnswer(self._bootstrap_question)
        else:
            raise RuntimeError("bootstrap comes before the first call")
        number = self._take_number()
        nothing = Struct.empty()
        self._send(rpc.encode_call(rpc.Call(number, target, interface, method, nothing), params))
        return number

    def return_results(self, answer: int, results: Body) -> None:
        """Answer a call. Does nothing where the peer no longer waits."""
        if self._settle(answer):
            self._send(rpc.encode_results(answer, results))

    def return_exception(self, answer: int, reason: str, kind: rpc.ExceptionType = rpc.ExceptionType.FAILED) -> None:
        """Answer a call with an exception. Does nothing where the peer no longer waits."""
        if self._settle(answer):
            self._send(rpc.encode_exception(answer, reason, kind))

    def is_awaited(self, answer: int) -> bool:
        """Whether the peer still waits for `answer`."""
        return answer in self._pending

    def _settle(self, answer: int) -> bool:
        if self._over is not None or answer not in self._pending:
            return False
        self._pending.discard(answer)
        return True

    def close(self) -> None:
        """End the conversation in order: Release what was imported, then Abort. Idempotent."""
        if self._over is None:
            if self._import is not None:
                self._send(rpc.encode_release(self._import, 1))
            self._send(rpc.encode_abort("rpc: shutdown"))
            self._over = "closed by this side"

    # What comes in

    def expect_configuration(self) -> None:
        """From here on the peer's messages may be as large as a configuration."""
        self._splitter.max_bytes = MAX_CONFIGURATION_MESSAGE_BYTES

    def receive_data(self, data: bytes) -> list[Event]:
        """Absorb bytes of the stream; return what they bring. After the end nothing comes any more.

        Never raises: a peer that breaks the rules ends the conversation, so that what came before it is not lost.
        """
        events: list[Event] = []
        if self._over is not None:
            return events
        try:
            for message, frame in self._splitter.feed(data):
                self._receive(message, rpc.decode(Message(message, frame).root()), events)
                if self.is_over:
                    break
                if self._unsent_bytes > MAX_UNSENT_BYTES:
                    raise ProtocolError("the peer asks for more than it reads")
        except ProtocolError as error:
            self._send(rpc.encode_abort(str(error)))
            self._end(f"the peer broke the protocol: {error}", events)
        return events

    def receive_eof(self) -> list[Event]:
        """Take note that the peer finished its side of the stream. It ends the conversation. Idempotent."""
        events: list[Event] = []
        if self._over is None:
            middle = ", in the middle of a message" if self._splitter.unfinished else ""
            self._end(f"the peer ended the stream{middle}", events)
        return events

    def _end(self, reason: str, events: list[Event]) -> None:
        self._over = reason
        events += [
            Returned(question, None, reason)
            for question in sorted(self._questions)
            if question != self._bootstrap_question
        ]
        self._questions.clear()
        self._pending.clear()
        events.append(Ended(reason))

    def _receive(self, raw: bytes, message: rpc.RpcMessage, events: list[Event]) -> None:
        match message:
            case rpc.Call():
                self._receive_call(message, events)
            case rpc.Return():
                self._receive_return(message, events)
            case rpc.Finish():
                self._receive_finish(message)
            case rpc.Bootstrap(question):
                self._receive_bootstrap(question)
            case rpc.Release(export, count):
                if export != _BOOTSTRAP_EXPORT or count > self._references:
                    raise ProtocolError("a Release gives back what was never given")
                self._references -= count
            case rpc.Abort(reason):
                self._end(reason or "the peer gave no reason", events)
            case rpc.Unimplemented(question):
                if question is not None:
                    self._returned(question, rpc.Failure("the peer does not implement this"), events, finish=False)
            case rpc.Unknown():
                self._send(rpc.encode_unimplemented(raw))

    def _new_answer(self, number: int, *, is_capability: bool) -> None:
        if number in self._answers:
            raise ProtocolError("a question bears the number of another that is unfinished")
        if len(self._answers) >= MAX_QUESTIONS:
            raise ProtocolError(f"more than {MAX_QUESTIONS} questions are unfinished")
        self._answers[number] = is_capability

    def _receive_bootstrap(self, question: int) -> None:
        self._new_answer(question, is_capability=self._hosts)
        if self._hosts:
            self._references += 1
            self._send(rpc.encode_capability(question, _BOOTSTRAP_EXPORT))
        else:
            self._send(rpc.encode_exception(question, self._no_capability))

    def _receive_call(self, call: rpc.Call, events: list[Event]) -> None:
        reachable = False
        match call.target:
            case rpc.ImportedCap(export):
                if export != _BOOTSTRAP_EXPORT or not self._references:
                    raise ProtocolError("a Call names a capability that was never given")
                reachable = True
            case rpc.PromisedAnswer(question, itself):
                if question not in self._answers:
                    raise ProtocolError("a Call names an answer that was never asked for")
                reachable = self._answers[question] and itself
        self._new_answer(call.question, is_capability=False)
        self._pending.add(call.question)
        if reachable:
            events.append(Called(call.question, call.interface, call.method, call.params))
        else:
            self.return_exception(call.question, "the target of the call is no capability")

    def _receive_finish(self, finish: rpc.Finish) -> None:
        is_capability = self._answers.pop(finish.question, None)
        if is_capability is None:
            raise ProtocolError("a Finish names a question that was never asked")
        if is_capability and finish.release_result_caps:
            self._references -= 1
        self._pending.discard(finish.question)

    def _receive_return(self, answer: rpc.Return, events: list[Event]) -> None:
        self._returned(answer.answer, answer.outcome, events, finish=answer.finish_needed)

    def _returned(
        self,
        question: int,
        outcome: rpc.Results | rpc.Failure,
        events: list[Event],
        *,
        finish: bool,
    ) -> None:
        if question not in self._questions:
            raise ProtocolError("a Return answers a question that was never asked")
        failed = isinstance(outcome, rpc.Failure)
        content: Struct | None = None
        reason = ""
        if isinstance(outcome, rpc.Failure):
            reason = outcome.reason or "the peer gave no reason"
        elif question == self._bootstrap_question:
            self._import = outcome.capability()
        else:
            content = outcome.content()
        if finish:
            self._send(rpc.encode_finish(question, release_result_caps=failed))
        self._questions.discard(question)
        self._free.append(question)
        if question != self._bootstrap_question:
            events.append(Returned(question, content, reason))
            return
        self._bootstrap_question = None
        if self._import is None:
            self._end(reason or "the peer offers no capability", events)
