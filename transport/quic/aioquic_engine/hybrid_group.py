"""X25519MLKEM768, the post-quantum key exchange of TLS 1.3, for both ends of aioquic.

The genuine connector sends a key share for this group alone, so an edge without it cannot answer. aioquic knows only
elliptic curves, so its TLS context is given the group here (draft-ietf-tls-ecdhe-mlkem): the client's share is an
ML-KEM-768 encapsulation key and an X25519 key, the server's a ciphertext and an X25519 key, the secret both secrets.
"""

from __future__ import annotations

import os

from aioquic import tls
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from pyconnector.transport.quic.aioquic_engine.internals import Buffer, set_groups

#: Number of the group (IANA TLS Supported Groups).
X25519MLKEM768 = 0x11EC
_ENCAPSULATION_KEY = 1184
_CIPHERTEXT = 1088
_CURVE_KEY = 32


def is_available() -> bool:
    """Return whether the crypto library was built with ML-KEM."""
    try:
        MLKEM768PrivateKey.generate()
    except UnsupportedAlgorithm:
        return False
    return True


class HybridShare:
    """The client's half of one key exchange."""

    def __init__(self) -> None:
        self._lattice_key = MLKEM768PrivateKey.generate()
        self._curve_key = X25519PrivateKey.generate()

    @property
    def public(self) -> bytes:
        """What the ClientHello carries."""
        return self._lattice_key.public_key().public_bytes_raw() + self._curve_key.public_key().public_bytes_raw()

    def secret(self, answer: bytes) -> bytes:
        """Return the shared secret for the server's share.

        Raises:
            ValueError: that is no share of this group.
        """
        if len(answer) != _CIPHERTEXT + _CURVE_KEY:
            raise ValueError("a server share has the wrong length")
        lattice = self._lattice_key.decapsulate(answer[:_CIPHERTEXT])
        return lattice + self._curve_key.exchange(X25519PublicKey.from_public_bytes(answer[_CIPHERTEXT:]))


def answer_share(share: bytes) -> tuple[bytes, bytes]:
    """Return the server's share and the shared secret for a client's share.

    Raises:
        ValueError: that is no share of this group.
    """
    if len(share) != _ENCAPSULATION_KEY + _CURVE_KEY:
        raise ValueError("a client share has the wrong length")
    secret, ciphertext = MLKEM768PublicKey.from_public_bytes(share[:_ENCAPSULATION_KEY]).encapsulate()
    curve_key = X25519PrivateKey.generate()
    secret += curve_key.exchange(X25519PublicKey.from_public_bytes(share[_ENCAPSULATION_KEY:]))
    return ciphertext + curve_key.public_key().public_bytes_raw(), secret


