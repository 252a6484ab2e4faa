"""The steps of a login on the login page's host: choose, PIN, code, away to a provider and back.

Each step proves that it belongs to the attempt of this browser: by the sealed cookie of the attempt, which no other
host can plant, by its number in the form, and by where the browser says that the form came from.
"""

from __future__ import annotations

import hmac
import logging
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pyconnector.edge.access.cookies import LOGIN, SESSION, cookie, own_cookies, value_of
from pyconnector.edge.access.failures import source_of
from pyconnector.edge.access.gate import OWN_PATHS
from pyconnector.edge.access.login import finish, pins
from pyconnector.edge.access.login.attempt import ATTEMPT_SECONDS, Attempt, attempt_of
from pyconnector.edge.access.login.pages import message, page, to
from pyconnector.edge.access.login.pins import DIGITS, SECONDS, is_pin, make_pin, pin_digest
from pyconnector.edge.access.login.provider_client import ProviderUnavailable
from pyconnector.edge.access.login.sinks import PinMessage
from pyconnector.identity.people.oidc import authorization_url
from pyconnector.identity.people.person import Person, email_of, session_claims, subject_of
from pyconnector.identity.people.providers import ONE_TIME_PIN, IdentityProvider
from pyconnector.identity.policies.policy import Reason
from pyconnector.identity.policies.rules import Caller, claims_asked

if TYPE_CHECKING:
    from pyconnector.edge.access.answers import Answer
    from pyconnector.edge.access.gate import Visit
    from pyconnector.edge.access.issuer import Issuer
    from pyconnector.edge.access.login.attempt import Origin
    from pyconnector.edge.access.login.login import Login
    from pyconnector.identity.applications.application import Application

#: Bytes of a form, and fields of one.
MAX_FORM, MAX_FIELDS = 4096, 10
_log = logging.getLogger("pyconnector.edge.login")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A request to the login page, with what is needed to answer it."""

    login: Login
    visit: Visit
    issuer: Issuer
    query: dict[str, str]
    form: dict[str, str]

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self.login.gate.clock()

    def attempt(self, seconds: int = ATTEMPT_SECONDS) -> Attempt | None:
        """Return the attempt of this browser; None where it has none, or none of the last so many seconds."""
        text = value_of(own_cookies(self.visit.headers), LOGIN, secure=self.visit.is_secure)
        value = self.login.sealer("attempt", self.issuer).open(text, seconds=seconds, now=self.now)
        return None if value is None else attempt_of(value)

    def posted(self, seconds: int = ATTEMPT_SECONDS) -> Attempt | None:
        """Return the attempt that a form belongs to; None where it comes from elsewhere."""
        attempt = self.attempt(seconds)
        shown = self.form.get("attempt", "")
        said = {name.lower(): value for name, value in self.visit.headers}
        origin = said.get(b"origin")
        if origin is not None and origin != self.login.page_site(self.visit).encode("ascii"):
            return None
        if said.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
            return None
        return attempt if attempt is not None and hmac.compare_digest(attempt.id.encode(), shown.encode()) else None

    def keep(self, attempt: Attempt) -> tuple[bytes, bytes]:
        """Return the field that lets the browser carry an attempt on."""
        sealed = self.login.sealer("attempt", self.issuer).seal(asdict(attempt), self.now)
        return cookie(LOGIN, sealed.encode("ascii"), secure=self.visit.is_secure, seconds=ATTEMPT_SECONDS)

    def application(self, attempt: Attempt) -> Application | None:
        """Return the application that the login is for, as it is now."""
        return self.login.gate.state.applications.get(attempt.origin.application)

    def provider(self, attempt: Attempt, provider_id: str) -> IdentityProvider | None:
        """Return a provider by which people may log in there, as it is now."""
        application = self.application(attempt)
        found = [] if application is None else self.login.providers_of(application)
        return next((provider for provider in found if provider.id == provider_id), None)

    def over(self) -> Answer:
        """Return the answer to a step of no attempt that goes on."""
        return message(
            400, "This login is over", "It took too long, was finished before, or was not begun in this browser.",
            "Go to the address that you wanted once more.", organization=self.login.organization,
            reason=Reason.BAD_TOKEN,
        )  # fmt: skip


def read_form(body: bytes) -> dict[str, str] | None:
    """Return the fields of a form; None where it is none, or one comes twice."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {} if not body else None
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


