"""What an edge knows of Access: filled by the Directory, asked on the route. Synchronous, without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.edge.access.devices import DeviceEntry, Devices
from pyconnector.edge.access.entries import (
    AccessEntry,
    EndedSession,
    GrantEntry,
    KeyEntry,
    NetworkRuleEntry,
    OrganizationEntry,
    UserEntry,
)
from pyconnector.edge.access.news import News
from pyconnector.identity.applications.application import Application
from pyconnector.identity.applications.matching import Applications
from pyconnector.identity.people.providers import IdentityProvider
from pyconnector.identity.policies.policy import Effect, Policy
from pyconnector.identity.policies.rules import Conditions, Group
from pyconnector.identity.service_tokens import ServiceToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyconnector.identity.network_rules import NetworkRule

#: Service tokens whose use waits to be reported.
MAX_USED = 10_000


class AccessState:
    """Organization, keys, service tokens, groups, policies, applications and network rules, as of one change."""

    def __init__(self) -> None:
        self.organization: OrganizationEntry | None = None
        self.keys: dict[str, KeyEntry] = {}
        self.applications = Applications()
        self.groups: dict[str, Group] = {}
        self.tokens: dict[str, ServiceToken] = {}
        "By client id."
        self.grants: dict[str, GrantEntry] = {}
        "By id."
        self.devices = Devices()
        self.network_rules: tuple[NetworkRule, ...] = ()
        "Those that are enabled, in their order."
        self.providers: dict[str, IdentityProvider] = {}
        "By what people may log in."
        self.revision = 0
        "Raised with each change."
        self.on_change: Callable[[str], None] = lambda kind: None
        "Called after each change, with the kind of what changed."
        self._token_ids: dict[str, str] = {}
        self._network_rules: dict[str, NetworkRuleEntry] = {}
        self._users: dict[str, UserEntry] = {}
        self._valid_after: dict[str, float] = {}
        self._ended: set[str] = set()
        self.news = News()
        "Of people, for the control plane."
        self._policies: dict[str, Policy] = {}
        self._of_application: dict[str, tuple[Policy, ...] | None] = {}
        self._bypasses: dict[str, tuple[Policy, ...]] = {}
        self._used: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<AccessState applications={len(self.applications)} tokens={len(self.tokens)} revision={self.revision}>"

    @property
    def active(self) -> bool:
        """Whether there is anything of Access; if not, nothing on the route asks for it."""
        return self.organization is not None

    def put(self, kind: str, entry: AccessEntry) -> None:
        """Add an object, or change it."""
        match entry:
            case OrganizationEntry():
                self.organization = entry
            case KeyEntry():
                self.keys[entry.id] = entry
            case ServiceToken():
                self._drop_token(entry.id)
                self.tokens[entry.client_id] = entry
                self._token_ids[entry.id] = entry.client_id
            case IdentityProvider():
                self.providers[entry.id] = entry
            case UserEntry():
                self._drop_user(entry.id)
                self._users[entry.id] = entry
                self._valid_after[entry.email] = entry.valid_after
            case EndedSession():
                self._ended.add(entry.nonce)
            case Group():
                self.groups[entry.id] = entry
            case Policy():
                self._policies[entry.id] = entry
            case _:
                self._put_leave(entry)
        self._changed(kind)

    def _put_leave(self, entry: AccessEntry) -> None:
        match entry:
            case Application():
                self.applications.put(entry)
            case GrantEntry():
                self.grants[entry.id] = entry
            case DeviceEntry():
                self.devices.put(entry)
            case NetworkRuleEntry():
                self._network_rules[entry.rule.id] = entry
                self._order_rules()

    def drop(self, kind: str, object_id: str) -> None:
        """Forget an object. Idempotent."""
        match kind:
            case "access_organization":
                self.organization = None
            case "access_key":
                self.keys.pop(object_id, None)
            case "service_token":
                self._drop_token(object_id)
            case "access_identity_provider":
                self.providers.pop(object_id, None)
            case "access_user":
                self._drop_user(object_id)
            case "access_ended_session":
                self._ended.discard(object_id)
            case "access_group":
                self.groups.pop(object_id, None)
            case "access_policy":
                self._policies.pop(object_id, None)
            case _:
                self._drop_leave(kind, object_id)
        self._changed(kind)

    def _drop_leave(self, kind: str, object_id: str) -> None:
        match kind:
            case "access_application":
                self.applications.drop(object_id)
            case "access_grant":
                self.grants.pop(object_id, None)
            case "device":
                self.devices.drop(object_id)
            case "network_rule":
                self._network_rules.pop(object_id, None)
                self._order_rules()

    def is_live(self, email: str, provider: str, nonce: str, begun: float) -> bool:
        """Return whether a person's session still counts: not ended, not revoked, its provider still there."""
        return nonce not in self._ended and provider in self.providers and begun >= self._valid_after.get(email, 0.0)

    def end_session(self, nonce: str, expires: float) -> None:
        """Let a session be over; `expires` says until when tokens of it could be shown, in seconds since the epoch."""
        self._ended.add(nonce)
        self.news.ended(nonce, expires)
        self._changed("access_ended_session")

    def token(self, token_id: str) -> ServiceToken | None:
        """Return a service token by the id of the object."""
        client_id = self._token_ids.get(token_id)
        return None if client_id is None else self.tokens.get(client_id)

    @property
    def conditions(self) -> Iterator[Conditions]:
        """Those of every policy and group."""
        yield from (policy.conditions for policy in self._policies.values())
        yield from (group.conditions for group in self.groups.values())

    def policies_of(self, application: Application) -> tuple[Policy, ...] | None:
        """Return the policies of an application in their order; None where one is missing, so that nobody may pass."""
        if application.id in self._of_application:
            return self._of_application[application.id]
        found = [self._policies.get(policy_id) for policy_id in application.policy_ids]
        whole = tuple(policy for policy in found if policy is not None)
        made = self._of_application[application.id] = whole if len(whole) == len(found) else None
        return made

    def bypasses_of(self, application: Application) -> tuple[Policy, ...]:
        """Return those of its policies that let pass unasked; none where a policy is missing."""
        found = self._bypasses.get(application.id)
        if found is None:
            policies = self.policies_of(application) or ()
            found = tuple(policy for policy in policies if policy.effect is Effect.BYPASS)
            self._bypasses[application.id] = found
        return found

    def note_use(self, token: ServiceToken, moment: float) -> None:
        """Remember that a token was used, at a moment of any clock."""
        if token.id in self._used or len(self._used) < MAX_USED:
            self._used[token.id] = moment

    def take_used(self, now: float) -> dict[str, float]:
        """Return how many seconds ago each token was used, of those that were since the last call."""
        used, self._used = self._used, {}
        return {token_id: max(0.0, now - moment) for token_id, moment in used.items()}

    def give_back(self, used: dict[str, float], now: float) -> None:
        """Take back what could not be reported."""
        for token_id, age in used.items():
            if token_id not in self._used and len(self._used) < MAX_USED:
                self._used[token_id] = now - age

    def _order_rules(self) -> None:
        enabled = [entry for entry in self._network_rules.values() if entry.enabled]
        enabled.sort(key=lambda entry: (entry.precedence, entry.rule.id))
        self.network_rules = tuple(entry.rule for entry in enabled)

    def _drop_user(self, user_id: str) -> None:
        entry = self._users.pop(user_id, None)
        if entry is not None:
            self._valid_after.pop(entry.email, None)

    def _drop_token(self, token_id: str) -> None:
        client_id = self._token_ids.pop(token_id, None)
        if client_id is not None:
            self.tokens.pop(client_id, None)

    def _changed(self, kind: str) -> None:
        self._of_application.clear()
        self._bypasses.clear()
        self.revision += 1
        self.on_change(kind)
