"""Packets of a peer, read beside qh3's core with the same keys. Only some are: keys and numbers go on in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qh3.quic.crypto import derive_key_iv_hp
from qh3.quic.packet import QuicProtocolVersion
from qh3.tls import CipherSuite, cipher_suite_hash, hkdf_expand_label

from pyconnector.transport.quic.qh3_engine.internals import (
    AeadAes128Gcm,
    AeadAes256Gcm,
    AeadChaCha20Poly1305,
    CryptoError,
    decode_packet_number,
    pull_quic_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qh3.quic.tls_bridge import QuicTlsTrafficSecret


class _Aead(Protocol):
    def decrypt(self, packet_number: int, data: bytes, associated_data: bytes) -> bytes: ...


_AEADS: dict[CipherSuite, Callable[[bytes, bytes], _Aead]] = {
    CipherSuite.AES_128_GCM_SHA256: AeadAes128Gcm,
    CipherSuite.AES_256_GCM_SHA384: AeadAes256Gcm,
    CipherSuite.CHACHA20_POLY1305_SHA256: AeadChaCha20Poly1305,
}
#: Generations of keys (RFC 9001 6) and turns of the sent part of packet numbers (RFC 9000 17.1) that are tried, for the
#: first packet and for those that follow one that was read.
_FIRST_TRIES, _TRIES = (16, 256), (4, 4)
#: From the start of a packet number to the sample that masks it, and that sample's length (RFC 9001 5.4.2).
_SAMPLE_OFFSET, _SAMPLE = 4, 16


class PacketReader:
    """Reads packets with short headers; `packets` is how many have come, more or less."""

    def __init__(self, secret: QuicTlsTrafficSecret, id_length: int, packets: int) -> None:
        self._suite, self._version = secret.cipher_suite, secret.version
        self._mask = _header_mask(secret.cipher_suite, secret.hp)
        self._id_length = id_length
        self._secrets = [secret.secret]  # of all generations so far
        self._ciphers: dict[int, _Aead] = {}
        self._generation = 0  # of the newest packet
        self._expected = packets
        self._tries = _FIRST_TRIES

    def __repr__(self) -> str:
        return f"<PacketReader generation={self._generation} expected={self._expected}>"

    def passed(self, packets: int) -> None:
        """So many packets were not shown."""
        self._expected += packets

    def read(self, datagram: bytes) -> bytes | None:
        """Return the frames of the packet with a short header, or None where they cannot be had."""
        packet = self._without_long_headers(datagram)
        number_at = 1 + self._id_length
        sample = packet[number_at + _SAMPLE_OFFSET :][:_SAMPLE]
        if len(sample) < _SAMPLE:
            return None
        mask = self._mask(sample)
        first = packet[0] ^ (mask[0] & 0x1F)
        size = (first & 3) + 1
        sent = bytes(a ^ b for a, b in zip(packet[number_at : number_at + size], mask[1:], strict=False))
        header = bytes((first,)) + packet[1:number_at] + sent
        number = decode_packet_number(int.from_bytes(sent, "big"), 8 * size, self._expected)
        return self._decrypt(packet[number_at + size :], header, number, 1 << 8 * size)

    def _without_long_headers(self, datagram: bytes) -> bytes:
        """Leave out what stands before the packet with a short header, which is the last (RFC 9000 12.2)."""
        at = 0
        try:
            while at < len(datagram) and datagram[at] & 0x80:
                at = pull_quic_header(datagram, at, self._id_length)[9]
        except ValueError:
            return b""
        return datagram[at:]

    def _decrypt(self, protected: bytes, header: bytes, number: int, turn: int) -> bytes | None:
        phase = header[0] >> 2 & 1
        generations, turns = self._tries
        near = range(max(self._generation - 1, 0), self._generation + generations)
        ciphers = [(generation, self._cipher(generation)) for generation in near if generation & 1 == phase]
        for candidate in range(number, number + turns * turn, turn):
            for generation, cipher in ciphers:
                try:
                    frames = cipher.decrypt(candidate, protected, header)
                except (CryptoError, ValueError):
                    continue
                self._settle(generation, candidate)
                return frames
        return None

    def _settle(self, generation: int, number: int) -> None:
        self._tries = _TRIES
        self._expected = number + 1
        if generation > self._generation:
            self._generation = generation
            self._ciphers = {known: cipher for known, cipher in self._ciphers.items() if known >= generation - 1}

    def _cipher(self, generation: int) -> _Aead:
        cipher = self._ciphers.get(generation)
        if cipher is None:
            suite = self._suite
            while len(self._secrets) <= generation:
                hashing = cipher_suite_hash(suite)
                label = b"quicv2 ku" if self._version == QuicProtocolVersion.VERSION_2 else b"quic ku"
                size = len(self._secrets[-1])
                self._secrets.append(hkdf_expand_label(hashing, self._secrets[-1], label, b"", size))
            key, iv, _ = derive_key_iv_hp(cipher_suite=suite, secret=self._secrets[generation], version=self._version)
            cipher = self._ciphers[generation] = _AEADS[suite](key, iv)
        return cipher


def _header_mask(suite: CipherSuite, key: bytes) -> Callable[[bytes], bytes]:
    """Return what makes the mask of a header from a sample of its packet (RFC 9001 5.4)."""
    # Not at the top: it costs 8 MB, and few connections are ever watched.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if suite == CipherSuite.CHACHA20_POLY1305_SHA256:
        return lambda sample: Cipher(algorithms.ChaCha20(key, sample), None).encryptor().update(bytes(5))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
