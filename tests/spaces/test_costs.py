import numpy as np
from example_spaces import SMALL_ARCH, TINY, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mosdeploy.spaces.costs import num_macs, num_parameters
from mosdeploy.spaces.translation import TranslationSpace


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_smallest_and_largest_bound_the_counts(space: TranslationSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    parameters = [num_parameters(space, a, 100) for a in (space.smallest, arch, space.largest)]
    macs = [num_macs(space, a, 100, 7, 5) for a in (space.smallest, arch, space.largest)]
    assert parameters == sorted(parameters)
    assert macs == sorted(macs)


def test_number_of_parameters_by_hand() -> None:
    embedding = 10 * 6
    encoder = (
        (40 + 80 + 36) + (15 + 16) + 2 * 2 * 4
    )  # q 4*8+8, k and v the same, out 8*4+4; FFN 4-3-4; two norms
    self_attention = 56 + 112 + 54  # q 6*8+8, k and v, out 8*6+6
    cross_attention = 56 + 80 + 54  # k and v read the encoder's 4 columns
    decoder = self_attention + cross_attention + (35 + 36) + 3 * 2 * 6
    assert num_parameters(TINY, SMALL_ARCH, 10) == embedding + encoder + decoder == 782
    pre = TINY.model_copy(update={"norm": "pre"})
    assert num_parameters(pre, SMALL_ARCH, 10) == 782 + 2 * 4 + 2 * 6


def test_number_of_macs_by_hand() -> None:
    encoder = (
        3 * (4 * 4 * 8 + 2 * 4 * 3) + 2 * 3 * 3 * 8
    )  # projections, FFN; scores and mix over three positions
    cross_memory = 2 * 3 * 4 * 8  # keys and values of three positions
    projections = 2 * (4 * 6 * 8 + 2 * 6 * 8 + 2 * 6 * 5)
    attention = 2 * (1 + 2) * 8 + 2 * 2 * 3 * 8  # self over one and two positions, cross over three
    logits = 2 * 10 * 6
    decoder = projections + attention + logits
    assert (
        num_macs(TINY, SMALL_ARCH, 10, source_len=3, decode_steps=2)
        == encoder + cross_memory + decoder
        == 1752
    )
    assert num_macs(TINY, SMALL_ARCH, 10, 3, 2, beam=2) == encoder + cross_memory + 2 * decoder
