"""What the user writes: the sections of `mosdeploy.toml`, and device profiles.

In: TOML. Out: frozen sections, handed one by one to the rooms. This file reads no record and runs nothing.
"""

import math
import re
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from .errors import ConfigError
from .schema import Record
from .space import SearchSpace

Precision = Literal["fp32", "fp32-int4-logits", "int8", "int8-int4-logits", "int4"]

_SIZE = re.compile(r"([0-9]*\.?[0-9]+)\s*(k|M|G|KiB|MiB|GiB|B)?")
_PERCENT = re.compile(r"([0-9]*\.?[0-9]+)\s*%")
_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_UNIT = {None: 1, "B": 1, "k": 10**3, "M": 10**6, "G": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_duration_ms(text: str) -> float:
    """Read a duration that carries its unit (`150ms`, `3.5s`, `800us`) as milliseconds.

    Raises
    ------
    ConfigError
        If the unit is missing or the number is not positive.
    """
    return _parse_time(text, _MS, "a duration", "150ms, 3.5s or 800us")


def parse_budget_s(text: str) -> float:
    """Read a time to spend (`90s`, `30m`, `2h`) as seconds.

    Raises
    ------
    ConfigError
        If the unit is missing or the number is not positive.
    """
    return _parse_time(text, _S, "a time to spend", "90s, 30m or 2h")


def _parse_time(text: str, units: dict[str, float], kind: str, examples: str) -> float:
    match = re.fullmatch(rf"([0-9]*\.?[0-9]+)\s*({'|'.join(units)})", text.strip())
    value = float(match[1]) * units[match[2]] if match else math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"'{text}' is not {kind}; write a positive number with its unit, like {examples}")
    return value


def parse_count(text: str) -> int:
    """Read a count or a size (`4M`, `3500000`, `12MiB`) as a whole number.

    Raises
    ------
    ConfigError
        If the text is not a positive number with a known suffix (k, M, G, KiB, MiB, GiB, B).
    """
    match = _SIZE.fullmatch(text.strip())
    value = float(match[1]) * _UNIT[match[2]] if match else math.nan
    if not 1 <= value < math.inf:
        raise ConfigError(f"'{text}' is not a count or size; write a positive number like 3500000, 4M or 12MiB")
    return int(value)


def parse_percent(text: str) -> float:
    """Read a share that carries its sign (`2%`, `0.5%`) as a number of percent.

    Raises
    ------
    ConfigError
        If the sign is missing or the number is not between 0 and 100.
    """
    match = _PERCENT.fullmatch(text.strip())
    value = float(match[1]) if match else math.nan
    if not 0 < value < 100:
        raise ConfigError(
            f"'{text}' is not a percentage; write a number between 0 and 100 with its sign, like 2% or 0.5%"
        )
    return value


