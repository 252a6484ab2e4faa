"""What edges are told of Access, kind by kind, as `control.store.feed` takes it into a snapshot."""

from __future__ import annotations

from typing import Any

from pyconnector.control.store.access import (
    applications,
    conditions,
    grants,
    keys,
    network_rules,
    organization,
    people,
    providers,
    service_tokens,
    tables,
)
from pyconnector.control.store.devices import devices
from pyconnector.control.store.devices.tables import Device

#: Kind, table, and what edges need to know of a row.
ACCESS_KINDS: tuple[tuple[str, Any, Any], ...] = (
    ("access_organization", tables.Organization, organization.edge_value),
    ("access_key", tables.SigningKey, keys.edge_value),
    ("service_token", tables.ServiceToken, service_tokens.edge_value),
    ("access_identity_provider", tables.IdentityProvider, providers.edge_value),
    ("access_user", tables.User, people.user_value),
    ("access_ended_session", tables.EndedSession, people.session_value),
    ("access_group", tables.Group, conditions.group_value),
    ("access_policy", tables.Policy, conditions.policy_value),
    ("access_application", tables.Application, applications.edge_value),
    ("access_grant", tables.Grant, grants.edge_value),
    ("device", Device, devices.edge_value),
    ("network_rule", tables.NetworkRule, network_rules.edge_value),
)
