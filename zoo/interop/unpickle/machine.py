"""The stack machine that a pickle is a program for, without the power to call anything by name."""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from zoo.interop.unpickle.rebuild import BUILDERS, DTYPES, INERT, STORAGES, Array, DType

_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}
_KEYS = (str, int, float, bytes, type(None))  # a nested tuple as a key could take for ever to hash


@dataclass(frozen=True)
class Global:
    """A name in a pickle: a class or function that is never looked up."""

    name: str


@dataclass
class StandIn:
    """An inert record in place of an object: the name of its class and its attributes."""

    name: str
    state: dict = field(default_factory=dict)


class Machine:
    """Runs one pickle.

    Args:
        storage: turns a persistent id into a storage.
        budget: bounds what calls may copy; a short program could otherwise copy one long string for ever.

    Attributes:
        refused: names that are neither known constructors nor inert; the caller must check it.
    """

    def __init__(self, storage: Callable[[tuple], Any], budget: int) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.refused: list[str] = []
        self.storage, self.budget = storage, budget

    def run(self, file: IO[bytes]) -> Any:
        """The object of the pickle that starts at the file's position; the file is left behind its end."""
        for opcode, arg, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in ("PROTO", "FRAME"):
                continue
            act = getattr(self, f"op_{_SAME.get(opcode.name, opcode.name).lower()}", None)
            if act is not None:
                act(arg)
            elif opcode.name in _LITERALS:
                self.stack.append(arg)
            else:
                raise ValueError(f"opcode {opcode.name} is not supported")
        raise ValueError("the pickle does not end")

    def items(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def op_none(self, _: None) -> None:
        self.push(None)

    def op_newtrue(self, _: None) -> None:
        self.push(True)

    def op_newfalse(self, _: None) -> None:
        self.push(False)

    def op_empty_list(self, _: None) -> None:
        self.push([])

    def op_empty_dict(self, _: None) -> None:
        self.push({})

    def op_empty_tuple(self, _: None) -> None:
        self.push(())

    def op_empty_set(self, _: None) -> None:
        self.push(set())

    def op_mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def op_pop(self, _: None) -> None:
        self.stack.pop()

    def op_pop_mark(self, _: None) -> None:
        self.items()

    def op_dup(self, _: None) -> None:
        self.push(self.stack[-1])

    def op_list(self, _: None) -> None:
        self.push(self.items())

    def op_tuple(self, _: None) -> None:
        self.push(tuple(self.items()))

    def op_tuple1(self, _: None) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def op_tuple2(self, _: None) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def op_tuple3(self, _: None) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def op_dict(self, _: None) -> None:
        items = self.items()
        self.push({})
        self.set_items(items)

    def op_frozenset(self, _: None) -> None:
        self.push(frozenset(_keys(self.items())))

    def op_append(self, _: None) -> None:
        self.add_to(list, [self.stack.pop()])

    def op_appends(self, _: None) -> None:
        self.add_to(list, self.items())

    def op_additems(self, _: None) -> None:
        self.add_to(set, _keys(self.items()))

    def add_to(self, kind: type[list] | type[set], items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, kind):
            raise ValueError(f"items for a {type(target).__name__}")
        if isinstance(target, list):
            target.extend(items)
        else:
            target.update(items)

    def op_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def op_setitems(self, _: None) -> None:
        self.set_items(self.items())

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.state if isinstance(target, StandIn) else target
        if not isinstance(target, dict):
            raise ValueError(f"keys for a {type(target).__name__}")
        target.update(zip(_keys(items[::2]), items[1::2], strict=True))

    def op_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def op_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, index: int) -> None:
        self.push(self.memo[index])

    def op_global(self, names: str) -> None:
        module, name = names.split(" ", 1)
        self.name(module, name)

    def op_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.name(str(module), str(name))

    def name(self, module: str, name: str) -> None:
        full = f"{_PYTHON2.get(module, module)}.{name}".replace("numpy._core.", "numpy.core.")
        if full in DTYPES:
            self.push(DTYPES[full])
            return
        if full not in BUILDERS and full not in INERT and full not in STORAGES:
            self.refused.append(full)
        self.push(Global(full))

    def op_reduce(self, _: None) -> None:
        args, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Global) or not isinstance(args, tuple):
            raise ValueError("a call of something that is no name")
        self.spend(args)
        build = BUILDERS.get(made.name)
        made = (
            args[0]
            if made.name == "copyreg._reconstructor" and isinstance(args[0], Global)
            else made
        )
        self.push(build(*args) if build else StandIn(made.name))

    def spend(self, values: tuple | list) -> None:
        self.budget -= sum(len(value) for value in values if isinstance(value, _COPIED))
        if self.budget < 0:
            raise ValueError("it copies more than it holds")

    def op_newobj(self, _: None) -> None:
        self.op_reduce(None)

    def op_newobj_ex(self, _: None) -> None:
        self.stack.pop()  # keyword arguments
        self.op_reduce(None)

    def op_build(self, _: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, StandIn):
            parts = [part for part in (state if isinstance(state, tuple) else (state,)) if part]
            self.spend(parts)
            for part in parts:
                target.state.update(part)
        elif isinstance(target, Array | DType):
            self.spend(state)
            target.build(state)
        elif not isinstance(
            target, dict
        ):  # attributes of an OrderedDict, such as a state dict's versions, are left out
            raise ValueError(f"attributes for a {type(target).__name__}")

    def op_binpersid(self, _: None) -> None:
        self.push(self.storage(self.stack.pop()))


_COPIED = (str, bytes, list, tuple, dict, set)
_LITERALS = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
}
_LITERALS |= {
    "SHORT_BINSTRING",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
}
_LITERALS |= {"SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_SAME = {name: "PUT" for name in ("BINPUT", "LONG_BINPUT")} | {
    name: "GET" for name in ("BINGET", "LONG_BINGET")
}


def _keys(values: list[Any]) -> list[Any]:
    for value in values:
        if not isinstance(value, _KEYS):
            raise ValueError(f"a {type(value).__name__} as a key")
    return values
