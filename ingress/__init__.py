"""Which rule a request meets, and everything that can be decided about it without I/O.

`pyconnector.origins` holds the I/O towards the services that the rules name.
"""

from __future__ import annotations

from pyconnector.identity.applications.path_spellings import decode_path
from pyconnector.ingress.config.errors import IngressError, NoIngressRules, RuleProblem
from pyconnector.ingress.config.keys.origin_keys import settings_from_flags
from pyconnector.ingress.config.keys.schema import config_schema, settings_table
from pyconnector.ingress.config.local_configuration import local_configuration
from pyconnector.ingress.config.parse import parse_ingress
from pyconnector.ingress.config.remote import (
    RemoteConfiguration,
    parse_remote_configuration,
    parse_remote_ingress,
    parse_remote_warp_routing,
)
from pyconnector.ingress.config.settings import AccessSettings, IpRule, OriginSettings
from pyconnector.ingress.config.single_origin import SingleOrigin, single_origin_ingress
from pyconnector.ingress.config.warp_routing import WarpRouting, parse_warp_routing
from pyconnector.ingress.rules.explain import Explanation, Verdict, explain, split_request_url
from pyconnector.ingress.rules.rules import Ingress, Match, Rule, default_ingress

__all__ = [
    "AccessSettings",
    "Explanation",
    "Ingress",
    "IngressError",
    "IpRule",
    "Match",
    "NoIngressRules",
    "OriginSettings",
    "RemoteConfiguration",
    "Rule",
    "RuleProblem",
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
