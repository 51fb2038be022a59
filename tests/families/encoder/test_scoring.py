"""Texts on which networks are compared: a network that is right scores 100."""

from typing import Any

import numpy as np
import pytest
import torch
from encoder_task import encoder_config, sentences, trained_tokenizer
from scipy import stats
from torch import Tensor

from mosdeploy.config.encoder import EncoderRunConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.encoder.dataset import EncoderDataset
from mosdeploy.families.encoder.examples import Example
from mosdeploy.families.encoder.scoring import (
    classification_metrics,
    embedding_metrics,
    entities,
    outputs_of,
    regression_metrics,
    scored_examples,
    tagging_metrics,
)
from mosdeploy.families.encoder.tokenizer import EncoderTokenizer
from mosdeploy.family import ScoredExamples
from mosdeploy.spaces.encoder import EncoderWorkload


class Lookup(torch.nn.Module):
    """Outputs by the ids themselves: a table's rows, of each piece or averaged over a text."""

    def __init__(self, table: Tensor, of_pieces: bool) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table)
        self.of_pieces = of_pieces

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        assert not self.training
        rows = self.table[ids] * mask[..., None]  # (B, S, C)
        return rows if self.of_pieces else rows.sum(1) / mask.sum(1, keepdim=True)


class Labelling:
    """A teacher whose outputs are those of a network."""

    def __init__(self, network: Lookup) -> None:
        self.network = network

    def label(self, dataset: EncoderDataset, examples: object) -> EncoderDataset:
        rows = [dataset.ids[i].tolist() for i in range(len(dataset))]
        outputs = outputs_of(self.network, rows, dataset.layout)
        return dataset.with_teacher([output.numpy() for output in outputs])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> EncoderTokenizer:
    return trained_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def scored(
    tokenizer: EncoderTokenizer, examples: list[Example], config: EncoderRunConfig, **options: Any
) -> ScoredExamples:
    return scored_examples(tokenizer, examples, config, EncoderWorkload(), **options)


def old_or_new(tokenizer: EncoderTokenizer) -> Tensor:
    """Logits of two classes: `new` says 0, `old` says 1."""
    table = torch.zeros(tokenizer.vocab_size, 2)
    for word, label in (("new", 0), ("old", 1)):
        table[tokenizer.encode(word)[1], label] = 9.0
    return table


CLASSES = [Example(text, label=int("old" in text)) for text in sentences(40)]


def test_a_classifier_that_is_right(tokenizer: EncoderTokenizer) -> None:
    examples = scored(tokenizer, CLASSES, encoder_config())
    network = Lookup(old_or_new(tokenizer), of_pieces=False)
    assert examples.evaluate(network) == {"accuracy": 100.0, "macro F1": 100.0, "MCC": 100.0}
    assert network.training
    answers = examples.predict(network, [list(ids) for ids in examples.input_ids])
    assert [len(answer) for answer in answers] == [2] * 40
    # a third of the texts is new
    assert [examples.decode(answer) for answer in answers[:4]] == ["no", "yes", "yes", "no"]
    alone = [examples.predict(network, [list(ids)])[0] for ids in examples.input_ids]
    assert np.array(alone) == pytest.approx(np.array(answers))
    wrong = ["yes" if examples.decode(answer) == "no" else "no" for answer in answers]
    assert examples.metrics(wrong)[examples.metric] == 0.0


def test_a_limit_draws_from_all(tokenizer: EncoderTokenizer) -> None:
    """The first rows of a file may all be of one class."""
    by_class = sorted(CLASSES, key=lambda example: example.label or 0)
    examples = scored(tokenizer, by_class, encoder_config(), limit=12)
    assert len(examples) == 12
    assert len({"old" in text for text in examples.inputs}) == 2
    assert examples.inputs == scored(tokenizer, by_class, encoder_config(), limit=12).inputs
    texts = [example.text for example in by_class]
    assert list(examples.inputs) == sorted(examples.inputs, key=texts.index)


def test_texts_are_cut_as_a_bundle_cuts_them(tokenizer: EncoderTokenizer) -> None:
    config = encoder_config(max_tokens=32)
    limits = config.export.model_copy(update={"max_input_len": 6})
    examples = scored(tokenizer, CLASSES, config.model_copy(update={"export": limits}))
    assert [list(ids) for ids in examples.input_ids] == [
        tokenizer.encode(text, max_tokens=6) for text in examples.inputs
    ]
    assert examples.setup == "6 tokens"


