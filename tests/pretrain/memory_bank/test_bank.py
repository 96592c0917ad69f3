"""A plain tensor seen as a memory bank, and what all banks share."""

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.memory_bank import LocalBank, as_bank
from pretrain.memory_bank.bank import copy_state, last_of_each
from zoo import SettingsError


@pytest.fixture
def rows():
    return normalize(torch.randn(20, 4, generator=torch.manual_seed(0)))


def test_a_tensor_does_what_a_bank_in_fp32_does(rows):
    bank = as_bank(rows.clone())
    reference = LocalBank(rows)
    indices = torch.tensor([[3, 0], [19, 3]])
    torch.testing.assert_close(bank.lookup(indices), reference.lookup(indices))
    moved = torch.tensor([4, 7, 4])
    embeddings = normalize(torch.randn(3, 4))
    for each in (bank, reference):
        each.update(moved, embeddings, 0.25)
    torch.testing.assert_close(bank.as_tensor(), reference.lookup(torch.arange(20)))
    assert [len(chunk) for chunk in bank.iter_chunks(8)] == [8, 8, 4]
    assert len(bank) == 20 and bank.local_range == (0, 20)


def test_a_bank_is_taken_as_it_is_and_a_tensor_is_not_copied(rows):
    bank = LocalBank(rows)
    assert as_bank(bank) is bank
    assert as_bank(rows).as_tensor() is rows


def test_the_last_embedding_of_an_index_takes_the_place_of_all():
    indices = torch.tensor([5, 2, 5, 9, 2, 5])
    embeddings = torch.arange(6.0)[:, None]
    assert last_of_each(indices, embeddings)[:, 0].tolist() == [5, 4, 5, 3, 4, 5]


def test_a_state_of_another_shape_or_type_is_refused(rows):
    bank = as_bank(rows.clone())
    bank.load_state_dict({"rows": torch.zeros(20, 4)})
    assert not bank.as_tensor().any()
    with pytest.raises(SettingsError, match=r"bank.rows is \(19, 4\).*expected \(20, 4\)"):
        copy_state(bank.state_dict(), {"rows": torch.zeros(19, 4)})
    with pytest.raises(SettingsError, match=r"torch.float16, expected .* torch.float32"):
        copy_state(bank.state_dict(), {"rows": torch.zeros(20, 4).half()})
