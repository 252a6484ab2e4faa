"""The login of an edge: who is led to it, and which of its steps a request is.

A login goes from the application's host (`Origin`, a cookie of that browser) to the login page's, which knows who
somebody is (a global session), and back with a sealed code that only that browser can use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyconnector.edge.access.cookies import APP_SESSION, cookie, suffix_on
from pyconnector.edge.access.credentials import Token
from pyconnector.edge.access.gate import OWN_PATHS, Stopped
from pyconnector.edge.access.login import finish
from pyconnector.edge.access.login.attempt import ATTEMPT_SECONDS, CODE_SECONDS, Origin, browser_digest, target_of
from pyconnector.edge.access.login.counts import Counts
from pyconnector.edge.access.login.handover import Handovers
from pyconnector.edge.access.login.pins import Pins
from pyconnector.edge.access.login.sealing import Sealer
from pyconnector.edge.access.login.shared import SharedCounts
from pyconnector.edge.access.login.sinks import open_sink
from pyconnector.edge.settings import is_loopback
from pyconnector.identity.people.providers import OIDC
from pyconnector.identity.policies.policy import Effect, Reason

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.access.credentials import Shown
    from pyconnector.edge.access.gate import Gate, Visit
    from pyconnector.edge.access.issuer import Issuer
    from pyconnector.edge.access.login.provider_client import ProviderClient
    from pyconnector.edge.access.login.sinks import PinSettings
    from pyconnector.identity.applications.application import Application
    from pyconnector.identity.people.providers import IdentityProvider

    Headers = list[tuple[bytes, bytes]]

#: Answers of providers that are looked at, from one source within so many seconds.
MAX_ANSWERS, ANSWERS_SECONDS = 60, 60.0
#: What a person in a browser can mend by logging in (anew).
_MENDED = frozenset((Reason.NO_CREDENTIALS, Reason.BAD_TOKEN, Reason.REVOKED))
#: What a person is told of a policy's no.
_POLICY = frozenset((Reason.DENIED, Reason.NO_POLICY, Reason.BAD_POLICY))


class Login:
    """Everything about people that an edge does by itself."""

    def __init__(self, gate: Gate, pins: PinSettings | None) -> None:
        self.gate = gate
        self.pins = Pins()
        self.sink = None if pins is None else open_sink(pins)
        self.codes = Counts(1, CODE_SECONDS + 1)
        "Codes that were used: each of them counts once."
        self.states = Counts(1, ATTEMPT_SECONDS)
        "States of providers' answers by which somebody logged in: each of them counts once."
        self.answers = Counts(MAX_ANSWERS, ANSWERS_SECONDS)
        "Providers' answers from one source, each of which makes this edge ask the provider."
        self.shared = SharedCounts()
        "The same for all edges of the mesh."
        self.handovers = Handovers()
        self._client: ProviderClient | None = None
        self._sealers: dict[str, Sealer] = {}
        self._sealers_of: Issuer | None = None

    async def close(self) -> None:
        """Give up what is under way. Idempotent. Cancel leaves some of it."""
        if self.sink is not None:
            await self.sink.close()
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    @property
    def client(self) -> ProviderClient:
        """What asks providers; loaded at the first need, for it brings an HTTP client."""
        if self._client is None:
            from pyconnector.edge.access.login.provider_client import ProviderClient

            self._client = ProviderClient(self.gate.ticks, self.gate.clock)
        return self._client

    def sealer(self, purpose: str, issuer: Issuer) -> Sealer:
        """Return what seals for a purpose with the keys of `issuer`."""
        if self._sealers_of is not issuer:
            self._sealers_of, self._sealers = issuer, {}
        made = self._sealers.get(purpose)
        if made is None:
            made = self._sealers[purpose] = Sealer(issuer.secrets, purpose)
        return made

    def providers_of(self, application: Application) -> list[IdentityProvider]:
        """Return by what people may log in to an application, in the order in which that was made."""
        known = self.gate.state.providers
        allowed = [known[name] for name in application.provider_ids if name in known]
        found = allowed if application.provider_ids else list(known.values())
        return [provider for provider in found if provider.kind == OIDC or self.sink is not None]

    @property
    def organization(self) -> str:
        """What pages are headed with."""
        organization = self.gate.state.organization
        return "" if organization is None else organization.name or organization.auth_domain

    def is_page(self, visit: Visit) -> bool:
        """Return whether a request is for the login page's host."""
        organization = self.gate.state.organization
        return organization is not None and visit.host == organization.auth_domain

    def page_site(self, visit: Visit) -> str:
        """Return the origin of the login page, reached as `visit` reached this edge."""
        organization = self.gate.state.organization
        assert organization is not None
        port = visit.authority.rpartition("]")[2].partition(":")[2]
        return f"{visit.scheme}://{organization.auth_domain}{f':{port}' if port else ''}"

    def refused(self, visit: Visit, stopped: Stopped, application: Application, shown: Shown) -> Stopped:
        """Return what a refused request is told: a browser that navigates is led to the login, or shown a page."""
        credential = shown.credential
        from_browser = credential is None or (isinstance(credential, Token) and credential.from_cookie)
        if not is_navigation(visit) or not from_browser or not is_private(visit):
            return stopped
        reason, caller = stopped.decision.reason, stopped.caller
        if caller.user and reason in _POLICY:
            return _with(stopped, finish.may_not_pass(self, visit, application, caller.email, reason))
        led = self.lead(visit, application, reason) if reason in _MENDED else None
        return stopped if led is None else _with(stopped, led)

    def lead(self, visit: Visit, application: Application, reason: Reason) -> Answer | None:
        """Return a redirect to the login, and back to what was asked for; None where nobody logs in to that."""
        issuer = self.gate.issuer
        if issuer is None or not self._leads_anywhere(visit, application):
            return None
        browser = os.urandom(16).hex().encode("ascii")
        origin = Origin(
            scheme=visit.scheme, authority=visit.authority, target=target_of(visit.target), application=application.id,
            browser=browser_digest(browser),
        )  # fmt: skip
        state = finish.sealed(self.sealer("origin", issuer), origin, self.gate.clock())
        location = f"{self.page_site(visit)}{OWN_PATHS}login/{visit.host}?kid={application.audience}&state={state}"
        name = APP_SESSION + suffix_on(application, self.gate.state.applications.of_host(visit.host))
        given = cookie(name, browser, secure=visit.is_secure, seconds=ATTEMPT_SECONDS)
        return finish.redirect(location, given, reason=reason)

    def _leads_anywhere(self, visit: Visit, application: Application) -> bool:
        policies = self.gate.state.policies_of(application) or ()
        return (
            any(policy.effect is Effect.ALLOW for policy in policies)
            and bool(self.providers_of(application))
            # Where several have to agree there is no one token to log in for: it would lead in a circle.
            and (visit.path.startswith(OWN_PATHS) or len(self.gate.state.applications.met(visit.host, visit.path)) == 1)
        )


def is_navigation(visit: Visit) -> bool:
    """Return whether a person's browser opens a page. Programs, scripts, frames and sockets get a status alone."""
    said = {name.lower(): value for name, value in visit.headers}
    if visit.method != "GET" or visit.websocket or said.get(b"x-requested-with"):
        return False
    mode = said.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate" and said.get(b"sec-fetch-dest", b"document") == b"document"
    return b"text/html" in said.get(b"accept", b"")


def is_private(visit: Visit) -> bool:
    """Return whether cookies and PINs may travel: over TLS, or within this machine."""
    return visit.is_secure or is_loopback(visit.host.strip("[]")) or visit.host.endswith(".localhost")


def _with(stopped: Stopped, answer: Answer) -> Stopped:
    return Stopped(answer=answer, caller=stopped.caller, decision=stopped.decision, application=stopped.application)
