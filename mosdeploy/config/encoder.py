"""The run file of an encoder: its checkpoint, its task, how it learns from its teacher."""

import operator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..errors import ConfigError
from ..record import Record, parse
from ..runtime.texts import is_one_line
from ..spaces.encoder import EncoderSpace
from ..spaces.encoder_choices import Head
from ..spaces.encoder_workload import EncoderWorkload
from .pooling import Pooling, pooling_of
from .sections import ExportConfig, RunConfig, SupernetConfig
from .units import Fraction, Steps

TaskKind = Literal["classification", "regression", "tagging", "embedding", "masked-lm"]

AGNOSTIC: tuple[TaskKind, ...] = ("embedding", "masked-lm")
"""Kinds without labels; their supernets serve tasks that have some."""

HEADS: dict[TaskKind, Head] = {
    "classification": "pooled",
    "regression": "pooled",
    "tagging": "tokens",
    "embedding": "vector",
    "masked-lm": "masked-lm",
}
"""What each kind of task puts on the last layer; of an embedding, see `POOLED_HEADS`."""

POOLED_HEADS: dict[Pooling, Head] = {"mean": "vector", "cls": "cls-vector"}
"""The same for an embedding, by how the vectors of the tokens become one."""


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
    def _fits_its_kind(self) -> Self:
        if self.pooling is not None and self.kind != "embedding":
            raise ValueError(f"pooling: only an embedding has one, not {self.kind}; leave it out")
        if self.passage_words is not None and self.kind not in AGNOSTIC:
            raise ValueError(
                f"passage_words: only an embedding and a masked-lm read passages, not {self.kind}; "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _columns_are_read(self) -> Self:
        unread = {"label"} if self.kind in (*AGNOSTIC, "tagging") else set[str]()
        unread |= set[str]() if self.kind == "tagging" else {"tokens", "tags"}
        # what is written out in full names them all
        unread = {x for x in unread if getattr(self, x) != type(self).model_fields[x].default}
        if given := sorted(unread):
            raise ValueError(
                f"{given[0]}: of {self.kind} no such column is read; leave out "
                f"{' and '.join(given)}"
            )
        columns = [self.text, self.text_pair] if self.text_pair is not None else [self.text]
        columns += [self.label] if self.kind in ("classification", "regression") else []
        twice = next((name for name in columns if columns.count(name) > 1), None)
        if twice is not None:
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
        broken = [x for x in self.labels if not x or x != x.strip() or not is_one_line(x)]
        if broken:
            raise ValueError(
                f"labels: {broken[0]!r} is empty, begins or ends with a space, or holds a line "
                "break, a tab or a control character; a label is printed as one line, and read "
                "from a cell without spaces around it"
            )
        spaced = [name for name in self.labels if any(map(str.isspace, name))]
        if self.kind == "tagging" and spaced:
            raise ValueError(
                f"labels: {spaced[0]!r} holds white space, but the type of a tag is one word; "
                f"write {'_'.join(spaced[0].split())!r}, as such tags of a file are read"
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

    The labels count `label_weight`, its outputs the rest, at `temperature`.

    `path` names a network that was fine-tuned on the task before, as `checkpoint.path` does. It is
    of any supported kind and size, and is not trained.
    """

    path: str | None = Field(None, exclude_if=operator.not_)
    steps: Steps = 400
    learning_rate: float = Field(5e-5, gt=0)
    label_weight: Fraction = 0.1
    temperature: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _given_or_trained(self) -> Self:
        unread = sorted({"steps", "learning_rate"} & self.model_fields_set)
        if self.path is not None and unread:
            raise ValueError(
                f"path: a teacher that is given is not trained; leave out {' and '.join(unread)}"
            )
        return self


class EncoderSupernetConfig(SupernetConfig):
    """How subnets share weights; with `head_per_depth` those of unequal depth share no head."""

    head_per_depth: bool = Field(False, exclude_if=operator.not_)


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
    supernet: EncoderSupernetConfig = EncoderSupernetConfig()
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
        if self.task.kind == "embedding" and self.supernet.head_per_depth:
            raise ValueError(
                "supernet.head_per_depth: an embedding is the mean of the last layer's states and "
                "has no head; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _learns_from_its_teacher(self) -> Self:
        if self.finetune.inherited_share != 1:
            raise ValueError(
                f"finetune.inherited_share: {self.finetune.inherited_share:g}, but an encoder "
                "keeps all that its checkpoint learned; leave it out"
            )
        if self.finetune.teacher is not None:
            raise ValueError(
                "finetune.teacher: the subnets of an encoder learn from the teacher of [teacher] "
                "already; leave it out"
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
