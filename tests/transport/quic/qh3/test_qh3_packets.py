"""Packets are read beside the core: with each cipher, over gaps in the numbers, and through updates of the keys."""

from __future__ import annotations

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from aioquic.quic.crypto import CryptoContext, apply_key_phase, next_key_phase
from aioquic.tls import CipherSuite as OracleSuite
from qh3.quic.crypto import derive_key_iv_hp
from qh3.quic.tls_bridge import QuicTlsTrafficSecret
from qh3.tls import CipherSuite, Direction, Epoch

from pyconnector.transport.quic.qh3_engine.packets import PacketReader

ID = b"ourownID"
VERSION_1, VERSION_2 = 1, 0x6B3343CF
SIZES = {
    CipherSuite.AES_128_GCM_SHA256: 32,
    CipherSuite.AES_256_GCM_SHA384: 48,
    CipherSuite.CHACHA20_POLY1305_SHA256: 32,
}
AES_128 = CipherSuite.AES_128_GCM_SHA256


class Sender:
    """A peer, as aioquic would encrypt for it."""

    def __init__(self, suite: CipherSuite = AES_128, version: int = VERSION_1) -> None:
        self.suite, self.version, self.secret = suite, version, bytes(range(SIZES[suite]))
        self.crypto = CryptoContext()
        self.crypto.setup(cipher_suite=OracleSuite(suite), secret=self.secret, version=version)

    def packet(self, number: int, frames: bytes = b"\x01" * 20, size: int = 2) -> bytes:
        """Encrypt a packet whose number is sent in `size` bytes."""
        first = 0x40 | self.crypto.key_phase << 2 | (size - 1)
        header = bytes((first,)) + ID + (number & ((1 << 8 * size) - 1)).to_bytes(size, "big")
        return self.crypto.encrypt_packet(header, frames, number)

    def update_keys(self) -> None:
        """Go on with the next generation."""
        apply_key_phase(self.crypto, next_key_phase(self.crypto), trigger="test")

    def reader(self, packets: int = 0) -> PacketReader:
        """Return who knows the first keys and how many packets came."""
        key, iv, hp = derive_key_iv_hp(cipher_suite=self.suite, secret=self.secret, version=self.version)
        return PacketReader(
            QuicTlsTrafficSecret(Direction.DECRYPT, Epoch.ONE_RTT, self.suite, self.version, key, iv, hp, self.secret),
            len(ID),
            packets,
        )


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("suite", list(SIZES))
def test_packets_of_every_cipher_are_read(suite: CipherSuite, version: int) -> None:
    sender = Sender(suite, version)
    reader = sender.reader()
    for number in (0, 1, 5, 3):
        assert reader.read(
            sender.packet(number, b"frames of %d" % number + bytes(20))
        ) == b"frames of %d" % number + bytes(20)
    sender.update_keys()
    assert reader.read(sender.packet(6)) == b"\x01" * 20


@pytest.mark.parametrize(("size", "lost"), [(1, 60_000), (2, 2_000_000), (4, 1 << 30)])
def test_the_first_packet_is_read_however_many_were_lost_before(size: int, lost: int) -> None:
    sender = Sender()
    reader = sender.reader(packets=1000)
    assert reader.read(sender.packet(1000 + lost, size=size)) is not None
    reader.passed(31)
    assert reader.read(sender.packet(1000 + lost + 35, size=size)) is not None


@pytest.mark.parametrize("updates", range(13))
def test_the_first_packet_is_read_after_updates_of_the_keys(updates: int) -> None:
    sender = Sender()
    for _ in range(updates):
        sender.update_keys()
    assert sender.reader().read(sender.packet(9)) is not None


def test_updates_between_and_packets_from_before_them_are_read() -> None:
    sender = Sender()
    reader = sender.reader()
    for number in range(0, 400, 40):
        late = sender.packet(number + 1)
        sender.update_keys()
        assert reader.read(sender.packet(number + 4)) is not None
        assert reader.read(late) is not None
        if number % 80:
            sender.update_keys()
        reader.passed(36)
    assert len(reader._ciphers) < 8, "old keys are forgotten"


def test_what_stands_before_the_packet_is_passed_over() -> None:
    sender = Sender()
    reader = sender.reader()
    handshake = bytes((0xE0, 0, 0, 0, 1, 8)) + ID + bytes((0, 0x40, 30)) + bytes(30)
    assert reader.read(handshake + handshake + sender.packet(0)) == b"\x01" * 20
    assert reader.read(handshake) is None


def test_what_is_no_packet_of_the_peer_is_not_read() -> None:
    sender, stranger = Sender(), Sender()
    stranger.update_keys()
    stranger.secret = bytes(32)
    reader = sender.reader()
    packet = sender.packet(0)
    for spoilt in (b"", packet[:20], packet[:-1], packet[:-1] + bytes((packet[-1] ^ 1,)), bytes(40), b"\xff" * 40):
        assert reader.read(spoilt) is None
    assert reader.read(packet) is not None
    assert str(sender.secret) not in repr(reader)
