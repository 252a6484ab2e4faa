"""The gate of an edge: whether a request may pass, as whom, and with which headers it goes on.

Synchronous and in memory. Where nothing of Access is known, `active` is all that is ever asked.
"""

from __future__ import annotations

import ipaddress
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from pyconnector.edge.access.answers import Answer, refusal
from pyconnector.edge.access.cookies import BINDING, value_of
from pyconnector.edge.access.credentials import (
    ASSERTION,
    EMAIL,
    LABELS,
    OWNER,
    ROLE,
    Pair,
    Shown,
    Token,
    read_credentials,
    strip_spoofed,
)
from pyconnector.edge.access.failures import FailureCounts
from pyconnector.edge.access.not_identified import NotIdentified
from pyconnector.edge.access.recall import RECALL_SECONDS, Key, Recall, Recalled
from pyconnector.edge.access.running import Running, RunningSet
from pyconnector.identity.management_token import HOSTNAMES
from pyconnector.identity.policies.policy import Decision, Policy, Reason, decide, decide_bypass
from pyconnector.identity.policies.rules import Address, Caller

if TYPE_CHECKING:
    from pyconnector.edge.access.entries import GrantEntry
    from pyconnector.edge.access.identify import Identified
    from pyconnector.edge.access.issuer import Issuer
    from pyconnector.edge.access.login.login import Login
    from pyconnector.edge.access.people import IdentifiedPerson
    from pyconnector.edge.access.state import AccessState
    from pyconnector.identity.applications.application import Application

    Headers = list[tuple[bytes, bytes]]

#: What the edge answers itself, on every host.
OWN_PATHS = "/cdn-cgi/access/"
#: What an issuer is made of: a change of anything else leaves it, and what it remembers, as it is.
_MAKE_ISSUER = frozenset(("access_organization", "access_key"))

