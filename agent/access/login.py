"""Tokens of applications: from the file of an earlier login, by a login in a browser, or for a service token.

A login in a browser ends in a transfer (reference/access.md 6.1): the browser's page leaves the token, sealed for a key
that was made here, and whoever knows the key's public half may fetch it. The provider keeps such transfers at a place
of its own; an edge of one's own keeps them beside its login.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from pyconnector.agent.access.application import Application, ask_application
from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.handshake import Head, sentence_of
from pyconnector.agent.access.place import Place, parse_place
from pyconnector.agent.access.token_store import TokenStore, is_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.agent.access.credentials import Credentials
    from pyconnector.agent.access.pages import Page, Pages

PROVIDER: Final = ".cloudflareaccess.com"
PROVIDER_STORE: Final = "https://login.cloudflareaccess.org/transfer/"
FEDRAMP_STORE: Final = "https://login.fed.cloudflareaccess.org/transfer/"
OWN_STORE: Final = "/cdn-cgi/access/transfer/"
LOGIN: Final = "/cdn-cgi/access/cli"
SESSION: Final = "/cdn-cgi/access/session"
#: Seconds of one wait for the browser's end of a login, and how often it is waited.
POLL_TIMEOUT: Final = 60.0
POLLS: Final = 10
POLL_PAUSE: Final = 2.0
#: Characters of the key that a person compares.
CODE: Final = 8
_NONCE: Final = 24


@dataclass(slots=True, kw_only=True)
class Login:
    """Gets tokens for applications."""

    pages: Pages
    clock: Callable[[], float]
    "Seconds since the epoch."
    store: TokenStore = field(default_factory=TokenStore)
    fedramp: bool = False
    provider_store: str = PROVIDER_STORE

    def find(self, place: Place) -> tuple[Application, str]:
        """Return the application at `place`, and its token of an earlier login or "".

        Raises:
            AccessError: there is no application.
        """
        application = ask_application(self.pages, place, self.clock())
        return application, self.store.get(application, self.clock())

    def is_valid(self, place: Place, token: str) -> bool:
        """Return whether the edge takes a token.

        Raises:
            AccessError: the edge cannot be asked.
        """
        query = "&" if "?" in place.target else "?"
        target = f"{place.target}{query}cloudflared_token_check=true"
        page = self.pages.ask("GET", place, target, [("Cf-Access-Token", token)])
        return not page.wants_login and page.status != 401

    def by_browser(
        self, place: Place, application: Application, show: Callable[[str, str], None], pause: Callable[[float], None]
    ) -> str:
        """Have somebody log in, keep the token and return it. `show` is given the URL to open, and the code by which
        a person knows this login there; `pause` waits seconds.

        Raises:
            AccessError: the edge has no login, or nobody logged in.
        """
        try:
            from nacl.public import PrivateKey
        except ImportError:
            raise AccessError("a login needs the extra `access`: pip install 'pyconnector[access]'") from None
        private = PrivateKey.generate()
        public = base64.urlsafe_b64encode(bytes(private.public_key)).decode("ascii")
        back = f"{place.url}{place.target}?{urlencode({'aud': application.audience, 'token': public})}"
        query = urlencode({
            "aud": application.audience, "edge_token_transfer": "true", "redirect_url": back,
            "send_org_token": "true", "token": public,
        })  # fmt: skip
        store = self._store(place, application)
        if not application.auth_domain.endswith(PROVIDER) and self.pages.ask("HEAD", place, LOGIN).status == 404:
            raise AccessError(
                f"the edge of {place.host} has no login for people: set TUNNEL_SERVICE_TOKEN_ID and "
                f"TUNNEL_SERVICE_TOKEN_SECRET, and `pyconnector access token {place.url}` gives a token"
            )
        show(f"{place.url}{LOGIN}?{query}", public[:CODE])
        target = f"{store.target.removesuffix('/')}/{public}"
        for _ in range(POLLS):
            page = self.pages.ask("GET", store, target, timeout=POLL_TIMEOUT)
            if page.status == 200:
                token = _opened(page, bytes(private))
                if not is_for(token, application, self.clock()):
                    raise AccessError(f"the login gave a token for something else than {place.host}")
                self.store.put(application, token)
                return token
            if page.status >= 500:
                raise AccessError(f"{store.host} answered with status {page.status}")
            pause(POLL_PAUSE)
        raise AccessError("nobody logged in in time")

    def for_service_token(self, place: Place, credentials: Credentials, narrowed: dict[str, str]) -> str:
        """Return a token for a service token, from an edge of one's own; it may do no more, and ends sooner.

        Raises:
            AccessError: the edge gives none.
        """
        query = urlencode({name: value for name, value in narrowed.items() if value})
        page = self.pages.ask(
            "POST", place, f"{SESSION}?{query}" if query else SESSION, credentials.identity_fields()
        )  # fmt: skip
        try:
            token = json.loads(page.body)["token"] if page.status == 200 else None
        except (ValueError, KeyError, TypeError, RecursionError):
            token = None
        if isinstance(token, str) and token:
            return token
        if page.status == 200 or page.wants_login:
            raise AccessError(f"{place.host} gives no tokens for service tokens: only an edge of your own does")
        raise AccessError(f"{place.host}: {sentence_of(Head(page.status, page.fields), page.body)}", page.status)

    def _store(self, place: Place, application: Application) -> Place:
        if application.auth_domain.endswith(PROVIDER):
            return parse_place(FEDRAMP_STORE if self.fedramp else self.provider_store)
        return replace(place, target=OWN_STORE)


def _opened(page: Page, private: bytes) -> str:
    from nacl.exceptions import CryptoError
    from nacl.public import Box, PrivateKey, PublicKey

    try:
        theirs = PublicKey(base64.urlsafe_b64decode(page.fields.get("service-public-key", "")))
        sealed = base64.b64decode(page.body.strip(), validate=True)
        value = json.loads(Box(PrivateKey(private), theirs).decrypt(sealed[_NONCE:], sealed[:_NONCE]))
        token = value["app_token"]
    except (ValueError, KeyError, TypeError, binascii.Error, CryptoError, RecursionError):
        token = None
    if not isinstance(token, str) or not token.isascii() or not token:
        raise AccessError("what the login left is no token for this key")
    return token
