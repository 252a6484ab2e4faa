"""The TCP origin: its first line is `BEHAVIOUR NUMBER UPLOAD DOWNLOAD`, bytes up to the end of the visitor follow."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from bench.stress.body import Wrong, check_body, make_body

if TYPE_CHECKING:
    from bench.stress.ledger import Ledger
    from bench.stress.origins.server import Peer


class TcpOrigin:
    """Reads to the end and answers with one body; early, late, in part, or with a reset."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def serve(self, peer: Peer) -> None:
        """Serve one connection."""
        line = (await peer.reader.readuntil(b"\n")).decode()
        behaviour, *numbers = line.split(" ")
        number, upload, download = map(int, numbers)
        dice = random.Random(number)
        if behaviour == "reset":
            await peer.reader.read(dice.randrange(1, upload))
            peer.reset()
            return
        body = make_body(number, download)
        if behaviour == "early":
            await peer.send(body)
        data = await peer.reader.read()
        self._check(data, number, upload)
        if behaviour == "late":
            await asyncio.sleep(dice.uniform(0, 0.2))
        if behaviour == "cut":
            body = body[: dice.randrange(len(body))]
        if behaviour != "early":
            await peer.send(body)

    def _check(self, data: bytes, number: int, upload: int) -> None:
        # A visitor who leaves may have sent a part only: no end of a TCP stream says whether it is whole.
        if len(data) == upload:
            try:
                check_body(data, number, whose="the upload of")
            except Wrong as error:
                self._ledger.finding(f"wrong: {error}")
            self._ledger.arrived(number)
        elif data != make_body(number, upload)[: len(data)]:
            self._ledger.finding(f"wrong: {len(data)} bytes of the upload of {number} are not its beginning")
