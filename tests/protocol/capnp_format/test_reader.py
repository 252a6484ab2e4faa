"""The reader of Cap'n Proto messages: legal oddities that no writer of ours makes. What is illegal: test_streams."""

from __future__ import annotations

import pytest

from pyconnector.protocol.capnp_format.framing import MAX_SEGMENTS, frame_header_bytes, read_frame
from pyconnector.protocol.capnp_format.reader import Message
from pyconnector.protocol.capnp_format.writer import framed as framed_segment
from pyconnector.protocol.capnp_format.writer import new_root
from pyconnector.protocol.errors import ProtocolError
from tests.support.wire.wire import far_pointer, framed, list_pointer, struct_pointer, words


def message(raw: bytes) -> Message:
    return Message(raw, read_frame(raw, 0, len(raw)))


def test_far_pointers_are_followed() -> None:
    # Root in another segment, its text in a third, by single far pointers.
    raw = framed(
        words(far_pointer(1, 1)),
        words(99, struct_pointer(0, 1, 1), 7, far_pointer(2, 0)),
        words(list_pointer(0, 2, 3), int.from_bytes(b"hi\0", "little")),
    )
    root = message(raw).root()
    assert root.uint(0, 8) == 7
    assert root.text(0) == b"hi"


def test_double_far_pointers_are_followed() -> None:
    raw = framed(
        words(far_pointer(1, 0, double=True)),
        words(far_pointer(2, 1), struct_pointer(0, 2, 0)),
        words(99, 7, 8),
    )
    root = message(raw).root()
    assert (root.uint(0, 8), root.uint(8, 8)) == (7, 8)


def test_double_far_pointers_to_lists_are_followed() -> None:
    raw = framed(
        words(struct_pointer(0, 0, 1), far_pointer(1, 0, double=True)),
        words(far_pointer(2, 0), list_pointer(0, 2, 3)),
        words(int.from_bytes(b"hi\0", "little")),
    )
    assert message(raw).root().text(0) == b"hi"


def test_numbers_of_every_size() -> None:
    segment, root = new_root(2, 0)
    root.set_sint(0, 4, -5)
    root.set_uint(4, 2, 0xFEDC)
    root.set_flag(50, True)
    root.set_sint(8, 8, -(2**63))
    raw = framed_segment(segment)
    read = message(raw).root()
    assert read.sint(0, 4) == -5
    assert read.uint(0, 4) == 2**32 - 5
    assert read.uint(4, 2) == 0xFEDC
    assert read.flag(50)
    assert not read.flag(49)
    assert read.sint(8, 8) == -(2**63)
    # Beyond what the writer knew.
    assert read.uint(16, 8) == 0
    assert read.uint(12, 8) == 0
    assert not read.flag(128)
    assert read.struct(0).data(0) == b""


def test_lists_of_texts() -> None:
    segment, root = new_root(0, 2)
    root.set_texts(0, ["a", "", "longer than a word"])
    root.set_texts(1, [])
    read = message(framed_segment(segment)).root()
    assert read.texts(0) == [b"a", b"", b"longer than a word"]
    assert read.texts(1) == []
    with pytest.raises(ProtocolError, match="list of structs"):
        read.structs(0)
    with pytest.raises(ProtocolError, match="other than bytes"):
        read.data(0)


def test_lists_of_structs() -> None:
    segment, root = new_root(0, 1)
    for number, entry in enumerate(root.structs(0, 3, 1, 1)):
        entry.set_uint(0, 4, number)
        entry.set_text(0, "x" * number)
    read = message(framed_segment(segment)).root().structs(0)
    assert [(entry.uint(0, 4), entry.text(0)) for entry in read] == [(0, b""), (1, b"x"), (2, b"xx")]
    with pytest.raises(ProtocolError, match="list of texts"):
        message(framed_segment(segment)).root().texts(0)


def test_an_empty_list_of_bytes_is_an_empty_text() -> None:
    raw = framed(words(struct_pointer(0, 0, 1), list_pointer(0, 2, 0)))
    assert message(raw).root().text(0) == b""


def test_reading_again_and_again_is_refused() -> None:
    segment, root = new_root(0, 1)
    root.set_data(0, b"x" * 400)
    root_read = message(framed_segment(segment)).root()
    assert root_read.data(0) == b"x" * 400
    assert root_read.data(0) == b"x" * 400
    with pytest.raises(ProtocolError, match="more than it holds"):
        root_read.data(0)


def test_pointer_lists_are_bounded() -> None:
    raw = framed(words(struct_pointer(0, 0, 1), list_pointer(0, 6, 1 << 28), 0))
    with pytest.raises(ProtocolError, match="leaves its segment"):
        message(raw).root().texts(0)


@pytest.mark.parametrize(("count", "size"), [(1, 8), (2, 16), (3, 16), (4, 24), (MAX_SEGMENTS, 2_056)])
def test_segment_tables_fill_whole_words(count: int, size: int) -> None:
    assert frame_header_bytes((count - 1).to_bytes(4, "little")) == size


def test_empty_segments_are_skipped_over() -> None:
    raw = framed(words(far_pointer(2, 0)), b"", words(struct_pointer(0, 1, 0), 7))
    assert message(raw).root().uint(0, 8) == 7


def test_null_lists_are_empty() -> None:
    read = message(framed(words(struct_pointer(0, 0, 2), 0, 0))).root()
    assert read.texts(0) == []
    assert read.structs(1) == []
    assert read.capability(0) is None
