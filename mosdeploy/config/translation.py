"""The run file of a translation: its corpus, and its own limits of an export."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..record import Name, Record
from ..runtime.manifest import MAX_LENGTH_PENALTY
from ..spaces.translation import MAX_SHORTLIST, TranslationSpace, TranslationWorkload
from .sections import ExportConfig, RunConfig
from .units import Fraction


class CorpusConfig(Record):
    """Files of the sentence pairs, and limits for the pairs that are kept.

    `train`, `valid`, `test` name, for `format = "text"`, a prefix (`data/train` reads
    `data/train.en` and `data/train.de`, plain or .gz; of `train` also a list of two files, the
    source first); for `tsv`, a file of source TAB target; for
    `gettext`, a .mo file, a folder that is searched for .mo files, or `package:NAME` for those of
    an installed package. With any format they may name what others publish:
    `datasets:PATH/CONFIG/SPLIT` or `sacrebleu:SET`. Without `valid` or `test`, the fractions are
    split off by a hash of the source.
    """

    format: Literal["text", "tsv", "gettext"] = "text"
    source_lang: Name = "en"
    target_lang: Name = "de"
    train: str | tuple[str, str]
    valid: str | None = None
    test: str | None = None
    valid_fraction: Fraction = 0.03
    test_fraction: Fraction = 0.03
    max_tokens: int = Field(100, ge=4, le=4096)
    vocab_size: int = Field(4000, ge=32, le=256_000)


class TranslationTeacherConfig(Record):
    """A model whose translations of the training sources are learned.

    `path`: the folder of a bundle or of a CTranslate2 model; None: no teacher. `beam`: None is a
    bundle's own, or 5. `data`: the translations alone, or the references too.
    """

    path: str | None = None
    beam: int | None = Field(None, ge=1)
    data: Literal["distilled", "both"] = "distilled"


class TranslationExportConfig(ExportConfig):
    """Longest source and longest translation of a bundle, in tokens, the length penalty of its beam
    search, and its shortlist.

    `shortlist`: None is the workload's.
    """

    max_source_len: int = Field(128, ge=1, le=4096)
    max_decode_steps: int = Field(192, ge=1, le=4096)
    length_penalty: float = Field(0.6, ge=0, le=MAX_LENGTH_PENALTY)
    shortlist: int | None = Field(None, ge=0, le=MAX_SHORTLIST)

    @model_validator(mode="after")
    def _vocabulary_is_whole(self) -> Self:
        for name in ("trim_vocabulary", "vocabulary_texts"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}: the vocabulary of a translation cannot be trimmed; leave it out"
                )
        return self

    @property
    def workload_changes(self) -> dict[str, object]:
        """The shortlist, if it says one."""
        return {} if self.shortlist is None else {"shortlist": self.shortlist}


class TranslationRunConfig(RunConfig):
    """All of `mosdeploy.toml` for a translation."""

    packages: ClassVar[tuple[str, ...]] = ("sentencepiece>=0.2.2",)
    data_note: ClassVar[str] = " (files of a teacher count too)"

    family: Literal["translation"] = "translation"
    corpus: CorpusConfig
    teacher: TranslationTeacherConfig = TranslationTeacherConfig()
    space: TranslationSpace
    workload: TranslationWorkload = TranslationWorkload()
    export: TranslationExportConfig = TranslationExportConfig()

    @property
    def data_sections(self) -> dict[str, Record]:
        # the content of the teacher's files counts, not their name
        return {"teacher": self.teacher.model_copy(update={"path": None})}

    @property
    def vocab_size(self) -> int:
        """Rows of the joint embedding table."""
        return self.corpus.vocab_size

    @property
    def max_tokens(self) -> int:
        """Tokens of either side of a pair at most."""
        return self.corpus.max_tokens

    @property
    def title(self) -> str:
        """The two languages: `en-de`."""
        return f"{self.corpus.source_lang}-{self.corpus.target_lang}"
