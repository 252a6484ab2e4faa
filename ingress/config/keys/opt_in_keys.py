"""The keys of `originRequest` that the reference does not have: opt-in, local, never sent to the edge.

Users of the reference asked for them in the upstream issues that their meanings name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.keys.header_keys import HEADERS_KIND
from pyconnector.ingress.config.keys.kinds import Choice, Duration, Kind, ListOf, Text, Whole
from pyconnector.ingress.config.keys.table import Key, Section, Table
from pyconnector.ingress.config.services import (
    BastionService,
    FilesService,
    Service,
    SocksService,
    is_http,
    is_stream,
    parse_service,
)
from pyconnector.ingress.rules.error_page import MAX_ERROR_PAGE, ErrorPage

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import ConfigPath
    from pyconnector.ingress.config.keys.kinds import Reader
    from pyconnector.ingress.rules.failover import HealthCheck
    from pyconnector.ingress.rules.rewrite import PathRewrite

_REDIRECTS = (301, 302, 303, 307, 308)
_EXAMPLE_PATH = "a path like /app"


class _PathPrefix(Text):
    """A path prefix, kept without its trailing slash."""

    def _parse(self, value: object, *, remote: bool) -> str:
        from pyconnector.ingress.rules.rewrite import (
            check_prefix,  # what a config does not use is not loaded, here and below
        )

        return check_prefix(super()._parse(value, remote=remote))


_REWRITE = Table(
    keys=(
        Key(name="match", kind=Text(example="an RE2 expression"), meaning="RE2 expression, searched in the raw path."),
        Key(
            name="replace",
            kind=Text(example="a path like /new/$1"),
            meaning="What is put in place of what was found; `$1` and `${name}` are its groups.",
            also_tried=("replacement", "with", "to"),
        ),
        Key(
            name="redirect",
            kind=Whole(minimum=301, maximum=308, example="301, 302, 303, 307 or 308"),
            meaning="Send the visitor there with this status, in place of asking the service.",
            also_tried=("status", "return"),
        ),
    ),
)


def _build_rewrite(values: dict[str, Any], path: ConfigPath, reader: Reader) -> PathRewrite | None:
    from pyconnector.ingress.rules.rewrite import PathRewrite

    missing = [name for name in ("match", "replace") if name not in values]
    for name in missing:
        reader.problems.add(path, f"the rewrite has no {name}")
    redirect = values.get("redirect", 0)
    if redirect and redirect not in _REDIRECTS:
        reader.problems.add((*path, "redirect"), f"expected 301, 302, 303, 307 or 308, found the number {redirect}")
    if missing:
        return None
    try:
        return PathRewrite(values["match"], values["replace"], redirect)
    except ValueError as error:
        place = "replace" if "replacement" in str(error) else "match"
        reader.problems.add((*path, place), str(error))
        return None


def _is_built_in(service: Service) -> bool:
    return isinstance(service, BastionService | SocksService | FilesService)


class _Backends(Kind[tuple[Service, ...]]):
    """Services of one family: all HTTP, or all streams."""

    example = "a list of services, such as [http://localhost:8081]"
    shown = "list"
    _texts = ListOf(Text(example="a service like http://localhost:8081"), example=example, may_be_empty=False, limit=64)

    def _read(self, value: object, path: ConfigPath, reader: Reader) -> tuple[Service, ...] | None:
        texts = self._texts.read(value, path, reader)
        services = []
        for index, text in enumerate(texts or ()):
            try:
                service = parse_service(text)
                if not (is_http(service) or is_stream(service)) or _is_built_in(service):
                    raise ValueError("a further service must be the address of one, such as http://localhost:8081")
                services.append(service)
            except ValueError as error:
                reader.problems.add((*path, index), str(error))
        return tuple(services) if texts is not None and len(services) == len(texts) else None

    def _schema(self) -> dict[str, Any]:
        return self._texts.schema()

    def _show(self, value: tuple[Service, ...]) -> str:
        return ""


_HEALTH = Table(
    keys=(
        Key(
            name="path",
            kind=_PathPrefix(example=_EXAMPLE_PATH),
            meaning="Path that an HTTP service is asked for; 2xx and 3xx are well.",
        ),
        Key(name="interval", kind=Duration(example="a duration like 10s"), meaning="Time between two checks (10s)."),
        Key(name="timeout", kind=Duration(example="a duration like 2s"), meaning="Time a check may take (2s)."),
        Key(
            name="unhealthyAfter",
            kind=Whole(minimum=1, maximum=1000, example="a number from 1"),
            meaning="Failures in a row after which a service is left out (3).",
        ),
        Key(
            name="healthyAfter",
            kind=Whole(minimum=1, maximum=1000, example="a number from 1"),
            meaning="Successes in a row after which it is used again (1).",
        ),
    ),
)


def _build_health(values: dict[str, Any], path: ConfigPath, reader: Reader) -> HealthCheck | None:
    from pyconnector.ingress.rules.failover import HealthCheck

    defaults = HealthCheck()
    check = HealthCheck(
        path=values.get("path", defaults.path),
        interval=values.get("interval", defaults.interval),
        timeout=values.get("timeout", defaults.timeout),
        unhealthy_after=values.get("unhealthyAfter", defaults.unhealthy_after),
        healthy_after=values.get("healthyAfter", defaults.healthy_after),
    )
    if check.interval < 0.1:
        reader.problems.add((*path, "interval"), "the interval must be at least 100ms")
    if check.timeout <= 0:
        reader.problems.add((*path, "timeout"), "the timeout must be more than nothing")
    return check


_ERROR_PAGE = Table(
    keys=(
        Key(
            name="status",
            kind=Whole(minimum=200, maximum=599, example="a status between 200 and 599"),
            meaning="Status of the page (502).",
        ),
        Key(
            name="body",
            kind=Text(example="the text of the page", multiline=True, limit=MAX_ERROR_PAGE),
            meaning="The page itself.",
        ),
        Key(name="file", kind=Text(example="the path of a file"), meaning="File that holds the page."),
        Key(
            name="contentType",
            kind=Text(example="a media type like text/html"),
            meaning="Its media type (text/html; charset=utf-8).",
        ),
    ),
)


def _build_error_page(values: dict[str, Any], path: ConfigPath, reader: Reader) -> ErrorPage | None:
    if "body" in values and "file" in values:
        reader.problems.add(path, "an error page has either a body or a file, not both")
    if not values:
        reader.problems.add(path, "the error page says nothing; give it a status, a body or a file")
    defaults = ErrorPage()
    return ErrorPage(
        status=values.get("status", defaults.status),
        body=values.get("body", ""),
        file=values.get("file", ""),
        content_type=values.get("contentType", defaults.content_type),
    )


OPT_IN_KEYS = (
    Key(
        name="stripPathPrefix",
        field="strip_path_prefix",
        kind=_PathPrefix(example=_EXAMPLE_PATH),
        meaning="Prefix that is taken off the path on the way to the service (#563).",
        reference=False,
        applies_to="http",
        also_tried=("stripPrefix", "stripPath"),
    ),
    Key(
        name="rewritePath",
        field="rewrite_path",
        kind=ListOf(
            Section(
                table=_REWRITE,
                build=_build_rewrite,
                example="a mapping with match and replace",
                required=("match", "replace"),
            ),
            example="a list of rewrites",
        ),
        meaning="The first entry that is found in the raw path replaces what it found, or redirects (#408).",
        reference=False,
        applies_to="http",
        also_tried=("rewrite", "rewrites", "rewriteUrl", "pathRewrite"),
    ),
    Key(
        name="addPathPrefix",
        field="add_path_prefix",
        kind=_PathPrefix(example=_EXAMPLE_PATH),
        meaning="Prefix that is put before the path on the way to the service (#563).",
        reference=False,
        applies_to="http",
        also_tried=("pathPrefix", "basePath", "prependPath"),
    ),
    Key(
        name="requestHeaders",
        field="request_headers",
        kind=HEADERS_KIND,
        meaning="Header fields to set, add and remove on the way to the service (#795, #1499).",
        reference=False,
        applies_to="http",
        also_tried=("headers", "removeHeaders", "setHeaders", "addHeaders", "customHeaders"),
    ),
    Key(
        name="responseHeaders",
        field="response_headers",
        kind=HEADERS_KIND,
        meaning="The same on the way back to the visitor.",
        reference=False,
        applies_to="http",
    ),
    Key(
        name="backends",
        field="backends",
        kind=_Backends(),
        meaning="Further services for the same hostname, beside `service` (#434, #725).",
        reference=False,
        only_in_rules=True,
        also_tried=("services", "failover", "upstreams", "replicas"),
    ),
    Key(
        name="balance",
        field="balance",
        kind=Choice(words=("failover", "round-robin"), example="failover or round-robin", shown="word"),
        meaning="`failover`: the first service that is well; `round-robin`: each in turn.",
        reference=False,
        also_tried=("loadBalance", "loadBalancing"),
    ),
    Key(
        name="healthCheck",
        field="health_check",
        kind=Section(table=_HEALTH, build=_build_health, example="a mapping with path, interval and timeout"),
        meaning="How services are asked whether they are well (#725).",
        reference=False,
        also_tried=("healthcheck", "health"),
    ),
    Key(
        name="retryFor",
        field="retry_for",
        kind=Duration(example="a duration like 10s"),
        meaning="How long a request waits for a service that refuses connections, as while it restarts (#451).",
        reference=False,
        also_tried=("retry", "retryTimeout", "retries"),
    ),
    Key(
        name="proxyProtocol",
        field="proxy_protocol",
        kind=Choice(words=("v1", "v2"), example="v1 or v2", shown="word"),
        meaning="Tell a stream service the visitor's address with a PROXY protocol header (#369).",
        reference=False,
        applies_to="stream",
        also_tried=("sendProxy", "proxyProtocolVersion"),
    ),
    Key(
        name="errorPage",
        field="error_page",
        kind=Section(
            table=_ERROR_PAGE, build=_build_error_page, example="a mapping with status, body or file, and contentType"
        ),
        meaning="Page and status for visitors while the service is down.",
        reference=False,
        applies_to="http",
        also_tried=("errorPages", "errorDocument"),
    ),
)
