"""Which answer of the login a request to the edge's own paths gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from pyconnector.edge.access.answers import mistaken, told
from pyconnector.edge.access.gate import OWN_PATHS, Pending, Stopped
from pyconnector.edge.access.login import finish, handover, steps
from pyconnector.edge.access.login.login import is_private
from pyconnector.edge.access.people import caller_of
from pyconnector.identity.policies.policy import Decision, Reason

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.access.gate import Visit
    from pyconnector.edge.access.login.login import Login
    from pyconnector.edge.access.login.steps import Step
    from pyconnector.identity.policies.rules import Caller

#: Paths of the login page's host: method, and the step.
_STEPS: dict[str, tuple[str, Callable[[Step], Awaitable[Answer]]]] = {
    "login": ("GET", steps.choose), "login-start": ("GET", steps.to_provider), "callback": ("GET", steps.from_provider),
    "login-pin": ("POST", steps.send_pin), "login-code": ("POST", steps.take_pin),
}  # fmt: skip
_CLEAR = (
    "People log in over TLS alone, or on this machine: a cookie in the clear would be everybody's. "
    "Reach this edge by https:// (--visitors-tls, or --trusted-proxy for a proxy that ends TLS)."
)
_MAX_QUERY_FIELDS = 20


def answer_login(login: Login, visit: Visit, caller: Caller) -> Stopped | Pending | None:
    """Answer a path of the login; None where it is none of it."""
    name = visit.path.removeprefix(OWN_PATHS)
    if name.startswith(handover.TRANSFER):
        return _stopped(handover.fetch(login, visit, name.removeprefix(handover.TRANSFER)), caller)
    if name == handover.CLI:
        return _cli(login, visit, caller)
    if login.is_page(visit):
        step = _STEPS.get("login" if name.startswith("login/") else name)
        if step is not None:
            return _step(login, visit, caller, *step)
        if name == "get-identity" and (person := finish.person_here(login, visit)) is not None:
            whole = caller_of(person, caller.address)
            return _stopped(told(200, finish.told_identity(login.gate, visit, person)), whole)
    elif name == "authorized":
        if visit.method != "GET":
            return _stopped(_not_for(visit, "GET"), caller)
        query = _query(visit)
        answer = mistaken(400, "That is no query.") if query is None else finish.authorized(login, visit, query)
        return _stopped(answer, caller)
    return None


def _cli(login: Login, visit: Visit, caller: Caller) -> Stopped | Pending:
    query = _query(visit)
    if visit.method not in {"GET", "POST"}:
        return _stopped(_not_for(visit, "GET, POST"), caller)
    if not is_private(visit):
        return _stopped(mistaken(403, _CLEAR), caller)
    if query is None:
        return _stopped(mistaken(400, "That is no query."), caller)
    return handover.answer_cli(login, visit, query, caller)


def _step(
    login: Login, visit: Visit, caller: Caller, method: str, step: Callable[[Step], Awaitable[Answer]]
) -> Stopped | Pending:
    if visit.method != method:
        return _stopped(_not_for(visit, method), caller)
    if not is_private(visit):
        return _stopped(mistaken(403, _CLEAR), caller)
    issuer, query = login.gate.issuer, _query(visit)
    if issuer is None:
        return login.gate.stop(visit, Reason.NO_KEY, caller, None)
    if query is None:
        return _stopped(mistaken(400, "That is no query."), caller)

    async def answer(body: bytes) -> Stopped:
        form = steps.read_form(body) if method == "POST" else {}
        if form is None:
            return _stopped(mistaken(400, "That is no form."), caller)
        return _stopped(await step(steps.Step(login=login, visit=visit, issuer=issuer, query=query, form=form)), caller)

    return Pending(answer=answer, most=steps.MAX_FORM, caller=caller, decision=_LOCAL)


def _query(visit: Visit) -> dict[str, str] | None:
    text = visit.target.partition("?")[2]
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        return None
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


def _not_for(visit: Visit, method: str) -> Answer:
    told_so = {"error": "bad_request", "message": f"{visit.method} is not for this path."}
    return told(405, told_so, (b"Allow", method.encode("ascii")))


def _stopped(answer: Answer, caller: Caller) -> Stopped:
    allowed = answer.reason is Reason.LOCAL
    return Stopped(answer=answer, caller=caller, decision=_LOCAL if allowed else Decision(
        allowed=False, reason=answer.reason
    ))  # fmt: skip


_LOCAL = Decision(allowed=True, reason=Reason.LOCAL)
