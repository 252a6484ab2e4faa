"""Through which proxy the edge is reached: the setting, or the variables that other programs obey too.

`edge-proxy` is for every address of the edge. HTTPS_PROXY and ALL_PROXY are not for what NO_PROXY covers, nor for this
machine itself, and give way where the config wants what no proxy carries. QUIC goes past none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from pyconnector.connector.discovery.addresses import split_host_port
from pyconnector.connector.discovery.region_names import PORT, region_names
from pyconnector.transport.proxy.address import Proxy, parse_proxy
from pyconnector.transport.proxy.bypass import NoProxy, parse_no_proxy

#: The variables, the first that is set counts; and those that say what is reached directly.
VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")
#: Characters of a file with an address.
MAX_TEXT = 4096
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
    flag = "edge-proxy" if values.get("edge-proxy") is not None else "edge-proxy-file"
    if flag in values:
        try:
            given = values[flag] if flag == "edge-proxy" else _read(values[flag])
            proxy = None if given == NONE else parse_proxy(given)
        except ValueError as error:
            problem(flag, f"this is no proxy: {error}")
            return None, None
        except OSError as error:
            problem(flag, f"cannot read {error.filename}: {(error.strerror or str(error)).lower()}")
            return None, None
        if proxy is not None and without:
            problem(flag, f"{without} does not go through a proxy; leave one of them out")
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


def _read(path: str) -> str:
    with FilePath(path).expanduser().open(encoding="utf-8") as file:
        return file.read(MAX_TEXT).strip()


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