async def choose(step: Step) -> Answer:
    """Show by what one may log in, or lead on at once who is logged in already. Cancel changes nothing."""
    login = step.login
    origin = finish.opened(login.sealer("origin", step.issuer), step.query.get("state", ""), step.now)
    application = None if origin is None else login.gate.state.applications.get(origin.application)
    if origin is None or application is None or not _is_here(step, origin):
        return step.over()
    person = finish.person_here(login, step.visit)
    found = login.providers_of(application)
    if person is not None and any(provider.id == person.provider for provider in found):
        return _back(step, origin, person)
    attempt = Attempt(id=os.urandom(16).hex(), origin=origin)
    if application.to_provider_at_once and len(found) == 1 and found[0].kind != ONE_TIME_PIN:
        return await _away(step, attempt, found[0])
    return _choice(step, attempt, application, found)


async def send_pin(step: Step) -> Answer:
    """Send a PIN to an address, or seem to: whether it may log in is told to nobody. Cancel changes nothing."""
    attempt, login = step.posted(), step.login
    application = None if attempt is None else step.application(attempt)
    if attempt is None or application is None:
        return step.over()
    found = login.providers_of(application)
    provider = next((provider for provider in found if provider.kind == ONE_TIME_PIN), None)
    if provider is None or login.sink is None:
        return step.over()
    email = email_of(step.form.get("email", "").strip())
    if email is None:
        return _choice(step, attempt, application, found, "That is no e-mail address.")
    if not await _may_send(login, email, step.visit.address):
        return _choice(step, attempt, application, found, "Too many codes were asked for. Wait ten minutes.", 429)
    fresh = os.urandom(16).hex()
    pin = make_pin(os.urandom(16))
    attempt = attempt.with_pin(provider.id, email, pin_digest(fresh, pin), fresh, login.shared.edge)
    account = login.gate.state.organization.account_id if login.gate.state.organization else ""
    asking = Caller(address=None, user=subject_of(account, email), email=email, provider=provider.id)
    if login.gate.decide(application, asking).allowed:
        login.sink.send(PinMessage(email=email, pin=pin, application=application.name, seconds=SECONDS))
    return _ask_pin(step, attempt, application, step.keep(attempt))


async def take_pin(step: Step) -> Answer:
    """Take a PIN: log in, or let it be tried again a few times. Cancel changes nothing."""
    attempt, login = step.posted(SECONDS), step.login
    application = None if attempt is None else step.application(attempt)
    provider = None if attempt is None else step.provider(attempt, attempt.provider)
    if attempt is None or application is None or provider is None or not attempt.pin:
        return step.over()
    ticks, gate = login.gate.ticks(), login.gate
    if gate.failures.is_too_many(step.visit.address, ticks) or not await _may_guess(login, attempt):
        return message(
            429, "Too many wrong codes", "This code counts no more.", "Go to the address that you wanted once more.",
            organization=login.organization, reason=Reason.TOO_MANY,
        )  # fmt: skip
    if not is_pin(attempt.id, attempt.pin, step.form.get("pin", "")):
        gate.failures.count(step.visit.address, ticks)
        problem = "That is not the code."
        return _ask_pin(step, attempt, application, problem=problem, status=401, reason=Reason.BAD_CREDENTIALS)
    shared, known_at = login.shared, attempt.edge
    if not login.pins.use(attempt.id, ticks) or not await shared.take(
        "used", attempt.id, 1, SECONDS, begun_at=known_at
    ):
        return step.over()
    return _logged_in(step, attempt, provider, attempt.email, "")


