"""The control stream of one edge connection: register, tell the local configuration, unregister (wire.md 5).

The conversation itself is `protocol.rpc.registration`; here it gets bytes, timeouts and waiters. One call is under
way at a time. Called by `connector.link.edge_connection`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pyconnector.connector.api.errors import RegistrationFailed, RegistrationRefused
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.rpc.conversation import READ_BYTES
from pyconnector.protocol.rpc.registration import (
    CallFailed,
    ConversationEnded,
    LocalConfigurationAccepted,
    Refused,
    Registered,
    RegistrationClient,
    Unregistered,
)
from pyconnector.transport.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.protocol.rpc.registration import ConnectionDetails, Registration
    from pyconnector.transport.seam import Stream


class ControlStream:
    """Makes the connector's calls; `read` must run for as long as answers are wanted."""

    def __init__(self, stream: Stream, *, timeout: float) -> None:
        self._stream = stream
        self._timeout = timeout
        self._client = RegistrationClient()
        self._lock = asyncio.Lock()
        self._waiting: tuple[_Call, asyncio.Future[object]] | None = None
        self._ended = ""
        "Why the conversation ended; empty while it goes on."

    def __repr__(self) -> str:
        return f"<ControlStream {self._stream.stream_id} {self._ended or 'open'}>"

    @property
    def has_ended(self) -> bool:
        """Whether the conversation is over, and every call fails."""
        return bool(self._ended)

    async def read(self) -> str:
        """Hand answers to those who wait for them until the edge ends the conversation; return why it ended.

        Cancel: calls under way fail.
        """
        reason = "the connection is being closed"
        try:
            while not self._ended:
                data = await self._stream.receive(READ_BYTES)
                events = self._client.receive_data(data) if data else self._client.receive_eof()
                for event in events:
                    if isinstance(event, ConversationEnded):
                        self._ended = reason = f"the control stream ended: {event.reason}"
                    else:
                        self._dispatch(event)
                self._flush()
                await asyncio.sleep(0)  # an edge that floods holds nobody else up
        except TransportError as error:
            reason = str(error)
        finally:
            self._ended = reason
            self._dispatch(CallFailed(method="", reason=reason))
        return reason

    async def register(self, registration: Registration) -> ConnectionDetails:
        """Register the connection. Cancel leaves it unknown whether the edge accepted.

        Raises:
            RegistrationRefused: the edge said no.
            RegistrationFailed: there was no proper answer in time.
        """
        call = _Call("registering", "registerConnection", (Registered, Refused))
        answer = await self._make(call, lambda: self._client.register(registration))
        if isinstance(answer, Refused):
            raise RegistrationRefused(answer.refusal)
        return cast("Registered", answer).details

    async def update_local_configuration(self, config: bytes) -> None:
        """Tell the edge the local configuration. Cancel leaves it unknown whether it took it.

        Raises:
            RegistrationFailed: it did not confirm.
        """
        call = _Call(
            "telling the edge the local configuration", "updateLocalConfiguration", (LocalConfigurationAccepted,)
        )
        await self._make(call, lambda: self._client.update_local_configuration(config))

    async def unregister(self) -> None:
        """Tell the edge to send nothing new. Cancel leaves it unknown whether it heard.

        Raises:
            RegistrationFailed: it did not confirm.
        """
        await self._make(_Call("unregistering", "unregisterConnection", (Unregistered,)), self._client.unregister)

    def close(self) -> None:
        """Say goodbye and end this side of the stream. Never fails. Idempotent."""
        try:
            self._client.close()
            self._flush()
            self._stream.finish()
        except TransportError:
            pass  # this stream or the connection is gone: nothing is left to be said

    async def _make(self, call: _Call, begin: Callable[[], None]) -> object:
        async with self._lock:
            if self._ended:
                raise RegistrationFailed(f"{call.what} failed: {self._ended}")
            waiter: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            self._waiting = (call, waiter)
            try:
                begin()
                self._flush()
                async with asyncio.timeout(self._timeout):
                    answer = await waiter
            except TimeoutError:
                raise RegistrationFailed(f"{call.what} failed: no answer within {self._timeout:g} s") from None
            except (TransportError, ProtocolError) as error:
                raise RegistrationFailed(f"{call.what} failed: {error}") from error
            finally:
                self._waiting = None
            if isinstance(answer, CallFailed):
                raise RegistrationFailed(f"{call.what} failed: {answer.reason}")
            return answer

    def _dispatch(self, event: object) -> None:
        """Hand an answer to the call it belongs to. One that comes after its call timed out is dropped."""
        if self._waiting is None:
            return
        call, waiter = self._waiting
        failed = isinstance(event, CallFailed) and event.method in ("", call.method)
        if (failed or isinstance(event, call.answers)) and not waiter.done():
            waiter.set_result(event)

    def _flush(self) -> None:
        if data := self._client.bytes_to_send():
            self._stream.send_nowait(data)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: how messages name it, its method, and the events that answer it."""

    what: str
    method: str
    answers: tuple[type, ...]
