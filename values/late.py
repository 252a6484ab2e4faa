"""`dataclass` with the keywords and meaning of the library's, less those that nobody here needs (`order`, `InitVar`).

Nothing is compiled while a class loads. A loop over its fields makes the first instances; then an `__init__` is written
for the class, as the library does from the start.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

from values.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable


def dataclass(
    cls: type | None = None,
    /,
    *,
    frozen: bool = False,
    slots: bool = False,
    kw_only: bool = False,
    eq: bool = True,
    repr: bool = True,
) -> Any:
    """Do to `cls` what `dataclasses.dataclass` does.

    Raises:
        TypeError: a base class is one of the library's dataclasses, or frozen where this one is not, or the reverse.
        ValueError: a default is a list or another mutable value.
    """

    def decorate(cls: type) -> type:
        recipe = Recipe(cls, frozen=frozen, kw_only=kw_only)
        methods = recipe.methods()
        if repr:
            methods["__repr__"] = _shown([name for name, each in recipe.fields.items() if each.repr])
        if eq:
            names = [name for name, each in recipe.fields.items() if each.compare]
            methods["__eq__"], methods["__hash__"] = _compared(names, hashed=frozen)
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
            if slots:
                methods |= {"__getstate__": _get_state, "__setstate__": _set_state}
        for name in methods.keys() & cls.__dict__.keys():
            # Python itself gives a class that has an `__eq__` and no `__hash__` one that is None.
            if cls.__dict__[name] is not None:
                del methods[name]
        recipe.cls = _with_slots(cls, recipe, methods) if slots else _in_place(cls, recipe, methods)
        return recipe.cls

    return decorate if cls is None else decorate(cls)


def replace(value: Any, /, **changes: object) -> Any:
    """Return a copy of `value` with `changes`, as `dataclasses.replace` does.

    Raises:
        TypeError: the class has no such field, or does not take it.
    """
    for name, each in value.__value_recipe__.fields.items():
        if each.init:
            changes.setdefault(name, getattr(value, name))
    return value.__class__(**changes)


def _with_slots(cls: type, recipe: Recipe, methods: dict[str, object]) -> type:
    left_out = {"__dict__", "__weakref__", *recipe.own}
    body = {name: value for name, value in cls.__dict__.items() if name not in left_out} | methods
    body["__slots__"] = tuple(name for name in recipe.own if name not in recipe.inherited)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made


def _in_place(cls: type, recipe: Recipe, methods: dict[str, object]) -> type:
    for name in recipe.own:
        if name in cls.__dict__:
            delattr(cls, name)
    for name, value in methods.items():
        setattr(cls, name, value)
    return cls


def _shown(names: list[str]) -> Callable[[object], str]:
    @recursive_repr()
    def __repr__(self: object) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"

    return __repr__


def _compared(names: list[str], *, hashed: bool) -> tuple[Callable[..., object], Callable[..., int] | None]:
    key: Callable[[object], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: object, other: object) -> object:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:
        return hash(key(self))

    return __eq__, __hash__ if hashed else None


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[object]:
    """What a copy or a pickle of a frozen instance is made of: it has no other way to set attributes."""
    return [getattr(self, name) for name in self.__value_recipe__.fields]


def _set_state(self: Any, state: list[object]) -> None:
    for name, value in zip(self.__value_recipe__.fields, state, strict=True):
        object.__setattr__(self, name, value)
