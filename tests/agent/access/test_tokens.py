"""Tokens of applications: kept ones, those of a login in a browser, those for a service token; and curl with one."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from pyconnector.agent.access.application import Application, ask_application
from pyconnector.agent.access.credentials import Credentials
from pyconnector.agent.access.dial import Dialer, client_context
from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.login import Login
from pyconnector.agent.access.pages import Pages
from pyconnector.agent.access.place import Place, connect_to, parse_place
from pyconnector.agent.access.token_store import TokenStore
from pyconnector.connector.cli import main
from tests.support.houses.tls_house import TlsHouse, tls_house
from tests.support.identity.agents import HOST, Agent

NOW = 1_800_000_000
AUD = "a" * 64
APPLICATION = Application(audience=AUD, hostname="127.0.0.1/*", auth_domain="team.cloudflareaccess.com")


def jwt(**claims: Any) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256', 'kid': 'x', 'typ': 'JWT'})}.{part(claims)}.{'s' * 43}"


class Edge:
    """What an edge with a login answers; `answers` is what the transfer holds so far."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.metadata: dict[str, Any] = {
            "type": "match", "hostname": "127.0.0.1", "auth_domain": "team.cloudflareaccess.com", "aud": AUD,
            "app_hostname": "127.0.0.1/*", "iat": NOW,
        }  # fmt: skip
        self.login_status = 200
        self.answers: dict[str, tuple[dict[str, str], bytes]] = {}
        self.refuses: set[str] = set()

    def answer(self, method: str, target: str, fields: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((method, target))
        path = urlsplit(target).path
        if "cf-access-metadata-request" in fields:
            return 200, {"cf-access-metadata": jwt(**self.metadata)} if self.metadata else {}, b""
        if path == "/cdn-cgi/access/cli":
            return self.login_status, {}, b""
        if "/transfer/" in path:
            key = path.rpartition("/")[2]
            return (200, *self.answers[key]) if key in self.answers else (404, {}, b"")
        return (401 if fields.get("cf-access-token", "") in self.refuses else 204), {}, b""

    def seal(self, key: str, token: str) -> None:
        """What a browser's page leaves for the key."""
        from nacl.public import Box, PrivateKey, PublicKey

        own = PrivateKey.generate()
        sealed = Box(own, PublicKey(base64.urlsafe_b64decode(key))).encrypt(json.dumps({"app_token": token}).encode())
        public = base64.urlsafe_b64encode(bytes(own.public_key)).decode()
        self.answers[key] = ({"service-public-key": public}, base64.b64encode(sealed))


@contextmanager
def running(edge: Edge) -> Iterator[Place]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fields = {name.lower(): value for name, value in self.headers.items()}
            status, answered, body = edge.answer(self.command, self.path, fields)
            self.send_response(status)
            for name, value in answered.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield parse_place(f"http://127.0.0.1:{server.server_port}/app")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def login_at(place: Place, folder: Path) -> Login:
    pages = Pages(client_context(place, None), "tests")
    store = f"{place.url}/transfer/"
    return Login(pages=pages, clock=lambda: NOW, store=TokenStore(folder), provider_store=store)


@pytest.mark.parametrize("domain", ["team.cloudflareaccess.com", "access.example.com"])
def test_a_browser_leaves_the_token_for_our_key(tmp_path: Path, domain: str) -> None:
    pytest.importorskip("nacl", reason="the extra `access` is not installed")
    edge = Edge()
    edge.metadata["auth_domain"] = domain
    token = jwt(aud=[AUD], exp=NOW + 60)
    with running(edge) as place:
        login = login_at(place, tmp_path / "new")
        application, kept = login.find(place)
        assert kept == ""
        shown: list[str] = []
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            query = parse_qs(urlsplit(shown[0]).query)
            assert (query["aud"], query["edge_token_transfer"]) == ([AUD], ["true"])
            edge.seal(query["token"][0], token)

        assert login.by_browser(place, application, lambda url, code: shown.append(url), pause) == token
        assert len(pauses) == 1
        assert shown[0].startswith(f"{place.url}/cdn-cgi/access/cli?")
        assert login.find(place)[1] == token
        [path] = (tmp_path / "new").iterdir()
        assert path.name == f"127.0.0.1---{AUD}-token"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert login.is_valid(place, token)
        edge.refuses.add(token)
        assert not login.is_valid(place, token)
        where = {target.rpartition("/")[0] for _, target in edge.asked if "/transfer/" in target}
        assert where == {"/transfer" if "cloudflare" in domain else "/cdn-cgi/access/transfer"}


def test_a_login_that_gives_nothing_useful_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("nacl", reason="the extra `access` is not installed")
    edge = Edge()
    with running(edge) as place:
        login = login_at(place, tmp_path)

        def leave(value: Any) -> Any:
            def show(url: str, code: str) -> None:
                key = parse_qs(urlsplit(url).query)["token"][0]
                edge.seal(key, value) if isinstance(value, str) else edge.answers.update({key: value})

            return show

        other = jwt(aud=["b" * 64], exp=NOW + 60)
        for value in (other, jwt(aud=AUD, exp=NOW - 1), ({}, b"x"), ({"service-public-key": "AAAA"}, b"!")):
            with pytest.raises(AccessError, match=r"the login gave a token for|no token for this key"):
                login.by_browser(place, APPLICATION, leave(value), lambda seconds: None)
        with pytest.raises(AccessError, match="nobody logged in"):
            login.by_browser(place, APPLICATION, lambda url, code: None, lambda seconds: None)
        assert list(tmp_path.iterdir()) == []
        edge.metadata["auth_domain"], edge.login_status = "access.example.com", 404
        with pytest.raises(AccessError, match="no login for people: set TUNNEL_SERVICE_TOKEN_ID"):
            login.by_browser(place, login.find(place)[0], lambda url, code: None, lambda seconds: None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hostname": "other"}, "another application"),
        ({"type": "app"}, "another application"),
        ({"iat": NOW - 90_000}, "too old"),
        ({"iat": NOW + 400}, "too old"),
        ({"app_hostname": "../x"}, "cannot be"),
        ({"aud": "a b"}, "cannot be"),
        ({"aud": ""}, "another application"),
    ],
)
def test_an_application_that_cannot_be_is_refused(change: dict[str, Any], why: str) -> None:
    edge = Edge()
    edge.metadata |= change
    with running(edge) as place, pytest.raises(AccessError, match=why):
        ask_application(Pages(client_context(place, None), "tests"), place, NOW)


