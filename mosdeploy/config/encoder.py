"""The run file of an encoder: its checkpoint, its task, how it learns from its teacher."""

import operator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from ..errors import ConfigError
from ..record import Record, parse, read_json
from ..runtime.texts import is_one_line
from ..spaces.encoder import EncoderSpace, EncoderWorkload, Head
from .lookup import resolve_path
from .sections import ExportConfig, RunConfig
from .units import Fraction, Steps

TaskKind = Literal["classification", "regression", "tagging", "embedding", "masked-lm"]

AGNOSTIC: tuple[TaskKind, ...] = ("embedding", "masked-lm")
"""Kinds without labels; their supernets serve tasks that have some."""

Pooling = Literal["mean", "cls"]
"""The mean of the vectors of all tokens, or the vector of the first one, `[CLS]`."""

HEADS: dict[TaskKind, Head] = {
    "classification": "pooled",
    "regression": "pooled",
    "tagging": "tokens",
    "embedding": "vector",
    "masked-lm": "masked-lm",
}
"""The head of each kind of task; of an embedding, see `POOLED_HEADS`."""

POOLED_HEADS: dict[Pooling, Head] = {"mean": "vector", "cls": "cls-vector"}

HUB = "hub:"
MODULES_NAME = "modules.json"

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


# -- sections


class CheckpointConfig(Record):
    """The network whose weights all others start from.

    `path` is a Hugging Face folder (config.json, model.safetensors, tokenizer.json),
    `package:NAME/PATH` for a folder inside an installed package, or `hub:ID` for one that is
    downloaded (extra `hub`). Without it weights are random, and a WordPiece tokenizer of
    `vocab_size` pieces is trained on the texts. `vocab_size` is the number of rows of its
    embedding table.
    """

    path: str | None = None
    vocab_size: int = Field(30_522, ge=32, le=512_000)


class TaskConfig(Record):
    """What is learned, from which files.

    `train`, `valid`, `test` name CSV, TSV or JSON Lines files (`.csv`, `.tsv`, `.jsonl`),
    `package:NAME/PATH` for one inside an installed package, or `datasets:PATH/CONFIG/SPLIT`;
    `train` one or a list of them. Of an embedding or a masked-lm, any other file has a text on each
    line. Columns of text that are not named may be called as in GLUE.
    Without `valid` or `test`, the fractions are split off by a hash of the text. The columns of
    tagging are two lists, tokens and their tags; in CSV and TSV they are separated by spaces.

    `where` keeps the rows whose columns have these values alone.

    `passage_words`, of an embedding or a masked-lm, joins the texts of each source and cuts them
    into passages of so many words: for articles, of which `max_tokens` would keep the beginning
    alone, and for sentences, which would fill a batch with padding.

    `labels` are the classes of a classification, in the order of their numbers if the column
    holds numbers from 0; or the types of entities of a tagging, whose tags are then O, B-TYPE and
    I-TYPE. White space in a tag of a file is read as `_`. The other kinds have none.

    `pooling` makes one vector of those of all tokens, for an embedding: their `mean`, or the first
    one (`cls`). None is what the checkpoint's files of sentence-transformers say, or the mean.
    """

    kind: TaskKind = "classification"
    train: str | Annotated[tuple[str, ...], Field(min_length=1)]
    valid: str | None = None
    test: str | None = None
    valid_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.1
    passage_words: int | None = Field(None, ge=8)
    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    tokens: str = "tokens"
    tags: str = "tags"
    where: dict[str, str] = Field(default_factory=dict)
    labels: tuple[str, ...] = ()
    max_tokens: int = Field(128, ge=4, le=4096)
    pooling: Pooling | None = None

    @model_validator(mode="after")
    def _keys_are_read(self) -> Self:
        readers: dict[str, tuple[TaskKind, ...]] = {
            "pooling": ("embedding",),
            "passage_words": AGNOSTIC,
            "text_pair": ("classification", "regression"),
            "label": ("classification", "regression"),
            "tokens": ("tagging",),
            "tags": ("tagging",),
        }
        for key, kinds in readers.items():
            # a run file that is written out in full names all keys
            is_given = getattr(self, key) != type(self).model_fields[key].default
            if is_given and self.kind not in kinds:
                raise ValueError(
                    f"{key}: of {' and '.join(kinds)} alone, not of {self.kind}; leave it out"
                )
        columns = [self.text, self.text_pair, self.label]
        if self.kind in readers["label"] and len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise ValueError(f"text, text_pair and label: two of them are the column '{twice}'")
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        needed = {"classification": 2, "tagging": 1}.get(self.kind, 0)
        if len(self.labels) < needed:
            raise ValueError(
                f"labels: {self.kind} needs {needed} or more, got {list(self.labels)}; list the "
                "values of the label column"
            )
        if not needed and self.labels:
            raise ValueError(f"labels: {self.kind} has none; leave them out")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ from one another, got {list(self.labels)}")
        for name in self.labels:
            if not name or name != name.strip() or not is_one_line(name):
                raise ValueError(
                    f"labels: {name!r} is empty, begins or ends with a space, or holds a line "
                    "break, a tab or a control character; a label is printed as one line, and read "
                    "from a cell without spaces around it"
                )
            if self.kind == "tagging" and len(name.split()) > 1:
                raise ValueError(
                    f"labels: {name!r} holds white space, but the type of a tag is one word; "
                    f"write {'_'.join(name.split())!r}, as such tags of a file are read"
                )
        return self

    @property
    def train_sources(self) -> tuple[str, ...]:
        """Where training examples are read."""
        return (self.train,) if isinstance(self.train, str) else self.train

    @property
    def train_name(self) -> str:
        """Of the training examples, for messages."""
        return " + ".join(self.train_sources)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """What the outputs stand for, in order: classes, or tags as in B-TYPE."""
        if self.kind != "tagging":
            return self.labels
        return ("O", *(f"{place}-{name}" for name in self.labels for place in "BI"))

    @property
    def num_outputs(self) -> int:
        """Of the head."""
        return 1 if self.kind == "regression" else len(self.tag_names)


