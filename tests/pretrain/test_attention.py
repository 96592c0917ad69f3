import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from pretrain import attention
from pretrain.attention import attend, exact, fused, merge
from pretrain.memory_bank import as_bank


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


@pytest.mark.parametrize("heads", [1, 3, 64])
def test_the_fused_kernel_over_any_number_of_heads_is_attention(heads):
    torch.manual_seed(2)
    bank, v = normalize(torch.randn(1000, 32)), normalize(torch.randn(8, 32))
    part = merge(fused(v, bank, 0.07, heads))
    logits = v.double() @ bank.double().T / 0.07
    assert relative(part.lse, logits.logsumexp(1)) < 1e-6
    assert relative(part.mean, logits.softmax(1) @ bank.double()) < 1e-5


@pytest.mark.parametrize("path", ["_sums", "_online"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_both_loops_are_attention(path, dtype, bound):
    torch.manual_seed(3)
    bank, v = normalize(torch.randn(5000, 32)).to(dtype), normalize(torch.randn(8, 32)).to(dtype)
    part = getattr(attention, path)(v, as_bank(bank), 0.07)
    logits = v.double() @ bank.double().T / 0.07
    assert relative(part.lse, logits.logsumexp(1)) < bound
    assert relative(part.mean, logits.softmax(1) @ bank.double()) < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_too_large_for_a_plain_sum_stay_finite(dtype):
    """τ = 0.01 is e^±100; rows of norm 50 at τ = 0.1 are e^±500."""
    torch.manual_seed(4)
    bank, v = normalize(torch.randn(300, 16)).to(dtype), normalize(torch.randn(8, 16)).to(dtype)
    for rows, temperature, unit in ((bank, 0.01, True), (50 * bank, 0.1, False)):
        part = attend(v.float(), rows, temperature, unit=unit)
        logits = v.double() @ rows.double().T / temperature
        assert relative(part.lse, logits.logsumexp(1)) < 1e-2
        assert relative(part.mean, logits.softmax(1) @ rows.double()) < 0.2


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        exact(torch.ones(1, 2), torch.tensor([0]), torch.ones(3, 2), 0.0)


PEAK = """
import resource, sys, torch
from torch.nn.functional import normalize
from pretrain.attention import exact
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
bank = torch.empty(1_000_000, 128, dtype=getattr(torch, sys.argv[1]))
for rows in bank.split(10_000):
    rows.copy_(normalize(torch.randn(rows.shape)))
v = normalize(torch.randn(256, 128)).requires_grad_()
exact(v, torch.arange(256), bank[:5000], 0.07).mean().backward()
before = peak()
exact(v, torch.arange(256), bank, 0.07).mean().backward()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float32"]
)  # the loop over chunks, and the fused kernel
def test_a_million_rows_never_become_a_batch_by_million_tensor(dtype):
    out = subprocess.run(
        [sys.executable, "-c", PEAK, dtype], capture_output=True, text=True, check=True
    )
    assert int(out.stdout) < 0.03 * 256 * 1_000_000 * 4
