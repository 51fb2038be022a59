from mosdeploy.runtime.batches import group_by_length


def test_groups_hold_every_input_once_and_keep_their_limits() -> None:
    lengths = [(37 * i) % 400 for i in range(300)] + [5000]
    groups = group_by_length(lengths, 32, 2048)
    assert sorted(i for group in groups for i in group) == list(range(301))
    for group in groups:
        widest = max(lengths[i] for i in group)
        assert len(group) <= 32 and (len(group) == 1 or len(group) * widest <= 2048)
    assert len(groups) < 60


def test_groups_by_hand() -> None:
    assert group_by_length([2, 5, 0, 5, 1], 2, 9) == [[1], [3], [0, 4], [2]]
    assert group_by_length([], 2, 9) == []
