"""The fields of one class, in order, and how its instances are made of them."""

from __future__ import annotations

from dataclasses import MISSING, Field, field, make_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many instances the loop makes: it takes about as long for these as to write an `__init__`.
FEW = 30


class Recipe:
    """What `dataclass` found out about `cls`: `fields` with the inherited ones, `own` without."""

    __slots__ = ("_made", "_positional", "_steps", "cls", "fields", "frozen", "inherited", "own")

    def __init__(self, cls: type, *, frozen: bool, kw_only: bool) -> None:
        self.cls = cls
        self.frozen = frozen
        self.fields: dict[str, Field[Any]] = {}
        for base in reversed(cls.__mro__[1:-1]):
            recipe: Recipe | None = base.__dict__.get("__value_recipe__")
            if recipe is not None and recipe.frozen == frozen:
                self.fields.update(recipe.fields)
            elif recipe is not None or "__dataclass_fields__" in base.__dict__:
                raise TypeError(f"{cls.__name__} cannot inherit from {base.__name__}, a dataclass of another kind")
        self.inherited = frozenset(self.fields)
        self.own = _own_fields(cls, kw_only=kw_only)
        self.fields.update(self.own)
        self._made = 0
        self._positional = [name for name, each in self.fields.items() if each.init and not each.kw_only]
        self._steps = [(name, each.init, each.default, each.default_factory) for name, each in self.fields.items()]

    def methods(self) -> dict[str, object]:
        """What makes an instance, and what the library and `match` look for."""
        return {
            "__value_recipe__": self,
            "__init__": self._looping_initializer(),
            "__dataclass_fields__": _LibraryFields(self),
            "__match_args__": tuple(self._positional),
        }

    def _looping_initializer(self) -> Callable[..., None]:
        def __init__(instance: Any, /, *args: object, **keywords: object) -> None:
            if not self._fill(instance, args, keywords):
                # Also where an argument is missing or too many: then this says so, as any function does.
                self._write_initializer()(instance, *args, **keywords)

        return __init__

    def _fill(self, instance: Any, args: tuple[object, ...], keywords: dict[str, object]) -> bool:
        given = dict(zip(self._positional, args, strict=False)) | keywords if args else keywords
        self._made += 1
        if self._made > FEW or len(given) < len(args) + len(keywords):
            return False
        values, used = [], 0
        for name, init, default, factory in self._steps:
            if init and name in given:
                values.append((name, given[name]))
                used += 1
            elif default is not MISSING:
                values.append((name, default))
            elif factory is not MISSING:
                values.append((name, factory()))
            elif init:
                return False
        if used < len(given):
            return False
        for name, value in values:
            object.__setattr__(instance, name, value)
        if hasattr(instance, "__post_init__"):
            instance.__post_init__()
        return True

    def _write_initializer(self) -> Callable[..., None]:
        """Replace the loop by a function with the fields as its parameters."""
        names: dict[str, object] = {}
        parameters: list[list[str]] = [[], []]
        lines = []
        for name, each in self.fields.items():
            source = name
            if each.default is not MISSING:
                names[f"_default_{name}"] = each.default
                source = f"_default_{name}"
            elif each.default_factory is not MISSING:
                names[f"_make_{name}"] = each.default_factory
                source = f"_make_{name}()"
            if each.init:
                absent = "" if source == name else f"={source}" if each.default is not MISSING else "=_absent"
                parameters[bool(each.kw_only)].append(name + absent)
                source = f"{source} if {name} is _absent else {name}" if absent == "=_absent" else name
            elif source == name:
                continue
            if self.frozen:
                # A slot's own setter is quicker than `object.__setattr__`, which looks the name up first.
                slot = getattr(self.cls, name, None)
                names[f"_set_{name}"] = getattr(slot, "__set__", None) or _setter(name)
                lines.append(f"_set_{name}(_self, {source})")
            else:
                lines.append(f"_self.{name} = {source}")
        if hasattr(self.cls, "__post_init__"):
            lines.append("_self.__post_init__()")
        named = [*parameters[0], *(["*", *parameters[1]] if parameters[1] else [])]
        text = f"def __init__({', '.join(['_self', *named])}):\n " + "\n ".join(lines or ["pass"])
        exec(text, names | {"_absent": object()}, names)
        initializer: Any = names["__init__"]
        initializer.__qualname__ = f"{self.cls.__qualname__}.__init__"
        self.cls.__init__ = initializer  # type: ignore[misc]
        return initializer  # type: ignore[no-any-return]


class _LibraryFields:
    """`__dataclass_fields__`, which `dataclasses.fields`, `asdict` and `replace` read: made when it is asked for."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __get__(self, instance: object, owner: type) -> dict[str, Field[Any]]:
        recipe = self._recipe
        fields = [(name, each.type, each) for name, each in recipe.fields.items()]
        made = make_dataclass(recipe.cls.__name__, fields, kw_only=True)
        found: dict[str, Field[Any]] = made.__dataclass_fields__  # type: ignore[attr-defined]
        return found


def _own_fields(cls: type, *, kw_only: bool) -> dict[str, Field[Any]]:
    found = {}
    for name, annotation in cls.__annotations__.items():
        if "ClassVar" in str(annotation):
            continue
        default = cls.__dict__.get(name, MISSING)
        each: Field[Any] = default if isinstance(default, Field) else field(default=default)
        if each.default.__class__.__hash__ is None:
            raise ValueError(f"the default of {name} could change: use default_factory")
        each.name, each.type = name, annotation
        if each.kw_only is MISSING:
            each.kw_only = kw_only
        found[name] = each
    return found


def _setter(name: str) -> Callable[[object, object], None]:
    return lambda instance, value: object.__setattr__(instance, name, value)
