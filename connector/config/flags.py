"""Every flag that may also be a top-level key of the config file or an environment variable (reference/cli.md 2, 3).

One table feeds three readers: the config file (names and strict types), the command line (options), and the
environment. A flag that the reference knows and this connector has no use for is accepted and said to have no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST


class Kind(Enum):
    """The type of a flag's value; the text is how a message names it."""

    TEXT = "text"
    BOOL = "true or false"
    INT = "a whole number"
    DURATION = 'a duration such as "30s"'
    TEXTS = "a list of texts"
    COUNT = "a whole number or auto"


@dataclass(slots=True, kw_only=True, eq=False)
class Flag:
    """One setting that has a name, a type, and perhaps environment variables."""

    name: str
    kind: Kind = Kind.TEXT
    env: tuple[str, ...] = ()
    help: str = ""
    "Shown by `run --help`; empty hides the option."
    aliases: tuple[str, ...] = ()
    also_tried: tuple[str, ...] = ()
    "Other names under which people look for it in a config."
    metavar: str = ""
    in_file: bool = True
    "Whether the config file may hold it."
    secret: bool = False
    has_effect: bool = True
    meaning: str = ""
    "What the docs say of it; `help` where that is shown."


_T, _B, _I, _D, _L = Kind.TEXT, Kind.BOOL, Kind.INT, Kind.DURATION, Kind.TEXTS
_C = Kind.COUNT

