from zoo.utils.nested import flatten_dict


def test_names_are_dotted_and_keep_their_order():
    nested = {"b": {"c": 1, "d": {"e": [2]}}, "a": None, 3: {}}
    assert list(flatten_dict(nested).items()) == [("b.c", 1), ("b.d.e", [2]), ("a", None)]
    assert flatten_dict(nested["b"], "x") == {"x.c": 1, "x.d.e": [2]}
