"""Through which proxy the edge is reached: the setting, or the variables that other programs obey too.

`edge-proxy` is for every address of the edge. HTTPS_PROXY and ALL_PROXY are not for what NO_PROXY covers, nor for this
machine itself, and give way where the config wants what no proxy carries. QUIC goes past none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyconnector.connector.discovery.addresses import split_host_port
from pyconnector.connector.discovery.region_names import PORT, region_names
from pyconnector.transport.proxy.address import Proxy, parse_proxy
from pyconnector.transport.proxy.bypass import NoProxy, parse_no_proxy

#: The variables, the first that is set counts; and those that say what is reached directly.
VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")
#: What `edge-proxy` says where no proxy is to be used, whatever the environment says.
NONE = "none"


def edge_proxy(
    values: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    problem: Callable[[str, str], None],
    warn: Callable[[str], None],
) -> tuple[Proxy | None, NoProxy | None]:
    """Return the proxy that `values` or `environ` name, and what is reached directly all the same.

    `problem` is given a flag and what is wrong with it, `warn` a sentence.
    """
    without = _goes_without(values)
    given = values.get("edge-proxy")
    if given is not None:
        if given == NONE:
            return None, None
        try:
            proxy = parse_proxy(given)
        except ValueError as error:
            problem("edge-proxy", f"this is no proxy: {error}")
            return None, None
        if without:
            problem("edge-proxy", f"{without} does not go through a proxy; leave one of them out")
        return proxy, None
    name = next((name for name in VARIABLES if environ.get(name)), None)
    if name is None:
        return None, None
    try:
        proxy = parse_proxy(environ[name])
    except ValueError as error:
        warn(f"{name} is not used for the edge: {error}")
        return None, None
    exceptions = parse_no_proxy(next((environ[each] for each in EXCEPTIONS if environ.get(each)), ""))
    if all(exceptions.covers(host, port) for host, port in _places(values)):
        return None, None
    if without:
        warn(f"{name} is not used for the edge, since {without} does not go through a proxy")
        return None, None
    return proxy, exceptions


def _goes_without(values: Mapping[str, Any]) -> str:
    if values.get("post-quantum"):
        return "post-quantum"
    return "protocol quic" if values.get("protocol") == "quic" else ""


def _places(values: Mapping[str, Any]) -> Sequence[tuple[str, int]]:
    """The edge by the names that the user knows."""
    places = []
    for text in values.get("edge", ()):
        try:
            places.append(split_host_port(text))
        except ValueError:
            pass  # told where the addresses are checked
    return places or [(name, PORT) for name in region_names(values.get("region", ""))]
