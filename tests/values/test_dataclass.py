"""Our `dataclass` beside the library's: the same class bodies, the same behaviour."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import values
from values import dataclass as ours
from values.recipe import FEW

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SHAPES: list[dict[str, bool]] = [
    {"frozen": frozen, "slots": slots, "kw_only": kw_only, "eq": eq, "repr": shown}
    for frozen in (False, True)
    for slots in (False, True)
    for kw_only in (False, True)
    for eq in (False, True)
    for shown in (False, True)
]


def point(dataclass: Callable[..., Any], **flags: bool) -> Any:
    @dataclass(**flags)
    class Point:
        """A class with everything that a field can have."""

        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(default="s", repr=False, compare=False)
        late: int = dataclasses.field(init=False, repr=False, compare=False)
        counted: int = dataclasses.field(init=False, default=7)

        def double(self) -> int:
            return self.x * 2

    return Point


def outcome(act: Callable[[], object]) -> object:
    """What `act` returns, or the type and text of what it raises."""
    try:
        return act()
    except Exception as exc:  # noqa: BLE001 - it is what is compared
        # The library names the class it built; Python names the function as it was defined.
        return type(exc), str(exc).replace("test_dataclass.", "")


@pytest.mark.parametrize(
    "flags", SHAPES, ids=lambda flags: "-".join(name for name, on in flags.items() if on) or "bare"
)
@pytest.mark.parametrize("used", [0, FEW + 1], ids=["made by the loop", "made by its own function"])
def test_a_class_behaves_as_the_librarys(flags: dict[str, bool], used: int) -> None:
    library = point(dataclasses.dataclass, **flags)
    acts: list[Callable[[Any], object]] = [
        lambda made: made(x=1).y,
        lambda made: made(x=1).counted,
        lambda made: made(x=1).tags,
        lambda made: made(x=1).tags is made(x=1).tags,
        lambda made: made(x=1, tags=["a"], y=5).double(),
        lambda made: made(1, 3, ["q"], "hidden").secret,
        lambda made: made(1, y=3).y,
        lambda made: made(),
        lambda made: made(y=1),
        lambda made: made(1, x=1),
        lambda made: made(1, 2, [], "s", 5, 6),
        lambda made: made(x=1, z=2),
        lambda made: made(x=1, counted=2),
        lambda made: made(x=1).late,
        lambda made: repr(made(x=1, secret="hidden")) if flags["repr"] else "",
        lambda made: made(x=1) == made(x=1, secret="other"),
        lambda made: made(x=1) == made(x=2),
        lambda made: made(x=1) == (1, 2),
        lambda made: hash(made(x=1, tags=())) == hash(made(x=1, tags=())) if flags["eq"] else made.__hash__,
        lambda made: setattr(made(x=1), "x", 5),
        lambda made: delattr(made(x=1), "x"),
        lambda made: made.__match_args__,
        lambda made: made.kind,
        lambda made: made.__doc__,
        lambda made: made.__qualname__,
        lambda made: hasattr(made(x=1), "__dict__"),
        lambda made: [each.name for each in dataclasses.fields(made)],
        lambda made: dataclasses.is_dataclass(made),
        lambda made: dataclasses.replace(made(x=1), y=9).y,
        lambda made: dataclasses.replace(made(x=1), z=9),
        lambda made: copy.copy(made(x=3)).x if flags["slots"] is False else None,
    ]
    for act in acts:
        # A class of its own for each: what one does may replace the loop for the next.
        own = point(ours, **flags)
        for _ in range(used):
            own(x=1)
        assert outcome(lambda: act(own)) == outcome(lambda: act(library)), inspect.getsource(act)  # noqa: B023


@pytest.mark.parametrize("used", [0, FEW + 1])
def test_the_loop_and_the_function_make_the_same(used: int) -> None:
    own = point(ours, frozen=True, slots=True)
    made = [own(x=each, tags=["t"]) for each in range(used + 2)]
    assert [each.x for each in made] == list(range(used + 2))
    assert made[-1] == own(x=used + 1, tags=["t"])


def test_after_the_first_few_the_class_has_a_function_of_its_own() -> None:
    own = point(ours, frozen=True, slots=True)
    loop = own.__init__
    for _ in range(FEW):
        own(x=1)
    assert own.__init__ is loop
    own(x=1)
    assert own.__init__ is not loop
    assert list(inspect.signature(own).parameters) == ["x", "y", "tags", "secret"]


def test_fields_are_inherited_and_may_be_replaced() -> None:
    @ours(frozen=True, slots=True, kw_only=True)
    class Base:
        a: int
        b: int = 2

    @ours(frozen=True, slots=True, kw_only=True)
    class Derived(Base):
        b: int = 3
        c: int = 4

        def __post_init__(self) -> None:
            if self.c < 0:
                raise ValueError("c")

    for _ in range(FEW + 2):
        made: Any = Derived(a=1)
        assert (made.a, made.b, made.c) == (1, 3, 4)
        with pytest.raises(ValueError, match=r"^c$"):
            Derived(a=1, c=-1)
    assert not hasattr(made, "__dict__")
    assert Base(a=1, b=3) != made
    assert values.replace(made, a=8) == Derived(a=8)
    with pytest.raises(TypeError):
        values.replace(made, d=1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="the default of a could change: use default_factory"):

        @ours
        class Shared:
            a: list[int] = []  # noqa: RUF012 - the mistake that is refused

    library = dataclasses.make_dataclass("Library", ["a"])
    with pytest.raises(TypeError, match="cannot inherit from Library"):
        ours(type("Mixed", (library,), {}))
    thawed: type = ours(type("Thawed", (), {}))
    with pytest.raises(TypeError, match="cannot inherit from Thawed"):
        ours(frozen=True)(type("Frozen", (thawed,), {}))


@ours(frozen=True, slots=True)
class Kept:
    """At the top of its module, as a pickle needs it."""

    a: int
    b: str = "x"


def test_a_frozen_instance_can_be_copied_and_pickled() -> None:
    kept = Kept(1, "y")
    assert copy.deepcopy(kept) == kept
    assert pickle.loads(pickle.dumps(kept)) == kept
    for each in (copy.copy(kept), kept):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'a'"):
            each.a = 2  # type: ignore[misc]


def test_a_class_says_itself_how_it_compares() -> None:
    @ours(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "own"

    assert Own(1) == Own(2)
    assert hash(Own(1)) == 5
    assert repr(Own(1)) == "own"


def test_a_pattern_takes_positional_fields() -> None:
    match Kept(1, "z"):
        case Kept(number, text):
            assert (number, text) == (1, "z")
        case _:
            pytest.fail("no match")


def test_loading_every_room_compiles_no_methods() -> None:
    # Guards the reason why this package exists: a class of the library's in a room costs each start 0.5 ms.
    program = (
        "import dataclasses\n"
        "made, real = [], dataclasses._process_class\n"
        "def counting(cls, *args, **kwargs):\n"
        "    made.append(f'{cls.__module__}.{cls.__qualname__}')\n"
        "    return real(cls, *args, **kwargs)\n"
        "dataclasses._process_class = counting\n"
        "import connector.cli.service, connector.api, ingress.origins, edge, transport.seam\n"
        "rooms = ('protocol', 'transport', 'ingress', 'connector', 'edge')\n"
        "print([each for each in made if each.split('.')[0] in rooms])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
