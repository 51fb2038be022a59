import pytest
from pydantic import TypeAdapter, ValidationError

from mosdeploy.spaces.table import MAX_LAYERS, MAX_WIDTH, Choices, Depths, Gene


@pytest.mark.parametrize(
    ("gene", "is_depth", "is_per_layer"),
    [
        (Gene("embed_dim"), False, False),
        (Gene("depth", stack="layers"), True, False),
        (Gene("width", stack="layers", field="width"), False, True),
    ],
)
def test_an_entry_is_made_once_a_stack_or_a_layer(gene, is_depth, is_per_layer):
    assert (gene.is_depth, gene.is_per_layer) == (is_depth, is_per_layer)


def test_choices_are_sorted_positive_and_different():
    choices = TypeAdapter(Choices)
    assert choices.validate_python((8, 2, 4)) == (2, 4, 8)
    for wrong in ((), (0, 1), (-2,), (4, 4), (MAX_WIDTH + 1,)):
        with pytest.raises(ValidationError):
            choices.validate_python(wrong)
    with pytest.raises(ValidationError):
        TypeAdapter(Depths).validate_python((MAX_LAYERS + 1,))
