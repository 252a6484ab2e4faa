"""How the connector speaks to the services of a rule: `originRequest`, with its defaults (reference/ingress.md 5).

`OriginSettings` is what the rest of the code sees; `ingress.config.keys.origin_keys` says which config key sets
which field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pyconnector.ingress.rules.ip_rules import IpRule

if TYPE_CHECKING:
    from pyconnector.ingress.config.services import Service
    from pyconnector.ingress.rules.error_page import ErrorPage
    from pyconnector.ingress.rules.failover import Balance, HealthCheck
    from pyconnector.ingress.rules.header_rules import HeaderRules
    from pyconnector.ingress.rules.rewrite import PathRewrite

__all__ = ["AccessSettings", "IpRule", "OriginSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Whose visitors may pass. With `required` and no `aud_tag`, or neither `team_name` nor `issuer`, nobody may."""

    required: bool = False
    team_name: str = ""
    aud_tag: tuple[str, ...] = ()
    environment: str = ""
    issuer: str = ""
    "Who issues the tokens, in place of a team: a mesh of one's own (an extension)."
    keys_url: str = ""
    "Where that issuer publishes its keys."
    allow: tuple[str, ...] = ()
    "Who of those with a token may pass: any of `role:`, `label:`, `token:` and `email:` (an extension). Empty: all."


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSettings:
    """The settings of one rule, after inheritance. Times in seconds."""

    connect_timeout: float = 30.0
    tls_timeout: float = 10.0
    tcp_keepalive: float = 30.0
    "0 leaves it to the system, a negative value turns it off."
    no_happy_eyeballs: bool = False
    keepalive_connections: int = 100
    keepalive_timeout: float = 90.0
    http_host_header: str = ""
    origin_server_name: str = ""
    match_sni_to_host: bool = False
    ca_pool: str = ""
    no_tls_verify: bool = False
    disable_chunked_encoding: bool = False
    bastion_mode: bool = False
    proxy_address: str = "127.0.0.1"
    proxy_port: int = 0
    proxy_type: str = ""
    ip_rules: tuple[IpRule, ...] = ()
    http2_origin: bool = False
    access: AccessSettings | None = None

    # Opt-in: what the reference does not have.
    strip_path_prefix: str = ""
    rewrite_path: tuple[PathRewrite, ...] = ()
    add_path_prefix: str = ""
    request_headers: HeaderRules | None = None
    response_headers: HeaderRules | None = None
    backends: tuple[Service, ...] = ()
    "Further services beside the rule's own."
    balance: Balance = "failover"
    health_check: HealthCheck | None = None
    retry_for: float = 0.0
    "How long a request waits for a service that refuses connections."
    proxy_protocol: Literal["", "v1", "v2"] = ""
    error_page: ErrorPage | None = field(default=None, repr=False)

    @property
    def adjusts(self) -> bool:
        """Whether a request or its response is changed on the way."""
        rewrites = self.strip_path_prefix or self.rewrite_path or self.add_path_prefix
        return bool(rewrites or self.request_headers or self.response_headers or self.error_page)