def test_numbers(tokenizer: EncoderTokenizer) -> None:
    texts = [Example(text, label=len(text)) for text in sentences(20)]
    table = torch.randn(tokenizer.vocab_size, 1, generator=torch.Generator().manual_seed(0))
    examples = scored(tokenizer, texts, encoder_config(kind="regression"))
    network = Lookup(table, of_pieces=False)
    answers = examples.predict(network, [list(ids) for ids in examples.input_ids])
    assert examples.decode([0.123456789]) == "0.12345679"
    spelled = [examples.decode(answer) for answer in answers]
    assert [float(text) for text in spelled] == pytest.approx([x[0] for x in answers], rel=1e-4)
    assert examples.metrics([str(len(text)) for text in examples.inputs])["Pearson"] == (
        pytest.approx(100)
    )
    # a bundle whose answers are all too high loses what its export looks at
    too_high = examples.metrics([str(len(text) + 9) for text in examples.inputs])
    assert too_high["Pearson"] == pytest.approx(100)
    assert too_high[examples.metric] < 90


def test_tags_of_words_that_were_cut_off_count_as_none(tokenizer: EncoderTokenizer) -> None:
    tagged = [
        Example(text, words=tuple(text.split()), tags=(0, 1, 0, 0, 0, 0, 3))
        for text in ("the red tree of number-1 is old", "the red tree of number-2 is new")
    ]
    config = encoder_config(kind="tagging", labels=["COLOUR", "AGE"], max_tokens=40)
    table = torch.zeros(tokenizer.vocab_size, 5)
    for word, tag in (("red", 1), ("old", 3), ("new", 3)):
        table[tokenizer.encode(word)[1], tag] = 1.0
    network = Lookup(table, of_pieces=True)
    examples = scored(tokenizer, tagged, config)
    assert examples.evaluate(network) == {"F1": 100.0, "precision": 100.0, "recall": 100.0}
    (answer,) = examples.predict(network, [list(examples.input_ids[0])])
    assert len(answer) == 5 * len(examples.input_ids[0])
    tags = examples.decode(answer).split(" ")
    assert [tag for tag in tags if tag != "O"] == ["B-COLOUR", "B-AGE"]
    limits = config.export.model_copy(update={"max_input_len": 5})
    cut = scored(tokenizer, tagged, config.model_copy(update={"export": limits}))
    assert cut.evaluate(network) == pytest.approx(
        {"F1": 200 / 3, "precision": 100.0, "recall": 50.0}
    )


def test_a_line_of_tags_has_one_for_what_stands_between_spaces(
    tokenizer: EncoderTokenizer,
) -> None:
    words = ("the", "very old", "", "\u00a0", "red")
    example = Example(" ".join(words), words=words, tags=(0, 3, 0, 0, 1))
    config = encoder_config(kind="tagging", labels=["COLOUR", "AGE"])
    score = scored(tokenizer, [example], config).line_metrics
    assert score is not None
    assert score(["O B-AGE I-AGE B-COLOUR"])["F1"] == 100.0
    assert score(["O O B-AGE B-COLOUR"])["recall"] == 50.0
    assert score([""])["recall"] == 0.0


def test_vectors_are_held_against_the_teacher(tokenizer: EncoderTokenizer) -> None:
    config = encoder_config(kind="embedding")
    generator = torch.Generator().manual_seed(0)
    teacher, student = (
        Lookup(torch.randn(tokenizer.vocab_size, 8, generator=generator), of_pieces=False)
        for _ in range(2)
    )
    texts = [Example(text) for text in sentences(20)]
    examples = scored(tokenizer, texts, config, teacher=Labelling(teacher))
    assert examples.evaluate(teacher) == pytest.approx({"similarity": 100.0, "cosine": 100.0})
    assert examples.evaluate(student)["cosine"] < 90
    with pytest.raises(ConfigError, match="an embedding task is scored by a teacher's vectors"):
        scored(tokenizer, texts, config)


def test_hidden_pieces_are_found_or_not(tokenizer: EncoderTokenizer) -> None:
    texts = [Example(text) for text in sentences(40)]
    examples = scored(tokenizer, texts, encoder_config(kind="masked-lm"))
    answers = examples.predict(
        Lookup(torch.eye(tokenizer.vocab_size), of_pieces=True),  # answers what it is shown
        [list(ids) for ids in examples.input_ids],
    )
    assert [[int(i) for i in answer] for answer in answers] == [
        list(ids) for ids in examples.input_ids
    ]
    shown = examples.metrics([examples.decode(answer) for answer in answers])["accuracy"]
    assert 0 < shown < 30  # a tenth of the hidden pieces is shown as it is
    right = [
        " ".join(tokenizer.pieces(tokenizer.encode(text, max_tokens=32)))
        for text in examples.inputs
    ]
    assert examples.metrics(right) == {"accuracy": 100.0}