_log = logging.getLogger("pyconnector.edge.access")


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True, kw_only=True)
class Visit:
    """A request as the gate sees it."""

    method: str
    host: str
    "In lower case, without port and the dot of the root."
    target: str
    headers: Headers = field(repr=False)
    address: str
    "Where the connection comes from."
    ray: str
    scheme: str = "http"
    "Of the connection."
    authority: str = ""
    "The host with its port, in the one form in which it goes on."
    websocket: bool = False

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way can read or change it."""
        return self.scheme == "https"

    @property
    def path(self) -> str:
        """The target without its query, as it was sent."""
        return self.target.partition("?")[0]


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True, kw_only=True)
class Passed:
    """A request that goes on."""

    headers: Headers = field(repr=False)
    caller: Caller
    decision: Decision
    application: Application | None = None
    identified: Identified | IdentifiedPerson | None = None
    met: tuple[Application, ...] = ()
    "Every application that let it pass, where somebody was asked."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A request that is answered here; `caller` as far as that was found out."""

    answer: Answer
    caller: Caller
    decision: Decision
    application: Application | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A request that is answered here once its body was read, and perhaps somebody elsewhere asked."""

    answer: Callable[[bytes], Awaitable[Stopped]] = field(repr=False)
    "From the body to what is then told."
    most: int
    "Bytes of a body that are taken."
    caller: Caller
    decision: Decision
    application: Application | None = None


class Gate:
    """Judges the requests of one edge."""

    def __init__(self, state: AccessState, clock: Callable[[], float], ticks: Callable[[], float]) -> None:
        """`clock` tells seconds since the epoch, for dates in tokens; `ticks` those of any clock, for the rest."""
        self.state = state
        self.clock = clock
        self.ticks = ticks
        self.failures = FailureCounts()
        self.running: RunningSet[Running] = RunningSet(self._may_go_on)
        self._recall = Recall()
        self.listeners: list[Callable[[], None]] = []
        "Called after each change: for what else runs under what is known here."
        state.on_change = self._changed
        self.login: Login | None = None
        "By which people log in here; None where nobody can."
        self._issuer: Issuer | None = None

    def __repr__(self) -> str:
        return f"<Gate {'active' if self.active else 'idle'} running={len(self.running)} {self.state!r}>"

    @property
    def active(self) -> bool:
        """Whether requests have to be judged at all."""
        return self.state.organization is not None

    @property
    def issuer(self) -> Issuer | None:
        """What signs; None where there is no key."""
        if self._issuer is None or self.clock() >= self._issuer.until:
            # Loaded where it is used: it brings the JOSE library, which an edge without Access does without.
            from pyconnector.edge.access.issuer import Issuer

            try:
                self._issuer = Issuer(self.state, self.clock())
            except ValueError as error:
                _log.error("No token can be issued or verified: %s", error)
                return None
        return self._issuer

    def judge(self, visit: Visit) -> Passed | Stopped | Pending:
        """Decide whether a request goes on. Called only where `active`."""
        headers = strip_spoofed(visit.headers)
        if visit.target.startswith(OWN_PATHS):
            from pyconnector.edge.access.own_paths import answer_own_path

            return answer_own_path(self, visit, headers)
        met = self.state.applications.met(visit.host, visit.path)
        caller = Caller(address=address_of(visit.address))
        if not met:
            if self._is_closed(visit.host):
                return self.stop(visit, Reason.UNMATCHED, caller, None)
            return Passed(headers=headers, caller=caller, decision=_OPEN)
        return self._judge_met(visit, headers, met, caller)

    def show(self, visit: Visit, headers: Headers, met: tuple[Application, ...]) -> Shown:
        """Return what a request shows of itself."""
        names = [application.token_header.encode("ascii") for application in met if application.token_header]
        return read_credentials(headers, names, self._is_ours, met)

    def identify(self, visit: Visit, shown: Shown) -> Identified | IdentifiedPerson | Reason | None:
        """Return who shows it, why that is nobody, or None where nothing is shown; counts failures."""
        if shown.credential is None and shown.fault is None:
            return None
        if shown.credential is None:
            return Reason.TOO_MANY if self.failures.is_too_many(visit.address, self.ticks()) else shown.fault
        return self.who(shown.credential, visit.address, _binding(visit, shown))

    def who(
        self, credential: Pair | Token, address: str, binding: bytes = b""
    ) -> Identified | IdentifiedPerson | Reason:
        """Return who shows a credential at `address`, or why that is nobody; counts failures. For every way in.

        `binding` is what a browser shows beside a cookie.
        """
        if isinstance(credential, Token) and self.state.providers and (issuer := self.issuer) is not None:
            from pyconnector.edge.access.people import identify_person

            try:
                person = identify_person(credential, binding, self.state, issuer, self.clock())
            except NotIdentified as nobody:
                return nobody.reason
            if person is not None:
                return person
        if self.failures.is_too_many(address, self.ticks()):
            return Reason.TOO_MANY
        # Loaded where it is used, as the issuer is, which a secret does without.
        from pyconnector.edge.access.identify import identify

        issuer = self.issuer if isinstance(credential, Token) and self.active else None
        try:
            found = identify(credential, self.state, issuer, self.clock())
        except NotIdentified as nobody:
            if nobody.guessing:
                self.failures.count(address, self.ticks())
            return nobody.reason
        self.state.note_use(found.token, self.ticks())
        return found

    def stop(
        self,
        visit: Visit,
        reason: Reason,
        caller: Caller,
        application: Application | None,
        policy: Policy | None = None,
    ) -> Stopped:
        """Return the refusal for a reason: 401 where nobody is known, 403 where somebody is and may not pass."""
        status = 429 if reason is Reason.TOO_MANY else 503 if reason is Reason.NO_KEY else 403
        if status == 403 and not caller.known and reason is not Reason.UNMATCHED:
            status = 401
        return Stopped(
            answer=refusal(status, reason, visit.ray, application, visit.host), caller=caller,
            decision=Decision(allowed=False, reason=reason, policy=policy), application=application,
        )  # fmt: skip

    def begin(self, visit: Visit, passed: Passed, abort: Callable[[], None]) -> Running:
        """Note that what passed runs now; `running.remove` it at its end."""
        path = visit.path
        met = passed.met or self.state.applications.met(visit.host, path)
        running = Running(
            host=visit.host, path=path, caller=passed.caller, decision=passed.decision, abort=abort,
            expires=math.inf if passed.identified is None else passed.identified.expires,
            versions=_versions(passed.caller, met),
        )  # fmt: skip
        self.running.add(running)
        return running

    def _judge_met(
        self, visit: Visit, headers: Headers, met: tuple[Application, ...], caller: Caller
    ) -> Passed | Stopped:
        own = met[0]
        asked = [application for application in met if self._bypass(application, caller) is None]
        shown = self.show(visit, headers, met)
        if not asked:
            policy = self._bypass(own, caller)
            decision = Decision(allowed=True, reason=Reason.BYPASS, policy=policy)
            return Passed(headers=shown.headers, caller=caller, decision=decision, application=own)
        if visit.method == "HEAD" and any(name.lower() == b"cf-access-metadata-request" for name, _ in headers):
            from pyconnector.edge.access.own_paths import metadata

            return metadata(self, visit, own, caller)
        key: Key | None = None
        if isinstance(token := shown.credential, Token) and len(met) == 1:
            beside = _binding(visit, shown) if token.from_cookie else None
            key = (token.text, beside, own.id, visit.address)
            recalled = self._recalled(key, shown, met)
            if recalled is not None:
                return recalled
        judged = self._judge_shown(visit, shown, met, asked, caller)
        if key is not None and isinstance(judged, Passed):
            self._remember(key, judged, shown.headers)
        return judged

    def _judge_shown(
        self, visit: Visit, shown: Shown, met: tuple[Application, ...], asked: list[Application], caller: Caller
    ) -> Passed | Stopped:
        own = met[0]
        found = self.identify(visit, shown)
        if isinstance(found, Reason):
            return self._refuse(visit, found, caller, own, shown)
        if found is not None:
            caller = found.caller(caller.address)
            if not found.covers(visit.method, visit.target):
                return self.stop(visit, Reason.OUT_OF_SCOPE, caller, own)
        first: Decision | None = None
        for application in asked:
            if found is not None and found.application is not None and found.application.id != application.id:
                # Nobody is known here by a token that was issued for another application.
                anonymous = Caller(address=caller.address)
                return self._refuse(visit, Reason.BAD_TOKEN, anonymous, application, shown)
            decision = self.decide(application, caller, None if found is None else found.grant)
            if not decision.allowed:
                return self._refuse(visit, decision.reason, caller, application, shown, decision.policy)
            first = first or decision
        assert first is not None
        passed = self._passed(visit, list(shown.headers), caller, asked[0], first, found)
        if isinstance(passed, Passed):
            passed.met = met
        return passed

    def _recalled(self, key: Key, shown: Shown, met: tuple[Application, ...]) -> Passed | None:
        """Return what was decided a moment ago of the same token at the same application, from the same address."""
        known = self._recall.get(key, self.state.revision, self.clock())
        if known is None:
            return None
        token = known.caller.token
        if token is not None:
            if self.failures.is_too_many(key[3], self.ticks()):
                return None
            self.state.note_use(token, self.ticks())
        return Passed(
            headers=shown.headers + known.added, caller=known.caller, decision=known.decision, application=met[0],
            identified=known.identified, met=met,
        )  # fmt: skip

    def _remember(self, key: Key, passed: Passed, shown: Headers) -> None:
        found, issuer, now = passed.identified, self.issuer, self.clock()
        if found is None or issuer is None or found.is_narrowed or found.grant is not None or not found.claims:
            return
        until = min(now + RECALL_SECONDS, found.expires, float(found.claims["exp"]), issuer.until)
        self._recall.put(key, Recalled(
            revision=self.state.revision, until=until, caller=passed.caller, decision=passed.decision,
            identified=found, added=passed.headers[len(shown) :],
        ))  # fmt: skip

    def _refuse(
        self, visit: Visit, reason: Reason, caller: Caller, application: Application, shown: Shown,
        policy: Policy | None = None,
    ) -> Stopped:  # fmt: skip
        """As `stop`, but a person in a browser is led to the login, or told on a page why not."""
        stopped = self.stop(visit, reason, caller, application, policy)
        return stopped if self.login is None else self.login.refused(visit, stopped, application, shown)

    def _passed(
        self, visit: Visit, headers: Headers, caller: Caller, application: Application, decision: Decision,
        found: Identified | IdentifiedPerson | None,
    ) -> Passed | Stopped:  # fmt: skip
        token = caller.token
        if caller.user:
            # What a person shows is what the service is told: it was issued for this application.
            person = cast("IdentifiedPerson", found)
            shown = person.text
            if person.is_narrowed:
                if (issuer := self.issuer) is None:
                    return self.stop(visit, Reason.NO_KEY, caller, application)
                shown = issuer.widened(person)
            headers += [(ASSERTION, shown), (EMAIL, caller.email.encode("ascii"))]
        if token is not None:
            issuer = self.issuer
            if issuer is None:
                return self.stop(visit, Reason.NO_KEY, caller, application)
            seconds = application.session_seconds
            if decision.policy is not None and decision.policy.session_seconds is not None:
                seconds = decision.policy.session_seconds
            headers.append((ASSERTION, issuer.assertion(token, application, seconds, self.clock())))
            if application.identity_headers:
                labels = ",".join(sorted(token.labels))
                for name, text in ((ROLE, token.role), (LABELS, labels), (OWNER, token.owner)):
                    if text:
                        headers.append((name, quote(text, safe=" !#$&'()*+,/:;=?@[]~").encode("ascii")))
        return Passed(headers=headers, caller=caller, decision=decision, application=application, identified=found)

    def decide(self, application: Application, caller: Caller, grant: GrantEntry | None = None) -> Decision:
        """Return what the policies of an application say of a caller; where nothing, a grant counts."""
        policies = self.state.policies_of(application)
        if policies is None:
            return Decision(allowed=False, reason=Reason.BAD_POLICY)
        decision = decide(policies, caller, self.state.groups)
        if grant is None:
            return decision
        if decision.reason is Reason.NO_POLICY:
            decision = Decision(allowed=True, reason=Reason.GRANT)
        return replace(decision, grant=grant.id)

    def _bypass(self, application: Application, caller: Caller) -> Policy | None:
        bypassing = self.state.bypasses_of(application)
        return decide_bypass(bypassing, caller, self.state.groups) if bypassing else None

    def _is_ours(self, token: bytes) -> bool:
        issuer = self.issuer
        return issuer is not None and issuer.is_ours(token)

    def _is_closed(self, host: str) -> bool:
        """Whether what no application covers is closed. The management of connectors has tokens of its own, which are
        verified where its tunnel is looked for (`edge.connectors.management`)."""
        organization = self.state.organization
        return organization is not None and organization.deny_unmatched and host not in HOSTNAMES

    def _may_go_on(self, running: Running) -> bool:
        """Whether what runs would be let pass again, by what is known now."""
        met = self.state.applications.met(running.host, running.path)
        caller = running.caller
        if caller.token is not None:
            token = self.state.token(caller.token.id)
            if token is None or not token.lives(self.clock()):
                return False
            caller = Caller(address=caller.address, token=token)
        elif caller.known and not self.state.is_live(caller.email, caller.provider, caller.session, caller.begun):
            return False
        if caller.known and met and _versions(caller, met) != running.versions:
            return False
        if not met:
            return not self._is_closed(running.host)
        grant = self.state.grants.get(running.decision.grant)
        if running.decision.grant and grant is None:
            return False
        return all(
            self._bypass(application, caller) is not None or self.decide(application, caller, grant).allowed
            for application in met
        )

    def _changed(self, entry_kind: str) -> None:
        if entry_kind in _MAKE_ISSUER:
            self._issuer = None
        self.running.judge_anew()
        for listener in self.listeners:
            listener()


def _binding(visit: Visit, shown: Shown) -> bytes:
    """Return what a browser shows beside the cookie that counts."""
    credential = shown.credential
    if not shown.cookies or not isinstance(credential, Token):
        return b""
    return value_of(shown.cookies, BINDING + credential.suffix, secure=visit.is_secure)


def _versions(caller: Caller, met: tuple[Application, ...]) -> tuple[float, ...]:
    """From when on what was issued counts, for a caller at applications; empty for nobody in particular."""
    if not caller.known:
        return ()
    begin = 0.0 if caller.token is None else caller.token.valid_after
    return (begin, *[application.valid_after for application in met])


@lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    """Return an IP address without its zone; None where it is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


_OPEN = Decision(allowed=True, reason=Reason.NO_APPLICATION)
