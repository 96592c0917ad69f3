"""A feature store for all tests of the report."""

import pytest

from tests.pages import clusters


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return clusters(tmp_path_factory.mktemp("store") / "digits.store", 400)