def test_one_answer_for_all_has_no_correlation() -> None:
    scores = classification_metrics([0, 0, 0, 0], [0, 0, 0, 1])
    # F1 of the first class 6 / 7, of the second 0
    assert scores == pytest.approx({"accuracy": 75.0, "macro F1": 300 / 7, "MCC": 0.0})
    assert classification_metrics([1], [1]) == {"accuracy": 100.0, "macro F1": 100.0, "MCC": 0.0}


def test_regression_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    wanted = np.round(rng.normal(size=50), 1)  # with ties
    found = np.round(wanted + rng.normal(size=50), 1)
    scores = regression_metrics(found.tolist(), wanted.tolist())
    assert list(scores) == ["Pearson", "Spearman", "concordance", "MAE"]
    wanted_scores = [stats.pearsonr(found, wanted)[0], stats.spearmanr(found, wanted)[0]]
    correlations = [scores["Pearson"], scores["Spearman"]]
    assert correlations == pytest.approx([100 * x for x in wanted_scores])
    # on the scale of the numbers
    assert regression_metrics([10.0, 40.0], [20.0, 40.0])["MAE"] == 5.0


def test_concordance_sees_what_correlations_do_not() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=50)
    for moved in (wanted + 1, 2 * wanted):
        scores = regression_metrics(moved.tolist(), wanted.tolist())
        assert scores["Pearson"] == pytest.approx(100)
        assert scores["concordance"] < 90
    # by its definition; variances over n, as Lin has them
    found = wanted + rng.normal(size=50)
    both = np.cov(found, wanted, bias=True)
    expected = 2 * both[0, 1] / (both[0, 0] + both[1, 1] + (found.mean() - wanted.mean()) ** 2)
    scores = regression_metrics(found.tolist(), wanted.tolist())
    assert scores["concordance"] == pytest.approx(100 * expected)
    assert regression_metrics([3.0] * 2, [3.0] * 2)["concordance"] == 0


def test_constant_answers_have_no_correlation() -> None:
    none = {"Pearson": 0.0, "Spearman": 0.0, "concordance": 0.0}
    assert regression_metrics([2.0] * 3, [1, 2, 6]) == {**none, "MAE": 5 / 3}
    assert regression_metrics([1], [2]) == {**none, "MAE": 1.0}


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O", []),
        ("B-A I-A O B-A", [("A", 0, 2), ("A", 3, 4)]),
        ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
        ("I-A I-A", [("A", 0, 2)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
    ],
)
def test_entities_by_hand(tags: str, wanted: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == set(wanted)


def test_tagging_by_hand() -> None:
    """Two of three found are right, two of four wanted are found."""
    references = ["B-A I-A O B-B", "O B-A B-A"]
    answers = ["B-A I-A O B-A", "O O B-A"]
    scores = tagging_metrics([x.split() for x in answers], [x.split() for x in references])
    assert scores == pytest.approx({"F1": 400 / 7, "precision": 200 / 3, "recall": 50.0})
    perfect = tagging_metrics([x.split() for x in references], [x.split() for x in references])
    assert perfect == {"F1": 100.0, "precision": 100.0, "recall": 100.0}
    assert tagging_metrics([["O"]], [["O"]]) == {"F1": 0.0, "precision": 0.0, "recall": 0.0}


def test_similarities_do_not_depend_on_rotation_or_scale() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 3))
    rotation = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scores = embedding_metrics(5 * vectors @ rotation, vectors)
    assert scores["similarity"] == pytest.approx(100)
    assert scores["cosine"] < 90
    assert embedding_metrics(vectors, vectors) == pytest.approx({"similarity": 100, "cosine": 100})


def test_embeddings_by_hand() -> None:
    """Cosines of the pairs: 0, 0.6, 0.8 of the teacher, 0.8, 0.6, 0 of the student."""
    teacher = np.array([[1.0, 0], [0, 1], [0.6, 0.8]])
    student = np.array([[1.0, 0], [0.8, 0.6], [0.6, -0.8]])
    scores = embedding_metrics(student, teacher)
    assert scores["similarity"] == pytest.approx(-100)
    assert scores["cosine"] == pytest.approx(100 * (1 + 0.6 - 0.28) / 3)
