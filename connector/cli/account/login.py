"""`tunnel login`: a browser signs in, and `cert.pem` comes by way of a store (cli.md 3, api.md 5)."""

from __future__ import annotations

import base64
import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

import click
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pyconnector.connector.cli.account.client import CLIENT_PREFIX, NoRedirect, plain
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.account.lookup import say
from pyconnector.connector.cli.account.origin_cert import FILE_NAME, MAX_BYTES, parse_origin_cert
from pyconnector.connector.config.credentials import DEFAULT_DIRECTORIES
from pyconnector.connector.version import VERSION
from pyconnector.control.login.cert_pem import OriginCert, encode
from pyconnector.control.login.transfers import code_of
from pyconnector.transport.tls.client_context import client_context

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that one request may wait, that all of them may, and between two that are answered at once.
POLL, PATIENCE, PAUSE = 60.0, 600.0, 1.0
FED = "fed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPlaces:
    """Where a person signs in, and where the certificate is fetched."""

    page: str
    store: str
    "Ends with a slash; the key comes behind it."
    api_url: str = ""
    endpoint: str = ""


#: The provider's, and its second realm's.
PROVIDER = LoginPlaces(page="https://dash.cloudflare.com/argotunnel", store="https://login.cloudflareaccess.org/")
PROVIDER_FED = LoginPlaces(
    page="https://dash.fed.cloudflare.com/argotunnel", store="https://login.fed.cloudflareaccess.org/", endpoint=FED
)


def places_of_control(url: str) -> LoginPlaces:
    """Return those of a control plane.

    Raises:
        CommandFailed: that is no address of one.
    """
    base = _http_url(url, "--control").removesuffix(CLIENT_PREFIX)
    return LoginPlaces(page=f"{base}/ui/login", store=f"{base}/login/", api_url=base + CLIENT_PREFIX)


def login(places: LoginPlaces, target: Path, *, browse: Callable[[str], object] | None) -> None:
    """Let a person sign in, and write the certificate, for its owner alone. An interrupt leaves no file.

    Raises:
        CommandFailed: nobody signed in in time, or what came cannot be used or written.
    """
    if target.exists() and target.stat().st_size:
        # As the reference: a login that is there is no failure of whoever wants one.
        say(f"You have an existing certificate at {target} which login would overwrite. If this is intentional, please"
            " move or delete that file then run this command again.", level="ERR")  # fmt: skip
        return
    raw = X25519PrivateKey.generate().public_key().public_bytes_raw()
    key = base64.urlsafe_b64encode(raw).decode("ascii")
    click.echo(f"Please open the following URL and log in:\n\n{_page_url(places, key)}\n", err=True)
    if places.api_url:
        click.echo(f"It shows the code {code_of(key)}.\n", err=True)
    if places.store.startswith("http://") and not _is_loopback(places.store):
        say("The certificate comes over plain HTTP: anyone on the network path can read and use it", level="WRN")
    if browse is not None:
        browse(_page_url(places, key))
    cert = parse_origin_cert(_fetched(places.store + key), target)
    text = encode(
        OriginCert(
            zone_id=cert.zone_id, account_id=cert.account_id, api_token=cert.api_token,
            endpoint=places.endpoint or cert.endpoint, api_url=places.api_url or cert.api_url,
        )
    )  # fmt: skip
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.exists():
            target.unlink()  # it is empty
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise CommandFailed(f"error writing cert to {target}: {error.strerror or error}") from None
    say(
        "You have successfully logged in. If you wish to copy your credentials to a server, they have been saved to:"
        f" {target}"
    )


def default_target() -> Path:
    """Return where commands look for a certificate first."""
    return Path(DEFAULT_DIRECTORIES[0]).expanduser() / FILE_NAME


def changed(places: LoginPlaces, page: str | None, store: str | None) -> LoginPlaces:
    """Return places with another page or store, as far as they are given.

    Raises:
        CommandFailed: one is no address.
    """
    if page:
        places = replace(places, page=_http_url(page, "--loginURL"))
    if store:
        places = replace(places, store=_http_url(store, "--callbackURL") + "/")
    return places


def _http_url(text: str, flag: str) -> str:
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username is not None:
        raise CommandFailed(f"{flag}: {text} is no address of the form http://HOST:PORT")
    return text.rstrip("/")


def _page_url(places: LoginPlaces, key: str) -> str:
    parts = urlsplit(places.page)
    query = urlencode([("aud", ""), ("callback", places.store + key)])
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _fetched(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=client_context()), NoRedirect())
    request = urllib.request.Request(url, headers={"User-Agent": f"pyconnector/{VERSION}"})
    deadline = time.monotonic() + PATIENCE
    while (begun := time.monotonic()) < deadline:
        try:
            with opener.open(request, timeout=POLL) as answer:
                if answer.status == 200:
                    return str(answer.read(MAX_BYTES).decode("ascii", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500:
                    raise CommandFailed(f"Failed to fetch the certificate: the store answered {error.code}") from None
        except TimeoutError:
            pass
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if not isinstance(reason, TimeoutError):
                raise CommandFailed(f"Failed to fetch the certificate: {plain(reason)}") from None
        say("Waiting for login...")
        time.sleep(max(0.0, begun + PAUSE - time.monotonic()))
    raise CommandFailed("Failed to fetch the certificate: nobody has logged in")
