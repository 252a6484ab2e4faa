"""A whole control plane in one object: start it, use its API, stop it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from pyconnector.control.api.app import CLIENT_PREFIX, make_app
from pyconnector.control.api.guard import Failures, Served
from pyconnector.control.files import make_directory, write_secret
from pyconnector.control.key_rotation import KeyRotation
from pyconnector.control.login.cert_pem import OriginCert, encode, moved
from pyconnector.control.login.transfers import Transfers
from pyconnector.control.page.sessions import Sessions
from pyconnector.control.quick import QuickService
from pyconnector.control.server import ApiServer
from pyconnector.control.settings import AUTHORITY_FILE, AUTHORITY_KEY_FILE, CERT_FILE, EDGE_TOKEN_FILE, SettingsError
from pyconnector.control.store.database import Database
from pyconnector.control.store.devices.devices import give_all
from pyconnector.control.store.devices.ranges import keep_ranges
from pyconnector.control.store.errors import StoreUnavailable
from pyconnector.control.store.feed import ChangeFeed
from pyconnector.control.store.migrate import SchemaTooNew, migrate
from pyconnector.control.store.objects.authority import MeshAuthority, authority_of
from pyconnector.control.store.objects.first import Installation, install, new_token
from pyconnector.control.store.objects.tokens import CLIENT_SCOPES
from pyconnector.control.store.work import Actor, Work

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from pyconnector.control.settings import ControlPlaneSettings


class ControlPlane:
    """The API and its database from `start` to `stop`."""

    installation: Installation
    database: Database
    address: tuple[str, int]
    dns_address: tuple[str, int] | None = None
    "Where the edges' SRV records are served."

    def __init__(self, settings: ControlPlaneSettings) -> None:
        self.settings = settings
        self._exit = contextlib.AsyncExitStack()

    def __repr__(self) -> str:
        return f"<ControlPlane {self.settings.data_directory}>"

    @property
    def url(self) -> str:
        """Where the API is, without a path."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def api_url(self) -> str:
        """What clients are given as base of the API."""
        return self.url + CLIENT_PREFIX

    @property
    def cert_pem(self) -> Path:
        """The file that proves the account."""
        return self.settings.data_directory / CERT_FILE

    @property
    def ca_pem(self) -> Path:
        """The file that connectors trust the edges of this mesh by."""
        return self.settings.data_directory / AUTHORITY_FILE

    @property
    def edge_token_file(self) -> Path:
        """The file with the token that edges show."""
        return self.settings.data_directory / EDGE_TOKEN_FILE

    async def start(self) -> None:
        """Make or open everything, and listen. Cancel, or a failure, leaves nothing open.

        Raises:
            SettingsError: a place cannot be used, the database neither, or the address is taken.
        """
        try:
            await self._open()
        except StoreUnavailable as error:
            await self.stop()
            raise SettingsError(str(error)) from error
        except SettingsError:
            await self.stop()
            raise
        except SchemaTooNew as error:
            await self.stop()
            raise SettingsError(str(error)) from None
        except OSError as error:
            await self.stop()
            host, port = self.settings.address
            # Without what the library adds: the address as Python writes a tuple.
            reason = (error.strerror or str(error)).partition(" (while ")[0]
            raise SettingsError(f"the control plane cannot start at {host}:{port}: {reason}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything. Idempotent. Cancel leaves some of it open."""
        stack, self._exit = self._exit, contextlib.AsyncExitStack()
        await stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _open(self) -> None:
        settings = self.settings
        make_directory(settings.data_directory)
        database = self.database = Database(settings.database_url)
        self._exit.push_async_callback(database.close)
        await migrate(database)
        self.installation = await install(database, zone_name=settings.zone, account_name=settings.account_name)
        await self._prepare_devices(database)
        await self._write_tokens()
        authority = await self._authority(database)
        quick = QuickService(
            database, self.installation, limit=settings.quick_limit, authority=settings.data_directory / AUTHORITY_FILE
        )
        self._exit.push_async_callback(quick.close)
        quick.start()
        rotation = KeyRotation(database, self.installation.account_id)
        self._exit.push_async_callback(rotation.close)
        rotation.start()
        feed = ChangeFeed(database)
        await feed.start()
        if settings.dns_address is not None:
            await self._serve_dns(*settings.dns_address)
        transfers = Transfers()
        served = Served(
            database=database, feed=feed, installation=self.installation, authority=authority, quick=quick,
            sessions=Sessions(), transfers=transfers, failures=Failures(),
            hostnames=frozenset(name.lower() for name in settings.hostnames), dns_address=self.dns_address,
        )  # fmt: skip
        server = ApiServer(make_app(served))
        self._exit.push_async_callback(server.close)
        # Closed before the server: who waits for a change or a certificate would keep it from ending.
        self._exit.push_async_callback(feed.close)
        self._exit.callback(transfers.close)
        self.address = await server.start(*settings.address)
        await self._write_cert()

    async def _prepare_devices(self, database: Database) -> None:
        settings, account_id = self.settings, self.installation.account_id

        async def keep(work: Work) -> None:
            await keep_ranges(work, settings.mesh_range, settings.name_range)

        await database.write(Actor(account_id=account_id), keep)
        await give_all(database, account_id)

    async def _serve_dns(self, host: str, port: int) -> None:
        # Loaded where it is used: most control planes do without a DNS library.
        from pyconnector.control.discovery.edges import KnownEdges
        from pyconnector.control.discovery.server import DnsServer

        server = DnsServer(KnownEdges(self.database))
        self._exit.push_async_callback(server.close)
        try:
            self.dns_address = await server.start(host, port)
        except OSError as error:
            raise SettingsError(f"--dns {host}:{port}: {error.strerror or error}") from error

    async def _authority(self, database: Database) -> MeshAuthority:
        """The database's; at first that which an edge of an earlier version left in the data directory."""
        directory = self.settings.data_directory
        certificate, key = directory / AUTHORITY_FILE, directory / AUTHORITY_KEY_FILE
        offered = None
        if certificate.exists() and key.exists():
            offered = MeshAuthority(certificate.read_text(encoding="ascii"), key.read_text(encoding="ascii"))
        authority = await authority_of(database, offered)
        if authority != offered:
            write_secret(key, authority.key)
            write_secret(certificate, authority.certificate)
        return authority

    async def _write_tokens(self) -> None:
        """Write what is not there yet: a lost file is made anew with a new token."""
        made = self.installation
        if not self.edge_token_file.exists():
            write_secret(
                self.edge_token_file, await new_token(self.database, made.account_id, "edge", ("edge",)) + "\n"
            )

    async def _write_cert(self) -> None:
        """Make the file where there is none; one that names another address of the API is changed to this one's."""
        made = self.installation
        if not self.cert_pem.exists():
            token = await new_token(self.database, made.account_id, CERT_FILE, CLIENT_SCOPES)
            cert = OriginCert(zone_id=made.zone_id, account_id=made.account_id, api_token=token, api_url=self.api_url)
            write_secret(self.cert_pem, encode(cert))
            return
        text = self.cert_pem.read_text(encoding="ascii", errors="replace")
        if (changed := moved(text, self.api_url)) != text:
            write_secret(self.cert_pem, changed)
