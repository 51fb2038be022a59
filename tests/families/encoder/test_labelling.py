"""Labels of a teacher: in whichever precision they are computed, the network's own outputs."""

from typing import Any

import numpy as np
import pytest
import torch
from encoders import VOCAB_SIZE, encoder_space, random_ids, uneven_arch

from mosdeploy.config.sections import SupernetConfig, TrainingConfig
from mosdeploy.data.ragged import Ragged
from mosdeploy.families.encoder.dataset import BatchLayout
from mosdeploy.families.encoder.elastic import fresh_subnet
from mosdeploy.families.encoder.labelling import TRIAL_TEXTS, label_texts
from mosdeploy.families.encoder.scoring import outputs_of

LAYOUT = BatchLayout(pad_id=0, sep_id=2, num_types=2)


@pytest.fixture(scope="module")
def network() -> Any:
    return fresh_subnet(uneven_arch(), encoder_space(), VOCAB_SIZE, SupernetConfig(), 1)


@pytest.mark.parametrize("amp", ["none", "bf16", "auto"])
def test_labels_are_the_networks_outputs(network: Any, amp: Any) -> None:
    lengths = np.random.default_rng(3).integers(3, 20, 2 * TRIAL_TEXTS + 1)
    ids = Ragged.of(random_ids(lengths.tolist()))
    found = label_texts(network, ids, LAYOUT, TrainingConfig(amp=amp))
    wanted = outputs_of(
        network, [row.tolist() for row in map(ids.__getitem__, range(len(ids)))], LAYOUT
    )
    rounding = 0.0 if amp == "none" else 0.05
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        assert one.shape == (3,)
        torch.testing.assert_close(one, other, atol=rounding, rtol=rounding)
    exact = all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert exact or amp != "none"
    assert not exact or amp != "bf16"  # it does compute in that precision
