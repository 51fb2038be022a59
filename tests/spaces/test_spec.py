import numpy as np
import pytest
from example_spaces import TINY, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mosdeploy.errors import ConfigError
from mosdeploy.spaces import ModelSpec
from mosdeploy.spaces.encoder import EncoderWorkload
from mosdeploy.spaces.spec import Inventory, Product, attention_activations, ffn_activations
from mosdeploy.spaces.translation import TranslationSpace, TranslationWorkload

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40)
SPEC = ModelSpec(TINY, 10, TranslationWorkload(source_len=3, decode_steps=2))


def spec_of(space: TranslationSpace, seed: int) -> ModelSpec:
    """Any workload and vocabulary."""
    rng = np.random.default_rng(seed)
    source_len, decode_steps, beam = (int(x) for x in rng.integers(1, 12, 3))
    workload = TranslationWorkload(source_len=source_len, decode_steps=decode_steps, beam=beam)
    return ModelSpec(space, int(rng.integers(10, 1000)), workload)


@few
@given(spaces(), seeds)
def test_smallest_and_largest_bound_the_counts(space: TranslationSpace, seed: int) -> None:
    spec = spec_of(space, seed)
    archs = (space.smallest, space.sample(np.random.default_rng(seed)), space.largest)
    for count in (spec.num_parameters, spec.num_macs):
        counts = [count(arch) for arch in archs]
        assert counts == sorted(counts)


@few
@given(spaces(), seeds)
def test_means_and_gene_rows_give_the_same_features(space: TranslationSpace, seed: int) -> None:
    spec = spec_of(space, seed)
    rng = np.random.default_rng(seed)
    genes = spec.gene_rows([space.sample(rng) for _ in range(5)])
    features = spec.latency_features(genes)
    assert features.shape == (5, len(spec.space.feature_names))
    assert (features >= 0).all()
    means = space.aggregate_genes(genes)
    np.testing.assert_allclose(spec.latency_features_of_means(means), features, rtol=1e-12)


def test_the_reference_is_the_median_of_what_is_drawn() -> None:
    reference = SPEC.reference_arch()
    assert reference == SPEC.reference_arch()
    rng = np.random.default_rng(0)
    macs = [SPEC.num_macs(TINY.sample(rng)) for _ in range(101)]
    assert SPEC.num_macs(reference) == np.median(macs)


WEIGHT = Product("fc1", "step", rows=3, inputs=4, outputs=5)
SHARED = Product("logits", "step", rows=3, inputs=4, outputs=10, matrix="shared")
SCORES = Product("scores", "step", rows=3, inputs=4, outputs=3, matrix="activation")
INVENTORY = Inventory(
    products=(WEIGHT, SHARED, SCORES), norm_widths=(4, 4), table_parts=(4, 2), vocab_size=10
)


def test_number_of_parameters_by_hand() -> None:
    assert WEIGHT.num_parameters == 4 * 5 + 5
    assert SHARED.num_parameters == SCORES.num_parameters == 0
    # the matrix and its bias, gains and biases of the norms, the two parts of the table
    assert INVENTORY.num_parameters == 25 + 2 * 8 + 10 * (4 + 2)


def test_number_of_macs_by_hand() -> None:
    assert INVENTORY.num_macs == 3 * 4 * 5 + 3 * 4 * 10 + 3 * 4 * 3


def test_number_of_bytes_by_hand() -> None:
    # one byte a weight of a matrix, four a number of the bias, the norms and the table
    found = INVENTORY.num_bytes(
        matrix_bytes=lambda product: product.inputs * product.outputs,
        table_bytes=lambda rows, columns: 4 * rows * columns,
    )
    assert found == 20 + 4 * 5 + 4 * 16 + 4 * 60


def test_activations_by_hand() -> None:
    # 6 positions, 2 of them computed; states of 5, queries of 8
    states = 6 * 5 + 2 * 5
    projected = 2 * 8 + 2 * 6 * 8 + 2 * 8  # queries, keys and values, their mixture
    found = attention_activations(num_positions=6, num_read=2, dim=5, qkv_dim=8)
    assert found == states + projected
    assert ffn_activations(num_positions=6, dim=5, ffn_dim=20) == 2 * 6 * 5 + 2 * 6 * 20
    assert Inventory((), (), (), 10, num_activations=7).activation_bytes == 28


def test_a_workload_is_changed_in_what_is_said() -> None:
    workload = TranslationWorkload(source_len=9, precision="int8", beam=4)
    assert workload.changed({"precision": None, "beam": None}) == workload
    changed = workload.changed({"precision": "fp32", "beam": 1, "shortlist": 20})
    assert changed == TranslationWorkload(source_len=9, precision="fp32", shortlist=20, beam=1)
    with pytest.raises(ConfigError, match="unknown precision 'int4'; known: fp32, int8"):
        EncoderWorkload().changed({"precision": "int4"})
    with pytest.raises(ConfigError, match="models of this family have no beam: leave it out"):
        EncoderWorkload().changed({"beam": 4})
    with pytest.raises(ConfigError, match="got 65"):
        workload.changed({"beam": 65})
