"""Texts on which networks are compared by the metrics of their task."""

import functools
import itertools
import json
from collections.abc import Callable, Sequence, Sized
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...config.encoder import EncoderRunConfig, TaskConfig
from ...errors import ConfigError
from ...family import ScoredExamples, Teacher
from ...runtime.encoder import decode_answer
from ...spaces.encoder import EncoderWorkload
from .dataset import NO_TARGET, BatchLayout, EncoderDataset, tokenize
from .examples import Example
from .tokenizer import EncoderTokenizer

BATCH_TEXTS = 32
"""Texts of like length that a network answers at once."""

DRAW_SEED = 1
"""Draws the examples of a limit."""

METRIC_NAMES = {
    "classification": "accuracy",
    "regression": "Pearson",
    "tagging": "F1",
    "embedding": "similarity",
    "masked-lm": "accuracy",
}
"""The metric that counts, by kind of task."""

PARITY_METRICS = {**METRIC_NAMES, "regression": "concordance"}
"""The metric by which a bundle is compared with torch: Pearson's correlation does not see answers
that are all too high, or on another scale.
"""

Metrics = Callable[[list[str]], dict[str, float]]


def scored_examples(
    tokenizer: EncoderTokenizer,
    examples: Sequence[Example],
    config: EncoderRunConfig,
    workload: EncoderWorkload,
    limit: int | None = None,
    teacher: Teacher | None = None,
    options: object = None,
) -> ScoredExamples:
    """Texts with their references, cut as a bundle cuts them."""
    rows = np.random.default_rng(DRAW_SEED).permutation(len(examples))[:limit]
    chosen = [examples[i] for i in np.sort(rows)]
    max_input_len = config.export.max_input_len
    task = config.task.model_copy(update={"max_tokens": max_input_len})
    dataset = tokenize(tokenizer, chosen, config.model_copy(update={"task": task}))
    if task.kind == "masked-lm":
        return _masked_examples(tokenizer, chosen, dataset)
    vectors = None
    if task.kind == "embedding":
        if teacher is None:
            raise ConfigError("an embedding task is scored by a teacher's vectors: there is none")
        labelled = cast("EncoderDataset", teacher.label(dataset, chosen))
        vectors = np.asarray(labelled.teacher, dtype=np.float64)  # (N, d)
    is_tagging = task.kind == "tagging"
    return ScoredExamples(
        inputs=[example.line for example in chosen],
        input_ids=[dataset.ids[i].tolist() for i in range(len(dataset))],
        predict=predictor(dataset.layout),
        decode=functools.partial(decode_answer, task.kind, task.tag_names),
        metrics=_tagging(tokenizer, chosen, config)
        if is_tagging
        else _metrics(task, chosen, vectors),
        metric=PARITY_METRICS[task.kind],
        setup=f"{max_input_len} tokens",
        line_metrics=_word_tagging(chosen, config) if is_tagging else None,
    )


def predictor(
    layout: BatchLayout,
) -> Callable[[Any, list[list[int]]], list[list[float]]]:
    """Return what answers ids with a plain network: (network, ids) to answers, in order."""

    def predict(subnet: Any, inputs: list[list[int]]) -> list[list[float]]:
        return [output.flatten().tolist() for output in outputs_of(subnet, inputs, layout)]

    return predict


