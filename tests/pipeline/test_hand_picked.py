from mosdeploy.config import load_recipe
from mosdeploy.pipeline.hand_picked import shallower


def test_only_the_depth_differs_from_the_largest() -> None:
    space = load_recipe("minilm-l6").space
    archs = shallower(space)
    assert archs[-1] == space.largest
    assert [len(arch.layers) for arch in archs] == [1, 2, 3, 4, 5, 6]
    assert {layer for arch in archs for layer in arch.layers} == set(space.largest.layers)


def test_each_stack_has_depths_of_its_own() -> None:
    # one to three encoder layers with one to three decoder layers
    assert len(set(shallower(load_recipe("tiny").space))) == 9
