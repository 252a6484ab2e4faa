"""What the edge answers itself on every host: `/cdn-cgi/access/...` (access.md 4)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import parse_qsl

from pyconnector.edge.access.answers import Answer, mistaken, told
from pyconnector.edge.access.credentials import COOKIE, Token
from pyconnector.edge.access.gate import OWN_PATHS, Gate, Pending, Stopped, Visit, address_of
from pyconnector.edge.access.identify import Identified
from pyconnector.identity.access_token.scope import ScopeError, parse_scope
from pyconnector.identity.access_token.signing import MATCH, MAX_NARROWED, MIN_NARROWED, narrowed_claims
from pyconnector.identity.policies.policy import Decision, Reason
from pyconnector.identity.policies.rules import Caller

if TYPE_CHECKING:
    from pyconnector.edge.access.people import IdentifiedPerson
    from pyconnector.identity.applications.application import Application

    Headers = list[tuple[bytes, bytes]]

#: Seconds for which a narrowed token is valid where nobody says.
DEFAULT_NARROWED = 900
#: Fields of a query that are looked at.
MAX_QUERY_FIELDS = 10
_LOCAL = Decision(allowed=True, reason=Reason.LOCAL)
_METHODS = {"certs": ("GET", "HEAD"), "get-identity": ("GET", "HEAD"), "logout": ("GET", "POST"), "session": ("POST",)}


def answer_own_path(gate: Gate, visit: Visit, headers: Headers) -> Stopped | Pending:
    """Answer a request for a path of the edge's own; `headers` are without spoofed ones."""
    name = visit.path.removeprefix(OWN_PATHS)
    caller = Caller(address=address_of(visit.address))
    if gate.login is not None and gate.state.providers:
        from pyconnector.edge.access.login.paths import answer_login

        answered = answer_login(gate.login, visit, caller)
        if answered is not None:
            return answered
    methods = _METHODS.get(name)
    if methods is None:
        return _stopped(mistaken(404, "The edge has no such path of its own."), caller)
    if visit.method not in methods:
        answer = told(405, {"error": "bad_request", "message": "That method is not for this path."},
                      (b"Allow", ", ".join(methods).encode("ascii")))  # fmt: skip
        return _stopped(answer, caller)
    if name == "certs":
        issuer = gate.issuer
        if issuer is None:
            return gate.stop(visit, Reason.NO_KEY, caller, None)
        fields = [(b"Cache-Control", b"public, max-age=300"), (b"Access-Control-Allow-Origin", b"*")]
        return _stopped(Answer(status=200, body=issuer.document, fields=fields), caller)
    if name == "logout":
        return _logout(gate, visit, headers, caller)
    return _identity(gate, visit, headers, caller) if name == "get-identity" else _session(gate, visit, headers, caller)


def metadata(gate: Gate, visit: Visit, application: Application, caller: Caller) -> Stopped:
    """Answer what `cloudflared access login` asks first: which application this is."""
    issuer = gate.issuer
    if issuer is None:
        return gate.stop(visit, Reason.NO_KEY, caller, application)
    claims = {
        "type": MATCH, "hostname": visit.host, "auth_domain": issuer.issuer.removeprefix("https://"),
        "aud": application.audience, "app_hostname": application.patterns[0].text, "iat": int(gate.clock()),
    }  # fmt: skip
    fields = [
        (b"Cache-Control", b"no-store"), (b"Cf-Access-Metadata", issuer.metadata(application.id, visit.host, claims)),
        (b"Cf-Access-Aud", application.audience.encode("ascii")), (b"Cf-Access-Domain", visit.host.encode("ascii")),
    ]  # fmt: skip
    return Stopped(
        answer=Answer(status=200, body=b"", fields=fields), caller=caller, decision=_LOCAL, application=application
    )


def _identity(gate: Gate, visit: Visit, headers: Headers, caller: Caller) -> Stopped:
    on_host = gate.state.applications.of_host(visit.host)
    found = gate.identify(visit, gate.show(visit, headers, on_host))
    if not _is_known(found):
        return gate.stop(visit, found if isinstance(found, Reason) else Reason.NO_CREDENTIALS, caller, None)
    caller = found.caller(caller.address)
    if found.application is not None and found.application not in on_host:
        return gate.stop(visit, Reason.BAD_TOKEN, Caller(address=caller.address), None)
    if not isinstance(found, Identified):
        from pyconnector.edge.access.login.finish import told_identity

        return _stopped(told(200, told_identity(gate, visit, found.person, exp=int(found.expires))), caller)
    token, claims = found.token, found.claims or {}
    identity = {
        "common_name": token.client_id, "service_token_id": token.id, "service_token_status": True,
        "name": token.name, "role": token.role, "labels": sorted(token.labels), "owner": token.owner,
        "account_id": gate.state.organization.account_id if gate.state.organization else "", "ip": visit.address,
        "auth_status": "SERVICE", "is_warp": False, "is_gateway": False,
        **{key: claims[key] for key in ("iat", "exp", "path", "methods") if key in claims},
    }  # fmt: skip
    return _stopped(told(200, identity), caller)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Narrowing:
    """What a request for a narrowed token asks for."""

    audience: str
    path: str
    methods: tuple[str, ...]
    seconds: int