def _duration(text: str) -> str:
    try:
        parse_duration_ms(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


def _count(text: str) -> str:
    try:
        parse_count(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*(-[A-Za-z0-9._]+)*", text):
        raise ValueError("a name holds letters, digits, '.', '_' and single '-' only")
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Count = Annotated[str, AfterValidator(_count)]
Name = Annotated[str, Field(max_length=64), AfterValidator(_name)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


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
    max_pieces: int = Field(100, ge=4, le=4096)
    max_length_ratio: float = Field(4.0, gt=1)
    vocab_size: int = Field(4000, ge=32, le=256_000)


def _unset(value: object) -> bool:
    """Whether an option that came later is off: it is then not written, and fingerprints stay what they were."""
    return not value


class SupernetConfig(Record):
    """How subnets share weights (Mixture-of-Supernets, Jawahar et al., ACL Findings 2024).

    `expert_rank`: experts are corrections of this rank to one shared matrix, in place of full matrices.
    """

    routing: Literal["none", "layer", "neuron"] = "neuron"
    num_experts: int = Field(2, ge=1, le=16)
    expert_rank: int | None = Field(None, ge=1, exclude_if=_unset)
    router_hidden_dim: int = Field(128, ge=1)
    router_input: Literal["per_layer", "aggregated"] = "per_layer"
    router_dropout: Fraction = 0.1
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.0


class TrainingConfig(Record):
    """The supernet's training run.

    An update trains `extremes` of the space and `num_random_archs` random architectures. `batches`: each of them reads
    `accumulate` batches of its own, or all read the same.
    """

    updates: int = Field(2000, ge=1)
    tokens_per_batch: int = Field(2048, ge=16)
    accumulate: int = Field(1, ge=1)
    batches: Literal["own", "same"] = "own"
    learning_rate: float = Field(2e-3, gt=0)
    warmup_updates: int = Field(200, ge=0)
    schedule: Literal["cosine", "inverse_sqrt"] = "cosine"
    adam_betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    clip_norm: float = Field(1.0, ge=0)
    label_smoothing: Fraction = 0.1
    extremes: Literal["both", "largest", "none"] = Field("both", exclude_if=lambda which: which == "both")
    num_random_archs: int = Field(1, ge=0)
    seed: int = 1
    compute: Literal["auto", "cpu", "cuda"] = "auto"
    amp: Literal["auto", "none", "bf16", "fp16"] = "auto"
    recompute: bool = Field(False, exclude_if=_unset)
    threads: int | None = Field(None, ge=1)
    validate_every: int = Field(500, ge=1)
    checkpoint_every: int = Field(100, ge=1)
    rank_timeout_s: float = Field(300.0, gt=0, exclude_if=lambda seconds: seconds == 300.0)

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if self.extremes == "none" and self.num_random_archs == 0:
            raise ValueError(
                'extremes is "none" and num_random_archs 0: nothing is left to train; raise it to 1 or more'
            )
        return self


class FinetuneConfig(Record):
    """Training of one subnet alone, after the search; what is not said here is as in [training].

    From inherited weights the learning rate peaks at `learning_rate_share` of the supernet's, from scratch at all of
    it; both warm up over a tenth of the steps.
    """

    steps: int = Field(500, ge=1)
    learning_rate_share: float = Field(0.3, gt=0)


class Workload(Record):
    """What one latency number stands for: one sentence, so many pieces in, so many steps out."""

    name: Name = "sentence"
    source_len: int = Field(30, ge=1, le=4096)
    decode_steps: int = Field(30, ge=1, le=4096)
    beam: int = Field(1, ge=1, le=64)
    threads: int = Field(1, ge=1, le=1024)
    precision: Precision = "fp32"


class ProfileConfig(Record):
    """How many subnets to measure on the device."""

    budget: int = Field(30, ge=4)
    seed: int = 1


class SearchConfig(Record):
    """Evolution as in HAT, how quality is judged, the limits, and how many finalists are measured on the device.

    With `quality = "evaluate"` each candidate's loss is computed; with "predict" that of `quality_samples` subnets and
    of the best that a predictor fitted to them finds.
    """

    population: int = Field(125, ge=4)
    parents: int = Field(25, ge=2)
    mutations: int = Field(50, ge=0)
    crossovers: int = Field(50, ge=0)
    iterations: int = Field(30, ge=1)
    mutation_probability: float = Field(0.3, gt=0, le=1)
    eval_pairs: int = Field(256, ge=1)
    quality: Literal["evaluate", "predict"] = "evaluate"
    quality_samples: int = Field(128, ge=16)
    finalists: int = Field(5, ge=1)
    seed: int = 1
    max_latency: Duration | None = None
    max_parameters: Count | None = None
    max_size: Count | None = None


class ExportConfig(Record):
    """Limits of the bundle, its precision, and how that is checked.

    `precision`: None is the workload's; `auto` the fastest on the device whose BLEU is at most `max_bleu_drop` below
    torch's. An exact precision is compared with torch on `parity_pairs` validation pairs, all others on `bleu_pairs`.
    """

    precision: Precision | Literal["auto"] | None = None
    max_source_len: int = Field(128, ge=1, le=4096)
    max_decode_steps: int = Field(192, ge=1, le=4096)
    parity_pairs: int = Field(64, ge=1)
    bleu_pairs: int = Field(500, ge=1)
    max_bleu_drop: float = Field(0.3, ge=0)
    length_penalty: float = Field(0.6, ge=0)


class DeployConfig(Record):
    """How many versions of a bundle stay on the device: the current one, and those that a rollback goes back to."""

    keep_versions: int = Field(3, ge=1)


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


class MeasureProtocol(Record):
    """How subnets are timed on the device.

    Each is timed in `visits` rounds over all of them, each time in a fresh process, and the median over its visits
    counts. In a visit repeats go on until the 95% interval of the median is within `precision_percent` of it, or until
    `effort_s` is spent, and are never fewer than `min_repeats`; ones of a fast subnet go on for `min_effort_s`, so that
    no short disturbance fills them all. A stretch of `reference_every` subnets is measured again if the reference
    subnet, timed before and after it, moved by more than `max_drift_percent`, from one to the other or from its usual
    time. `pin` keeps the process on as many processors as the workload has threads.
    """

    visits: int = Field(1, ge=1, le=99)
    warmup: int = Field(3, ge=1)
    min_repeats: int = Field(10, ge=10)
    max_repeats: int = Field(200, ge=10, le=10_000)
    precision_percent: float = Field(2.0, gt=0)
    min_effort_s: float = Field(0.2, ge=0)
    effort_s: float = Field(5.0, gt=0)
    reference_every: int = Field(10, ge=1)
    max_drift_percent: float = Field(2.0, gt=0)
    pin: bool = False
    candidate_timeout_s: float = Field(120.0, gt=0)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.max_repeats < self.min_repeats:
            raise ValueError(f"max_repeats is {self.max_repeats}, less than min_repeats, which is {self.min_repeats}")
        return self


class DeviceProfile(Record):
    """How to reach a device, what to run there and how to measure; holds no secrets.

    `host` is an alias of the user's ssh_config, where user, port, key and jump host belong. `precisions` are those that
    `export --precision auto` tries there.
    """

    name: Name
    description: str = ""
    kind: Literal["local", "ssh"] = "ssh"
    host: Name | None = None
    python: str = "python3"
    work_dir: str = "~/.cache/mosdeploy"
    provider: str = "CPUExecutionProvider"
    requirements: tuple[str, ...] = ("numpy", "onnxruntime", "sentencepiece")
    machine: Literal["x86_64", "aarch64"] | None = None
    llvm_cpu: str | None = None
    wheel_platform: str | None = None
    wheel_python: str | None = None
    connect_timeout_s: float = Field(10.0, gt=0)
    command_timeout_s: float = Field(60.0, gt=0)
    emulated: bool = False
    precisions: tuple[Precision, ...] = Field(get_args(Precision), min_length=1)
    measure: MeasureProtocol = MeasureProtocol()

    @property
    def alias(self) -> str:
        """What names the board that is reached: `host`, or the profile's own name."""
        return self.host or self.name

    @property
    def spelt(self) -> str:
        """How a command line of `mosdeploy devices` names the board: `rpi`, or `rpi --host pi2`."""
        return self.name if self.alias == self.name else f"{self.name} --host {self.alias}"
