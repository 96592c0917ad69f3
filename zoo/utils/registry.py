"""Named collections that grow by one file and one registration."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from zoo.errors import SettingsError

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from names to things of one kind, in the order of their registration.

    Attributes:
        kind: what it holds, in the singular; used in messages.

    Example:
        >>> SHAPES = Registry("shape")
        >>> @SHAPES.register("square")
        ... class Square: ...
        >>> SHAPES["square"].__name__, list(SHAPES), "circle" in SHAPES
        ('Square', ['square'], False)
    """

    def __init__(self, kind: str) -> None:
        """
        Args:
            kind: what it holds, in the singular; used in messages.
        """
        self.kind = kind
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Make a decorator that adds a thing.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._things:
            raise ValueError(f"{self.kind} {name!r} is already registered: {self._things[name]!r}")

        def add(thing: T) -> T:
            self._things[name] = thing
            return thing

        return add

    def __getitem__(self, name: str) -> T:
        """The thing of that name.

        Raises:
            SettingsError: if there is no such name; the message lists those there are.
        """
        if name not in self._things:
            close = difflib.get_close_matches(name, self._things, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise SettingsError(f"unknown {self.kind} {name!r}{hint}; there are: {', '.join(self)}")
        return self._things[name]

    def __contains__(self, name: str) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)