class HybridContext(tls.Context):
    """aioquic's TLS context with one more group. An existing context becomes one through `adopt`."""

    hybrid_only: bool
    is_hybrid: bool
    "Whether the group was agreed upon."
    hybrid_share: HybridShare | None

    @staticmethod
    def adopt(context: tls.Context, *, hybrid_only: bool) -> None:
        """Turn `context` into a HybridContext before its first message.

        With `hybrid_only` a client neither offers nor accepts another group. aioquic builds its context in the
        middle of a method and offers no way to pass one in.
        """
        context.__class__ = HybridContext
        assert isinstance(context, HybridContext)
        context.hybrid_only = hybrid_only
        context.is_hybrid = False
        context.hybrid_share = None
        # The groups of the genuine connector and X25519; each one offered costs a key.
        set_groups(context, [tls.Group.SECP256R1, tls.Group.X25519])

    def _client_send_hello(self, output_buf: Buffer) -> None:
        super()._client_send_hello(output_buf)
        hello = tls.pull_client_hello(Buffer(data=output_buf.data))
        share = self.hybrid_share = HybridShare()
        others = [] if self.hybrid_only else list(hello.key_share or ())
        hello.key_share = [(X25519MLKEM768, share.public), *others]
        hello.supported_groups = [X25519MLKEM768, *(() if self.hybrid_only else hello.supported_groups or ())]
        output_buf.seek(0)
        # The transcript begins anew with the message that is really sent.
        self._key_schedule_proxy = tls.KeyScheduleProxy(self._cipher_suites)
        self._key_schedule_proxy.extract(None)
        with tls.push_message(self._key_schedule_proxy, output_buf):
            tls.push_client_hello(output_buf, hello)

    def _client_handle_hello(self, input_buf: Buffer, output_buf: Buffer) -> None:
        hello = tls.pull_server_hello(Buffer(data=input_buf.data_slice(0, input_buf.capacity)))
        if hello.key_share is None or hello.key_share[0] != X25519MLKEM768:
            if self.hybrid_only:
                raise tls.AlertHandshakeFailure("the server chose no post-quantum key exchange")
            super()._client_handle_hello(input_buf, output_buf)
            return
        if (
            hello.cipher_suite not in self._cipher_suites
            or hello.compression_method not in self._legacy_compression_methods
            or hello.supported_version not in self._supported_versions
            or hello.pre_shared_key is not None
            or self.hybrid_share is None
            or self._key_schedule_proxy is None
        ):
            raise tls.AlertIllegalParameter("the ServerHello does not answer the ClientHello")
        try:
            secret = self.hybrid_share.secret(hello.key_share[1])
        except ValueError as exc:
            raise tls.AlertIllegalParameter("the ServerHello has an invalid key share") from exc
        self.is_hybrid = True
        input_buf.seek(input_buf.capacity)
        self.key_schedule = self._key_schedule_proxy.select(tls.CipherSuite(hello.cipher_suite))
        self._key_schedule_proxy = self.hybrid_share = None
        self.key_schedule.update_hash(input_buf.data)
        self.key_schedule.extract(secret)
        self._setup_traffic_protection(tls.Direction.DECRYPT, tls.Epoch.HANDSHAKE, b"s hs traffic")
        self._setup_traffic_protection(tls.Direction.ENCRYPT, tls.Epoch.HANDSHAKE, b"c hs traffic")
        self._set_state(tls.State.CLIENT_EXPECT_ENCRYPTED_EXTENSIONS)

    def _server_handle_hello(self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer) -> None:
        hello = tls.pull_client_hello(Buffer(data=input_buf.data_slice(0, input_buf.capacity)))
        offered = next((share for group, share in hello.key_share or () if group == X25519MLKEM768), None)
        if offered is None:
            super()._server_handle_hello(input_buf, initial_buf, handshake_buf)
            return
        try:
            answer, secret = answer_share(offered)
        except ValueError as exc:
            raise tls.AlertIllegalParameter("the ClientHello has an invalid key share") from exc
        self.is_hybrid = True
        input_buf.seek(input_buf.capacity)
        self._answer_hello(hello, input_buf.data, answer, initial_buf)
        self._schedule().extract(secret)
        self._setup_traffic_protection(tls.Direction.ENCRYPT, tls.Epoch.HANDSHAKE, b"s hs traffic")
        self._setup_traffic_protection(tls.Direction.DECRYPT, tls.Epoch.HANDSHAKE, b"c hs traffic")
        self._prove_identity(hello, handshake_buf)
        schedule = self._schedule()
        schedule.extract(None)
        self._setup_traffic_protection(tls.Direction.ENCRYPT, tls.Epoch.ONE_RTT, b"s ap traffic")
        self._next_dec_key = schedule.derive_secret(b"c ap traffic")
        self._psk_key_exchange_mode = None
        self._server_expect_finished()

    def _answer_hello(self, hello: tls.ClientHello, message: bytes, share: bytes, output: Buffer) -> None:
        """Negotiate, start the transcript with the client's `message`, and write the ServerHello."""
        suite = tls.negotiate(self._cipher_suites, hello.cipher_suites, _failure("no common cipher suite"))
        compression = tls.negotiate(
            self._legacy_compression_methods,
            hello.legacy_compression_methods,
            _failure("no common compression method"),
        )
        version = tls.negotiate(
            self._supported_versions, hello.supported_versions, tls.AlertProtocolVersion("no common TLS version")
        )
        if self._alpn_protocols is not None:
            self.alpn_negotiated = tls.negotiate(
                self._alpn_protocols, hello.alpn_protocols, tls.AlertNoApplicationProtocol("no common ALPN protocol")
            )
        self.client_random = hello.random
        self.legacy_session_id = hello.legacy_session_id
        self.received_extensions = hello.other_extensions
        if self.alpn_cb is not None and self.alpn_negotiated is not None:
            self.alpn_cb(self.alpn_negotiated)
        self.key_schedule = tls.KeySchedule(suite)
        self.key_schedule.extract(None)
        self.key_schedule.update_hash(message)
        answer = tls.ServerHello(
            random=os.urandom(32),
            legacy_session_id=hello.legacy_session_id,
            cipher_suite=suite,
            compression_method=compression,
            key_share=(X25519MLKEM768, share),
            supported_version=version,
        )
        with tls.push_message(self.key_schedule, output):
            tls.push_server_hello(output, answer)

    def _prove_identity(self, hello: tls.ClientHello, output: Buffer) -> None:
        """Write EncryptedExtensions, Certificate, CertificateVerify and Finished."""
        schedule = self._schedule()
        algorithm = tls.negotiate(
            self._signature_algorithms_for_private_key(),
            hello.signature_algorithms,
            _failure("no common signature algorithm"),
        )
        extensions = tls.EncryptedExtensions(
            alpn_protocol=self.alpn_negotiated, other_extensions=self.handshake_extensions
        )
        with tls.push_message(schedule, output):
            tls.push_encrypted_extensions(output, extensions)
        chain = [self.certificate, *self.certificate_chain]
        entries = [(item.public_bytes(Encoding.DER), b"") for item in chain if item is not None]
        with tls.push_message(schedule, output):
            tls.push_certificate(output, tls.Certificate(request_context=b"", certificates=entries))
        signature = self.certificate_private_key.sign(  # type: ignore[union-attr]
            schedule.certificate_verify_data(tls.SERVER_CONTEXT_STRING), *tls.signature_algorithm_params(algorithm)
        )
        with tls.push_message(schedule, output):
            tls.push_certificate_verify(output, tls.CertificateVerify(algorithm=algorithm, signature=signature))
        assert self._enc_key is not None
        with tls.push_message(schedule, output):
            tls.push_finished(output, tls.Finished(verify_data=schedule.finished_verify_data(self._enc_key)))

    def _schedule(self) -> tls.KeySchedule:
        assert self.key_schedule is not None
        return self.key_schedule


def _failure(reason: str) -> tls.Alert:
    return tls.AlertHandshakeFailure(reason)
