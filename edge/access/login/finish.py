"""The end of a login, on the application's host: the code from the login page becomes the application's token.

And what else people are answered there: that they may not pass, that they are logged out, who they are.
"""

from __future__ import annotations

import hmac
import math
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyconnector.edge.access.answers import Answer, told
from pyconnector.edge.access.cookies import (
    APP_SESSION,
    BINDING,
    SESSION,
    cookie,
    own_cookies,
    suffix_of,
    suffix_on,
    value_of,
)
from pyconnector.edge.access.credentials import COOKIE
from pyconnector.edge.access.login.attempt import ATTEMPT_SECONDS, CODE_SECONDS, Origin, browser_digest, origin_of
from pyconnector.edge.access.login.pages import message, to
from pyconnector.edge.access.people import IdentifiedPerson, binding_digest, session_of
from pyconnector.identity.people.person import Person, application_claims
from pyconnector.identity.policies.policy import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.edge.access.gate import Gate, Visit
    from pyconnector.edge.access.login.login import Login
    from pyconnector.edge.access.login.sealing import Sealer
    from pyconnector.identity.applications.application import Application

    Headers = list[tuple[bytes, bytes]]

redirect = to
#: Seconds for which a person's tokens live at least and at most.
MIN_LIFETIME, MAX_LIFETIME = 60.0, 31 * 86_400.0


def lifetime(seconds: float) -> float:
    """Return for how long a token lives that is to live for so many seconds."""
    return min(max(MIN_LIFETIME, seconds), MAX_LIFETIME)


def sealed(sealer: Sealer, origin: Origin, now: float) -> str:
    """Return an origin, sealed."""
    return sealer.seal(asdict(origin), now)


def opened(sealer: Sealer, text: str, now: float) -> Origin | None:
    """Return the origin that was sealed by an edge of this mesh, and not too long ago."""
    value = sealer.open(text, seconds=ATTEMPT_SECONDS, now=now)
    return None if value is None else origin_of(value)


def code_for(login: Login, origin: Origin, person: Person) -> str | None:
    """Return what a browser takes from the login page to the application, once and within a minute."""
    issuer = login.gate.issuer
    if issuer is None:
        return None
    value = {"origin": asdict(origin), "person": asdict(person), "id": os.urandom(16).hex()}
    return login.sealer("code", issuer).seal(value, login.gate.clock())


def authorized(login: Login, visit: Visit, query: dict[str, str]) -> Answer:
    """Take a code: set the application's cookies, and lead on to where the login began."""
    gate, issuer, now = login.gate, login.gate.issuer, login.gate.clock()
    value = None
    if issuer is not None:
        value = login.sealer("code", issuer).open(query.get("code", ""), seconds=CODE_SECONDS, now=now)
    if issuer is None or value is None:
        return _over(login)
    origin, person = origin_of(value["origin"]), Person(**value["person"])
    if origin is None or origin.site != f"{visit.scheme}://{visit.authority}":
        return _over(login)
    application = gate.state.applications.get(origin.application)
    suffix = b"" if application is None else suffix_on(application, gate.state.applications.of_host(visit.host))
    shown = browser_digest(value_of(own_cookies(visit.headers), APP_SESSION + suffix, secure=visit.is_secure))
    if not shown or not hmac.compare_digest(shown, origin.browser):
        # Begun in another browser: somebody wants this one to be logged in as somebody else.
        return message(
            403, "This login was not begun here", "It ends in the browser in which it began, if that keeps cookies.",
            organization=login.organization, more={"link": origin.url, "link_text": "Begin again"},
            reason=Reason.BAD_TOKEN,
        )  # fmt: skip
    live = gate.state.is_live(person.email, person.provider, person.nonce, person.begun)
    if application is None or not live or not login.codes.take(str(value["id"]), gate.ticks()):
        return _over(login)
    return _let_in(login, visit, origin, person, application)


