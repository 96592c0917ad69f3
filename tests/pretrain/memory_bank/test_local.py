import pytest
import torch
from torch.nn.functional import normalize

from pretrain.memory_bank import LocalBank
from zoo import SettingsError


@pytest.mark.parametrize(("kind", "close"), [("float32", 1e-6), ("bfloat16", 4e-3), ("int8", 8e-3)])
def test_rows_are_read_updated_and_split_in_every_type(kind, close):
    torch.manual_seed(0)
    rows, v, index = torch.randn(50, 16), normalize(torch.randn(3, 16)), torch.tensor([4, 9, 1])
    bank = LocalBank(rows, kind)
    expected = normalize(rows)
    torch.testing.assert_close(bank.lookup(torch.arange(50)).float(), expected, atol=close, rtol=0)
    bank.update(index, v, 0.5)
    expected[index] = normalize((expected[index] + v) / 2)
    torch.testing.assert_close(
        bank.lookup(torch.arange(50)).float(), expected, atol=2 * close, rtol=0
    )
    together = torch.cat(list(bank.iter_chunks(7)))
    assert together.dtype == bank.dtype and torch.equal(
        together.float(), bank.lookup(torch.arange(50)).float()
    )
    again = LocalBank.random(50, 16, seed=3, storage=kind)
    again.load_state_dict(bank.state_dict())
    assert torch.equal(again.lookup(index).float(), bank.lookup(index).float())


def test_an_index_that_occurs_twice_gets_its_last_embedding_whatever_the_order_of_writing(
    monkeypatch,
):
    """Two writes to one row have no order on a GPU; a CPU's would hide them: writes are watched."""
    bank, written, write = LocalBank(torch.eye(4)), [], LocalBank._write

    def watch(self, at, rows):
        written.append((at.tolist(), rows.clone()))
        write(self, at, rows)

    monkeypatch.setattr(LocalBank, "_write", watch)
    v = normalize(torch.randn(3, 4, generator=torch.manual_seed(0)))
    bank.update(torch.tensor([2, 0, 2]), v, 0.5)
    torch.testing.assert_close(
        bank.lookup(torch.tensor([2])).float(), normalize(torch.eye(4)[[2]] + v[[2]])
    )
    torch.testing.assert_close(
        bank.lookup(torch.tensor([0])).float(), normalize(torch.eye(4)[[0]] + v[[1]])
    )
    [(at, rows)] = written
    assert at == [2, 0, 2] and torch.equal(rows[0], rows[2])


def test_unknown_types_and_other_sizes_are_refused():
    with pytest.raises(SettingsError, match="int4"):
        LocalBank(torch.eye(2), "int4")
    with pytest.raises(SettingsError, match="rows"):
        LocalBank(torch.eye(3)).load_state_dict(LocalBank(torch.eye(4)).state_dict())
