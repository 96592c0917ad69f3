import pytest

from zoo import SettingsError
from zoo.utils.registry import Registry


def test_registering_a_name_twice_raises_and_unknown_names_are_listed():
    things = Registry("thing")
    things.register("one")(1)
    with pytest.raises(ValueError, match="already registered"):
        things.register("one")
    assert things["one"] == 1 and list(things) == ["one"] and "one" in things
    with pytest.raises(SettingsError, match="unknown thing 'on'.*did you mean 'one'"):
        things["on"]