@torch.inference_mode()
def outputs_of(
    subnet: Any,
    inputs: Sequence[Sequence[int]],
    layout: BatchLayout,
    show: Callable[[int], None] | None = None,
    select: Callable[[Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Outputs of a plain network for each text: (C,), of its pieces (length, C), or (d,)."""
    was_training = subnet.training
    device = next(subnet.parameters()).device
    subnet.eval()
    found: list[Tensor] = [torch.empty(0)] * len(inputs)
    order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    for start in range(0, len(order), BATCH_TEXTS):
        rows = order[start : start + BATCH_TEXTS]
        batch = layout.inputs([inputs[i] for i in rows])
        outputs = subnet(*(part.to(device) for part in batch)).float().cpu()
        for i, output in zip(rows, outputs, strict=True):
            # (S, C) without the padding; (C,) as it is
            own = output[: len(inputs[i])] if output.dim() > 1 else output
            found[i] = own if select is None else select(own)
        if show is not None:
            show(start + len(rows))
    subnet.train(was_training)
    return found


def _metrics(
    task: TaskConfig, examples: Sequence[Example], vectors: npt.NDArray[np.float64] | None
) -> Metrics:
    if vectors is not None:
        return lambda outputs: embedding_metrics(
            np.array([json.loads(output) for output in outputs]), vectors
        )
    labels = [example.label or 0.0 for example in examples]
    if task.kind == "regression":
        return lambda outputs: regression_metrics([float(output) for output in outputs], labels)
    classes = [int(label) for label in labels]
    numbers = {name: i for i, name in enumerate(task.labels)}
    return lambda outputs: classification_metrics([numbers[x] for x in outputs], classes)


def _tagging(
    tokenizer: EncoderTokenizer, examples: Sequence[Example], config: EncoderRunConfig
) -> Metrics:
    """Metrics of tags of pieces; words that were cut off, or that have no piece, count as O."""
    references = _tag_names(examples, config)
    first_pieces = [
        tokenizer.encode_words(example.words, config.export.max_input_len).first_pieces
        for example in examples
    ]

    def metrics(outputs: list[str]) -> dict[str, float]:
        answers = []
        for output, positions in zip(outputs, first_pieces, strict=True):
            tags = output.split(" ")
            answers.append([tags[position] if position >= 0 else "O" for position in positions])
        return tagging_metrics(answers, references)

    return metrics


def _word_tagging(examples: Sequence[Example], config: EncoderRunConfig) -> Metrics:
    """Metrics of answers with a tag for each word of the line, as a bundle finds the words."""
    references = _tag_names(examples, config)
    # a word of the task may hold spaces, of which some are no plain ones, or nothing else
    counts = [[len(word.split()) for word in example.words] for example in examples]

    def metrics(outputs: list[str]) -> dict[str, float]:
        answers = []
        for output, of_words in zip(outputs, counts, strict=True):
            tags = iter(output.split())
            found = [list(itertools.islice(tags, count)) for count in of_words]
            answers.append([own[0] if own else "O" for own in found])
        return tagging_metrics(answers, references)

    return metrics


def _tag_names(examples: Sequence[Example], config: EncoderRunConfig) -> list[list[str]]:
    names = config.task.tag_names
    return [[names[tag] for tag in example.tags] for example in examples]


def _masked_examples(
    tokenizer: EncoderTokenizer, examples: Sequence[Example], dataset: EncoderDataset
) -> ScoredExamples:
    """Examples that count the hidden pieces that a network finds."""
    rows = range(len(dataset))
    hidden = dataset.masking.hide([dataset.ids[i] for i in rows], np.array(rows))
    wanted = [(labels != NO_TARGET, labels) for _, labels in hidden]

    def predict(subnet: Any, inputs: list[list[int]]) -> list[list[float]]:
        # the outputs of all texts, each piece's of the whole vocabulary, would fill the memory
        best = outputs_of(subnet, inputs, dataset.layout, select=lambda output: output.argmax(-1))
        return [pieces.float().tolist() for pieces in best]

    def metrics(outputs: list[str]) -> dict[str, float]:
        right = total = 0
        for output, (asked, labels) in zip(outputs, wanted, strict=True):
            found = np.array(output.split(" "))[asked]
            right += int((found == np.array(tokenizer.pieces(labels[asked].tolist()))).sum())
            total += int(asked.sum())
        return {"accuracy": 100 * right / max(total, 1)}

    return ScoredExamples(
        inputs=[example.line for example in examples],
        input_ids=[shown.tolist() for shown, _ in hidden],
        predict=predict,
        decode=lambda answer: " ".join(tokenizer.pieces([int(i) for i in answer])),
        metrics=metrics,
        metric=METRIC_NAMES["masked-lm"],
        setup="hidden pieces",
    )


# -- metrics


FloatArray = npt.NDArray[np.float64]
Entity = tuple[str, int, int]
"""Type, first word, and the word after the last."""

MAX_PAIRED_TEXTS = 1000
"""Half a million pairs: their ranks are sorted in a second."""


def classification_metrics(answers: Sequence[int], references: Sequence[int]) -> dict[str, float]:
    """Accuracy, macro F1 and Matthews' correlation coefficient."""
    from sklearn import metrics  # takes a second, which no other task waits for

    _check_lengths(answers, references)
    has_two = len({*answers, *references}) > 1  # classes; of one alone scikit-learn warns
    return {
        "accuracy": 100 * float(metrics.accuracy_score(references, answers)),
        "macro F1": 100 * float(metrics.f1_score(references, answers, average="macro")),
        "MCC": 100 * float(metrics.matthews_corrcoef(references, answers)) if has_two else 0.0,
    }


def regression_metrics(answers: Sequence[float], references: Sequence[float]) -> dict[str, float]:
    """Pearson's and Spearman's correlation coefficients, 0 where one side is constant; the
    concordance, which is lower than Pearson's where answers have another mean or spread than the
    references (Lin, Biometrics 1989); and the mean absolute error (MAE), on the scale of the
    references, of which lower is better.
    """
    _check_lengths(answers, references)
    found, wanted = (np.asarray(side, dtype=np.float64) for side in (answers, references))
    return {
        "Pearson": 100 * _correlation(found, wanted),
        "Spearman": 100 * _rank_correlation(found, wanted),
        "concordance": 100 * _concordance(found, wanted),
        "MAE": float(np.abs(found - wanted).mean()),
    }


def tagging_metrics(
    answers: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """F1, precision and recall of entities, as the CoNLL script and seqeval count them: an entity
    is right if its type and both its ends are.
    """
    _check_lengths(answers, references)
    right = num_found = num_wanted = 0
    for answer, reference in zip(answers, references, strict=True):
        _check_lengths(answer, reference)
        found, wanted = entities(answer), entities(reference)
        right += len(found & wanted)
        num_found += len(found)
        num_wanted += len(wanted)
    precision = 100 * right / num_found if num_found else 0.0
    recall = 100 * right / num_wanted if num_wanted else 0.0
    both = num_found + num_wanted
    return {
        "F1": 200 * right / both if both else 0.0,
        "precision": precision,
        "recall": recall,
    }


def entities(tags: Sequence[str]) -> set[Entity]:
    """Entities in the tags of a text. An I-TYPE that follows no word of its type begins one."""
    found: set[Entity] = set()
    start, current = (0, "")
    for i, tag in enumerate([*tags, "O"]):
        place, _, kind = tag.partition("-")
        if place == "I" and kind == current:
            continue
        if current:
            found.add((current, start, i))
        start, current = (i, kind)
    return found


def embedding_metrics(answers: FloatArray, references: FloatArray) -> dict[str, float]:
    """How well vectors (N, d) keep a teacher's similarities, and how near to its own they are."""
    _check_lengths(answers, references)
    found, wanted = (
        side / np.linalg.norm(side, axis=1, keepdims=True) for side in (answers, references)
    )
    heads = (found[:MAX_PAIRED_TEXTS], wanted[:MAX_PAIRED_TEXTS])
    upper = np.triu_indices(len(heads[0]), 1)  # each pair once
    similarity = _rank_correlation(*((side @ side.T)[upper] for side in heads))
    return {
        "similarity": 100 * similarity,
        "cosine": 100 * float((found * wanted).sum(1).mean()),
    }


def _correlation(x: FloatArray, y: FloatArray) -> float:
    """Pearson's; 0 where there is no spread."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    return float(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy)))


def _concordance(x: FloatArray, y: FloatArray) -> float:
    """0 where one side is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's; 0 where there is no spread."""
    from scipy.stats import rankdata  # as slow to import

    return _correlation(rankdata(x), rankdata(y))


def _check_lengths(answers: Sized, references: Sized) -> None:
    if not len(answers) or len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
