import pytest

from tests.npid.command_line import check_refused, npid


def test_an_index_is_measured_and_used(store, digit):
    pytest.importorskip("faiss")
    done = npid("index", store, "--kind", "sq8")
    assert (
        done.exit_code == 0
        and "recall@10 after re-ranking" in done.output
        and "MB per million" in done.output
    )
    exact, quick = npid("search", store, digit), npid("search", store, digit, "--index", "sq8")
    assert quick.exit_code == 0 and quick.output == exact.output


def test_an_unknown_kind_gets_one_message(store):
    check_refused(npid("index", store, "--kind", "ivg"), "unknown kind of index")
