"""What the edge answers by itself where Access has a say: JSON with a reason code, never a redirect. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyconnector.identity.policies.policy import Reason

if TYPE_CHECKING:
    from pyconnector.identity.applications.application import Application

    Headers = list[tuple[bytes, bytes]]

#: What each refusal is told with. Nothing in it depends on whether a client id exists.
SENTENCES = {
    Reason.NO_CREDENTIALS: "This application is for those who show who they are: send a service token.",
    Reason.BAD_CREDENTIALS: "The service token is not valid.",
    Reason.SEVERAL_CREDENTIALS: "The request carries more than one credential: send one.",
    Reason.INCOMPLETE_CREDENTIALS: "The service token is incomplete: send client id and client secret.",
    Reason.BAD_TOKEN: "The token is not valid for this application, or has expired.",
    Reason.REVOKED: "The token has been revoked.",
    Reason.OUT_OF_SCOPE: "The token is narrowed to other paths or methods.",
    Reason.DENIED: "A policy of this application denies this.",
    Reason.NO_POLICY: "No policy of this application lets you pass.",
    Reason.BAD_POLICY: "The policies of this application cannot be judged, so nobody may pass.",
    Reason.UNMATCHED: "No application stands for this place, and others are closed.",
    Reason.TOO_MANY: "Too many failed attempts came from your address: wait a minute.",
    Reason.NO_KEY: "This edge has no key to vouch for callers with, so nobody may pass.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer of the edge."""

    status: int
    body: bytes
    fields: Headers = field(default_factory=list)
    "Beside Content-Type and Content-Length."
    reason: Reason = Reason.LOCAL
    content_type: bytes = b"application/json"
    sentence: str = ""

    def all_fields(self, ray: str) -> Headers:
        """Return every field of it."""
        return [
            (b"Content-Type", self.content_type), (b"Content-Length", b"%d" % len(self.body)), *self.fields,
            (b"X-Content-Type-Options", b"nosniff"), (b"Cf-Ray", ray.encode("ascii")),
        ]  # fmt: skip


def refusal(status: int, reason: Reason, ray: str, application: Application | None, host: str) -> Answer:
    """Return the answer to who may not pass; `host` has the form of a host."""
    sentence = SENTENCES[reason]
    told = {"error": "access_denied", "reason": reason.value, "message": sentence, "ray": ray}
    fields = [(b"Cache-Control", b"no-store")]
    if application is not None:
        # Both generations of cloudflared's `access login` look for these (access.md 4).
        fields += [
            (b"Cf-Access-Aud", application.audience.encode("ascii")),
            (b"Cf-Access-Domain", host.encode("ascii")),
        ]
    if status == 401:
        fields.append((b"WWW-Authenticate", b'Bearer realm="%b"' % host.encode("ascii")))
    if status == 429:
        fields.append((b"Retry-After", b"60"))
    return Answer(status=status, body=_json(told), fields=fields, reason=reason, sentence=sentence)


def unrecorded(ray: str) -> Answer:
    """Return the answer to everybody while nothing can be recorded and that is not allowed."""
    sentence = "This edge cannot record requests now, and serves none unrecorded."
    body = _json({"error": "unavailable", "reason": "audit_unavailable", "message": sentence, "ray": ray})
    fields = [(b"Cache-Control", b"no-store"), (b"Retry-After", b"5")]
    return Answer(status=503, body=body, fields=fields, sentence=sentence)


def told(status: int, value: Any, *fields: tuple[bytes, bytes]) -> Answer:
    """Return an answer of the edge's own paths."""
    return Answer(status=status, body=_json(value), fields=[(b"Cache-Control", b"no-store"), *fields])


def mistaken(status: int, sentence: str) -> Answer:
    """Return an answer that says what was wrong with a request to the edge's own paths."""
    return told(status, {"error": "bad_request", "message": sentence})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