#: What stands for as many as this machine has cores.
AUTO = "auto"
#: name, type, environment variables, placeholder and help text; those without a help text are not shown.
_USED: tuple[tuple[str, Kind, str, str, str], ...] = (
    ("edge", _L, "TUNNEL_EDGE", "HOST:PORT", "Edge to connect to, in place of looking it up. Repeatable."),
    ("cacert", _T, "TUNNEL_CACERT", "FILE", "PEM file of the only authorities an edge may be signed by."),
    ("credentials-file", _T, "TUNNEL_CRED_FILE TUNNEL_CRED_CONTENTS_FILE", "FILE", "Tunnel credentials (JSON)."),
    ("credentials-contents", _T, "TUNNEL_CRED_CONTENTS", "JSON", ""),
    ("token", _T, "TUNNEL_TOKEN", "TOKEN", "Tunnel token. Others can read a command line: prefer the environment."),
    ("token-file", _T, "TUNNEL_TOKEN_FILE", "FILE", "File that holds a tunnel token."),
    ("ha-connections", _I, "", "N", "Connections to keep up. [default: 4]"),
    (
        "workers",
        _C,
        "PYCONNECTOR_WORKERS",
        "N",
        "Processes that share out the connections; auto: one a core. [default: 1]",
    ),
    (
        "protocol",
        _T,
        "TUNNEL_TRANSPORT_PROTOCOL",
        "NAME",
        "auto, quic or http2; auto minds blocked UDP. [default: auto]",
    ),
    ("quic-engine", _T, "PYCONNECTOR_QUIC_ENGINE", "NAME", "auto, aioquic or qh3; auto minds losses. [default: auto]"),
    ("congestion-control", _T, "PYCONNECTOR_CONGESTION_CONTROL", "NAME", "auto, bbr, cubic or reno. [default: auto]"),
    ("retries", _I, "TUNNEL_RETRIES", "N", "Doublings of the wait between attempts. [default: 5]"),
    ("max-edge-addr-retries", _I, "", "N", ""),
    ("write-stream-timeout", _D, "TUNNEL_STREAM_WRITE_TIMEOUT", "DURATION", ""),
    ("stdin-control", _B, "STDIN_CONTROL", "", ""),
    ("grace-period", _D, "TUNNEL_GRACE_PERIOD", "DURATION", "Time that requests have after a stop. [default: 30s]"),
    ("metrics", _T, "TUNNEL_METRICS", "HOST:PORT", "Where /metrics and /ready are served. [default: localhost:0]"),
    ("loglevel", _T, "TUNNEL_LOGLEVEL", "LEVEL", "debug, info, warn, error or fatal. [default: info]"),
    ("logfile", _T, "TUNNEL_LOGFILE", "FILE", "Log there as well, as JSON lines."),
    ("log-directory", _T, "TUNNEL_LOGDIRECTORY", "DIRECTORY", "Log into a rotating file there."),
    ("access-log", _T, "PYCONNECTOR_ACCESS_LOG", "FILE", "One line for each request there; - for standard output."),
    (
        "trace-to",
        _T,
        "PYCONNECTOR_TRACE_TO",
        "URL",
        "Send spans of requests to this OpenTelemetry collector (OTLP/HTTP); needs the extra otel.",
    ),
    ("output", _T, "TUNNEL_MANAGEMENT_OUTPUT TUNNEL_LOG_OUTPUT", "FORMAT", "Log lines: default or json."),
    ("no-remote-config", _B, "PYCONNECTOR_NO_REMOTE_CONFIG", "", "Refuse configurations that the edge pushes."),
    (
        "keep-local-access",
        _B,
        "PYCONNECTOR_KEEP_LOCAL_ACCESS",
        "",
        "Keep the config's access in force whatever the edge pushes.",
    ),
    (
        "quick-service",
        _T,
        "PYCONNECTOR_QUICK_SERVICE",
        "URL",
        "Who is asked for a quick tunnel: the address of a control plane of your own.",
    ),
    ("url", _T, "TUNNEL_URL", "URL", "Serve this one origin, where the config has no ingress rules."),
    ("unix-socket", _T, "TUNNEL_UNIX_SOCKET", "PATH", "Serve this one Unix socket."),
    ("hello-world", _B, "TUNNEL_HELLO_WORLD", "", "Serve a built-in page."),
    ("bastion", _B, "TUNNEL_BASTION", "", "Connect visitors to the TCP address that they ask for."),
    ("socks5", _B, "TUNNEL_SOCKS", "", ""),
    ("http-host-header", _T, "TUNNEL_HTTP_HOST_HEADER", "HOST", ""),
    ("origin-server-name", _T, "TUNNEL_ORIGIN_SERVER_NAME", "NAME", ""),
    ("origin-ca-pool", _T, "TUNNEL_ORIGIN_CA_POOL", "FILE", ""),
    ("no-tls-verify", _B, "NO_TLS_VERIFY", "", ""),
    ("match-sni-to-host", _B, "", "", ""),
    ("no-chunked-encoding", _B, "TUNNEL_NO_CHUNKED_ENCODING", "", ""),
    ("http2-origin", _B, "TUNNEL_ORIGIN_ENABLE_HTTP2", "", ""),
    ("proxy-connect-timeout", _D, "", "", ""),
    ("proxy-tls-timeout", _D, "", "", ""),
    ("proxy-tcp-keepalive", _D, "", "", ""),
    ("proxy-no-happy-eyeballs", _B, "", "", ""),
    ("proxy-keepalive-connections", _I, "", "", ""),
    ("proxy-keepalive-timeout", _D, "", "", ""),
    ("proxy-address", _T, "TUNNEL_PROXY_ADDRESS", "", ""),
    ("proxy-port", _I, "TUNNEL_PROXY_PORT", "", ""),
    ("region", _T, "TUNNEL_REGION", "REGION", "Region of the edge that is looked up."),
    (
        "edge-discovery",
        _T,
        "PYCONNECTOR_EDGE_DISCOVERY",
        "WHERE",
        "Look up the edges of a mesh: dns://HOST:PORT of its control plane, or a domain that is delegated to it.",
    ),
    ("edge-ip-version", _T, "TUNNEL_EDGE_IP_VERSION", "VERSION", "auto, 4, 6 or both at once. [default: auto]"),
    ("edge-bind-address", _T, "TUNNEL_EDGE_BIND_ADDRESS", "IP", "Local address to connect from."),
    (
        "edge-proxy",
        _T,
        "PYCONNECTOR_EDGE_PROXY",
        "URL",
        "Reach the edge through this proxy (http, https, socks5), over HTTP/2; none for none. [default: HTTPS_PROXY]",
    ),
    ("edge-proxy-file", _T, "PYCONNECTOR_EDGE_PROXY_FILE", "FILE", "File that holds the address of that proxy."),
    ("rpc-timeout", _D, "", "", ""),
    ("quic-connection-level-flow-control-limit", _I, "TUNNEL_QUIC_CONN_LEVEL_FLOW_CONTROL_LIMIT", "", ""),
    ("quic-stream-level-flow-control-limit", _I, "TUNNEL_QUIC_STREAM_LEVEL_FLOW_CONTROL_LIMIT", "", ""),
    ("post-quantum", _B, "TUNNEL_POST_QUANTUM", "", "Accept post-quantum key exchange only."),
    ("features", _L, "", "NAME", ""),
    ("tag", _L, "TUNNEL_TAG", "NAME=VALUE", "Add a Cf-Warp-Tag-NAME header to every request. Repeatable."),
    ("max-active-flows", _I, "TUNNEL_MAX_ACTIVE_FLOWS", "N", "Private-network flows at once; 0 for no limit."),
    ("dns-resolver-addrs", _L, "TUNNEL_DNS_RESOLVER_ADDRS", "IP:PORT", "Resolver of private names. Repeatable."),
    ("icmpv4-src", _T, "TUNNEL_ICMPV4_SRC", "IP", "Address that pings of the private network leave from."),
    ("icmpv6-src", _T, "TUNNEL_ICMPV6_SRC", "IP", "The same for IPv6."),
    ("label", _T, "", "NAME", "What this machine is called where connectors are listed."),
    ("management-hostname", _T, "TUNNEL_MANAGEMENT_HOSTNAME", "HOST", ""),
    ("management-diagnostics", _B, "TUNNEL_MANAGEMENT_DIAGNOSTICS", "", ""),
    ("no-prechecks", _B, "TUNNEL_NO_PRECHECKS", "", "Do not check the way to the edge where connecting takes long."),
    ("no-config-watch", _B, "PYCONNECTOR_NO_CONFIG_WATCH", "", "Do not reload when the config file changes."),
    ("no-autoupdate", _B, "NO_AUTOUPDATE", "", ""),
    ("pidfile", _T, "TUNNEL_PIDFILE", "FILE", "Write the process id there once connected."),
)
#: Known to the reference; accepted, and said to have no effect.
_UNUSED: dict[Kind, str] = {
    _T: """origincert service-op-ip local-ssh-port bucket-name region-name secret-id access-key-id
        session-token s3-url-host host-key-path transport-loglevel trace-output hostname id lb-pool api-key api-email
        api-ca-key api-url name proxy-dns-address""",
    _B: """ssh-server proxy-dns is-autoupdated quic-disable-pmtu-discovery
        use-reconnect-token ui""",
    _I: """heartbeat-count compression-quality max-fetch-size proxy-dns-port
        proxy-dns-max-upstream-conns""",
    _D: """autoupdate-freq proxy-connection-timeout proxy-expect-continue-timeout ssh-idle-timeout ssh-max-timeout
        metrics-update-freq heartbeat-interval dial-edge-timeout""",
    _L: "proxy-dns-upstream proxy-dns-bootstrap",
}
#: Environment variables of those without effect, so that one which is set is said to have none.
_ENV_OF_UNUSED = {
    "origincert": "TUNNEL_ORIGIN_CERT",
    "transport-loglevel": "TUNNEL_PROTO_LOGLEVEL TUNNEL_TRANSPORT_LOGLEVEL",
    "trace-output": "TUNNEL_TRACE_OUTPUT",
    "hostname": "TUNNEL_HOSTNAME",
    "id": "TUNNEL_ID",
    "lb-pool": "TUNNEL_LB_POOL",
    "api-key": "TUNNEL_API_KEY",
    "api-email": "TUNNEL_API_EMAIL",
    "api-ca-key": "TUNNEL_API_CA_KEY",
    "api-url": "TUNNEL_API_URL",
    "name": "TUNNEL_NAME",
    "service-op-ip": "TUNNEL_SERVICE_OP_IP",
    "ssh-server": "TUNNEL_SSH_SERVER",
    "quic-disable-pmtu-discovery": "TUNNEL_DISABLE_QUIC_PMTU",
    "use-reconnect-token": "TUNNEL_USE_RECONNECT_TOKEN",
    "compression-quality": "TUNNEL_COMPRESSION_LEVEL",
    "max-fetch-size": "TUNNEL_MAX_FETCH_SIZE",
    "metrics-update-freq": "TUNNEL_METRICS_UPDATE_FREQ",
    "dial-edge-timeout": "DIAL_EDGE_TIMEOUT",
}
#: What the flags do that `--help` does not show; those of one origin are keys of originRequest.
_MEANINGS = {
    "credentials-contents": "Tunnel credentials (JSON) themselves.",
    "socks5": "Speak SOCKS5 with the client of the one TCP origin.",
    "rpc-timeout": "Time that the edge has to answer a call. [default: 5s]",
    "quic-connection-level-flow-control-limit": "Unread bytes that one connection may hold. [default: 31457280]",
    "quic-stream-level-flow-control-limit": "Unread bytes that one stream may hold. [default: 6291456]",
    "no-autoupdate": "Accepted: pyconnector never updates itself.",
    "max-edge-addr-retries": "Failures of a connection over QUIC, but for one, before it changes to HTTP/2.",
    "write-stream-timeout": "Time in which the edge must take what waits of a response. [default: 0s, any time]",
    "stdin-control": "Take commands from standard input, for tests: `reconnect [DURATION]` breaks one connection off.",
    "management-hostname": "none: no management service, so that nobody reads this connector's log from afar.",
    "management-diagnostics": "Whether the management service shows the metrics. [default: true]",
    "features": "Further feature names to register with. Repeatable.",
}
#: Flags that set a key of originRequest where the config has no rules.
REQUEST_FLAGS = {key.flag: key.name for key in ORIGIN_REQUEST.keys if key.flag}
#: Flags that name the one origin, or say how it is spoken to, where the config has no rules.
ONE_ORIGIN_FLAGS = ("url", "unix-socket", "hello-world", "bastion", "socks5")
_ALIASES = {"credentials-file": ("cred-file",), "protocol": ("p",), "post-quantum": ("pq",), "features": ("F",)}
_ALSO_TRIED = {
    "token": ("tunnel-token",),
    "credentials-file": ("credentials", "creds-file"),
    "loglevel": ("log-level", "level"),
    "logfile": ("log-file",),
}
#: Flags that guard something: a slip in one of them is an error whatever the user allows.
GUARDING_FLAGS = frozenset({"cacert", "post-quantum", "no-remote-config", "keep-local-access"})
_NOT_IN_FILE = frozenset({"output", "max-active-flows", "dns-resolver-addrs", "icmpv4-src", "icmpv6-src"})
_SECRET = frozenset(
    {"token", "edge-proxy", "credentials-contents", "api-key", "api-ca-key", "secret-id", "session-token"}
)