def test_no_application_is_said_as_the_reference_says_it() -> None:
    edge = Edge()
    edge.metadata = {}
    with running(edge) as place:
        done = CliRunner().invoke(main, ["access", "token", f"{place.url}/"], env={"TUNNEL_SERVICE_TOKEN_ID": None})
    assert done.exit_code == 1
    assert f"failed to find Access application at {place.url}" in done.output


def test_only_tokens_for_the_application_that_live_are_kept(tmp_path: Path) -> None:
    store = TokenStore(tmp_path)
    assert store.get(APPLICATION, NOW) == ""
    for token in (jwt(aud=AUD, exp=NOW), jwt(aud="b" * 64, exp=NOW + 9), "x", "a.b.c", jwt(aud=AUD)):
        store.put(APPLICATION, token)
        assert store.get(APPLICATION, NOW) == ""
    store.put(APPLICATION, jwt(aud=AUD, exp=NOW + 1))
    assert store.get(APPLICATION, NOW)
    store.drop(APPLICATION)
    assert store.get(APPLICATION, NOW) == ""
    store.drop(APPLICATION)


def place_in(house: TlsHouse) -> Place:
    return connect_to(parse_place(HOST), house.connect_to)


def environment(agent: Agent, folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNNEL_")}
    shown = {"TUNNEL_SERVICE_TOKEN_ID": agent.client_id, "TUNNEL_SERVICE_TOKEN_SECRET": agent.secret}
    return clean | shown | {"HOME": str(folder)}


async def test_a_service_token_is_exchanged_for_a_token(tmp_path: Path) -> None:
    async def command_prints_a_token(house: TlsHouse, agent: Agent) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pyconnector", "access", "token", HOST, "--cacert", str(house.ca),
            "--connect-to", house.connect_to, env=environment(agent, tmp_path), stdout=-1,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert (process.returncode, out.count(b"."), b"\n" in out) == (0, 2, False)

    async with asyncio.timeout(60), tls_house(tmp_path) as house:
        world = house.world()
        world.application()
        agent = world.agent()
        place = place_in(house)
        login = Login(pages=Pages(client_context(place, house.ca), "tests"), clock=lambda: NOW)
        shown = Credentials(client_id=agent.client_id, secret=agent.secret)
        wanted = {"path": "/", "methods": "GET", "seconds": "300"}
        token = await asyncio.to_thread(login.for_service_token, place, shown, wanted)
        stream = await Dialer(place, Credentials(app_token=token), ca_file=house.ca).open()
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        stream.close()
        wrong = Credentials(client_id=agent.client_id, secret="wrong")
        with pytest.raises(AccessError, match="The service token is not valid"):
            await asyncio.to_thread(login.for_service_token, place, wrong, {})

        async def log_in(was_refused: bool) -> str:
            asked.append(was_refused)
            return token if was_refused else "wrong"

        asked: list[bool] = []
        stream = await Dialer(place, Credentials(), ca_file=house.ca, log_in=log_in).open()
        stream.close()
        assert asked == [False, True]
        house.edge.gate.failures.__init__()  # type: ignore[misc]
        await command_prints_a_token(house, agent)


async def test_curl_passes_and_its_arguments_hold_no_secret(tmp_path: Path) -> None:
    async with asyncio.timeout(60), tls_house(tmp_path, service="http_status:204") as house:
        world = house.world()
        world.application()
        agent = world.agent()
        fake = tmp_path / "bin"
        fake.mkdir()
        script = fake / "curl"
        script.write_text('#!/bin/sh\necho "$@"; env | grep -c TUNNEL_SERVICE; cat "$2"\n')
        script.chmod(0o755)
        known = environment(agent, tmp_path)
        start = [sys.executable, "-m", "pyconnector", "access", "curl"]
        process = await asyncio.create_subprocess_exec(
            *start, f"https://{HOST}/x", "-d", 'a"b', env=known | {"PATH": f"{fake}:{known['PATH']}"}, stdout=-1
        )
        out = (await process.communicate())[0].decode().splitlines()
        assert out[0].startswith("--config /dev/fd/")
        assert out[0].endswith(f' https://{HOST}/x -d a"b')
        assert out[1] == "0"
        assert out[2:] == [
            f'header = "Cf-Access-Client-Id: {agent.client_id}"',
            f'header = "Cf-Access-Client-Secret: {agent.secret}"',
        ]
        real = [f"https://{HOST}:{house.port}/x", "--cacert", str(house.ca), "-s", "-o", "/dev/null"]
        process = await asyncio.create_subprocess_exec(
            *start, *real, "--resolve", f"{HOST}:{house.port}:127.0.0.1", "-w", "%{http_code}", env=known, stdout=-1
        )
        assert (await process.communicate())[0] == b"204"


def test_curl_without_a_token_says_how_to_get_one(tmp_path: Path) -> None:
    edge = Edge()
    runner = CliRunner(env={"TUNNEL_SERVICE_TOKEN_ID": None, "HOME": str(tmp_path)})
    with running(edge) as place:
        edge.metadata["iat"] = 4_000_000_000
        done = runner.invoke(main, ["access", "curl", f"{place.url}/"])
        assert done.exit_code == 1
        assert "clock is wrong" in done.output
    done = runner.invoke(main, ["access", "curl", "-v"])
    assert (done.exit_code, "the URL of the application comes first" in done.output) == (2, True)


def test_a_kept_token_is_printed_while_the_edge_takes_it(tmp_path: Path) -> None:
    edge = Edge()
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    edge.metadata |= {"iat": now, "auth_domain": "access.example.com"}
    edge.login_status = 404
    token = jwt(aud=AUD, exp=now + 600)
    runner = CliRunner(env={"TUNNEL_SERVICE_TOKEN_ID": None, "HOME": str(tmp_path)})
    with running(edge) as place:
        missing = runner.invoke(main, ["access", "token", place.url])
        assert (missing.exit_code, "Unable to find token" in missing.output) == (1, True)
        application = Application(audience=AUD, hostname="127.0.0.1/*", auth_domain="access.example.com")
        TokenStore(tmp_path / ".cloudflared").put(application, token)
        for arguments, output in (
            (["token", place.url], token),
            (["login", place.url, "--no-verbose"], token),
            (["login", place.url], f"Successfully fetched your token:\n\n{token}\n\n"),
            (["login", "--app", place.url], token),
            (["login", place.url, "-q"], ""),
        ):
            done = runner.invoke(main, ["access", *arguments])
            assert (done.exit_code, done.output) == (0, output)
        edge.refuses.add(token)
        done = runner.invoke(main, ["access", "login", place.url])
        assert (done.exit_code, "has no login for people" in done.output) == (1, True)
        assert runner.invoke(main, ["access", "token", place.url]).exit_code == 1  # it was dropped
