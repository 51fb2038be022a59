import math

import pytest
from supernet_fixtures import TOY_SPACE

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.spaces.genes import ArchConfig
from mosdeploy.training.schedule import batch_indices, learning_rate, num_batches, sandwich

CONFIG = TrainingConfig(steps=9, grad_accum_steps=2, learning_rate=5e-3, warmup_steps=3)


def test_no_batch_is_passed_over() -> None:
    own = CONFIG.model_copy(update={"batch_sharing": "none"})
    shared = CONFIG.model_copy(update={"batch_sharing": "shared"})

    def first_two_steps(config: TrainingConfig, num_archs: int) -> list[list[int]]:
        return [list(part) for step in (1, 2) for part in batch_indices(config, num_archs, step)]

    assert first_two_steps(own, 3) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert first_two_steps(shared, 2) == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert (num_batches(own, 3), num_batches(shared, 3)) == (6, 2)


def test_a_subnet_alone_reads_the_same_either_way() -> None:
    own = CONFIG.model_copy(update={"batch_sharing": "none"})
    shared = CONFIG.model_copy(update={"batch_sharing": "shared"})
    assert batch_indices(own, 1, 5) == batch_indices(shared, 1, 5)


def test_the_sandwich_is_drawn_for_the_step() -> None:
    def drawn(step: int, **changes: object) -> list[ArchConfig]:
        return sandwich(TOY_SPACE, CONFIG.model_copy(update=changes), step)

    extremes = [TOY_SPACE.largest, TOY_SPACE.smallest]
    assert drawn(5, num_random_archs=0) == extremes
    assert drawn(5, num_random_archs=3, seed=-1) == drawn(5, num_random_archs=3, seed=-1)
    assert len({drawn(step, num_random_archs=1)[2] for step in range(30)}) > 15
    random = drawn(5, num_random_archs=2)[2:]
    assert drawn(5, num_random_archs=2, sandwich="largest") == [TOY_SPACE.largest, *random]
    assert drawn(5, num_random_archs=2, sandwich="none") == random
    assert drawn(5, num_random_archs=2, sandwich="smallest") == [TOY_SPACE.smallest, *random]
    assert drawn(8, num_random_archs=0, sandwich="smallest") == [TOY_SPACE.largest]


def test_learning_rates_by_hand() -> None:
    cosine = CONFIG.model_copy(update={"steps": 11, "warmup_steps": 4, "learning_rate": 0.8})
    assert [learning_rate(cosine, step) for step in (1, 2, 4)] == pytest.approx([0.2, 0.4, 0.8])
    assert learning_rate(cosine, 8) == pytest.approx(0.4)
    assert learning_rate(cosine, 11) == pytest.approx(0.4 * (1 + math.cos(math.pi * 7 / 8)))
    line = cosine.model_copy(update={"schedule": "linear"})
    assert [learning_rate(line, step) for step in (2, 4, 8, 11)] == pytest.approx(
        [0.4, 0.8, 0.4, 0.1]
    )
    root = cosine.model_copy(update={"schedule": "inverse_sqrt"})
    assert [learning_rate(root, step) for step in (2, 4, 16)] == pytest.approx([0.4, 0.8, 0.4])
    cold = root.model_copy(update={"warmup_steps": 0})
    assert [learning_rate(cold, step) for step in (1, 4)] == pytest.approx([0.8, 0.4])
    level = cosine.model_copy(update={"schedule": "constant"})
    assert [learning_rate(level, step) for step in (2, 4, 11)] == pytest.approx([0.4, 0.8, 0.8])


@pytest.mark.parametrize("schedule", ["cosine", "inverse_sqrt", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 9, 20])
def test_learning_rates_are_positive_and_at_most_the_peak(schedule: str, warmup: int) -> None:
    config = CONFIG.model_copy(update={"schedule": schedule, "warmup_steps": warmup})
    rates = [learning_rate(config, step) for step in range(1, config.steps + 1)]
    assert all(0 < rate <= config.learning_rate for rate in rates)


def test_another_seed_draws_other_architectures() -> None:
    def drawn(seed: int) -> list[ArchConfig]:
        config = CONFIG.model_copy(update={"num_random_archs": 2, "seed": seed})
        return [arch for step in range(1, 9) for arch in sandwich(TOY_SPACE, config, step)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