def _let_in(login: Login, visit: Visit, origin: Origin, person: Person, application: Application) -> Answer:
    gate, issuer, now = login.gate, login.gate.issuer, login.gate.clock()
    assert issuer is not None
    decision = gate.decide(application, IdentifiedPerson(
        person=person, application=application, expires=now, text=b""
    ).caller(None))  # fmt: skip
    seconds = application.session_seconds
    if decision.policy is not None and decision.policy.session_seconds is not None:
        seconds = decision.policy.session_seconds
    seconds = lifetime(seconds)
    binding = os.urandom(16).hex().encode("ascii")
    # Not dated before what revoked its elders: whole seconds stand in a token.
    begin = max(now, math.ceil(application.valid_after))
    claims = application_claims(
        person, issuer=issuer.issuer, audience=application.audience, now=begin, seconds=seconds,
        binding=binding_digest(binding),
    )  # fmt: skip
    secure = visit.is_secure
    suffix = suffix_on(application, gate.state.applications.of_host(visit.host))
    token = issuer.sign(claims)
    given = b"; Path=/; Max-Age=%d%b; HttpOnly; SameSite=Lax" % (int(seconds), b"; Secure" if secure else b"")
    return to(
        origin.url, (b"Set-Cookie", COOKIE + suffix + b"=" + token + given),
        cookie(BINDING + suffix, binding, secure=secure, seconds=int(seconds)),
        cookie(APP_SESSION + suffix, b"", secure=secure, seconds=0),
    )  # fmt: skip


def may_not_pass(login: Login, visit: Visit, application: Application, email: str, reason: Reason) -> Answer:
    """Tell a person that the policies of an application do not let them pass."""
    return message(
        403, "You may not pass", f"You are logged in as {email}, who may not use {application.name}.",
        "Whoever runs it can change that. If this is not you, log out and take another address.",
        organization=login.organization, reason=reason,
        more={"action": "/cdn-cgi/access/logout", "action_text": "Log out", "ray": visit.ray},
    )  # fmt: skip


def logged_out(login: Login | None, visit: Visit, people: Sequence[Person], *, is_page: bool) -> Answer:
    """End the sessions of whom a browser shows, everywhere, and take the cookies of this host away."""
    secure = visit.is_secure
    flags = b"; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    here = () if login is None else login.gate.state.applications.of_host(visit.host)
    suffixes = {b"": None} | dict.fromkeys(map(suffix_of, here) if len(here) > 1 else ())
    gone = [
        *((b"Set-Cookie", COOKIE + suffix + b"=" + flags) for suffix in suffixes),
        *(cookie(BINDING + suffix, b"", secure=secure, seconds=0) for suffix in suffixes),
        *([cookie(SESSION, b"", secure=secure, seconds=0)] if is_page else []),
    ]  # fmt: skip
    if login is not None:
        for nonce in dict.fromkeys(person.nonce for person in people):
            login.gate.state.end_session(nonce, login.gate.clock() + MAX_LIFETIME)
    if login is None or not wants_page(visit):
        return told(200, {"logged_out": True}, *gone)
    return message(
        200, "You are logged out", "Everything that was opened in this session is closed, on every host.",
        organization=login.organization, fields=gone,
    )  # fmt: skip


def asked_first(login: Login) -> Answer:
    """Ask a person whom another site sent to log out whether they want that."""
    return message(
        200, "Log out?", "Another site sent you here.", organization=login.organization,
        more={"action": "/cdn-cgi/access/logout", "action_text": "Log out"},
    )  # fmt: skip


def wants_page(visit: Visit) -> bool:
    """Return whether whoever asks reads pages."""
    return any(name.lower() == b"accept" and b"text/html" in value for name, value in visit.headers)


def person_here(login: Login, visit: Visit) -> Person | None:
    """Return whose global session is shown on the login page's host."""
    issuer = login.gate.issuer
    if issuer is None:
        return None
    text = value_of(own_cookies(visit.headers), SESSION, secure=visit.is_secure)
    return session_of(text, login.gate.state, issuer, login.gate.clock())


def told_identity(gate: Gate, visit: Visit, person: Person, **more: Any) -> dict[str, Any]:
    """Return what `get-identity` says of a person."""
    state = gate.state
    provider = state.providers.get(person.provider)
    return {
        "id": person.subject, "user_uuid": person.subject, "name": person.name, "email": person.email,
        "idp": {"id": person.provider, "type": "" if provider is None else provider.kind},
        "account_id": state.organization.account_id if state.organization else "", "iat": int(person.begun),
        "ip": visit.address, "auth_status": "NONE", "common_name": "", "service_token_status": False,
        "is_warp": False, "is_gateway": False, **({"custom": person.claims} if person.claims else {}), **more,
    }  # fmt: skip


def _over(login: Login) -> Answer:
    return message(
        400, "This login is over", "It took too long, was used before, or was not begun here.",
        "Go to the address that you wanted once more.", organization=login.organization, reason=Reason.BAD_TOKEN,
    )  # fmt: skip