def _asked(login: Login, provider: IdentityProvider) -> set[tuple[str, str]]:
    """Return which claims of a provider rules ask for; where it keeps none, none are looked for."""
    if provider.oidc is None or not provider.oidc.claims:
        return set()
    return claims_asked(login.gate.state.conditions, provider.id)


async def _may_send(login: Login, email: str, address: str) -> bool:
    here = login.shared.edge  # while nobody can be asked each edge sends as many as it would alone
    return (
        login.pins.may_send(email, address, login.gate.ticks())
        and await login.shared.take("source", source_of(address), pins.MAX_FOR_SOURCE, SECONDS, begun_at=here)
        and await login.shared.take("address", email, pins.MAX_FOR_ADDRESS, SECONDS, begun_at=here)
    )


async def _may_guess(login: Login, attempt: Attempt) -> bool:
    # Counted before the guess is looked at, so that many at once, at many edges, are no more than a few.
    return login.pins.may_guess(attempt.id, login.gate.ticks()) and await login.shared.take(
        "guess", attempt.id, pins.MAX_GUESSES, SECONDS, begun_at=attempt.edge
    )


async def to_provider(step: Step) -> Answer:
    """Send the browser to a provider. Cancel changes nothing."""
    attempt = step.attempt()
    provider = None if attempt is None else step.provider(attempt, step.query.get("idp", ""))
    if attempt is None or provider is None or provider.oidc is None:
        return step.over()
    return await _away(step, attempt, provider)


async def from_provider(step: Step) -> Answer:
    """Take what a provider sent the browser back with. Cancel gives up the question to the provider."""
    attempt, login, query = step.attempt(), step.login, step.query
    state = query.get("state", "")
    if attempt is None or not attempt.state or not hmac.compare_digest(attempt.state.encode(), state.encode()):
        return step.over()
    provider = step.provider(attempt, attempt.provider)
    if provider is None or provider.oidc is None:
        return step.over()
    if query.get("iss", provider.oidc.issuer) != provider.oidc.issuer or "code" not in query:
        # RFC 9207: an answer of another provider; or the person said no there.
        return _failed(step, attempt, provider)
    if not login.answers.take(source_of(step.visit.address), login.gate.ticks()):
        return message(
            429, "Too many attempts", "Wait a minute.", organization=login.organization, reason=Reason.TOO_MANY
        )
    try:
        found = await login.client.finish(
            provider, code=query["code"], redirect=_callback(step), nonce=attempt.nonce, verifier=attempt.verifier,
            asked=_asked(login, provider),
        )  # fmt: skip
    except ProviderUnavailable as error:
        _log.warning("Nobody could be logged in by %s: %s", provider.name, error)
        return _failed(step, attempt, provider)
    # Only now, so that nobody can use the room for states up without logging in.
    if not login.states.take(state, login.gate.ticks()) or not await login.shared.take(
        "state", state, 1, ATTEMPT_SECONDS, begun_at=attempt.edge
    ):
        return step.over()
    return _logged_in(step, attempt, provider, found.email, found.name, found.claims)


async def _away(step: Step, attempt: Attempt, provider: IdentityProvider) -> Answer:
    assert provider.oidc is not None
    try:
        metadata = await step.login.client.metadata(provider)
    except ProviderUnavailable as error:
        _log.warning("Nobody can be sent to %s: %s", provider.name, error)
        return _failed(step, attempt, provider)
    attempt = replace(
        attempt, provider=provider.id, state=os.urandom(24).hex(), nonce=os.urandom(24).hex(),
        verifier=os.urandom(32).hex(), pin="", edge=step.login.shared.edge,
    )  # fmt: skip
    location = authorization_url(
        metadata, provider.oidc, redirect=_callback(step), state=attempt.state, nonce=attempt.nonce,
        verifier=attempt.verifier,
    )  # fmt: skip
    return to(location, step.keep(attempt))


