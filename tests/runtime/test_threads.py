from pathlib import Path

import numpy as np
import pytest

from mosdeploy.runtime import InputError, open_model
from mosdeploy.runtime.threads import num_threads


def test_as_many_as_are_asked_for() -> None:
    assert num_threads(2, measured=4) == num_threads(np.int64(2), measured=4) == 2
    assert num_threads(None, measured=4) == 4


@pytest.mark.parametrize("asked", ["2", -1, 0, 1.5, True])
def test_what_is_no_number_of_threads(
    encoder_bundle: Path, fp32_bundle: Path, asked: object
) -> None:
    for folder in (encoder_bundle, fp32_bundle):
        with pytest.raises(
            InputError, match=f"threads is a whole number from 1 to 1024.* not {asked!r}"
        ):
            open_model(folder, threads=asked)


def test_a_generator_is_no_list_of_providers(encoder_bundle: Path) -> None:
    with pytest.raises(InputError, match="is no list of providers"):
        open_model(encoder_bundle, providers=(name for name in ["CPUExecutionProvider"]))
