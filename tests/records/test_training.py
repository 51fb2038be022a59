import json

import pytest
from example_spaces import SMALL_ARCH

from mosdeploy.errors import StaleInputError
from mosdeploy.record import parse
from mosdeploy.records import DataCard, Scores, ScoreTable, SubnetCard, SupernetCard
from mosdeploy.storage import read_record, write_record

SCORES = Scores(
    arch=SMALL_ARCH,
    num_parameters=100,
    metrics={"accuracy": 0.9, "f1": 0.8},
    loss=1.5,
    num_examples=10,
    setup="greedy",
)
CARD = SupernetCard(
    inputs={"data": "sha256:a", "training.steps": 600},
    space_sha256="b",
    data_sha256="c",
    tokenizer_sha256="d",
    supernet_sha256="e",
    steps=600,
    vocab_size=1000,
    routing="neuron",
    num_experts=2,
    largest_loss=2.0,
    smallest_loss=2.5,
    train_seconds=10.0,
)


def test_a_card_there_and_back(tmp_path):
    path = tmp_path / "supernet.json"
    write_record(path, CARD)
    assert read_record(SupernetCard, path, "mosdeploy train") == CARD


def test_the_first_metric_stays_the_first():
    """It is the one that counts, so a file keeps the order."""
    table = ScoreTable(supernet_sha256="a", data_sha256="b", subnets={"winner": SCORES})
    back = parse(ScoreTable, json.loads(table.model_dump_json()), "scores.json")
    assert back == table
    assert list(back.subnets["winner"].metrics) == ["accuracy", "f1"]


def test_weights_are_the_inherited_ones_unless_said():
    assert SCORES.weights == "inherited"
    with pytest.raises(ValueError, match=r"'inherited', 'finetuned', .* or 'scratch'"):
        Scores.model_validate({**dict(SCORES), "weights": "borrowed"})


@pytest.mark.parametrize("model", [DataCard, SupernetCard, SubnetCard, ScoreTable])
def test_cards_of_0_1_0_say_what_to_run_again(tmp_path, model):
    path = tmp_path / "card.json"
    path.write_text('{"version": 1, "made_from": "a", "updates": 600}')
    with pytest.raises(
        StaleInputError, match=r"an older mosdeploy \(version 1, .*run `mosdeploy train`"
    ):
        read_record(model, path, "mosdeploy train")