def _logged_in(
    step: Step, attempt: Attempt, provider: IdentityProvider, email: str, name: str,
    claims: dict[str, list[str]] | None = None,
) -> Answer:  # fmt: skip
    login, organization = step.login, step.login.gate.state.organization
    assert organization is not None
    person = Person(
        subject=subject_of(organization.account_id, email), email=email, name=name, provider=provider.id,
        nonce=os.urandom(16).hex(), begun=round(step.now, 3), claims=claims or {},
    )  # fmt: skip
    seconds = finish.lifetime(organization.session_seconds)
    claims = session_claims(
        person, issuer=step.issuer.issuer, audience=organization.audience, now=step.now, seconds=seconds
    )
    login.gate.state.news.login(email, name, login.gate.ticks())
    secure = step.visit.is_secure
    return _back(
        step, attempt.origin, person, cookie(LOGIN, b"", secure=secure, seconds=0),
        cookie(SESSION, step.issuer.sign(claims), secure=secure, seconds=int(seconds)),
    )  # fmt: skip


def _back(step: Step, origin: Origin, person: Person, *fields: tuple[bytes, bytes]) -> Answer:
    code = finish.code_for(step.login, origin, person)
    return step.over() if code is None else to(f"{origin.site}{OWN_PATHS}authorized?code={code}", *fields)


def _failed(step: Step, attempt: Attempt, provider: IdentityProvider) -> Answer:
    return message(
        502, "That did not work", f"{provider.name} did not say who you are.", organization=step.login.organization,
        more={"link": attempt.origin.url, "link_text": "Try again", "ray": step.visit.ray},
        reason=Reason.BAD_CREDENTIALS,
    )  # fmt: skip


def _choice(
    step: Step, attempt: Attempt, application: Application, found: list[IdentityProvider], problem: str = "",
    status: int = 200,
) -> Answer:  # fmt: skip
    values: dict[str, Any] = {
        "title": f"Log in to {application.name}", "organization": step.login.organization, "problem": problem,
        "application": application.name, "host": attempt.origin.host, "attempt": attempt.id,
        "others": [provider for provider in found if provider.kind != ONE_TIME_PIN],
        "pin": any(provider.kind == ONE_TIME_PIN for provider in found),
        "start": f"{OWN_PATHS}login-start", "pin_action": f"{OWN_PATHS}login-pin",
    }  # fmt: skip
    return page("choose.html", status if not problem or status != 200 else 400, values, step.keep(attempt))


def _ask_pin(
    step: Step, attempt: Attempt, application: Application, *fields: tuple[bytes, bytes], problem: str = "",
    status: int = 200, reason: Reason = Reason.LOCAL,
) -> Answer:  # fmt: skip
    values = {
        "title": "Enter your code", "organization": step.login.organization, "problem": problem,
        "application": application.name, "email": attempt.email, "attempt": attempt.id, "digits": DIGITS,
        "minutes": pins.SECONDS // 60, "code_action": f"{OWN_PATHS}login-code", "back": attempt.origin.url,
    }  # fmt: skip
    # The form's answer leads on to the application: a browser follows it only where the policy of this page says so.
    return page("pin.html", status, values, *fields, form_targets=[attempt.origin.site], reason=reason)


def _is_here(step: Step, origin: Origin) -> bool:
    """Return whether a login began at the port that this one is at: another may be somebody else's server."""
    port = step.visit.authority.rpartition("]")[2].partition(":")[2]
    return (origin.scheme, origin.authority.rpartition("]")[2].partition(":")[2]) == (step.visit.scheme, port)


def _callback(step: Step) -> str:
    return f"{step.login.page_site(step.visit)}{OWN_PATHS}callback"
