"""A run file for the user's texts and checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config.encoder import (
    HEADS,
    CheckpointConfig,
    EncoderExportConfig,
    EncoderRunConfig,
    TaskConfig,
    read_vector_modules,
)
from ...errors import ConfigError
from ...family import DataRequest, DataSizes, RunPlan, Setting
from ...family.plan import dropped_fact, held_out_fraction, rounded_up, two_digits
from ...record import parse
from ...spaces.encoder import EncoderWorkload
from .checkpoint import CHOICES, Checkpoint, load_checkpoint
from .columns import TaskColumns, held_out_files, task_columns
from .tables import TABLES, read_rows
from .tasks import EncoderData, load_data
from .tokenizer import EncoderTokenizer

SAMPLE_TEXTS = 5000
"""Evenly spaced texts whose tokens are counted."""

MAX_TOKENS = 256
"""The most that `max_tokens` is set to: attention over more costs more than it tells."""

MIN_EXAMPLES = 50
LINES = (".txt", ".txt.gz")
"""Endings of files of plain lines, which have no labels."""

_EXAMPLE = "--train reviews.csv --checkpoint my-bert"
_SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
_FRACTIONS = ("valid", "test")


@dataclass(frozen=True)
class _Found:
    """What was read: the task, its examples, the checkpoint, and the tokens of a sample; and which
    files beside it were not.
    """

    columns: TaskColumns
    given: dict[str, Any]
    data: EncoderData
    checkpoint: Checkpoint
    lengths: Sequence[int]
    unread: Sequence[str]

    @property
    def max_tokens(self) -> int:
        """What 99 of 100 texts keep within."""
        most = self.checkpoint.constants["max_positions"]
        assert isinstance(most, int)
        within = rounded_up(float(np.percentile(self.lengths, 99)), 8)
        return min(max(16, within), MAX_TOKENS, most)


def plan_run(request: DataRequest) -> RunPlan:
    """Read a table of labelled texts, or plain lines, and a checkpoint, and size a run for them."""
    _check(request)
    found = _read(request)
    num_train = len(found.data.train)
    if num_train < MIN_EXAMPLES:
        raise ConfigError(
            f"{request.files[0]}: {num_train} examples to train on are too few (dropped: "
            f"{dropped_fact(found.data.dropped)}); at least {MIN_EXAMPLES} are needed"
        )
    return RunPlan(
        f"{found.columns.kind}, sized for {num_train:,} texts.",
        _facts(found),
        DataSizes(num_train, len(found.data.valid), len(found.data.test)),
        {
            "": (Setting("family", "encoder"),),
            "checkpoint": (
                Setting("path", request.checkpoint, "where all networks start"),
                Setting("vocab_size", found.checkpoint.vocab_size, "the checkpoint's"),
            ),
            "task": _task(found),
            "space": _space(found.checkpoint),
            **_trainings(found, request.has_gpu),
            "workload": _workload(found),
            "profile": (Setting("budget", 16, "subnets to measure"),),
            "search": _search(request.has_gpu),
            "export": (
                Setting("max_input_len", found.max_tokens, "as in training"),
                Setting(
                    "score_examples",
                    1000,
                    "validation texts that a bundle is held against torch on",
                ),
            ),
        },
    )


def _check(request: DataRequest) -> None:
    """Refuse what is no request for an encoder, before anything is read."""
    if request.checkpoint is None:
        raise ConfigError(
            "an encoder starts from a checkpoint: add --checkpoint FOLDER, that of a Hugging Face "
            "model, package:NAME/PATH or hub:ID"
        )
    if request.size is not None:
        raise ConfigError(
            f"--size {request.size}: the checkpoint sets the size of an encoder; leave --size out, "
            "and choose a smaller checkpoint for a smaller network"
        )
    if request.num_winners != 1:
        raise ConfigError(
            f"--winners {request.num_winners}: the supernet of an encoder serves any number of "
            "limits with the steps it has; leave --winners out, and search and finetune for each"
        )
    if request.languages is not None:
        raise ConfigError("--languages: an encoder's texts are not translated; leave it out")
    if len(request.files) != 1:
        raise ConfigError(f"an encoder learns from one file, got {len(request.files)}; {_EXAMPLE}")
    name = request.files[0]
    if ":" not in name and not name.lower().endswith((*TABLES, *LINES)):
        raise ConfigError(
            f"{name}: a table ends in {', '.join(TABLES)}, lines of text in {', '.join(LINES)}; "
            "convert or unpack the file"
        )
    if ":" not in name and name.endswith(LINES) and (request.text or request.label):
        raise ConfigError(f"{name} is lines of text, without columns; leave --text and --label out")


def _read(request: DataRequest) -> _Found:
    name = request.files[0]
    root = request.root
    assert request.checkpoint is not None  # `_check` refuses it
    if ":" not in name and not (root / name).is_file():
        raise ConfigError(f"{name}: no such file; give a table of texts: {_EXAMPLE}")
    columns = TaskColumns("embedding", {})
    if ":" in name or name.lower().endswith(TABLES):
        rows = list(read_rows(name, root))
        if not rows:
            raise ConfigError(f"{name}: no rows; the first line of a table names its columns")
        if len(rows[0].cells) < 2:
            raise ConfigError(
                f"{name}: one column, '{next(iter(rows[0].cells))}', and none for the label; texts "
                "without labels, for vectors, are a .txt file with one a line"
            )
        columns = task_columns(rows, request.text, request.label)
    held_out, unread = held_out_files(request, name, columns)
    given: dict[str, Any] = {
        "kind": columns.kind,
        "train": name,
        **held_out,
        **columns.columns,
    }
    if columns.labels:
        given["labels"] = list(columns.labels)
    checkpoint = load_checkpoint(request.checkpoint, root)
    if columns.kind == "embedding" and (said := read_vector_modules(checkpoint.folder)):
        given["pooling"] = said.pooling
    data = _data(given, checkpoint, request)
    fraction = held_out_fraction(sum(map(len, (data.train, data.valid, data.test))))
    given |= {f"{x}_fraction": fraction for x in _FRACTIONS if x not in given}
    data = _data(given, checkpoint, request)
    tokenizer = EncoderTokenizer(checkpoint.tokenizer_path)
    sample = data.train[:: -(-len(data.train) // SAMPLE_TEXTS) or 1]
    ids = tokenizer.encode_many([(x.text, x.text_pair) for x in sample])
    return _Found(columns, given, data, checkpoint, [len(row) for row in ids], unread)


def _data(given: dict[str, Any], checkpoint: Checkpoint, request: DataRequest) -> EncoderData:
    task = parse(TaskConfig, given, "--train")
    # lengths do not matter yet, and the shortest fit any checkpoint
    config = EncoderRunConfig(
        checkpoint=CheckpointConfig(path=request.checkpoint, vocab_size=checkpoint.vocab_size),
        task=task.model_copy(update={"max_tokens": 4}),
        space=checkpoint.space(HEADS[task.kind], task.num_outputs),
        workload=EncoderWorkload(input_len=4),
        export=EncoderExportConfig(max_input_len=4),
    )
    return load_data(config, request.root)


def _labels_fact(columns: TaskColumns) -> str:
    if columns.kind != "regression":
        return ", ".join(f"{x} {columns.counts[x]:,}" for x in columns.labels)
    numbers = sorted(columns.counts, key=float)
    return (
        f"{len(numbers):,} different numbers, {numbers[0]} to {numbers[-1]}; if they stand for "
        "classes, write these as words"
    )


def _facts(found: _Found) -> dict[str, str]:
    data = found.data
    columns = ", ".join(f"{key} '{name}'" for key, name in found.columns.columns.items())
    unread = ", ".join(f"'{name}'" for name in found.columns.unread)
    columns += f"; not read: {unread}" if unread else ""
    middle, most = (int(x) for x in np.percentile(found.lengths, (50, 95)))
    cut = 100 * float(np.mean([length > found.max_tokens for length in found.lengths]))
    facts = {
        "task": f"{found.columns.kind}; {f'columns: {columns}' if columns else 'a text a line'}",
        "labels": _labels_fact(found.columns),
        "texts": f"{len(data.train):,} to train on, "
        + ", ".join(
            f"{len(part):,} {word} ({found.given.get(key, 'split off by a hash')})"
            for word, key, part in (
                ("validation", "valid", data.valid),
                ("test", "test", data.test),
            )
        ),
        "not read": "; ".join(found.unread),
        "dropped": dropped_fact(data.dropped),
        "lengths": (
            f"{middle} tokens in the middle, {most} or fewer in 95%, at most {max(found.lengths)}; "
            f"{cut:.1f}% are longer than {found.max_tokens} and cut"
        ),
        "checkpoint": f"{found.checkpoint.kind}, "
        + ", ".join(f"{name} {found.checkpoint.constants[name]}" for name in CHOICES),
    }
    return {key: fact for key, fact in facts.items() if fact}


def _task(found: _Found) -> list[Setting]:
    why = {
        "kind": "told from the columns",
        "valid": "chooses everything",
        "valid_fraction": "chooses everything; split off by a hash, so that a rerun repeats it",
        "test": "chooses nothing",
        "test_fraction": "chooses nothing",
        "labels": "in the order of their numbers",
        "pooling": "as the checkpoint's files say",
    }
    settings = [Setting(key, value, why.get(key, "")) for key, value in found.given.items()]
    return [
        *settings,
        Setting("max_tokens", found.max_tokens, "99 of 100 texts are no longer; the rest is cut"),
    ]


def _space(checkpoint: Checkpoint) -> list[Setting]:
    constants = dict(checkpoint.constants)
    dim, layers, ffn, heads = (int(constants.pop(name) or 0) for name in CHOICES)
    fewer = [*range(1, 5), *range(6, layers, 2)] if layers <= 12 else range(2, layers, 4)
    if layers <= 6:
        fewer = range(1, layers)
    choices = {
        "embed_dim": ([dim], "the checkpoint's, which all layers hand on"),
        "layers": ([*fewer, layers], "the first layers of the checkpoint"),
        "ffn_dim": (
            _parts(ffn, _SHARES),
            "an eighth to all of its neurons, the important ones first",
        ),
        "heads": (_parts(heads, _SHARES[1:]), "a quarter to all of its heads"),
    }
    return [
        *(Setting(key, values, why) for key, (values, why) in choices.items()),
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
    is_wide = int(found.checkpoint.constants["embed_dim"] or 0) > 512
    steps = Setting(
        "steps", teacher, f"{teacher / epoch:.2g} times through the texts", steps="length"
    )
    teaching = (steps, Setting("learning_rate", 5e-5, "as BERT is fine-tuned"))
    return {
        **({} if found.columns.kind == "embedding" else {"teacher": teaching}),
        "training": (
            Setting(
                "steps",
                supernet,
                "half of the teacher's: the supernet starts as it",
                steps="length",
            ),
            Setting("tokens_per_batch", batch, "padding included"),
            Setting("learning_rate", 1e-4 if is_wide else 3e-4, "wider networks take lower ones"),
            Setting("warmup_steps", max(1, supernet // 10), "a tenth", steps="part"),
            Setting("sandwich", "none", "random architectures alone"),
            Setting("num_random_archs", 3),
            Setting("label_smoothing", 0.0, "the teacher's outputs are smooth"),
            Setting("validate_every", max(1, supernet // 4), "four times on the way", steps="part"),
        ),
        "finetune": (
            Setting(
                "steps",
                3 * teacher // 4,
                "from the supernet's weights, and as many from the teacher's",
                steps="length",
            ),
        ),
    }


def _workload(found: _Found) -> list[Setting]:
    middle = min(rounded_up(float(np.median(found.lengths)), 8), found.max_tokens)
    return [
        Setting("name", "text", "what one latency number stands for"),
        Setting("input_len", middle, "the median of the data, rounded up to a multiple of 8"),
        Setting("batch", 1),
        Setting("threads", 1),
        Setting("precision", "int8", "fp32 | int8 | int8-fp32-embedding"),
    ]


def _search(has_gpu: bool) -> list[Setting]:
    # on a CPU a candidate is judged in seconds, on a GPU in a fraction of one
    population, iterations, examples = (64, 15, 512) if has_gpu else (24, 4, 192)
    return [
        Setting("population", population, "architectures of a generation"),
        Setting("parents", population // 4),
        Setting("mutations", 3 * population // 8),
        Setting("crossovers", 3 * population // 8),
        Setting("iterations", iterations),
        Setting("eval_examples", examples, "validation texts that each is judged on"),
    ]
