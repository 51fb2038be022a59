"""Laws of every search space: those of translation, and a smaller family made up here."""

import itertools
from typing import ClassVar

import numpy as np
import pytest
from example_spaces import TINY, spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from mosdeploy.config import load_recipe
from mosdeploy.errors import ArchError
from mosdeploy.record import Record
from mosdeploy.spaces import ArchConfig, SearchSpace
from mosdeploy.spaces.genes import (
    MAX_LAYERS,
    MAX_WIDTH,
    Choices,
    Depths,
    Gene,
    all_depths,
    depth_genes,
    largest_of_depths,
)

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=40)


class Layer(Record):
    width: int


class StackArch(ArchConfig):
    embed_dim: int
    layers: tuple[Layer, ...] = Field(min_length=1)


class StackSpace(SearchSpace):
    """One stack of layers."""

    table: ClassVar[tuple[Gene, ...]] = (
        Gene("embed_dim"),
        Gene("depth", stack="layers"),
        Gene("width", stack="layers", field="width"),
    )
    arch_type: ClassVar[type[ArchConfig]] = StackArch
    layer_types: ClassVar[dict[str, type[Record]]] = {"layers": Layer}
    mean_order: ClassVar[tuple[str, ...]] = ("width", "embed_dim", "depth")

    embed_dim: Choices
    depth: Choices
    width: Choices


STACK = StackSpace(embed_dim=(8, 16), depth=(1, 3), width=(4, 6))
ARCH = StackArch(embed_dim=16, layers=(Layer(width=6), Layer(width=4), Layer(width=4)))


def choices_of(values: range) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True).map(tuple)


stack_spaces = st.builds(
    StackSpace,
    embed_dim=choices_of(range(1, 50)),
    depth=choices_of(range(1, 5)),
    width=choices_of(range(1, 50)),
)
any_space = st.one_of(spaces(), stack_spaces)


