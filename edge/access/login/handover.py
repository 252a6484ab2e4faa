"""A login that a program begins: `access login` opens a page here, and fetches the token that a person lets it have.

The program made a key, whose public half stands in the page's address. Who is logged in is asked; a yes makes a token
for the program, sealed for that key, which waits here for a while (reference/access.md 6.1).
"""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pyconnector.edge.access.answers import Answer, mistaken, told
from pyconnector.edge.access.credentials import strip_spoofed
from pyconnector.edge.access.gate import OWN_PATHS, Pending, Stopped
from pyconnector.edge.access.login import finish
from pyconnector.edge.access.login.pages import message
from pyconnector.edge.access.people import IdentifiedPerson
from pyconnector.identity.people.person import application_claims
from pyconnector.identity.policies.policy import Decision, Reason

if TYPE_CHECKING:
    from pyconnector.edge.access.gate import Visit
    from pyconnector.edge.access.login.login import Login
    from pyconnector.identity.applications.application import Application
    from pyconnector.identity.policies.rules import Caller

CLI, TRANSFER = "cli", "transfer/"
#: Tokens that wait to be fetched, and seconds for which one does, and for which a person may think.
MAX_WAITING: Final = 1_000
WAITING_SECONDS: Final = 300
#: Bytes of the form, which has no fields.
MAX_FORM: Final = 1024
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
_LOCAL: Final = Decision(allowed=True, reason=Reason.LOCAL)


