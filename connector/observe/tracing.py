"""Spans of requests for OpenTelemetry, where `trace-to` wants them: a visitor's trace goes on here and at the service.

Needs the extra `otel`; nothing of it is loaded without. A request with a `traceparent` (W3C Trace Context) continues
that trace, and the service gets one that names the span of this connector as its parent. Paths are without their query,
and headers are in no span.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.observe.log import Log, escape
from pyconnector.connector.observe.observer import Observer
from pyconnector.connector.version import version
from pyconnector.ingress.config.services import redacted, without_passwords
from pyconnector.origins.base import RequestKind
from pyconnector.origins.layers.base import LayeredOrigin

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from pyconnector.connector.observe.observer import RequestRecord
    from pyconnector.ingress import Rule
    from pyconnector.origins.base import ByteReader, Origin, OriginRequest, OriginResponse

#: Fields of a trace's context; any other is the visitor's own.
CONTEXT_FIELDS = frozenset((b"traceparent", b"tracestate"))
#: Characters of a context's field that are looked at.
MAX_FIELD = 1024
#: Seconds that the last spans have to leave at the end.
LAST_SECONDS = 3.0
#: Seconds between two complaints.
COMPLAINT_SECONDS = 60.0
#: Where a collector takes spans, below an address without a path.
_PATH = "/v1/traces"

#: Methods that name spans; what visitors make up does not.
_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))

_log = Log("tracing")


class _Complaints(logging.Handler):
    """What the library complains of, in our log: one line a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told = -COMPLAINT_SECONDS

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._told >= COMPLAINT_SECONDS:
            self._told = now
            _log.warning("Spans are lost: %s", escape(without_passwords(record.getMessage())))


class Tracing(Observer):
    """Makes a span of each request, for a provider of OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("pyconnector", version())
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[int, Span] = {}
        "By the id of a request that is being served."

    def __repr__(self) -> str:
        return f"<Tracing spans={len(self._spans)}>"

    def layer(self, inner: Origin, rule: Rule) -> Origin:
        """Put the beginning of spans around an origin. A `Layer`."""
        return _TracedOrigin(inner, rule, self)

    def enter(self, request: OriginRequest, rule: Rule) -> None:
        """Begin the span of a request, and have its service continue the trace."""
        given: dict[str, str] = {}
        kept = []
        for name, value in request.headers:
            if name.lower() in CONTEXT_FIELDS:
                given.setdefault(name.lower().decode(), value[:MAX_FIELD].decode("latin-1"))
            else:
                kept.append((name, value))
        span = self._tracer.start_span(
            _name(request, rule),
            context=self._propagator.extract(given),
            kind=SpanKind.SERVER,
            attributes={"pyconnector.service": redacted(rule.service), **_attributes(request)},
        )
        self._spans[id(request)] = span
        carried: dict[str, str] = {}
        self._propagator.inject(carried, context=_context_of(span))
        request.headers = [*kept, *((name.encode(), value.encode("latin-1")) for name, value in carried.items())]

    def end(self, record: RequestRecord) -> None:
        """See `Observer.end`."""
        request = record.request
        if request is None:
            return
        span = self._spans.pop(id(request), None)
        if span is None:  # it came to no service: a private stream, or one that was refused
            span = self._tracer.start_span(
                _name(request, record.rule),
                kind=SpanKind.SERVER,
                attributes=_attributes(request),
                start_time=time.time_ns() - int(max(0.0, record.duration) * 1e9),
            )
        span.set_attribute("pyconnector.connection", record.connection)
        if record.rule is not None:
            span.set_attribute("pyconnector.rule", record.rule_index)
        if record.status:
            span.set_attribute("http.response.status_code", record.status)
        if record.refused:
            span.set_attribute("pyconnector.refused", record.refused)
        if record.error or record.status >= 500:
            span.set_status(Status(StatusCode.ERROR, record.error or None))
        span.end()

    def close(self) -> None:
        """Send what waits, for at most some seconds, and end. Blocks."""
        closing = threading.Thread(target=cast("Any", self._provider).shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(LAST_SECONDS)


class _TracedOrigin(LayeredOrigin):
    def __init__(self, inner: Origin, rule: Rule, tracing: Tracing) -> None:
        super().__init__(inner, rule)
        self._tracing = tracing

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        self._tracing.enter(request, self.rule)
        return await self.inner.serve(request, body)


def open_tracing(url: str) -> Tracing:
    """Return what sends spans to the collector at `url` over OTLP/HTTP. Variables of OpenTelemetry are obeyed too.

    Raises:
        StartFailed: the extra `otel` is not installed.
    """
    try:
        sdk, export, exporter, resources = (
            importlib.import_module(name)
            for name in (
                "opentelemetry.sdk.trace",
                "opentelemetry.sdk.trace.export",
                "opentelemetry.exporter.otlp.proto.http.trace_exporter",
                "opentelemetry.sdk.resources",
            )
        )
    except ImportError as error:
        raise StartFailed(f"trace-to needs the extra `otel`: pip install 'pyconnector[otel]' ({error})") from error
    library = logging.getLogger("opentelemetry")
    if not library.handlers:
        library.addHandler(_Complaints())
        library.propagate = False
    endpoint = url.rstrip("/") + _PATH if urlsplit(url).path in ("", "/") else url
    resource = resources.Resource.create({"service.name": "pyconnector", "service.version": version()})
    if name := resources.OTELResourceDetector().detect().attributes.get("service.name"):
        resource = resource.merge(resources.Resource({"service.name": name}))
    provider = sdk.TracerProvider(resource=resource)
    provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider)


def _context_of(span: Span) -> Any:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)


def _name(request: OriginRequest, rule: Rule | None) -> str:
    """Few different ones: what a rule is for, and not what a visitor asks for."""
    if request.kind is RequestKind.TCP:
        return "private stream"
    method = request.method if request.method in _METHODS else "HTTP"
    return f"{method} {rule.hostname or '*'}" if rule is not None else method


def _attributes(request: OriginRequest) -> dict[str, str]:
    if request.kind is RequestKind.TCP:
        return {"network.transport": "tcp", "pyconnector.destination": request.destination}
    return {
        "http.request.method": request.method,
        "server.address": request.host,
        "url.path": request.target.partition("?")[0],
        "network.protocol.name": "websocket" if request.kind is RequestKind.WEBSOCKET else "http",
    }
