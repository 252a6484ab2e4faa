"""Host names of rules and of requests: port stripping, wildcards, and the IDNA alternative (reference/ingress.md 4.2).

A rule's name is compared with the request's as it stands, case included; beside it every rule that is not a
catch-all has the IDNA lookup form of its name, if there is one and it differs (`Example.com`, `bücher.example`).
"""

from __future__ import annotations

import re

#: Rule hostnames that match every request.
ANY_HOST = ("", "*")
#: Names of these characters alone are mapped to themselves, unless they hold an encoded label.
_PLAIN = re.compile(r"[a-z0-9*._-]*")
#: Looked for after mapping: a forbidden character and a combining mark may have become an allowed one.
_NOT_STD3 = re.compile(r"[\x00-,./:-`{-\x7f]")


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


def strip_port(host: str) -> str:
    """Return `host` without its port, where it has one."""
    parts = split_host_port(host)
    return host if parts is None else parts[0]


def host_matches(rule_host: str, host: str) -> bool:
    """Say whether a rule's name (not a catch-all) matches a request's name without its port."""
    return rule_host == host or (rule_host.startswith("*.") and host.endswith(rule_host[1:]))


def lookup_form(hostname: str) -> str:
    """Return the IDNA lookup form of a rule's name where it is valid and differs from the name, else "".

    UTS #46 non-transitional processing with STD3 rules, hyphen, joiner and bidi checks, and no length checks.
    """
    try:
        ascii_form = _to_ascii(hostname)
    except ValueError:  # idna's errors and the punycode codec's are both of this kind
        return ""
    return "" if ascii_form == hostname else ascii_form


def _to_ascii(hostname: str) -> str:
    if _PLAIN.fullmatch(hostname) and "xn--" not in hostname:
        for label in hostname.split("."):
            _check_label(label)
        return hostname
    return _mapped_to_ascii(hostname)


def _mapped_to_ascii(hostname: str) -> str:
    import unicodedata  # tables of 1 MB, like those of idna, that names in plain ASCII do without

    import idna

    labels = []
    for label in idna.uts46_remap(hostname, std3_rules=False).split("."):
        decoded = _decode_label(label) if label.startswith("xn--") else label
        _check_label(decoded)
        labels.append(decoded)
    if any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for label in labels for char in label):
        for label in labels:
            if label:
                idna.check_bidi(label, check_ltr=True)
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)


def _decode_label(label: str) -> str:
    import idna

    decoded = label[4:].encode().decode("punycode")
    if decoded.isascii() or idna.uts46_remap(decoded, std3_rules=False) != decoded:
        raise ValueError("the label does not decode to a valid name")
    return decoded


def _check_label(label: str) -> None:
    if _NOT_STD3.search(label):
        raise ValueError("an ASCII character that no host name has")
    octets = label.encode()
    if octets[2:4] == b"--" and len(octets) > 4:
        raise ValueError("two hyphens where only an encoded name has them")
    if octets.startswith(b"-") or octets.endswith(b"-"):
        raise ValueError("a label may not begin or end with a hyphen")
    if not label.isascii():
        import idna

        idna.check_initial_combiner(label)
        for index, char in enumerate(label):
            if char in "\u200c\u200d" and not idna.valid_contextj(label, index):
                raise ValueError("a joiner where none may be")


def hostname_fault(hostname: str) -> str:
    """Return why a rule's name cannot be used, as a sentence, or "" where it can."""
    if "://" in hostname:
        return "the hostname is a URL; write only the name, such as app.example.com"
    if split_host_port(hostname) is not None:
        return "the hostname cannot contain a port"
    if hostname.rfind("*") > 0:
        return (
            'a hostname can have one wildcard character ("*"), and only in place of subdomains, as in "*.example.com"'
        )
    return ""


def hostname_warning(hostname: str) -> str:
    """Return why a rule with this name will match less than its author may think, or ""."""
    if hostname in ANY_HOST:
        return ""
    if "/" in hostname or any(char.isspace() or not char.isprintable() for char in hostname):
        return "no request can have this hostname; it should be a bare name such as app.example.com"
    if hostname.startswith("*") and not hostname.startswith("*."):
        return 'without a dot after the "*" this matches only the literal text, not subdomains'
    if hostname.startswith("*.") and (hostname != hostname.lower() or not hostname.isascii()):
        return "a wildcard is compared as it is written; write it in lower case and in its encoded form (xn--...)"
    if hostname.endswith("."):
        return "a request's hostname has no trailing dot, so this rule never matches"
    return ""
