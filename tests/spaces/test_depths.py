from mosdeploy.config import load_recipe
from mosdeploy.spaces.genes import all_depths, depth_genes, largest_of_depths


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