class Handovers:
    """Sealed tokens that wait for their programs, at this edge."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, tuple[float, bytes, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, key: str, public: bytes, sealed: bytes, now: float) -> bool:
        """Keep what was sealed for a key; False where too many wait."""
        while self._waiting and next(iter(self._waiting.values()))[0] <= now:
            self._waiting.popitem(last=False)
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.pop(key, None)
        self._waiting[key] = (now + WAITING_SECONDS, public, sealed)
        return True

    def take(self, key: str, now: float) -> tuple[bytes, bytes] | None:
        """Return public key and box for a key, once."""
        found = self._waiting.pop(key, None)
        return None if found is None or found[0] <= now else found[1:]


def fetch(login: Login, visit: Visit, key: str) -> Answer:
    """Give a program what waits for it."""
    found = login.handovers.take(key, login.gate.ticks()) if visit.method == "GET" else None
    if found is None:
        return mistaken(404, "Nothing waits here (yet).")
    return Answer(
        status=200, body=found[1], content_type=b"text/plain",
        fields=[(b"Cache-Control", b"no-store"), (b"Service-Public-Key", found[0])],
    )  # fmt: skip


def answer_cli(login: Login, visit: Visit, query: dict[str, str], caller: Caller) -> Stopped | Pending:
    """Ask whoever is logged in whether a program may have a token, or take the yes; lead others to the login first."""
    if visit.method == "POST":

        async def answer(_: bytes) -> Stopped:
            return _granted(login, visit, query, caller)

        return Pending(answer=answer, most=MAX_FORM, caller=caller, decision=_LOCAL)
    key, application = query.get("token", ""), login.gate.state.applications.of_audience(query.get("aud", ""))
    if not _KEY.fullmatch(key) or application not in login.gate.state.applications.of_host(visit.host):
        return _stopped(mistaken(400, "That is no page that `access login` shows."), caller)
    assert application is not None
    person = _person(login, visit, application)
    if person is None:
        led = login.lead(visit, application, Reason.NO_CREDENTIALS)
        return _stopped(led or mistaken(404, "People do not log in to this application."), caller)
    return _stopped(_ask(login, visit, application, person, key), person.caller(caller.address))


def _ask(login: Login, visit: Visit, application: Application, person: IdentifiedPerson, key: str) -> Answer:
    issuer = login.gate.issuer
    assert issuer is not None
    grant = login.sealer("handover", issuer).seal(
        {"key": key, "application": application.id, "browser": _browser(person)}, login.gate.clock()
    )
    return message(
        200, f"Let a program in as {person.person.email}?",
        f"Somebody ran `access login` for {application.name} and opened this page. It shows the code {key[:8]}.",
        "If that was not you, or it shows another code, close this page.", organization=login.organization,
        more={"action": f"{OWN_PATHS}{CLI}?grant={grant}", "action_text": "Let it in"},
    )  # fmt: skip


def _granted(login: Login, visit: Visit, query: dict[str, str], caller: Caller) -> Stopped:
    gate, issuer = login.gate, login.gate.issuer
    if issuer is None:
        return gate.stop(visit, Reason.NO_KEY, caller, None)
    now = gate.clock()
    value = login.sealer("handover", issuer).open(query.get("grant", ""), seconds=WAITING_SECONDS, now=now)
    application = None if value is None else gate.state.applications.get(value["application"])
    person = None if application is None else _person(login, visit, application)
    if (
        value is None
        or application is None
        or person is None
        or not _is_own(visit)
        or value["browser"] != _browser(person)
    ):
        return _stopped(_over(login), caller)
    caller = person.caller(caller.address)
    decision = gate.decide(application, caller)
    if not decision.allowed:
        answer = finish.may_not_pass(login, visit, application, person.person.email, decision.reason)
        return Stopped(answer=answer, caller=caller, decision=decision, application=application)
    # No binding: what a program shows is a header, and as a cookie this is worth nothing.
    claims = application_claims(
        person.person, issuer=issuer.issuer, audience=application.audience, now=now,
        seconds=max(0.0, person.expires - now), binding="",
    )  # fmt: skip
    box = _seal(value["key"], issuer.sign(claims))
    if box is None:
        told_so = "This edge cannot hand logins over: it lacks the extra `access`."
        return _stopped(told(501, {"error": "not_there", "message": told_so}), caller)
    if not login.handovers.put(value["key"], *box, gate.ticks()):
        return _stopped(mistaken(503, "Too many programs wait for their tokens."), caller)
    done = message(
        200, "The program is in", "You may close this page.", organization=login.organization,
    )  # fmt: skip
    return Stopped(answer=done, caller=caller, decision=decision, application=application)


def _person(login: Login, visit: Visit, application: Application) -> IdentifiedPerson | None:
    shown = login.gate.show(visit, strip_spoofed(visit.headers), (application,))
    found = login.gate.identify(visit, shown)
    return found if isinstance(found, IdentifiedPerson) and found.application.id == application.id else None


def _seal(key: str, token: bytes) -> tuple[bytes, bytes] | None:
    """Return a public key and the box for the program's key; None where the library is not there."""
    try:
        from nacl.public import Box, PrivateKey, PublicKey
    except ImportError:
        return None
    own = PrivateKey.generate()
    text = json.dumps({"app_token": token.decode("ascii"), "org_token": ""}).encode("ascii")
    sealed = Box(own, PublicKey(base64.urlsafe_b64decode(key))).encrypt(text)
    return base64.urlsafe_b64encode(bytes(own.public_key)), base64.b64encode(sealed)


def _browser(person: IdentifiedPerson) -> str:
    return str(person.claims.get("binding", ""))


def _is_own(visit: Visit) -> bool:
    """Return whether a form was sent by a page of this very host."""
    said = {name.lower(): value for name, value in visit.headers}
    origin = said.get(b"origin")
    site = f"{visit.scheme}://{visit.authority}".encode("ascii")
    return origin in {None, site} and said.get(b"sec-fetch-site", b"same-origin") == b"same-origin"


def _over(login: Login) -> Answer:
    return message(
        400, "This login is over", "It took too long, or was not begun in this browser.", "Run `access login` again.",
        organization=login.organization, reason=Reason.BAD_TOKEN,
    )  # fmt: skip


def _stopped(answer: Answer, caller: Caller) -> Stopped:
    allowed = answer.reason is Reason.LOCAL
    return Stopped(
        answer=answer, caller=caller, decision=_LOCAL if allowed else Decision(allowed=False, reason=answer.reason)
    )
