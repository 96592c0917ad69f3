import pytest
import torch

from zoo.interop.unpickle.rebuild import BUILDERS, Storage


@pytest.mark.parametrize("size", [(10**9,), (2, 10**6)])
def test_a_tensor_beyond_its_storage_is_refused(size):

    with pytest.raises(ValueError, match="beyond"):
        BUILDERS["torch._utils._rebuild_tensor_v2"](
            Storage(torch.zeros(4)), 0, size, (0,) * len(size), False, None
        )


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (3, 4), (4, 1)),
        (0, (4, 3), (1, 4)),
        (5, (2, 2), (4, 2)),
        (3, (), ()),
        (12, (0, 3), (3, 1)),
    ],
)
def test_a_tensor_is_the_view_of_its_storage_that_torch_makes(offset, size, stride):
    values = torch.arange(12.0)
    build = BUILDERS["torch._utils._rebuild_tensor_v2"]
    rebuilt = build(Storage(values), offset, size, stride, False, None)
    assert torch.equal(rebuilt, torch.as_strided(values, size, stride, offset))


def test_a_negative_offset_or_stride_is_refused():
    build = BUILDERS["torch._utils._rebuild_tensor_v2"]
    for offset, stride in ((-1, 1), (3, -1)):
        with pytest.raises(ValueError):
            build(Storage(torch.zeros(4)), offset, (2,), (stride,), False, None)
