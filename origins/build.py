"""From a rule's service and settings to the origin that serves it; `origins.layers.compose` adds what is around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyconnector.ingress.config.services import (
    BastionService,
    FilesService,
    HelloService,
    HttpService,
    Service,
    SocksService,
    StatusService,
    StreamService,
    UnixService,
)
from pyconnector.origins.builtin.status import StatusOrigin
from pyconnector.origins.http1 import HttpOrigin
from pyconnector.origins.net.dial import Dialer, Endpoint, Resolver, dial_settings, resolve_name
from pyconnector.origins.net.tls import TlsClient, TlsContexts

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import OriginSettings
    from pyconnector.origins.base import Origin, OriginRequest
    from pyconnector.origins.dns.virtual import VirtualDns

#: What is offered to a service that may speak HTTP/2 over TLS.
ALPN_HTTP2 = ("h2", "http/1.1")


class OriginResources:
    """What all origins of a connector share: TLS contexts, and how names are looked up."""

    def __init__(
        self, *, extra_roots: str = "", resolver: Resolver = resolve_name, virtual_dns: VirtualDns | None = None
    ) -> None:
        """`extra_roots` is PEM that every TLS origin trusts beside the system's authorities; `virtual_dns` is where
        private flows to the virtual DNS service go."""
        self.virtual_dns = virtual_dns
        self.tls = TlsContexts(extra_roots)
        self.resolver = resolver


def build_origin(service: Service, settings: OriginSettings, *, resources: OriginResources | None = None) -> Origin:
    """Return the origin of a service, not started yet: `start` is where a missing CA file shows."""
    resources = resources or OriginResources()
    match service:
        case StatusService(status=status):
            return StatusOrigin(status)
        case HttpService():
            return _http(service, settings, resources)
        case UnixService():
            return _unix(service, settings, resources)
        case _:
            return _rarer(service, settings, resources)


def _rarer(
    service: HelloService | StreamService | BastionService | SocksService | FilesService,
    settings: OriginSettings,
    resources: OriginResources,
) -> Origin:
    """Kinds whose modules (WebSocket frames, SOCKS, a page) are loaded only where a rule needs them."""
    match service:
        case HelloService():
            from pyconnector.origins.builtin.hello import HelloOrigin

            return HelloOrigin(settings.http_host_header)
        case StreamService(host=host, port=port):
            from pyconnector.origins.tcp.stream import StreamOrigin

            return StreamOrigin(Endpoint(host=host, port=port), settings, resolver=resources.resolver)
        case BastionService():
            from pyconnector.origins.tcp.bastion import BastionOrigin

            return BastionOrigin(settings, resolver=resources.resolver)
        case FilesService(path=path):
            from pyconnector.origins.files.origin import FilesOrigin

            return FilesOrigin(path)
        case SocksService():
            from pyconnector.origins.tcp.socks import SocksOrigin

            return SocksOrigin(settings, resolver=resources.resolver)


def _http(service: HttpService, settings: OriginSettings, resources: OriginResources) -> Origin:
    endpoint = Endpoint(host=service.host, port=service.port)
    is_tls = service.scheme == "https"

    def name_of(request: OriginRequest) -> str:
        return host_name(settings.http_host_header or request.host)

    matches = is_tls and settings.match_sni_to_host
    plain = HttpOrigin(
        endpoint,
        settings,
        make_dialer=_dialer(settings, resources, tls=is_tls),
        name_of=name_of if matches else None,
    )
    if service.h2c:
        make_dialer = _dialer(settings, resources, tls=False)
        return _http2(endpoint, settings, make_dialer, fallback=None, tls=False)
    if is_tls and settings.http2_origin and not matches:  # matchSNItoHost and HTTP/2 exclude each other, as there
        make_dialer = _dialer(settings, resources, tls=True, alpn=ALPN_HTTP2)
        return _http2(endpoint, settings, make_dialer, fallback=plain, tls=True)
    return plain


def _unix(service: UnixService, settings: OriginSettings, resources: OriginResources) -> Origin:
    endpoint = Endpoint(path=service.path)
    name_of: Callable[[OriginRequest], str] | None = None
    if service.tls and not settings.origin_server_name:  # there is no host in the service to take the name from
        name_of = _host_of
    plain = HttpOrigin(endpoint, settings, make_dialer=_dialer(settings, resources, tls=service.tls), name_of=name_of)
    if service.tls and settings.http2_origin and settings.origin_server_name:
        make_dialer = _dialer(settings, resources, tls=True, alpn=ALPN_HTTP2)
        return _http2(endpoint, settings, make_dialer, fallback=plain, tls=True)
    return plain


def _http2(
    endpoint: Endpoint,
    settings: OriginSettings,
    make_dialer: Callable[[], Dialer],
    *,
    fallback: Origin | None,
    tls: bool,
) -> Origin:
    from pyconnector.origins.http2 import Http2Origin  # its library is loaded only where a rule needs it

    return Http2Origin(endpoint, settings, make_dialer=make_dialer, fallback=fallback, tls=tls)


def _dialer(
    settings: OriginSettings, resources: OriginResources, *, tls: bool, alpn: tuple[str, ...] = ()
) -> Callable[[], Dialer]:
    """What makes the dialer when the origin starts, because only then CA files are read."""

    def make() -> Dialer:
        client = None
        if tls:
            context = resources.tls.client(ca_pool=settings.ca_pool, verify=not settings.no_tls_verify, alpn=alpn)
            client = TlsClient(context=context, timeout=settings.tls_timeout)
        return Dialer(dial_settings(settings), tls=client, resolve=resources.resolver)

    return make


def _host_of(request: OriginRequest) -> str:
    return host_name(request.host)


def host_name(host: str) -> str:
    """The name in a Host field as TLS wants it: without its port, brackets and final dot."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() and ":" not in name else host).removesuffix(".")
