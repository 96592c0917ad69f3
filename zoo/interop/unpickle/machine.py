"""The stack machine that a pickle is a program for, without the power to call anything by name."""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, Any

from zoo.interop.unpickle.metadata import NOTES, is_note
from zoo.interop.unpickle.rebuild import BUILDERS, DTYPES, INERT, STORAGES, Array, DType

_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg", "UserDict": "collections"}
_KEYS = (str, int, float, bytes, type(None))  # a nested tuple as a key could take for ever to hash


@dataclass(frozen=True)
class Global:
    """A name in a pickle: a class or function that is never looked up.

    Attributes:
        name: the module's and its own, dotted.
    """

    name: str


@dataclass
class StandIn:
    """An inert record in place of an object.

    Attributes:
        name: of its class.
        state: its attributes.
    """

    name: str
    state: dict[Any, Any] = field(default_factory=dict)


class Machine:
    """Runs one pickle.

    Attributes:
        stack: what the opcodes work on.
        marks: where the opcodes that take many items begin.
        memo: values that the pickle refers to again, by number.
        refused: names that are neither known constructors nor inert, in their order as keys; the
            caller must check it.
        tensors: how many more tensors, arrays and numbers may be made by calls.
        budget: how many more items calls may copy.
    """

    def __init__(self, storage: Callable[[tuple[Any, ...]], Any], budget: int) -> None:
        """Start with an empty stack.

        Args:
            storage: turns a persistent id into a storage.
            budget: bounds what calls may copy; a short program could otherwise copy one long string
                for ever.
        """
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.refused: dict[str, None] = {}
        self.tensors = MAX_TENSORS
        self.storage = storage
        self.budget = budget

    def run(self, file: IO[bytes]) -> Any:
        """Make the object of the pickle that starts at the file's position.

        The file is left behind the pickle's end.

        Raises:
            ValueError: for an opcode or a value that no checkpoint has.
        """
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > MAX_OPCODES:
                raise ValueError(f"it has more than {MAX_OPCODES} opcodes")
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in ("PROTO", "FRAME"):
                continue
            name = _SAME.get(opcode.name, opcode.name).lower()
            action = getattr(self, f"_op_{name}", None)
            if action is not None:
                action(argument)
            elif opcode.name in _LITERALS:
                self.stack.append(argument)
            else:
                raise ValueError(f"opcode {opcode.name} is not supported")
        raise ValueError("the pickle does not end")

    def _items(self) -> list[Any]:
        """Take the items above the last mark from the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _op_none(self, _: None) -> None:
        self._push(None)

    def _op_newtrue(self, _: None) -> None:
        self._push(True)

    def _op_newfalse(self, _: None) -> None:
        self._push(False)

    def _op_empty_list(self, _: None) -> None:
        self._push([])

    def _op_empty_dict(self, _: None) -> None:
        self._push({})

    def _op_empty_tuple(self, _: None) -> None:
        self._push(())

    def _op_empty_set(self, _: None) -> None:
        self._push(set())

    def _op_mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def _op_pop(self, _: None) -> None:
        self.stack.pop()

    def _op_pop_mark(self, _: None) -> None:
        self._items()

    def _op_dup(self, _: None) -> None:
        self._push(self.stack[-1])

    def _op_list(self, _: None) -> None:
        self._push(self._items())

    def _op_tuple(self, _: None) -> None:
        self._push(tuple(self._items()))

    def _op_tuple1(self, _: None) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _op_tuple2(self, _: None) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _op_tuple3(self, _: None) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _op_dict(self, _: None) -> None:
        items = self._items()
        self._push({})
        self._set_items(items)

    def _op_frozenset(self, _: None) -> None:
        self._push(frozenset(_keys(self._items())))

    def _op_append(self, _: None) -> None:
        self._add_to(list, [self.stack.pop()])

    def _op_appends(self, _: None) -> None:
        self._add_to(list, self._items())

    def _op_additems(self, _: None) -> None:
        self._add_to(set, _keys(self._items()))

    def _add_to(self, kind: type[list[Any]] | type[set[Any]], items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, kind):
            raise ValueError(f"items for a {type(target).__name__}")
        if isinstance(target, list):
            target.extend(items)
        else:
            target.update(items)

    def _op_setitem(self, _: None) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items([key, value])

    def _op_setitems(self, _: None) -> None:
        self._set_items(self._items())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.state if isinstance(target, StandIn) else target
        if not isinstance(target, dict):
            raise ValueError(f"keys for a {type(target).__name__}")
        target.update(zip(_keys(items[::2]), items[1::2], strict=True))

    def _op_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _op_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_get(self, index: int) -> None:
        self._push(self.memo[index])

    def _op_global(self, names: str) -> None:
        module, name = names.split(" ", 1)
        self._name(module, name)

    def _op_stack_global(self, _: None) -> None:
        name = self.stack.pop()
        module = self.stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no string")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        if len(module) + len(name) > _MAX_NAME:
            raise ValueError(f"a name of {len(module) + len(name)} characters")
        full = f"{_PYTHON2.get(module, module)}.{name}".replace("numpy._core.", "numpy.core.")
        if full in DTYPES:
            self._push(DTYPES[full])
            return
        if not (full in BUILDERS or full in INERT or full in STORAGES or is_note(full)):
            self.refused[full] = None
            if len(self.refused) > _MAX_REFUSED:
                raise ValueError(f"it names more than {_MAX_REFUSED} unknown things")
        self._push(Global(full))

    def _op_reduce(self, _: None) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is no name")
        self._spend(arguments)
        build = BUILDERS.get(function.name) or NOTES.get(function.name)
        if build is not None:
            self.tensors -= 1
            if self.tensors < 0:
                raise ValueError(f"it makes more than {MAX_TENSORS} tensors, arrays and the like")
            self._push(build(*arguments))
            return
        of_class = function
        if function.name == "copyreg._reconstructor" and isinstance(arguments[0], Global):
            of_class = arguments[0]
        self._push(StandIn(of_class.name))

    def _spend(self, values: Iterable[Any]) -> None:
        """Count what a call copies.

        Raises:
            ValueError: if it is more than any honest pickle of this size.
        """
        for value in values:
            if isinstance(value, _COPIED):
                self.budget -= len(value)
        if self.budget < 0:
            raise ValueError("it copies more than it holds")

    def _op_newobj(self, _: None) -> None:
        self._op_reduce(None)

    def _op_newobj_ex(self, _: None) -> None:
        self.stack.pop()  # keyword arguments
        self._op_reduce(None)

    def _op_build(self, _: None) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, StandIn):
            # the attributes, or those in __dict__ and those in __slots__
            states = state if isinstance(state, tuple) else (state,)
            parts = [part for part in states if part is not None]
            self._spend(parts)
            for part in parts:
                if not isinstance(part, dict):
                    raise ValueError(f"attributes in a {type(part).__name__}")
                target.state.update(part)
        elif isinstance(target, Array | DType):
            if not isinstance(state, tuple):
                raise ValueError(f"the state of an array in a {type(state).__name__}")
            self._spend(state)
            target.build(state)
        elif not isinstance(target, dict):  # an OrderedDict's, such as versions, are left out
            raise ValueError(f"attributes for a {type(target).__name__}")

    def _op_binpersid(self, _: None) -> None:
        self._push(self.storage(self.stack.pop()))


MAX_OPCODES = 5_000_000
MAX_TENSORS = 200_000
_MAX_NAME = 1000  # characters
_MAX_REFUSED = 1000  # names that are listed
_COPIED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
_LITERALS = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    """.split()
)
_SAME = {"BINPUT": "PUT", "LONG_BINPUT": "PUT", "BINGET": "GET", "LONG_BINGET": "GET"}


def _keys(values: list[Any]) -> list[Any]:
    """The same values, once all are such that hashing them takes no time."""
    for value in values:
        if not isinstance(value, _KEYS):
            raise ValueError(f"a {type(value).__name__} as a key")
    return values
