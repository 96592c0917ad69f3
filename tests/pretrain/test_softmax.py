import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.softmax import attend, exact, merge


def reference(v, index, bank, temperature):
    v = v.double().detach().requires_grad_()
    logits = v @ bank.double().T / temperature
    loss = torch.logsumexp(logits, 1) - logits[torch.arange(len(v)), index]
    (grad,) = torch.autograd.grad(loss.mean(), v)
    return loss.detach(), grad


def relative(a, b):
    return ((a.double() - b).norm() / b.norm()).item()


@pytest.mark.parametrize("temperature", [0.03, 0.07, 1.0])
@pytest.mark.parametrize(("batch", "rows"), [(1, 4999), (64, 4999), (64, 100)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_exact_equals_the_float64_softmax(temperature, batch, rows, dtype, bound):
    torch.manual_seed(0)
    bank = normalize(torch.randn(rows, 128)).to(dtype)
    index = torch.randint(rows, (batch,))
    index[-1] = index[0]
    v = normalize(torch.randn(batch, 128)).to(dtype).float().requires_grad_()
    loss = exact(v, index, bank, temperature)
    (grad,) = torch.autograd.grad(loss.mean(), v)
    expected_loss, expected_grad = reference(v, index, bank, temperature)
    assert relative(loss, expected_loss) <= bound
    assert relative(grad, expected_grad) <= bound


@pytest.mark.parametrize("cuts", [[1000], [1, 999], [300, 300, 400]])
def test_any_split_of_the_bank_merges_to_the_whole(cuts):
    torch.manual_seed(1)
    bank, v = normalize(torch.randn(1000, 16)), normalize(torch.randn(8, 16))
    whole = attend(v, bank, 0.07)
    merged = merge([attend(v, rows, 0.07) for rows in bank.split(cuts)])
    torch.testing.assert_close(merged.lse, whole.lse)
    torch.testing.assert_close(merged.mean, whole.mean)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        exact(torch.ones(1, 2), torch.tensor([0]), torch.ones(3, 2), 0.0)


PEAK = """
import resource, sys, torch
from torch.nn.functional import normalize
from pretrain.softmax import exact
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
bank = torch.empty(1_000_000, 128, dtype=torch.bfloat16)
for rows in bank.split(10_000):
    rows.copy_(normalize(torch.randn(rows.shape)))
v = normalize(torch.randn(256, 128)).requires_grad_()
exact(v, torch.arange(256), bank[:5000], 0.07).mean().backward()
before = peak()
exact(v, torch.arange(256), bank, 0.07).mean().backward()
print(peak() - before)
"""


def test_a_million_rows_never_become_a_batch_by_million_tensor():
    out = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 0.03 * 256 * 1_000_000 * 4
