"""The run file of a translation: its corpus, and all sections together.

In: TOML. Out: `RunConfig`.
"""

from typing import Literal

from pydantic import Field

from ..record import Name, Record
from ..spaces.spec import Workload
from ..spaces.translation import SearchSpace
from .sections import (
    DeployConfig,
    ExportConfig,
    FinetuneConfig,
    ProfileConfig,
    SearchConfig,
    SupernetConfig,
    TrainingConfig,
)
from .units import Fraction


class CorpusConfig(Record):
    """Where the sentence pairs come from and which are kept.

    `train`, `valid`, `test` name, for `format = "text"`, a prefix (`data/train` reads `data/train.en` and
    `data/train.de`, plain or .gz); for `tsv`, a file of source TAB target; for `gettext`, a .mo file, a folder that
    is searched for .mo files, or `package:NAME` for those of an installed package. With any
    format they may name what others publish: `datasets:PATH/CONFIG/SPLIT` or `sacrebleu:SET`. Without `valid` or
    `test`, the fractions are split off by a hash of the pair.
    """

    format: Literal["text", "tsv", "gettext"] = "text"
    source_lang: Name = "en"
    target_lang: Name = "de"
    train: str
    valid: str | None = None
    test: str | None = None
    valid_fraction: Fraction = 0.03
    test_fraction: Fraction = 0.03
    max_tokens: int = Field(100, ge=4, le=4096)
    max_length_ratio: float = Field(4.0, gt=1)
    vocab_size: int = Field(4000, ge=32, le=256_000)


class RunConfig(Record):
    """All of `mosdeploy.toml`."""

    device: Name | None = None
    corpus: CorpusConfig
    space: SearchSpace
    supernet: SupernetConfig = SupernetConfig()
    training: TrainingConfig = TrainingConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    workload: Workload = Workload()
    profile: ProfileConfig = ProfileConfig()
    search: SearchConfig = SearchConfig()
    export: ExportConfig = ExportConfig()
    deploy: DeployConfig = DeployConfig()