class TeacherConfig(Record):
    """The network that all subnets learn from: the checkpoint trained on the task, or one that is
    given.

    The labels count `label_weight`, its outputs the rest.

    `path` names a network that was fine-tuned on the task before, as `checkpoint.path` does. It is
    of any supported kind and size, and is not trained.
    """

    path: str | None = Field(None, exclude_if=operator.not_)
    steps: Steps = 400
    learning_rate: float = Field(5e-5, gt=0)
    label_weight: Fraction = 0.1

    @model_validator(mode="after")
    def _given_or_trained(self) -> Self:
        unread = sorted({"steps", "learning_rate"} & self.model_fields_set)
        if self.path is not None and unread:
            raise ValueError(
                f"path: a teacher that is given is not trained; leave out {' and '.join(unread)}"
            )
        return self


class EncoderExportConfig(ExportConfig):
    """Longest text of a bundle, in tokens; longer ones are cut."""

    max_score_drop: float = Field(0.5, ge=0)
    max_input_len: int = Field(128, ge=4, le=4096)


class EncoderRunConfig(RunConfig):
    """All of `mosdeploy.toml` for an encoder.

    The head of the space follows from the task; the run file does not name it.
    """

    packages: ClassVar[tuple[str, ...]] = ("tokenizers>=0.20",)
    data_note: ClassVar[str] = " (files of the checkpoint and of a teacher count too)"

    family: Literal["encoder"] = "encoder"
    checkpoint: CheckpointConfig = CheckpointConfig()
    task: TaskConfig
    teacher: TeacherConfig = TeacherConfig()
    space: EncoderSpace
    workload: EncoderWorkload = EncoderWorkload()
    export: EncoderExportConfig = EncoderExportConfig()

    @classmethod
    def completed(cls, data: dict[str, object], root: Path) -> dict[str, object]:
        """Give the space the head of the task."""
        space = data.get("space")
        try:
            task = parse(TaskConfig, data.get("task"), "task")
            checkpoint = parse(CheckpointConfig, data.get("checkpoint", {}), "checkpoint")
        except ConfigError:
            return data  # which is refused for the same reason in a moment
        if not isinstance(space, dict):
            return data
        head = HEADS[task.kind]
        if task.kind == "embedding":
            head = POOLED_HEADS[task.pooling or pooling_of(checkpoint.path, root)]
        follows = {"head": head, "num_outputs": task.num_outputs}
        for name, value in follows.items():
            if space.get(name, value) != value:
                raise ConfigError(
                    f"space.{name}: {space[name]!r}, but it follows from the task, which has "
                    f"{value!r}; leave it out"
                )
        return {**data, "space": {**space, **follows}}

    @property
    def gives_answers(self) -> bool:
        return self.task.kind != "masked-lm"

    @property
    def data_sections(self) -> dict[str, Record]:
        # of what is given, the content counts and not the name
        return {"teacher": self.teacher.model_copy(update={"path": None})}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        longest = max(self.task.max_tokens, self.export.max_input_len, self.workload.input_len)
        if longest > self.space.max_positions:
            raise ValueError(
                f"a text may have {longest} tokens, but space.max_positions is "
                f"{self.space.max_positions}; lower task.max_tokens, export.max_input_len or "
                "workload.input_len"
            )
        possible = ("auto", *self.workload.possible_precisions)
        if self.export.precision not in (None, *possible):
            raise ValueError(
                f"export.precision: {self.export.precision} is not possible with this [workload]; "
                f"possible: {', '.join(possible)}"
            )
        if self.task.kind == "embedding" and len(self.space.embed_dim) > 1:
            raise ValueError(
                "space.embed_dim: the vectors of an embedding task have one width, got "
                f"{list(self.space.embed_dim)}"
            )
        if self.teacher.path is not None and self.task.kind in AGNOSTIC:
            raise ValueError(
                "teacher.path: an embedding learns the vectors of checkpoint.path, and a masked-lm "
                "the hidden pieces; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _learns_from_its_teacher(self) -> Self:
        of_translations = {
            "finetune.inherited_share": self.finetune.inherited_share != 1,
            "finetune.teacher": self.finetune.teacher is not None,
        }
        for key, is_given in of_translations.items():
            if is_given:
                raise ValueError(
                    f"{key}: of translations alone; all encoders learn from the examples and from "
                    "the network of [teacher]; leave it out"
                )
        return self

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return self.checkpoint.vocab_size

    @property
    def max_tokens(self) -> int:
        """Tokens of a text at most, special ones included; longer texts are cut."""
        return self.task.max_tokens

    @property
    def teacher_steps(self) -> int:
        """How long the checkpoint is trained: it has to learn a task's labels unless a teacher is
        given, and language only where it starts from nothing.
        """
        if self.teacher.path is not None or self.task.kind == "embedding":
            return 0
        if self.task.kind == "masked-lm" and self.checkpoint.path is not None:
            return 0
        return self.teacher.steps

    @property
    def title(self) -> str:
        """The kind of task."""
        return self.task.kind


# -- how a checkpoint makes one vector of a text, by the files of sentence-transformers


class VectorModules(Record):
    """How a folder of sentence-transformers makes a vector of the hidden states."""

    pooling: Pooling
    is_normalized: bool = True


def pooling_of(path: str | None, root: Path) -> Pooling:
    """Tell how a run file's `checkpoint.path` makes a vector, without a download: `mean` where
    nothing is said or there is no folder.
    """
    if path is None or path.startswith(HUB):
        return "mean"
    try:
        folder = resolve_path(path, root)
    except ConfigError:
        return "mean"  # of a package that is not installed; `train` says so
    modules = read_vector_modules(folder)
    return "mean" if modules is None else modules.pooling


def read_vector_modules(folder: Path) -> VectorModules | None:
    """Read `modules.json` and the config of its Pooling, or `1_Pooling/config.json` alone; None
    where there is neither.
    """
    modules_path = folder / MODULES_NAME
    path = folder / "1_Pooling" / "config.json"
    is_normalized = True
    kinds = _MODULES[0]
    if modules_path.is_file():
        modules = read_json(modules_path)
        try:
            kinds = [module["type"].rpartition(".")[2] for module in modules]
            paths = {kind: str(x["path"]) for kind, x in zip(kinds, modules, strict=True)}
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"{modules_path}: no list of modules: {error!r}") from error
        path = folder / paths.get("Pooling", "") / "config.json"
        is_normalized = "Normalize" in paths
    elif not path.is_file():
        return None
    modes = _pooling_modes(read_json(path), path) if kinds in _MODULES else []
    if modes not in ([mode] for mode in get_args(Pooling)):
        found = f"by {' and '.join(map(str, modes))}" if modes else f"with {', '.join(kinds)}"
        raise ConfigError(
            f"{path}: pooling {found} is not supported; supported: Transformer, Pooling (mean or "
            'cls) and Normalize; write pooling = "mean" or pooling = "cls" in [task] to have one '
            "of these all the same"
        )
    return VectorModules(pooling=modes[0], is_normalized=is_normalized)


def _pooling_modes(config: Any, path: Path) -> list[Any]:
    """Return the poolings whose vectors are put side by side; as a rule one."""
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: no config of a Pooling: it is no object")
    if "pooling_mode" in config:
        mode = config["pooling_mode"]
        return mode if isinstance(mode, list) else [mode]
    # older folders have a flag for each
    flags = [key for key, is_on in config.items() if key.startswith("pooling_mode") and is_on]
    # where all are off, sentence-transformers takes the mean
    return [_FLAGS.get(flag, flag) for flag in flags] or ["mean"]
