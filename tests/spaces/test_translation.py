import itertools

import numpy as np
import pytest
from example_spaces import SMALL_ARCH, TINY, spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mosdeploy.errors import ArchError, ConfigError
from mosdeploy.record import parse
from mosdeploy.spaces.translation import (
    AGGREGATE_NAMES,
    DecoderLayerConfig,
    EncoderLayerConfig,
    TranslationArch,
    TranslationSpace,
)

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40, deadline=None)

# -- laws


@few
@given(spaces(), seeds)
def test_every_spelling_leads_back(space: TranslationSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert space.from_genes(space.to_genes(arch)) == arch
    assert space.decode(space.encode(arch)) == arch
    assert TranslationArch.model_validate_json(arch.model_dump_json()) == arch


@few
@given(spaces(), seeds)
def test_encoding_lies_in_the_unit_interval(space: TranslationSpace, seed: int) -> None:
    encoding = space.encode(space.sample(np.random.default_rng(seed)))
    assert encoding.shape == (space.num_genes,)
    assert encoding.dtype == np.float32
    assert encoding.min() >= 0
    assert encoding.max() <= 1
    assert np.array_equal(space.encode(space.largest) > 0, np.ones(space.num_genes, dtype=bool))


@few
@given(spaces(), seeds)
def test_mutate_with_probability_zero_is_identity(space: TranslationSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    assert space.mutate(arch, 0.0, rng) == arch


@few
@given(spaces(), seeds)
def test_children_stay_in_the_space(space: TranslationSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    for child in (
        space.mutate(first, 0.5, rng),
        space.mutate(first, 1.0, rng),
        space.crossover(first, second, rng),
    ):
        space.check(child)


@few
@given(spaces(), seeds)
def test_crossing_with_itself_is_identity(space: TranslationSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    assert space.crossover(arch, arch, rng) == arch


@few
@given(spaces(), seeds)
def test_crossing_takes_only_what_a_parent_has(space: TranslationSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.crossover(first, second, rng)
    assert child.encoder_embed_dim in (first.encoder_embed_dim, second.encoder_embed_dim)
    assert len(child.encoder_layers) in (len(first.encoder_layers), len(second.encoder_layers))
    for i, layer in enumerate(child.encoder_layers):
        parents = [
            parent.encoder_layers[i] for parent in (first, second) if i < len(parent.encoder_layers)
        ]
        assert layer.ffn_dim in {parent.ffn_dim for parent in parents}
        assert layer.heads in {parent.heads for parent in parents}


@few
@given(spaces(), seeds)
def test_same_seed_draws_the_same(space: TranslationSpace, seed: int) -> None:
    first, second = (space.sample(np.random.default_rng(seed)) for _ in range(2))
    assert first == second
    assert first.key == second.key


def test_copy_with_a_change_has_its_own_name_and_counts() -> None:
    wider = SMALL_ARCH.model_copy(update={"encoder_embed_dim": 8})
    assert wider.key != SMALL_ARCH.key
    assert wider.key == TranslationArch.model_validate(wider.model_dump()).key
    assert TINY.num_genes == 16
    assert TINY.model_copy(update={"encoder_layers": (1, 2, 3)}).num_genes == 18


def test_equal_spaces_stay_equal_once_they_were_used() -> None:
    again = TranslationSpace(**TINY.model_dump())
    for space in (TINY, again):
        space.decode(space.encode(space.largest))
    assert again == TINY
    assert hash(again) == hash(TINY)


def test_layers_that_do_not_exist_are_not_in_an_architecture() -> None:
    shallow = TINY.to_genes(SMALL_ARCH)
    rows = [shallow.copy() for _ in range(3)]
    for row, ghost in zip(rows, (0, 3, 5), strict=True):
        row[TINY.gene_slices["encoder_ffn_dim"].start + 1] = ghost
    assert len({TINY.from_genes(row) for row in rows}) == 1
    assert len({TINY.from_genes(row).key for row in rows}) == 1


# -- numbers worked by hand


def test_number_of_architectures_by_enumeration() -> None:
    every = {TINY.from_genes(row) for row in itertools.product(*TINY.gene_choices)}
    assert TINY.num_architectures == len(every)
    # two embeddings; depth 1: 4 encoder layers, one span: 4 * (1 + 1); depth 2: 16 encoders, two
    # spans: 16 * (2 + 4)
    assert TINY.num_architectures == 2 * (4 * 2 + 16 * 6)
    assert len({arch.key for arch in every}) == len(every)


def test_gene_row_by_hand() -> None:
    assert TINY.to_genes(SMALL_ARCH).tolist() == [4, 6, 1, 1, 3, 0, 2, 0, 5, 0, 2, 0, 4, 0, 1, 0]
    assert TINY.genes([SMALL_ARCH, SMALL_ARCH]).shape == (2, 16)
    assert TINY.genes([]).shape == (0, 16)


def test_aggregates_by_hand() -> None:
    deep = SMALL_ARCH.model_copy(
        update={
            "encoder_layers": (
                EncoderLayerConfig(ffn_dim=3, heads=1),
                EncoderLayerConfig(ffn_dim=5, heads=2),
            )
        }
    )
    assert TINY.aggregate(deep).tolist() == [4, 2, 4.0, 1.5, 6, 1, 5.0, 2.0, 4.0, 1.0]
    assert len(AGGREGATE_NAMES) == 10


def test_span_that_a_shallow_encoder_cuts_short_is_written_once() -> None:
    row = TINY.to_genes(SMALL_ARCH)
    row[TINY.gene_slices["cross_span"].start] = 2
    assert TINY.from_genes(row) == SMALL_ARCH


# -- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_embed_dim": 5}, r"encoder_embed_dim is 5, allowed: \[4, 8\]"),
        (
            {"encoder_layers": (EncoderLayerConfig(ffn_dim=4, heads=2),)},
            r"encoder_layers.0.ffn_dim is 4",
        ),
        (
            {"encoder_layers": (EncoderLayerConfig(ffn_dim=3, heads=2),) * 3},
            r"encoder_layers is 3, allowed: \[1, 2\]",
        ),
        (
            {
                "decoder_layers": (
                    DecoderLayerConfig(ffn_dim=5, self_heads=1, cross_heads=4, cross_span=1),
                )
            },
            r"decoder_layers.0.self_heads is 1, allowed: \[2\]",
        ),
    ],
)
def test_architecture_outside_its_space(change: dict[str, object], message: str) -> None:
    arch = SMALL_ARCH.model_copy(update=change)
    with pytest.raises(ArchError, match=message) as caught:
        TINY.to_genes(arch)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "row",
    [
        [],
        [0] * 16,
        [4, 6, 9, 1, *[3] * 12],
        [4, 6, -1, 1, *[3] * 12],
        [4, 6, 1, 1],
        list(range(17)),
    ],
)
def test_row_that_is_no_architecture(row: list[int]) -> None:
    with pytest.raises(ArchError):
        TINY.from_genes(row)


def test_span_past_the_encoder() -> None:
    data = SMALL_ARCH.model_dump(mode="json")
    data["decoder_layers"][0]["cross_span"] = 2
    with pytest.raises(ConfigError, match="cross_span 2 reaches past the 1 encoder layers"):
        parse(TranslationArch, data, "arch.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_heads": [3]}, "encoder_heads: 3 heads do not divide qkv_dim 8"),
        ({"cross_span": [3]}, "cross_span 3 exceeds the 2 encoder layers"),
        ({"encoder_ffn_dim": []}, "encoder_ffn_dim"),
        ({"encoder_ffn_dim": [8, 8]}, "choices must differ"),
        ({"encoder_ffn_dim": [0]}, "encoder_ffn_dim.0"),
        ({"norm": "none"}, "norm"),
    ],
)
def test_space_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(TranslationSpace, TINY.model_dump(mode="json") | change, "mosdeploy.toml")


def test_order_of_choices_does_not_matter() -> None:
    turned = parse(
        TranslationSpace,
        TINY.model_dump(mode="json") | {"encoder_embed_dim": [8, 4]},
        "mosdeploy.toml",
    )
    assert turned == TINY