def _of_one_origin(name: str) -> str:
    key = ORIGIN_REQUEST[REQUEST_FLAGS[name]]
    return key.meaning if key.no_effect else f"`{key.name}` of the one origin, where there are no rules."


def _flags() -> list[Flag]:
    used = [
        Flag(
            name=name,
            kind=kind,
            env=tuple(env.split()),
            help=text,
            metavar=metavar,
            aliases=_ALIASES.get(name, ()),
            also_tried=_ALSO_TRIED.get(name, ()),
            in_file=name not in _NOT_IN_FILE,
            secret=name in _SECRET,
            meaning=text or _MEANINGS.get(name) or _of_one_origin(name),
        )
        for name, kind, env, metavar, text in _USED
    ]
    unused = [
        Flag(
            name=name,
            kind=kind,
            env=tuple(_ENV_OF_UNUSED.get(name, "").split()),
            in_file=name not in _NOT_IN_FILE,
            secret=name in _SECRET,
            has_effect=False,
        )
        for kind, names in _UNUSED.items()
        for name in names.split()
    ]
    return used + unused


#: Every flag by its primary name.
FLAGS: dict[str, Flag] = {flag.name: flag for flag in _flags()}

#: Top-level keys that are no flags.
STRUCTURED_KEYS = ("tunnel", "ingress", "originRequest", "warp-routing")

#: Keys that older releases of the reference knew: accepted with a warning.
OLD_KEYS = {
    "logDirectory": "log-directory",
    "forwarders": "",
    "tunnels": "",
    "use-quick-reconnects": "",
    "origin-timeout": "",
}

#: Flags whose value the edge is told in `__configuration_flags` (wire.md 5.6), where they were given.
REPORTED_FLAGS = (
    "autoupdate-freq", "no-autoupdate", "retries", "protocol", "loglevel", "transport-loglevel", "origincert",
    "metrics", "metrics-update-freq", "edge-ip-version", "edge-bind-address", "max-active-flows",
)  # fmt: skip
