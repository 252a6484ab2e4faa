"""Compressed field sections (RFC 7541), with the hpack library as the oracle."""

from __future__ import annotations

import random

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple

from pyconnector.transport.http2.field_sections import LARGEST_ENTRY, FieldDecoder, FieldEncoder, MalformedFields

LIST = 64 * 1024


def sections(seed: int) -> list[list[tuple[bytes, bytes]]]:
    """Sections that repeat fields, change values, push entries out and have long names and values."""
    draw = random.Random(seed)
    names = [b":status", b"accept", b"content-length", b"cookie", b"x-long", *(b"x-%d" % each for each in range(30))]
    values = [b"", b"200", b"gzip, deflate", *(draw.randbytes(draw.choice((3, 60, 127, 300, 1500))) for _ in range(40))]
    found = []
    for _ in range(60):
        section = [(draw.choice(names), draw.choice(values)) for _ in range(draw.randrange(12))]
        if draw.random() < 0.3:
            section.append(NeverIndexedHeaderTuple(b"x-secret", draw.randbytes(200)))
        found.append(section)
    return found


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_what_hpack_encodes_is_decoded(seed: int, huffman: bool) -> None:
    theirs, ours, draw = Encoder(), FieldDecoder(LIST), random.Random(seed)
    for section in sections(seed):
        if draw.random() < 0.1:
            theirs.header_table_size = draw.choice((0, 100, 4096))
        assert ours.decode(theirs.encode(section, huffman=huffman)) == [tuple(field) for field in section]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_encoded_hpack_decodes(seed: int) -> None:
    theirs, ours, draw = Decoder(LIST), FieldEncoder(), random.Random(seed)
    for section in sections(seed):
        if draw.random() < 0.2:
            for _ in range(draw.randrange(1, 3)):
                ours.resize(draw.choice((0, 100, 2000, 4096, 60_000)))
        assert [tuple(field) for field in theirs.decode(ours.encode(section), raw=True)] == section


def test_what_repeats_takes_a_byte_a_field() -> None:
    encoder = FieldEncoder()
    section = [(b":status", b"200"), (b"x-one", b"1"), (b"x-two", b"2")]
    encoder.encode(section)

    assert len(encoder.encode(section)) == 3


def test_secrets_and_large_values_stay_out_of_the_table() -> None:
    encoder = FieldEncoder()
    for field in (NeverIndexedHeaderTuple(b"x-secret", b"s"), (b"x-large", b"l" * LARGEST_ENTRY)):
        assert encoder.encode([field]) == encoder.encode([field])
        assert len(encoder.encode([field])) > len(field[0]) + len(field[1])


def literal(name: bytes, value: bytes, kept: int = 0x40) -> bytes:
    return bytes((kept, len(name))) + name + bytes((len(value),)) + value


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xbe",
        b"\xff\xff\xff\xff\xff\x0f",
        b"\x7e\x01a",
        b"\x40\x05ab",
        b"\x40\x01a\x7f\xff\xff\xff\xff\xff",
        b"\x40\x01a\x81\x01",
        b"\x40",
        b"\x82\x20",
        b"\x20" * 3 + b"\x82",
        b"\x3f\xe2\x1f",
        literal(b"n", b"v" * 100) + b"\xbe" * 600,
    ],
    ids=["index 0", "beyond the table", "endless index", "name beyond", "cut short", "endless length",
         "broken Huffman", "nothing", "late resizing", "three resizings", "table too large", "bomb"],
)  # fmt: skip
def test_a_block_that_is_none_is_refused(block: bytes) -> None:
    with pytest.raises(MalformedFields):
        FieldDecoder(LIST).decode(block)


def test_random_bytes_end_in_fields_or_in_a_refusal() -> None:
    draw = random.Random(5)
    for _ in range(3000):
        decoder = FieldDecoder(LIST)
        decoder.decode(literal(b"name", b"value"))
        try:
            fields = decoder.decode(draw.randbytes(draw.randrange(60)))
        except MalformedFields:
            continue
        assert sum(len(name) + len(value) + 32 for name, value in fields) <= LIST


def test_the_table_of_a_peer_stays_within_its_size() -> None:
    decoder = FieldDecoder(LIST)
    for number in range(500):
        decoder.decode(literal(b"name", b"%03d" % number + b"v" * 100))

    assert decoder._size <= 4096
    assert len(decoder._entries) == 4096 // (4 + 103 + 32)
