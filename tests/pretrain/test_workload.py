import pytest

from pretrain.workload import ALL_GATHER, ALL_REDUCE, ALL_TO_ALL, Message, Workload


def test_a_step_is_divided_over_its_devices():
    step = Workload(num_rows=10, num_devices=4, batch_size=8, embed_dim=16, bank_dtype="float32")
    assert step.local_batch_size == 2
    assert step.local_num_rows == 3, "the fullest device counts"
    assert step.vectors_bytes == 8 * (16 + 1) * 4


@pytest.mark.parametrize(
    ("collective", "sent"),
    # ring algorithms: a gather passes each part on, a reduction goes round twice in shares,
    # an exchange keeps what is its own
    [(ALL_GATHER, 120 * 3), (ALL_REDUCE, 120 * 3 * 2 // 4), (ALL_TO_ALL, 120 * 3 // 4)],
)
def test_what_leaves_a_device(collective, sent):
    message = Message("rows", collective, 120)
    assert message.sent(4) == sent
    assert message.sent(1) == 0
