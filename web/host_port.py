"""`host:port` in every form that is written: brackets around IPv6, and a port that is a number."""

from __future__ import annotations

import ipaddress

#: Largest port.
MAX_PORT = 65_535


def split_host_port(text: str) -> tuple[str, str] | None:
    """Split `host:port` or `[host]:port`; None where it is not of that form (no port, or bare IPv6)."""
    colon = text.rfind(":")
    if colon < 0:
        return None
    if text.startswith("["):
        end = text.find("]")
        if end < 0 or end + 1 != colon:
            return None
        host, rest, after = text[1:end], text[1:], text[end + 1 :]
    else:
        host, rest, after = text[:colon], text, text
        if ":" in host:
            return None
    if "[" in rest or "]" in after:
        return None
    return host, text[colon + 1 :]


def join_host_port(host: str, port: int | str) -> str:
    """Write `host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host or "%" in host else f"{host}:{port}"


def port_number(text: str, *, least: int = 1) -> int | None:
    """Return the port that `text` says in plain digits, or None where it says none from `least` to 65535."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5:
        return None
    number = int(text)
    return number if least <= number <= MAX_PORT else None


def split_ip_port(text: str) -> tuple[str, int]:
    """Split `IP:port` or `[IPv6]:port`; the address comes back in its usual form.

    Raises:
        ValueError: it is something else.
    """
    parts = split_host_port(text)
    port = None if parts is None else port_number(parts[1])
    if parts is None or port is None:
        raise ValueError("no address and port")
    address = ipaddress.ip_address(parts[0])
    if text.startswith("[") != (address.version == 6):
        raise ValueError("brackets belong around an IPv6 address, and around no other")
    return str(address), port
