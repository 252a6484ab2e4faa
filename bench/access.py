"""`python -m bench.access`: what Access and the audit log add to a request of the edge, in CPU, without sockets.

With 10,000 service tokens and 1,000 applications. The audit rows write real files at full rate, and count losses.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pyconnector.edge.access.entries import parse_access
from pyconnector.edge.access.gate import Gate
from pyconnector.edge.access.state import AccessState
from pyconnector.edge.audit import log as audit_log
from pyconnector.edge.audit.files import log_files, read_log
from pyconnector.edge.audit.log import AuditLog, AuditSettings
from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
from pyconnector.edge.visitors.watch import Watch
from pyconnector.identity.access_token.signing import load_key
from pyconnector.identity.service_tokens import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    Headers = list[tuple[bytes, bytes]]

ACCOUNT = "a" * 32
TOKENS, APPLICATIONS = 10_000, 1_000
_BROWSING: Headers = [
    (b"Host", b"app-7.example.com"), (b"User-Agent", b"agent/1.0"), (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"gzip"), (b"X-Request-Id", b"1234"),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One kind of request: what it shows, and at which host."""

    name: str
    headers: Headers
    host: bytes = b"app-7.example.com"


def known() -> Gate:
    """A gate that knows everything: all tokens may use all applications."""
    gate = Gate(AccessState(), clock=time.time, ticks=time.monotonic)

    def put(kind: str, object_id: str, value: dict[str, Any]) -> None:
        gate.state.put(kind, parse_access(kind, object_id, value))

    put("access_organization", ACCOUNT, {"auth_domain": "access.example.com", "deny_unmatched": False})
    for state in ("current", "next"):
        pem = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        value = {"private_pem": pem.decode(), "certificate_pem": "", "state": state, "expires": None}
        put("access_key", load_key(pem.decode()).id, value)
    for number in range(TOKENS):
        put("service_token", str(uuid.UUID(int=number)), {
            "client_id": f"{number:032x}.access", "name": f"agent-{number}", "enabled": True, "expires": None,
            "secrets": [{"sha256": digest(secret(number)).hex(), "expires": None}], "valid_after": 0.0,
            "role": "reader", "labels": ["team=data"], "owner": "",
        })  # fmt: skip
    rules = [{"role": {"role": "reader"}}]
    put("access_policy", "p", {"name": "readers", "decision": "non_identity", "revision": 1, "include": rules})
    for number in range(APPLICATIONS):
        put("access_application", f"app-{number}", {
            "name": f"app-{number}", "aud": f"{number:064x}", "patterns": [f"app-{number}.example.com"],
            "policies": ["p"],
        })  # fmt: skip
    return gate


def secret(number: int) -> str:
    """The secret of a token."""
    return f"{number:064x}"


def cases(gate: Gate) -> list[Case]:
    """What is measured."""
    token = gate.state.token(str(uuid.UUID(int=42)))
    (application,) = gate.state.applications.met("app-7.example.com", "/")
    issuer = gate.issuer
    assert token is not None
    assert issuer is not None
    issued = issuer.assertion(token, application, 3600, time.time())
    shown = [
        (b"CF-Access-Client-Id", token.client_id.encode()),
        (b"CF-Access-Client-Secret", secret(42).encode()),
    ]
    return [
        Case("at a host that is not guarded", _BROWSING, b"open.example.com"),
        Case("service token", [*_BROWSING, *shown]),
        Case("issued token (JWT)", [*_BROWSING, (b"Cf-Access-Token", issued)]),
        Case("refused: nothing shown", _BROWSING),
    ]


def requests(watch: Watch, case: Case, count: int) -> float:
    """Seconds of CPU of so many requests, each judged, begun and ended as a visitor's connection does it."""
    begun = time.process_time()
    for _ in range(count):
        if not watch.on:
            continue
        request = VisitorRequest(
            method="GET", target=b"/api/items?page=2", host=case.host, headers=list(case.headers), body_length=0,
            websocket=False, keep_alive=True, expects_continue=False, version="1.1",
        )  # fmt: skip
        watched = watch.request(request, "192.0.2.7", "8f2b1c3d4e5f6a7b-local")
        if watched.answer is None:
            watched.begin(_nothing)
            watched.status = 200
        watched.end()
    return time.process_time() - begun


def _nothing() -> None:
    pass


def bare(case: Case, count: int) -> float:
    """What of `requests` is the bench's own."""
    begun = time.process_time()
    for _ in range(count):
        VisitorRequest(
            method="GET", target=b"/api/items?page=2", host=case.host, headers=list(case.headers), body_length=0,
            websocket=False, keep_alive=True, expects_continue=False, version="1.1",
        )  # fmt: skip
    return time.process_time() - begun


def best(run: Callable[[], float], count: int, repeats: int) -> float:
    """Microseconds of one in the best of several repeats."""
    return min(run() for _ in range(repeats)) / count * 1e6


def access_rows(gate: Gate, count: int, repeats: int) -> dict[str, float]:
    """CPU that Access adds to a request, in microseconds."""
    off = Watch(Gate(AccessState(), clock=time.time, ticks=time.monotonic))
    on = Watch(gate)
    rows = {"without Access": best(lambda: requests(off, Case("", _BROWSING), count), count, repeats)}
    for case in cases(gate):
        own = best(lambda case=case: bare(case, count), count, repeats)  # type: ignore[misc]
        rows[case.name] = best(lambda case=case: requests(on, case, count), count, repeats) - own  # type: ignore[misc]
    return rows


async def audit_rows(gate: Gate, directory: Path, count: int) -> dict[str, float]:
    """CPU of a record, its thread's too, at the rate that the disk takes; and how many were lost."""
    log = AuditLog(AuditSettings(directory=directory, file_size=16 * 1024 * 1024))
    await log.start()
    watch, case = Watch(gate, log, "local"), cases(gate)[1]
    on = Watch(gate)
    alone = min(requests(on, case, 2000) for _ in range(3)) / 2000
    begun, clock = time.process_time(), time.perf_counter()
    for _ in range(count // 100):
        requests(watch, case, 100)
        while log.waiting > audit_log.MAX_WAITING // 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
    lost = log.lost
    await log.close()
    spent, elapsed = time.process_time() - begun, time.perf_counter() - clock
    written = sum("RayID" in link.record for _, link in read_log(log_files(directory)))
    return {
        "CPU per record, us": (spent / count - alone) * 1e6,
        "records per s": count / elapsed,
        "lost": float(count - written),
        "told as lost": float(lost),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.access", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="requests of a repeat: few, so that one is undisturbed")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--records", type=int, default=100_000, help="of the audit rows")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    gate = known()
    rows = access_rows(gate, arguments.count, arguments.repeats)
    with tempfile.TemporaryDirectory(prefix="pyconnector-bench-") as directory:
        audit = asyncio.run(audit_rows(gate, Path(directory), arguments.records))
    if arguments.json:
        print(json.dumps({"access_us": rows, "audit": audit}, indent=1))
        return
    for name, figure in rows.items():
        print(f"Access, {name:32} {figure:8.1f} us of CPU a request")
    for name, figure in audit.items():
        print(f"audit, {name:33} {figure:8.1f}")


if __name__ == "__main__":
    main()