def _narrowing(query: str) -> _Narrowing:
    """Return what a query asks for.

    Raises:
        ScopeError: that makes no sense.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise ScopeError("the query has too many fields") from None
    said = dict(pairs)
    if unknown := sorted(said.keys() - {"audience", "path", "methods", "seconds"}):
        raise ScopeError(f"there is no field {unknown[0][:60]!r}")
    text = said.get("seconds", str(DEFAULT_NARROWED))
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if len(said) != len(pairs) or not MIN_NARROWED <= seconds <= MAX_NARROWED:
        raise ScopeError(f"each field comes once, and seconds is {MIN_NARROWED} to {MAX_NARROWED}")
    path, methods = parse_scope(said.get("path", ""), said.get("methods", ""))
    return _Narrowing(audience=said.get("audience", ""), path=path, methods=methods, seconds=seconds)


def _session(gate: Gate, visit: Visit, headers: Headers, caller: Caller) -> Stopped:
    """Exchange a service token, or a token issued for it or for a person, for one that may do less and ends sooner."""
    try:
        wanted = _narrowing(visit.target.partition("?")[2])
    except ScopeError as error:
        return _stopped(mistaken(400, f"{str(error)[:1].upper()}{str(error)[1:]}."), caller)
    application = _narrowed_application(gate, visit.host, wanted)
    if application is None:
        return _stopped(mistaken(404, "No one application stands for this place: name its audience."), caller)
    shown = gate.show(visit, headers, (application,))
    if isinstance(shown.credential, Token) and shown.credential.from_cookie:
        # A browser sends cookies whoever made it ask.
        return gate.stop(visit, Reason.NO_CREDENTIALS, caller, application)
    found = gate.identify(visit, shown)
    if not _is_known(found):
        reason = found if isinstance(found, Reason) else Reason.NO_CREDENTIALS
        return gate.stop(visit, reason, caller, application)
    if found.application is not None and found.application.id != application.id:
        return gate.stop(visit, Reason.BAD_TOKEN, caller, application)
    caller = found.caller(caller.address)
    if found.is_narrowed:
        return gate.stop(visit, Reason.OUT_OF_SCOPE, caller, application)
    decision = gate.decide(application, caller)
    if not decision.allowed:
        return gate.stop(visit, decision.reason, caller, application, decision.policy)
    return _narrowed(gate, visit, found, application, wanted, decision)


def _narrowed(
    gate: Gate,
    visit: Visit,
    found: Identified | IdentifiedPerson,
    application: Application,
    wanted: _Narrowing,
    decision: Decision,
) -> Stopped:
    caller = found.caller(address_of(visit.address))
    issuer, now = gate.issuer, gate.clock()
    if issuer is None:
        return gate.stop(visit, Reason.NO_KEY, caller, application)
    parent = found.claims
    if not parent:
        assert found.token is not None
        parent = issuer.claims(found.token, application, MAX_NARROWED, now)
    claims = narrowed_claims(
        parent, now=now, seconds=wanted.seconds, path=wanted.path, methods=wanted.methods, number=os.urandom(16).hex()
    )
    answer = {
        "token": issuer.sign(claims).decode("ascii"), "token_type": "Bearer", "expires_at": claims["exp"],
        "audience": application.audience, "path": wanted.path or "/", "methods": list(wanted.methods),
    }  # fmt: skip
    return Stopped(answer=told(200, answer), caller=caller, decision=decision, application=application)


def _narrowed_application(gate: Gate, host: str, wanted: _Narrowing) -> Application | None:
    applications = gate.state.applications
    if wanted.audience:
        named = applications.of_audience(wanted.audience)
        return named if named in applications.of_host(host) else None
    met = applications.met(host, wanted.path or "/")
    return met[0] if len(met) == 1 else None


def _logout(gate: Gate, visit: Visit, headers: Headers, caller: Caller) -> Stopped:
    """Take the cookies away; a person's session is over everywhere."""
    login = gate.login
    if login is None or not gate.state.providers:
        gone = (b"Set-Cookie", COOKIE + b"=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
        return _stopped(told(200, {"logged_out": True}, gone), caller)
    from pyconnector.edge.access.login import finish

    if any(name.lower() == b"sec-fetch-site" and value == b"cross-site" for name, value in visit.headers):
        # Whom another site sends here did not ask for it.
        asked = finish.asked_first(login) if visit.method == "GET" else mistaken(403, "Another site asks for this.")
        return _stopped(asked, caller)
    is_page = login.is_page(visit)
    if is_page:
        person = finish.person_here(login, visit)
        people = [] if person is None else [person]
    else:
        shown = _people_shown(gate, visit, headers)
        people = [each.person for each in shown]
        caller = shown[0].caller(caller.address) if shown else caller
    return _stopped(finish.logged_out(login, visit, people, is_page=is_page), caller)


def _people_shown(gate: Gate, visit: Visit, headers: Headers) -> list[IdentifiedPerson]:
    """Return everybody who is shown on a host, each of whose applications has a cookie, perhaps of another session."""
    tokens: set[bytes] = set()
    people: list[IdentifiedPerson] = []
    here = gate.state.applications.of_host(visit.host)
    asked: list[tuple[Application, ...]] = [(application,) for application in here] or [()]
    for chosen in asked:
        shown = gate.show(visit, headers, chosen)
        if not isinstance(shown.credential, Token) or shown.credential.text in tokens:
            continue
        tokens.add(shown.credential.text)
        found = gate.identify(visit, shown)
        if found is not None and not isinstance(found, Identified | Reason):
            people.append(found)
    return people


def _is_known(found: Identified | IdentifiedPerson | Reason | None) -> TypeGuard[Identified | IdentifiedPerson]:
    return found is not None and not isinstance(found, Reason)


def _stopped(answer: Answer, caller: Caller) -> Stopped:
    return Stopped(answer=answer, caller=caller, decision=_LOCAL)
