"""The keys of `originRequest`: which config key sets which field of `OriginSettings`, and how values inherit.

Precedence is rule, then top level, then default; a key that is present counts as set, whatever its value
(reference/ingress.md 5). `access` and `ipRules` of the top level apply to every rule that has none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.keys.kinds import Duration, Flag, Reader, Text, Whole
from pyconnector.ingress.config.keys.opt_in_keys import OPT_IN_KEYS
from pyconnector.ingress.config.keys.security_keys import ACCESS_KIND, IP_RULES_KIND
from pyconnector.ingress.config.keys.table import Key, Section, Table
from pyconnector.ingress.config.settings import OriginSettings

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import ConfigPath

_UNUSED_PROXY = "nothing listens there, in the reference neither"

ORIGIN_REQUEST = Table(
    keys=(
        Key(
            name="connectTimeout",
            field="connect_timeout",
            kind=Duration(),
            meaning="Time for a connection to the service to be made; 0s for no limit.",
            flag="proxy-connect-timeout",
            also_tried=("timeout",),
        ),
        Key(
            name="tlsTimeout",
            field="tls_timeout",
            kind=Duration(),
            meaning="Time for the TLS handshake with the service; 0s for no limit.",
            flag="proxy-tls-timeout",
        ),
        Key(
            name="tcpKeepAlive",
            field="tcp_keepalive",
            kind=Duration(negative=True),
            meaning="Interval of TCP keep-alive; 0s for the system's own, negative to turn it off.",
            flag="proxy-tcp-keepalive",
        ),
        Key(
            name="noHappyEyeballs",
            field="no_happy_eyeballs",
            kind=Flag(),
            meaning="Try the addresses of a service one after another, not IPv6 and IPv4 side by side.",
            flag="proxy-no-happy-eyeballs",
        ),
        Key(
            name="keepAliveConnections",
            field="keepalive_connections",
            kind=Whole(),
            meaning="Idle connections that are kept open to a service.",
            flag="proxy-keepalive-connections",
        ),
        Key(
            name="keepAliveTimeout",
            field="keepalive_timeout",
            kind=Duration(negative=True),
            meaning="How long an idle connection is kept; 0s for ever.",
            flag="proxy-keepalive-timeout",
        ),
        Key(
            name="httpHostHeader",
            field="http_host_header",
            kind=Text(example="a host name"),
            meaning="Host field for the service; the visitor's own goes into X-Forwarded-Host.",
            flag="http-host-header",
            also_tried=("host", "hostHeader"),
        ),
        Key(
            name="originServerName",
            field="origin_server_name",
            kind=Text(example="a host name"),
            meaning="Name that the service's certificate must have.",
            flag="origin-server-name",
            also_tried=("serverName", "sni"),
        ),
        Key(
            name="matchSNItoHost",
            field="match_sni_to_host",
            kind=Flag(),
            meaning="Expect the visitor's host name in the service's certificate.",
            flag="match-sni-to-host",
        ),
        Key(
            name="caPool",
            field="ca_pool",
            kind=Text(example="the path of a PEM file"),
            meaning="PEM file of further authorities that may sign the service's certificate.",
            flag="origin-ca-pool",
        ),
        Key(
            name="noTLSVerify",
            field="no_tls_verify",
            kind=Flag(),
            meaning="Accept any certificate of the service.",
            flag="no-tls-verify",
            also_tried=("insecureSkipVerify", "insecure"),
        ),
        Key(
            name="disableChunkedEncoding",
            field="disable_chunked_encoding",
            kind=Flag(),
            meaning="Never send a chunked request body to the service (for WSGI servers).",
            flag="no-chunked-encoding",
        ),
        Key(
            name="bastionMode",
            field="bastion_mode",
            kind=Flag(),
            meaning="Connect to the address that the visitor's client names, whatever `service` says.",
            flag="bastion",
        ),
        Key(
            name="proxyAddress",
            field="proxy_address",
            kind=Text(example="an address"),
            meaning="Has no effect; kept for old configs.",
            no_effect=_UNUSED_PROXY,
            flag="proxy-address",
        ),
        Key(
            name="proxyPort",
            field="proxy_port",
            kind=Whole(minimum=0, maximum=(1 << 64) - 1, example="a port"),
            meaning="Has no effect; kept for old configs.",
            no_effect=_UNUSED_PROXY,
            flag="proxy-port",
        ),
        Key(
            name="proxyType",
            field="proxy_type",
            kind=Text(example='"socks" or nothing'),
            meaning="`socks`: speak SOCKS5 with the client of a stream service.",
        ),
        Key(
            name="ipRules",
            field="ip_rules",
            kind=IP_RULES_KIND,
            meaning="Destinations that clients of `socks-proxy` and `bastion` may choose; the first that fits decides.",
            null_means="problem",
        ),
        Key(
            name="http2Origin",
            field="http2_origin",
            kind=Flag(),
            meaning="Speak HTTP/2 with a TLS service that offers it.",
            flag="http2-origin",
        ),
        Key(
            name="access",
            field="access",
            kind=ACCESS_KIND,
            meaning="Let only visitors pass whose Access token is valid.",
            null_means="problem",
        ),
        *OPT_IN_KEYS,
    ),
    elsewhere={
        "hostname": "write it in the rule, beside originRequest",
        "path": "write it in the rule, beside originRequest",
        "service": "write it in the rule, beside originRequest",
    },
)


def _build(values: dict[str, Any], path: ConfigPath, reader: Reader) -> dict[str, Any]:
    if values.get("ipRules") == ():  # from the edge: an empty list counts as none, as in the reference
        del values["ipRules"]
    if values.get("proxyType", "") not in ("", "socks"):
        reader.problems.warn((*path, "proxyType"), "only socks has an effect here", "socks")
    return values


#: `originRequest` as a value: what is set in it, by key name.
ORIGIN_REQUEST_KIND: Section[dict[str, Any]] = Section(
    table=ORIGIN_REQUEST, build=_build, example="a mapping of settings"
)


def merge(settings: OriginSettings, values: Mapping[str, Any]) -> OriginSettings:
    """Return `settings` with the values (by key name) in place of what it had."""
    return replace(settings, **{ORIGIN_REQUEST[name].field: value for name, value in values.items()})


def settings_from_flags(flags: Mapping[str, object]) -> OriginSettings:
    """Return the settings that command line flags make where there are no rules (reference/ingress.md 4.3).

    `flags` maps names such as `proxy-connect-timeout` to their values, of those flags that were set; durations are
    texts like `30s`. Flags of other things are ignored.

    Raises:
        IngressError: a value cannot be read; the path of the problem is the flag's name.
    """
    reader = Reader()
    values: dict[str, Any] = {}
    for key in ORIGIN_REQUEST.keys:
        if key.flag and key.flag in flags:
            value = key.kind.read(flags[key.flag], (key.flag,), reader)
            if value is not None:
                values[key.name] = value
    if flags.get("socks5"):
        values["proxyType"] = "socks"
    reader.problems.raise_if_any()
    return merge(OriginSettings(), values)
