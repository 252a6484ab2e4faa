"""Policies in their order, and what they decide of one caller (access.md 2). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pyconnector.identity.policies.rules import Caller, Conditions, Group, PolicyError, parse_conditions


class Effect(Enum):
    """What a policy does with those whom it means (the API's `decision`)."""

    BYPASS = "bypass"
    SERVICE_AUTH = "non_identity"
    DENY = "deny"
    ALLOW = "allow"


#: Judged before the others, whatever stands in the list between them.
_FIRST = (Effect.BYPASS, Effect.SERVICE_AUTH)


class Reason(Enum):
    """Why a request may pass or not; in answers, logs and audit records."""

    NO_APPLICATION = "no_application"
    BYPASS = "bypass"
    POLICY = "policy_matched"
    GRANT = "granted"
    LOCAL = "answered_by_the_edge"
    NO_CREDENTIALS = "no_credentials"
    BAD_CREDENTIALS = "invalid_credentials"
    SEVERAL_CREDENTIALS = "several_credentials"
    INCOMPLETE_CREDENTIALS = "incomplete_credentials"
    BAD_TOKEN = "invalid_token"
    REVOKED = "revoked"
    OUT_OF_SCOPE = "outside_of_session"
    DENIED = "denied_by_policy"
    NO_POLICY = "no_policy_matched"
    BAD_POLICY = "policy_error"
    UNMATCHED = "no_application_matched"
    TOO_MANY = "too_many_failures"
    NO_KEY = "no_signing_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy."""

    id: str
    name: str
    effect: Effect
    conditions: Conditions
    revision: int = 1
    "Raised with each change, so that a record tells under which wording it was decided."
    session_seconds: float | None = None
    "For how long what is issued under it is valid; None as the application says."


# Not frozen, though nobody changes it: made for every request, and a frozen one costs three times as much to make.
@dataclass(slots=True, kw_only=True)
class Decision:
    """Whether a caller may pass, why, and by which policy."""

    allowed: bool
    reason: Reason
    policy: Policy | None = None
    grant: str = ""
    "The id of the grant that was shown, where one was."


def decide(policies: Sequence[Policy], caller: Caller, groups: Mapping[str, Group]) -> Decision:
    """Return what `policies` say of `caller`. Nothing that matches is a no.

    Bypass and service authentication come first, then deny and allow, each in their order; the first that matches
    ends it. Allow means people who logged in: a service token counts under service authentication only.
    """
    try:
        for policy in policies:
            if policy.effect in _FIRST and policy.conditions.hold(caller, groups):
                reason = Reason.BYPASS if policy.effect is Effect.BYPASS else Reason.POLICY
                return Decision(allowed=True, reason=reason, policy=policy)
        for policy in policies:
            if policy.effect in _FIRST or not policy.conditions.hold(caller, groups):
                continue
            if policy.effect is Effect.DENY:
                return Decision(allowed=False, reason=Reason.DENIED, policy=policy)
            if caller.user or caller.email:
                return Decision(allowed=True, reason=Reason.POLICY, policy=policy)
    except PolicyError:
        # A group that is gone must not turn an exclusion into an admission.
        return Decision(allowed=False, reason=Reason.BAD_POLICY)
    return Decision(allowed=False, reason=Reason.NO_POLICY if caller.known else Reason.NO_CREDENTIALS)


def decide_bypass(policies: Sequence[Policy], caller: Caller, groups: Mapping[str, Group]) -> Policy | None:
    """Return the bypass policy that lets `caller` pass unasked, before anybody looks at credentials.

    One that stands behind a service-authentication policy bypasses as well: both only ever let pass.
    """
    anonymous = Caller(address=caller.address)
    for policy in policies:
        try:
            if policy.effect is Effect.BYPASS and policy.conditions.hold(anonymous, groups):
                return policy
        except PolicyError:
            continue
    return None


def parse_policy(policy_id: str, value: Mapping[str, Any]) -> Policy:
    """Return a policy of its JSON: `name`, `decision`, `include`, `require`, `exclude`, `revision`.

    Raises:
        PolicyError: it makes no sense, with one sentence.
    """
    name, decision, revision = value.get("name"), value.get("decision"), value.get("revision", 1)
    if not isinstance(name, str) or type(revision) is not int:
        raise PolicyError("A policy has a name and a revision.")
    try:
        effect = Effect(decision)
    except ValueError:
        raise PolicyError("decision is one of allow, deny, non_identity and bypass.") from None
    conditions = parse_conditions(value)
    check_effect(effect, conditions)
    seconds = value.get("session_seconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0):
        raise PolicyError("session_seconds is a number of seconds.")
    return Policy(
        id=policy_id, name=name, effect=effect, conditions=conditions, revision=revision, session_seconds=seconds
    )


def parse_group(group_id: str, value: Mapping[str, Any]) -> Group:
    """Return a group of its JSON.

    Raises:
        PolicyError: it makes no sense, with one sentence.
    """
    name = value.get("name")
    if not isinstance(name, str):
        raise PolicyError("A group has a name.")
    return Group(id=group_id, name=name, conditions=parse_conditions(value))


def check_effect(effect: Effect, conditions: Conditions) -> None:
    """Refuse rules that can never count under `effect`.

    Raises:
        PolicyError: with one sentence.
    """
    asked = {rule.about: rule.kind for rule in conditions.all}
    if effect is Effect.BYPASS and (kind := asked.get("service") or asked.get("person")):
        raise PolicyError(f"Under bypass nobody is asked who they are, so the rule {kind} could never match.")
    if effect is Effect.SERVICE_AUTH and (kind := asked.get("person")):
        raise PolicyError(f"Under non_identity nobody logs in, so the rule {kind} could never match.")
    if effect is Effect.ALLOW and (kind := asked.get("service")):
        raise PolicyError(f"The rule {kind} counts only under the decision non_identity: allow is for people.")
    if effect is Effect.SERVICE_AUTH and all(rule.about == "anybody" for rule in conditions.include):
        if not any(rule.about != "anybody" for rule in conditions.require):
            raise PolicyError("This policy would let everybody pass: if that is meant, its decision is bypass.")
