"""A run file for the user's texts and checkpoint."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...config.encoder import (
    HEADS,
    CheckpointConfig,
    EncoderExportConfig,
    EncoderRunConfig,
    TaskConfig,
    TaskKind,
    read_vector_modules,
)
from ...errors import ConfigError
from ...family import (
    HELD_OUT,
    SPLIT_REASONS,
    DataRequest,
    DataSizes,
    RunPlan,
    Setting,
    dropped_fact,
    held_out_fraction,
    rounded_up,
    search_settings,
    two_digits,
)
from ...record import parse
from ...runtime.texts import is_one_line
from ...spaces.encoder import EncoderWorkload
from .checkpoint import CHOICES, Checkpoint, load_checkpoint
from .examples import EncoderData, load_data, read_example
from .tables import GLUE_COLUMNS, TABLES, Row, cell_text, number_of, quoted, read_rows
from .tokenizer import EncoderTokenizer

# -- the task of a table


TEXT_NAMES = ("text", "sentence", "content", "review", "message", "body", "comment", "title")
PAIR_NAMES = ("text", "text_pair")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "sentiment", "score", "rating")
MAX_CLASSES = 200
"""More different values are no classes."""

MAX_NUMBERED_CLASSES = 20
"""More different numbers are measured on a scale, not classes."""

MAX_STRANGE_SHARE = 0.05
"""Fewer cells that hold no number, among numbers on a scale, are no class of their own."""


@dataclass(frozen=True)
class TaskColumns:
    """The kind of a task, its columns by their keys in [task], its labels, how many rows have each
    (of a regression, each number), and the columns that are not read.
    """

    kind: TaskKind
    columns: Mapping[str, str]
    labels: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def task_columns(rows: Sequence[Row], text: str | None, label: str | None) -> TaskColumns:
    """Tell the task of a table."""
    first = rows[0]
    for name in (text, label):
        if name is not None:
            first.cell(name)  # raises, and names those that there are
    names = list(first.cells)
    words, tags = text or "tokens", label or "tags"
    are_lists = all(isinstance(first.cells.get(name), list | tuple) for name in (words, tags))
    if {words, tags} <= set(names) and ((words, tags) == ("tokens", "tags") or are_lists):
        return _tagging(rows, words, tags)
    texts = {"text": text} if text is not None else _text_columns(rows, label)
    rest = [name for name in names if name not in texts.values()]
    if label is None:
        only = rest[0] if len(rest) == 1 else None
        label = next((name for name in LABEL_NAMES if name in rest), only)
    if label is None:
        raise ConfigError(
            f"{first.place}: no column for the label; the columns are: {quoted(names)}. Name "
            "it with --label COLUMN; texts without labels, for vectors, are a .txt with one a line"
        )
    found = _labelled(rows, texts, label)
    is_value = label in found.counts or math.isfinite(number_of(label))
    if is_value and any(" " in name for name in texts.values()):
        raise ConfigError(
            f"{first.place}: the first line of a table names its columns, and '{label}' looks like "
            "a label; write a line like text,label before the first row"
        )
    return replace(found, unread=tuple(x for x in names if x not in found.columns.values()))


def _text_columns(rows: Sequence[Row], label: str | None) -> dict[str, str]:
    cells = rows[0].cells
    # before single texts, whose names may be one of two: QNLI has a question and a sentence
    for one, other in (*GLUE_COLUMNS, PAIR_NAMES):
        if other is not None and {one, other} <= set(cells) - {label}:
            return {"text": one, "text_pair": other}
    for name in TEXT_NAMES:
        if name in cells and name != label:
            return {"text": name}
    lengths: Counter[str] = Counter()
    for row in rows[:1000]:
        for name, cell in row.cells.items():
            if isinstance(cell, str) and name not in (label, *LABEL_NAMES):
                lengths[name] += len(cell)
    if not lengths:
        raise ConfigError(
            f"{rows[0].place}: no column holds text; the columns are: {quoted(cells)}. Name it "
            "with --text COLUMN"
        )
    return {"text": lengths.most_common(1)[0][0]}


def _labelled(rows: Sequence[Row], texts: Mapping[str, str], label: str) -> TaskColumns:
    values = _label_values(rows, label)
    counts = Counter(values)
    columns = {**texts, "label": label}
    numbers = [x for x in map(number_of, counts) if math.isfinite(x)]
    is_numeric = len(numbers) == len(counts)
    strange = [i for i, value in enumerate(values) if math.isnan(number_of(value))]
    if len(numbers) > MAX_NUMBERED_CLASSES or not all(x.is_integer() for x in numbers):
        if is_numeric:
            return TaskColumns("regression", columns, counts=counts)
        if len(strange) < MAX_STRANGE_SHARE * len(values):
            raise rows[strange[0]].error(
                label,
                f"holds '{values[strange[0]][:100]}' there, and no number in {len(strange):,} of "
                f"{len(values):,} rows; fill the numbers in, or leave these rows out",
            )
    plain = [number_of(x.replace(",", ".").replace("_", "").removesuffix("%")) for x in counts]
    if len(counts) > MAX_NUMBERED_CLASSES and all(map(math.isfinite, plain)):
        found = f"holds '{values[strange[0]]}': write numbers as in 1234.57, without commas, _ or %"
        raise rows[strange[0]].error(label, found)
    if len(counts) > MAX_CLASSES:
        raise rows[0].error(
            label,
            f"holds {len(counts):,} different values, neither numbers nor {MAX_CLASSES} classes or "
            "fewer; name the column of the label with --label",
        )
    labels = sorted(counts, key=(lambda value: (number_of(value), value)) if is_numeric else None)
    return TaskColumns("classification", columns, tuple(labels), counts)


def _label_values(rows: Sequence[Row], label: str) -> list[str]:
    """Return the label of each row; all must be there, on one line and spelled in one way."""
    for row in rows:
        if isinstance(row.cell(label), list | tuple | dict):
            raise row.error(
                label,
                "holds a list; a text has one class here: write a file for each class, or name "
                "another column with --label (of tags, name both: --text WORDS --label TAGS)",
            )
    values = [cell_text(row.cell(label)).strip() for row in rows]
    counts = Counter(values)
    spelled: dict[str, str] = {}
    for value, count in counts.most_common():
        share = f"there (in {count:,} of {len(rows):,} rows)"
        other = spelled.setdefault(" ".join(value.casefold().split()), value)
        problem = ""
        if not value:
            problem = f"is empty {share}; fill it in, or leave these rows out"
        elif not is_one_line(value):
            problem = (
                f"holds {value[:100]!r}: a label is printed as one line; write it without line "
                "breaks, tabs and control characters"
            )
        elif other != value:
            problem = (
                f"holds '{value}' {share}, and '{other}' in {counts[other]:,}; spell a label in "
                "one way, and two so that they differ in more than case and spaces"
            )
        if problem:
            raise rows[values.index(value)].error(label, problem)
    if len(counts) < 2:
        problem = f"holds '{values[0]}' in all {len(rows):,} rows; there is nothing to tell apart"
        raise rows[0].error(label, f"{problem}. Name another column with --label")
    return values


def _tagging(rows: Sequence[Row], words: str, tags: str) -> TaskColumns:
    counts: Counter[str] = Counter()
    for row in rows:
        for tag in row.tags(tags):
            if tag[:2] in ("B-", "I-"):
                counts[tag[2:]] += tag.startswith("B-")
            elif tag != "O":
                raise row.error(tags, f"holds {tag!r}; a tag is O, B-TYPE or I-TYPE")
    if not counts:
        raise rows[0].error(tags, f"holds O alone in all {len(rows):,} rows, and no B-TYPE")
    found = dict(sorted(counts.items()))
    return TaskColumns("tagging", {"tokens": words, "tags": tags}, tuple(found), found)


# -- the plan


SAMPLE_TEXTS = 5000
"""Evenly spaced texts whose tokens are counted."""

MAX_TOKENS = 256
"""The most that `max_tokens` is set to: attention over more costs more than it tells."""

MIN_EXAMPLES = 50
LINES = (".txt", ".txt.gz")
"""Endings of files of plain lines, which have no labels."""

_EXAMPLE = "--train reviews.csv --checkpoint my-bert"
_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)


@dataclass(frozen=True)
class _Found:
    """The task, its examples, the checkpoint, the tokens of a sample; and the files beside the
    training file that were not read.
    """

    columns: TaskColumns
    given: dict[str, Any]
    data: EncoderData
    checkpoint: Checkpoint
    lengths: Sequence[int]
    unread: Sequence[str]

    @property
    def max_tokens(self) -> int:
        """A length that 99 of 100 texts keep within."""
        within = rounded_up(float(np.percentile(self.lengths, 99)), 8)
        return min(max(16, within), MAX_TOKENS, self.constant("max_positions"))

    def constant(self, name: str) -> int:
        """Return a size of the checkpoint."""
        return int(self.checkpoint.constants[name] or 0)


def plan_run(request: DataRequest) -> RunPlan:
    """Read a table of labelled texts, or plain lines, and a checkpoint, and size a run for them."""
    _check(request)
    found = _read(request)
    data = found.data
    if len(data.train) < MIN_EXAMPLES:
        raise ConfigError(
            f"{request.files[0]}: {len(data.train)} examples to train on are too few (dropped: "
            f"{dropped_fact(data.dropped)}); at least {MIN_EXAMPLES} are needed"
        )
    vocab_size = found.checkpoint.vocab_size
    # on a CPU a candidate is judged in seconds, on a GPU in a fraction of one
    search = (64, 15, 512) if request.has_gpu else (24, 4, 192)
    middle = min(rounded_up(float(np.median(found.lengths)), 8), found.max_tokens)
    return RunPlan(
        f"{found.columns.kind}, sized for {len(data.train):,} texts.",
        _facts(found),
        DataSizes(len(data.train), len(data.valid), len(data.test)),
        {
            "": (Setting("family", "encoder"),),
            "checkpoint": (
                Setting("path", request.checkpoint, "where all networks start"),
                Setting("vocab_size", vocab_size, "the checkpoint's"),
            ),
            "task": _task(found),
            "space": _space(found),
            **_trainings(found, request.has_gpu),
            "workload": (
                Setting("name", "text", "what one latency number stands for"),
                Setting("input_len", middle, "the median of the data, in multiples of 8"),
                Setting("batch", 1),
                Setting("threads", 1),
                Setting("precision", "int8", "fp32 | int8 | int8-fp32-embedding"),
            ),
            "profile": (Setting("budget", 16, "subnets to measure"),),
            "search": search_settings(*search),
            "export": (
                Setting("max_input_len", found.max_tokens, "as in training"),
                Setting("score_examples", 1000, "validation texts that a bundle is compared on"),
            ),
        },
    )


def _check(request: DataRequest) -> None:
    """Refuse a request that is none for an encoder, before anything is read."""
    name = request.files[0]
    is_lines = ":" not in name and name.lower().endswith(LINES)
    refusals = {
        "an encoder starts from a checkpoint: add --checkpoint FOLDER, that of a Hugging Face "
        "model, package:NAME/PATH or hub:ID": request.checkpoint is None,
        f"--size {request.size}: the checkpoint sets the size of an encoder; leave --size out, and "
        "choose a smaller checkpoint for a smaller network": request.size is not None,
        f"--winners {request.num_winners}: the supernet of an encoder serves any number of limits "
        "with the steps it has; leave --winners out, and search and finetune for each": (
            request.num_winners != 1
        ),
        "--languages: an encoder's texts are not translated; leave it out": (
            request.languages is not None
        ),
        f"an encoder learns from one file, got {len(request.files)}; {_EXAMPLE}": (
            len(request.files) != 1
        ),
        f"{name}: a table ends in {', '.join(TABLES)}, lines of text in {', '.join(LINES)}; "
        "convert or unpack the file": (
            ":" not in name and not name.lower().endswith((*TABLES, *LINES))
        ),
        f"{name} is lines of text, without columns; leave --text and --label out": (
            is_lines and bool(request.text or request.label)
        ),
        f"{name}: no such file; give a table of texts: {_EXAMPLE}": (
            ":" not in name and not (request.root / name).is_file()
        ),
    }
    for message, is_wrong in refusals.items():
        if is_wrong:
            raise ConfigError(message)


def _read(request: DataRequest) -> _Found:
    name = request.files[0]
    root = request.root
    checkpoint = load_checkpoint(str(request.checkpoint), root)
    rows = list(read_rows(name, root))
    columns = TaskColumns("embedding", {})
    if ":" in name or name.lower().endswith(TABLES):
        if not rows:
            raise ConfigError(f"{name}: no rows; the first line of a table names its columns")
        if len(rows[0].cells) < 2:
            raise ConfigError(
                f"{name}: one column, '{next(iter(rows[0].cells))}', and none for the label; texts "
                "without labels, for vectors, are a .txt file with one a line"
            )
        columns = task_columns(rows, request.text, request.label)
    given: dict[str, Any] = {"kind": columns.kind, "train": name, **columns.columns}
    if columns.labels:
        given["labels"] = list(columns.labels)
    held_out, unread = _held_out_files(request, parse(TaskConfig, given, "--train"))
    given |= held_out
    if columns.kind == "embedding" and (modules := read_vector_modules(checkpoint.folder)):
        given["pooling"] = modules.pooling
    for split in ("valid", "test"):
        if split not in held_out:
            given[f"{split}_fraction"] = held_out_fraction(len(rows))
    task = parse(TaskConfig, given, "--train")
    # lengths do not matter yet, and the shortest fit any checkpoint
    config = EncoderRunConfig(
        checkpoint=CheckpointConfig(path=request.checkpoint, vocab_size=checkpoint.vocab_size),
        task=task.model_copy(update={"max_tokens": 4}),
        space=checkpoint.space(HEADS[task.kind], task.num_outputs),
        workload=EncoderWorkload(input_len=4),
        export=EncoderExportConfig(max_input_len=4),
    )
    data = load_data(config, root)
    tokenizer = EncoderTokenizer(checkpoint.tokenizer_path)
    sample = data.train[:: -(-len(data.train) // SAMPLE_TEXTS) or 1]
    ids = tokenizer.encode_many([(x.text, x.text_pair) for x in sample])
    return _Found(columns, given, data, checkpoint, [len(row) for row in ids], unread)


def _held_out_files(request: DataRequest, task: TaskConfig) -> tuple[dict[str, str], list[str]]:
    """Find the held-out files by split: those that are named, else files beside the training file
    whose name differs in the word `train`. A file that lacks columns or labels, as the test file
    of a contest, is not used; the second result says why.
    """
    path = Path(request.files[0])
    found = {split: getattr(request, split) for split in HELD_OUT if getattr(request, split)}
    unread = []
    for split, names in HELD_OUT.items():
        for name in names if split not in found and "train" in path.name else ():
            near = str(path.with_name(path.name.replace("train", name)))
            if not (request.root / near).is_file():
                continue
            try:
                row = next(iter(read_rows(near, request.root)), None)
                strange = set(() if row is None else read_example(row, task).labels)
                if strange <= set(task.labels):
                    found.setdefault(split, near)
                else:
                    unread.append(f"{near} begins with another label: {', '.join(strange)}")
            except ConfigError as error:
                unread.append(str(error))
    return found, unread


def _facts(found: _Found) -> dict[str, str]:
    data = found.data
    columns = ", ".join(f"{key} '{name}'" for key, name in found.columns.columns.items())
    if found.columns.unread:
        columns += "; not read: " + ", ".join(f"'{name}'" for name in found.columns.unread)
    counts = found.columns.counts
    labels = ", ".join(f"{x} {counts[x]:,}" for x in found.columns.labels)
    if found.columns.kind == "regression":
        numbers = sorted(counts, key=float)
        labels = (
            f"{len(numbers):,} different numbers, {numbers[0]} to {numbers[-1]}; if they stand for "
            "classes, write these as words"
        )
    middle, most = (int(x) for x in np.percentile(found.lengths, (50, 95)))
    cut = 100 * float(np.mean([length > found.max_tokens for length in found.lengths]))
    valid, test = (found.given.get(x, "split off by a hash") for x in ("valid", "test"))
    sizes = ", ".join(f"{name} {found.checkpoint.constants[name]}" for name in CHOICES)
    facts = {
        "task": f"{found.columns.kind}; {f'columns: {columns}' if columns else 'a text a line'}",
        "labels": labels,
        "texts": (
            f"{len(data.train):,} to train on, {len(data.valid):,} validation ({valid}), "
            f"{len(data.test):,} test ({test})"
        ),
        "not read": "; ".join(found.unread),
        "dropped": dropped_fact(data.dropped),
        "lengths": (
            f"{middle} tokens in the middle, {most} or fewer in 95%, at most {max(found.lengths)}; "
            f"{cut:.1f}% are longer than {found.max_tokens} and cut"
        ),
        "checkpoint": f"{found.checkpoint.kind}, {sizes}",
    }
    return {key: fact for key, fact in facts.items() if fact}


def _task(found: _Found) -> list[Setting]:
    why = {
        "kind": "told from the columns",
        **SPLIT_REASONS,
        "labels": "in the order of their numbers",
        "pooling": "as the checkpoint's files say",
        "max_tokens": "99 of 100 texts are no longer; the rest is cut",
    }
    settings = {**found.given, "max_tokens": found.max_tokens}
    return [Setting(key, value, why.get(key, "")) for key, value in settings.items()]


def _space(found: _Found) -> list[Setting]:
    dim, layers, ffn, heads = (found.constant(name) for name in CHOICES)
    fewer = [*range(1, 5), *range(6, layers, 2)] if layers <= 12 else range(2, layers, 4)
    if layers <= 6:
        fewer = range(1, layers)
    constants = {k: x for k, x in found.checkpoint.constants.items() if k not in CHOICES}
    return [
        Setting("embed_dim", [dim], "the checkpoint's, which all layers hand on"),
        Setting("layers", [*fewer, layers], "the first layers of the checkpoint"),
        Setting("ffn_dim", _parts(ffn, _SHARES), "an eighth to all of its neurons, by importance"),
        Setting("heads", _parts(heads, _SHARES[1:]), "a quarter to all of its heads"),
        *(Setting(key, value) for key, value in constants.items() if value is not None),
    ]


def _parts(whole: int, shares: Sequence[float]) -> list[int]:
    return sorted({max(1, round(share * whole)) for share in shares})


def _trainings(found: _Found, has_gpu: bool) -> dict[str, Sequence[Setting]]:
    batch = 4096 if has_gpu else 1024
    padded = np.minimum(found.lengths, found.max_tokens)
    epoch = len(found.data.train) * float(np.mean(padded)) / batch
    teacher = min(max(120, two_digits(epoch)), 2000)
    supernet = teacher // 2
    rate = 1e-4 if found.constant("embed_dim") > 512 else 3e-4
    length = f"{teacher / epoch:.2g} times through the texts"
    teaching = (
        Setting("steps", teacher, length, "length"),
        Setting("learning_rate", 5e-5, "as BERT is fine-tuned"),
    )
    half = "half of the teacher's: the supernet starts as it"
    starts = "from the supernet's weights, and as many from the teacher's"
    return {
        **({} if found.columns.kind == "embedding" else {"teacher": teaching}),
        "training": (
            Setting("steps", supernet, half, "length"),
            Setting("tokens_per_batch", batch, "padding included"),
            Setting("learning_rate", rate, "wider networks take lower ones"),
            Setting("warmup_steps", max(1, supernet // 10), "a tenth", "part"),
            Setting("sandwich", "none", "random architectures alone"),
            Setting("num_random_archs", 3),
            Setting("label_smoothing", 0.0, "the teacher's outputs are smooth"),
            Setting("validate_every", max(1, supernet // 4), "four times on the way", "part"),
        ),
        "finetune": (Setting("steps", 3 * teacher // 4, starts, "length"),),
    }
