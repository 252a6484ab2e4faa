"""`tunnel login` against a control plane: who is signed in hands `cert.pem` out, once, to the command that asked."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import click
import httpx
import pytest

from pyconnector.connector.cli.account import login
from pyconnector.connector.cli.account.origin_cert import find_origin_cert
from pyconnector.control.login import transfers
from pyconnector.control.login.transfers import Transfers, code_of, is_key, key_of
from tests.control.support import Mesh, open_mesh
from tests.control.test_page import browser, form_key

KEY = "k" * 43


@contextlib.asynccontextmanager
async def on_sqlite(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with open_mesh(tmp_path / "data") as mesh:
        yield mesh


async def token(mesh: Mesh, *scopes: str) -> str:
    made: str = (await mesh.call("POST", "/user/tokens", json={"name": "n", "scopes": list(scopes)}))["value"]
    return made


async def hand_out(mesh: Mesh, client: httpx.AsyncClient, key: str = KEY, **fields: str) -> httpx.Response:
    form = {"form_key": await form_key(client), "key": key, "zone_id": mesh.plane.installation.zone_id} | fields
    return await client.post("/ui/login", data=form)


async def test_a_command_gets_what_a_browser_hands_out(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path) as mesh:
        loop, shown = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        target = tmp_path / "home" / "cert.pem"
        places = login.places_of_control(mesh.plane.url + "/")
        command = asyncio.create_task(
            asyncio.to_thread(
                login.login, places, target, browse=lambda url: loop.call_soon_threadsafe(shown.set_result, url)
            )
        )
        url = await shown
        key = parse_qs(urlsplit(url).query)["callback"][0].rpartition("/")[2]
        async with browser(mesh) as client:
            assert 'name="login"' in (await client.get(url)).text
            signed_in = await client.post("/ui/sign-in", data={"token": mesh.token, "login": key})
            page = (await client.get(signed_in.headers["location"])).text
            assert code_of(key) in page
            assert "has its certificate" in (await hand_out(mesh, client, key)).text
        await command
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        cert = find_origin_cert(str(target))
        assert (cert.api_url, cert.zone_id) == (mesh.plane.api_url, mesh.plane.installation.zone_id)
        async with httpx.AsyncClient(
            base_url=cert.api_url, headers={"Authorization": f"Bearer {cert.api_token}"}
        ) as own:
            assert (await own.get(f"{mesh.account}/cfd_tunnel")).status_code == 200
            assert (await own.get("/user/tokens")).status_code == 403


async def test_a_certificate_is_fetched_once_and_waited_for(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path) as mesh:
        async with browser(mesh, mesh.token) as client, httpx.AsyncClient(base_url=mesh.plane.url) as command:
            waiting = asyncio.create_task(command.get(f"/{KEY}"))  # as the reference asks
            assert (await command.get("/favicon.ico")).status_code == 404
            await hand_out(mesh, client)
            assert "ARGO TUNNEL TOKEN" in (await waiting).text
            await hand_out(mesh, client)
            assert (await command.get(f"/login/{KEY}=")).status_code == 200
            # Who waits when the control plane ends is answered, and does not hold it up.
            waiting = asyncio.create_task(command.get(f"/login/{KEY}"))
            await command.get("/favicon.ico")
            await mesh.plane.stop()
            assert (await waiting).status_code == 404


REFUSED: list[tuple[tuple[str, ...], dict[str, str], int]] = [
    (("tunnels:edit",), {}, 403),
    (("tokens:edit",), {}, 403),
    (("tokens:edit", "tunnels:read"), {"form_key": "wrong"}, 403),
    (("tokens:edit", "tunnels:read"), {"zone_id": "other"}, 400),
    (("tokens:edit", "tunnels:read"), {"key": "short"}, 400),
]


async def test_nothing_is_handed_out_without_right_or_form(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path) as mesh:
        for scopes, fields, status in REFUSED:
            async with browser(mesh, await token(mesh, *scopes)) as client:
                assert (await hand_out(mesh, client, **fields)).status_code == status, fields
                rebound = await client.get(f"/ui/login?callback={KEY}", headers={"Host": "evil.example"})
                assert rebound.status_code == 421
        names = [row["name"] for row in await mesh.call("GET", "/user/tokens")]
        assert not [name for name in names if name.startswith("cert.pem by")]


async def test_a_certificate_may_do_no_more_than_who_hands_it_out(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path) as mesh:
        async with browser(mesh, await token(mesh, "tokens:edit", "tunnels:read")) as client:
            form = {"form_key": await form_key(client), "zone_id": mesh.plane.installation.zone_id}
            answer = await client.post("/ui/cert.pem", data=form)
            assert answer.headers["content-disposition"] == 'attachment; filename="cert.pem"'
            assert "ARGO TUNNEL TOKEN" in answer.text
        made = (await mesh.call("GET", "/user/tokens"))[-1]
        assert (made["name"], made["scopes"]) == ("cert.pem by n", ["tunnels:read"])


async def test_transfers_are_bounded_and_end_by_themselves() -> None:
    held = Transfers(patience=0.0)
    for number in range(transfers.MAX_OFFERED + 1):
        held.offer(f"{number:043}", "pem", now=0.0)
    assert held.take(f"{0:043}", 1.0) is None
    assert held.take(f"{1:043}", 1.0) == "pem"
    assert held.take(f"{2:043}", transfers.LIFETIME) is None

    patient = Transfers()
    waiting = [asyncio.create_task(patient.wait(KEY)) for _ in range(transfers.MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(transfers.TooManyWaiting):
        await patient.wait(KEY)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    patient.close()
    await asyncio.gather(*waiting[1:])
    assert "waiting=0" in repr(patient)


def test_only_a_public_key_is_a_key() -> None:
    assert key_of(f"https://login.example/{KEY}=") == KEY
    for text in ("", "https://login.example/", "a" * 42, "a" * 42 + "/", "a" * 42 + "é"):
        assert key_of(text) is None
        assert not is_key(text)


def test_a_certificate_that_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "cert.pem"
    target.write_text("mine")
    login.login(login.PROVIDER, target, browse=None)
    assert "existing certificate" in capsys.readouterr().err
    assert target.read_text() == "mine"


async def test_login_ends_where_the_store_fails_or_nobody_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_sqlite(tmp_path) as mesh:
        places = login.changed(login.PROVIDER, None, f"{mesh.plane.url}/nothing")
        monkeypatch.setattr(login, "PATIENCE", 0.2)
        monkeypatch.setattr(login, "PAUSE", 0.1)
        begun = time.monotonic()
        with pytest.raises(click.ClickException, match="nobody has logged in"):
            await asyncio.to_thread(login.login, places, tmp_path / "c", browse=None)
        assert time.monotonic() - begun < 30
        await mesh.plane.stop()
        with pytest.raises(click.ClickException, match="Failed to fetch the certificate"):
            await asyncio.to_thread(login.login, places, tmp_path / "c", browse=None)
        assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("text", ["host:7846", "ftp://h", "http://", "http://h:99999", "http://a:b@h", "http://h?x=1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(click.ClickException, match="--control"):
        login.places_of_control(text)