@few
@given(any_space, seeds)
def test_every_spelling_leads_back(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert space.from_genes(space.to_genes(arch)) == arch
    assert space.decode(space.encode(arch)) == arch
    assert space.arch_type.model_validate_json(arch.model_dump_json()) == arch


@few
@given(any_space, seeds)
def test_encoding_lies_in_the_unit_interval(space: SearchSpace, seed: int) -> None:
    encoding = space.encode(space.sample(np.random.default_rng(seed)))
    assert encoding.shape == (space.num_genes,)
    assert encoding.dtype == np.float32
    assert encoding.min() >= 0
    assert encoding.max() <= 1
    assert np.array_equal(space.encode(space.largest) > 0, np.ones(space.num_genes, dtype=bool))


@few
@given(any_space, seeds)
def test_mutate_with_probability_zero_is_identity(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    assert space.mutate(arch, 0.0, rng) == arch


@few
@given(any_space, seeds)
def test_children_stay_in_the_space(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = space.sample(rng)
    second = space.sample(rng)
    space.check(space.mutate(first, 0.5, rng))
    space.check(space.mutate(first, 1.0, rng))
    space.check(space.crossover(first, second, rng))


@few
@given(any_space, seeds)
def test_crossover_with_itself_is_identity(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    assert space.crossover(arch, arch, rng) == arch


@few
@given(any_space, seeds)
def test_crossover_takes_each_choice_from_a_parent(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parents = [space.sample(rng), space.sample(rng)]
    child = space.crossover(*parents, rng)
    for gene in space.table:
        if gene.stack is None:
            assert getattr(child, gene.choices) in {getattr(x, gene.choices) for x in parents}
        elif gene.is_depth:
            depths = {len(getattr(x, gene.stack)) for x in parents}
            assert len(getattr(child, gene.stack)) in depths
        elif gene.at_most is None:  # the choices under a bound are cut short by it
            for i, layer in enumerate(getattr(child, gene.stack)):
                stacks = [getattr(x, gene.stack) for x in parents]
                theirs = {getattr(stack[i], gene.field) for stack in stacks if i < len(stack)}
                assert getattr(layer, gene.field) in theirs


@few
@given(any_space, seeds)
def test_sums_are_means_times_depth(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    genes = space.genes([space.sample(rng) for _ in range(5)])
    sums = space.sum_genes(genes)
    np.testing.assert_allclose(space.sum_aggregates(space.aggregate_genes(genes)), sums)


@pytest.mark.parametrize("space", [TINY, STACK], ids=["translation", "stack"])
def test_number_of_architectures_by_enumeration(space: SearchSpace) -> None:
    every = {space.from_genes(row) for row in itertools.product(*space.gene_choices)}
    assert space.num_architectures == len(every)
    assert len({arch.key for arch in every}) == len(every)


def test_hand_worked_stack() -> None:
    assert STACK.gene_slices == {
        "embed_dim": slice(0, 1),
        "depth": slice(1, 2),
        "width": slice(2, 5),
    }
    assert STACK.gene_choices == ((8, 16), (1, 3), (4, 6), (4, 6), (4, 6))
    # two widths in one layer or in three, under two embeddings
    assert STACK.num_architectures == 2 * (2 + 2**3)
    assert STACK.to_genes(ARCH).tolist() == [16, 3, 6, 4, 4]
    assert STACK.to_genes(STACK.smallest).tolist() == [8, 1, 4, 0, 0]
    np.testing.assert_allclose(STACK.encode(ARCH), [1, 1, 1, 4 / 6, 4 / 6])
    np.testing.assert_allclose(STACK.aggregate_genes(STACK.genes([ARCH])), [[14 / 3, 16, 3]])
    assert STACK.sum_genes(STACK.genes([ARCH])).tolist() == [[14, 16, 3]]


def test_a_copy_with_a_change_computes_its_own() -> None:
    wider = ARCH.model_copy(update={"embed_dim": 8})
    assert wider.key != ARCH.key
    assert wider.key == StackArch.model_validate(wider.model_dump()).key
    assert STACK.num_genes == 5
    assert STACK.model_copy(update={"depth": (1, 4)}).num_genes == 6


def test_an_architecture_outside_the_space_is_named() -> None:
    deep = ARCH.model_copy(update={"layers": ARCH.layers[:2]})
    with pytest.raises(ArchError, match=r"depth is 2, allowed: \[1, 3\]") as caught:
        STACK.check(deep)
    assert caught.value.exit_code == 3
    odd = ARCH.model_copy(update={"layers": (Layer(width=5),)})
    with pytest.raises(ArchError, match=r"layers\.0\.width is 5, allowed: \[4, 6\]"):
        STACK.check(odd)


@pytest.mark.parametrize("row", [[], [8, 1, 4], [8, 0, 4, 4, 4], [8, -1, 4, 4, 4], [9, 1, 4, 4, 4]])
def test_a_row_that_is_no_architecture_is_refused(row: list[int]) -> None:
    with pytest.raises(ArchError):
        STACK.from_genes(row)


def test_choices_are_sorted_positive_and_different():
    choices = TypeAdapter(Choices)
    assert choices.validate_python((8, 2, 4)) == (2, 4, 8)
    for wrong in ((), (0, 1), (-2,), (4, 4), (MAX_WIDTH + 1,)):
        with pytest.raises(ValidationError):
            choices.validate_python(wrong)
    with pytest.raises(ValidationError):
        TypeAdapter(Depths).validate_python((MAX_LAYERS + 1,))


def test_only_the_depth_differs_from_the_largest() -> None:
    space = load_recipe("minilm-l6").space
    archs = [largest_of_depths(space, depths) for depths in all_depths(space)]
    assert archs[-1] == space.largest
    assert [len(arch.layers) for arch in archs] == [1, 2, 3, 4, 5, 6]
    assert {layer for arch in archs for layer in arch.layers} == set(space.largest.layers)


def test_each_stack_has_depths_of_its_own() -> None:
    space = load_recipe("tiny").space
    found = [space.depths(largest_of_depths(space, depths)) for depths in all_depths(space)]
    assert found == [(i, j) for i in (1, 2, 3) for j in (1, 2, 3)]
    assert [gene.stack for gene in depth_genes(space)] == ["encoder_layers", "decoder_layers"]
