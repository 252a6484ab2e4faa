"""Which rule a request meets, and everything that can be decided about it without I/O.

`ingress.origins` holds the I/O towards the services that the rules name.
"""

from __future__ import annotations

from ingress.explain import Explanation, Verdict, decode_path, explain, split_request_url
from ingress.faults import Fault, IngressError, NoIngressRules
from ingress.local_configuration import local_configuration
from ingress.origin_keys import settings_from_flags
from ingress.parse import parse_ingress
from ingress.remote import (
    RemoteConfiguration,
    parse_remote_configuration,
    parse_remote_ingress,
    parse_remote_warp_routing,
)
from ingress.rules import Ingress, Match, Rule, default_ingress
from ingress.schema import config_schema, settings_table
from ingress.settings import AccessSettings, IpRule, OriginSettings
from ingress.single_origin import SingleOrigin, single_origin_ingress
from ingress.warp_routing import WarpRouting, parse_warp_routing

__all__ = [
    "AccessSettings",
    "Explanation",
    "Fault",
    "Ingress",
    "IngressError",
    "IpRule",
    "Match",
    "NoIngressRules",
    "OriginSettings",
    "RemoteConfiguration",
    "Rule",
    "SingleOrigin",
    "Verdict",
    "WarpRouting",
    "config_schema",
    "decode_path",
    "default_ingress",
    "explain",
    "local_configuration",
    "parse_ingress",
    "parse_remote_configuration",
    "parse_remote_ingress",
    "parse_remote_warp_routing",
    "parse_warp_routing",
    "settings_from_flags",
    "settings_table",
    "single_origin_ingress",
    "split_request_url",
]
