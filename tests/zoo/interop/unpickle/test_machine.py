import io
import pickle

import pytest

import zoo
from zoo.interop import unpickle
from zoo.interop.unpickle.machine import Machine


def test_a_short_program_cannot_copy_without_end(tmp_path):
    text = b"x" * 10_000
    once = b"h\x01h\x00\x85R0"  # memo 0 is the text, memo 1 the name of a copying function
    program = (
        b"\x80\x02X"
        + len(text).to_bytes(4, "little")
        + text
        + b"q\x000c_codecs\nencode\nq\x010"
        + once * 2000
        + b"N."
    )
    (tmp_path / "f").write_bytes(program)
    with pytest.raises(zoo.ModelError, match="copies more than it holds"):
        unpickle.read(tmp_path / "f")


class Refused:
    def __reduce__(self):
        return (print, ("run",))


class Other:
    def __reduce__(self):
        return (input, ())


def run(content, budget=1000):
    machine = Machine(storage=lambda key: key, budget=budget)
    value = machine.run(io.BytesIO(content))
    return machine, value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_what_pickle_makes_of_them(protocol):
    shared = [1, -5, 1 << 70, 2.5, "text", None, True, b"bytes"]
    content = {"a": shared, "b": shared, "c": (1, (2, 3), ()), "d": {}}
    machine, value = run(pickle.dumps(content, protocol))
    assert value == content and value["a"] is value["b"] and not machine.refused


def test_names_that_could_run_are_listed_and_nothing_runs(capsys):
    machine, _ = run(pickle.dumps([Refused(), Other()]))
    assert list(machine.refused) == ["builtins.print", "builtins.input"]
    assert capsys.readouterr().out == ""


def test_the_file_is_left_behind_the_end_of_the_pickle():
    file = io.BytesIO(pickle.dumps(1) + b"rest")
    assert Machine(storage=lambda key: key, budget=0).run(file) == 1
    assert file.read() == b"rest"


def test_an_opcode_that_no_checkpoint_has_is_refused():
    with pytest.raises(ValueError, match="EXT1 is not supported"):
        run(b"\x80\x02\x82\x01.")
