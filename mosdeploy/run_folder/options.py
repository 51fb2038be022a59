"""The options of each verb; the command line and `RunFolder` are derived from them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config.sections import SearchConfig
    from ..records import Limits


@dataclass(frozen=True)
class Option:
    """How a field is written on the command line.

    Attributes
    ----------
    help
        One line.
    default
        What the help shows in place of None.
    names
        By default the field's name with dashes.
    group
        Title in the help of what one family or one runtime alone needs.
    read
        Makes the field's value of the text.
    minimum
        Of a number.
    """

    help: str
    default: str | None = None
    names: tuple[str, ...] = ()
    group: str | None = None
    read: Callable[[str], Any] | None = None
    minimum: int | None = None
    metavar: str | None = None
    is_argument: bool = False


TRANSLATION = "Translations"
ENCODERS = "Encoders"
CONFIGURED = "as in mosdeploy.toml"
SEARCHED_FOR = "what the bundle was searched for"
BESIDE_TRAIN = "the file beside --train, else a share of it"
BY_NAME = "told by its name"

Pick = str | int | Path
"""Names a subnet: a word, a number of the front, a latency, a JSON file."""

DeviceName = Annotated[
    str | None,
    Option(
        "Device profile, as `mosdeploy devices list` shows them; rpi@pi2 for another board of it.",
        "device in mosdeploy.toml, else the one of the last step, else local",
    ),
]
PickName = Annotated[
    Pick,
    Option(
        "winner; 3, the third of the search's front; 18ms, the best of the front within 18 ms; a "
        "finalist's key; largest, smallest; or a JSON file with an architecture.",
    ),
]
BundleName = Annotated[
    str | Path | None, Option("A bundle: its folder, or its name in bundles/.", "the newest")
]
MaxLatency = Annotated[str | None, Option("Latency limit with its unit: 150ms.", CONFIGURED)]
MaxMemory = Annotated[
    str | int | None,
    Option("Limit on the memory that the model takes on the device: 200MiB.", CONFIGURED),
]


def _percent(text: str) -> float:
    from ..config.units import parse_percent

    return parse_percent(text)


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in text.split(","))


def _texts(given: Pick | Sequence[Pick] | None) -> tuple[str, ...]:
    """Texts of what is given once, several times or not at all."""
    if given is None or isinstance(given, str | int | Path):
        return () if given is None else (str(given),)
    return tuple(map(str, given))


def _pair(text: str) -> tuple[str, ...]:
    return tuple(text.split("-"))


@dataclass(frozen=True)
class InitOptions:
    """The user's data, and what a run file for them aims at."""

    train: Annotated[
        str | Path | Sequence[str | Path] | None,
        Option(
            "Your data, in place of a template: two files of parallel text or a .tsv; with "
            "--checkpoint a .csv, .tsv or .jsonl of labelled texts, or lines of text.",
            "a template",
            metavar="FILE [FILE]",
        ),
    ] = None
    valid: Annotated[
        str | Path | None, Option("Data that all choices are made by.", BESIDE_TRAIN)
    ] = None
    test: Annotated[str | Path | None, Option("Data for the scores at the end.", BESIDE_TRAIN)] = (
        None
    )
    family: str | None = None
    checkpoint: Annotated[
        str | Path | None,
        Option(
            "What an encoder starts from: a folder, package:NAME/PATH or hub:ID.", group=ENCODERS
        ),
    ] = None
    size: Annotated[
        str | None,
        Option(
            "Of a translation: tiny, small, base or large.",
            "what suits the data",
            group=TRANSLATION,
        ),
    ] = None
    time: Annotated[
        str | None,
        Option(
            "Time for all training, on this machine, with its unit: 30m, 2h.",
            "as many steps as suit the data",
        ),
    ] = None
    languages: Annotated[
        tuple[str, str] | None,
        Option(
            "Source and target of a translation: en-de.",
            "the suffixes of the files",
            group=TRANSLATION,
            read=_pair,
        ),
    ] = None
    text: Annotated[
        str | None, Option("Column of the text, or of the words.", BY_NAME, group=ENCODERS)
    ] = None
    label: Annotated[
        str | None, Option("Column of the label, or of the tags.", BY_NAME, group=ENCODERS)
    ] = None
    num_winners: Annotated[
        int,
        Option(
            "Limits or devices that one supernet of translations will serve, each by a winner of "
            "its own.",
            names=("--winners",),
            group=TRANSLATION,
            minimum=1,
        ),
    ] = 1
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_winners < 1:
            raise ConfigError(f"num_winners is {self.num_winners}; at least 1 is needed")
        pair = self.languages
        if pair is None:
            return
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(pair):
            raise ConfigError(f"languages are source and target, ('en', 'de'), not {pair!r}")
        if pair[0] == pair[1]:
            raise ConfigError(
                f"source and target are both '{pair[0]}'; a translation needs two languages, as in "
                "en-de"
            )

    @property
    def files(self) -> tuple[str, ...]:
        """Return what is trained on; nothing where a template is written."""
        if self.train is not None and not self.train:
            raise ConfigError("train is empty; give your data, or leave it out for a template")
        return _texts(self.train)

    @property
    def about_data(self) -> list[str]:
        """Return the names of what is given and says nothing without data."""
        names = (x.name for x in fields(self) if x.name not in ("train", "settings"))
        usual = InitOptions()
        return [name for name in names if getattr(self, name) != getattr(usual, name)]


@dataclass(frozen=True)
class LimitOptions:
    """What a subnet may cost."""

    max_latency: MaxLatency = None
    max_parameters: Annotated[
        str | int | None, Option("Parameter limit: 4M, 800k, 3500000.", CONFIGURED)
    ] = None
    max_size: Annotated[
        str | int | None, Option("Limit on model and tokenizer in the bundle: 12MiB.", CONFIGURED)
    ] = None
    max_memory: MaxMemory = None

    def limits(self, config: "SearchConfig") -> "Limits":
        """Return the limits; [search] says which parameters count, and what is not given."""
        from ..records import NO_LIMITS, Limits

        count = None if self.max_parameters is None else config.count
        given = Limits.read(
            self.max_latency, self.max_parameters, count, self.max_size, self.max_memory
        )
        limits = given.filled_up(Limits.configured(config))
        if limits == NO_LIMITS:
            raise ConfigError(
                "a search needs a limit: give --max-latency 150ms, --max-parameters 4M, "
                "--max-size 12MiB or --max-memory 200MiB, or write one under [search] in "
                "mosdeploy.toml"
            )
        return limits


@dataclass(frozen=True)
class WalkOptions(LimitOptions):
    """What a walk leads to."""

    device: DeviceName = None


@dataclass(frozen=True)
class TrainOptions:
    """What a supernet is trained for."""

    time: Annotated[
        str | None,
        Option(
            "Time for this training and `finetune` of the winner, with its unit: 30m, 2h.",
            "[training].steps, or its budget",
        ),
    ] = None

    @property
    def time_s(self) -> float | None:
        """The time in seconds."""
        from ..config.units import parse_budget_s

        return None if self.time is None else parse_budget_s(self.time)


@dataclass(frozen=True)
class ProfileOptions:
    """What `profile` measures."""

    device: DeviceName = None
    budget: Annotated[
        int | None,
        Option(
            "Subnets to measure in all, those of earlier runs included.",
            "[profile].budget",
            minimum=4,
        ),
    ] = None
    until_error_percent: Annotated[
        float | None,
        Option(
            "Stop once the predictor's error is at most this twice in a row: 2%.",
            "measure --budget subnets",
            names=("--until-error",),
            read=_percent,
        ),
    ] = None
    hosts: Annotated[
        str | Sequence[str],
        Option(
            "Boards of this kind to measure on at once, by alias in ssh_config: pi1,pi2,pi3.",
            "host of the device profile",
            names=("--hosts", "--host"),
            read=_hosts,
        ),
    ] = ()
    renew: Annotated[
        bool,
        Option(
            "Measure again what was measured under other conditions or with too much noise; the "
            "old measurements are kept in latency.old."
        ),
    ] = False

    def __post_init__(self) -> None:
        if isinstance(self.hosts, str):
            object.__setattr__(self, "hosts", _hosts(self.hosts))
        if self.until_error_percent is not None and not 0 < self.until_error_percent < 100:
            raise ConfigError(
                f"until_error_percent is {self.until_error_percent}; it is a number between 0 and "
                "100"
            )


@dataclass(frozen=True)
class FitOptions:
    """Which predictor is fitted, and from what."""

    device: DeviceName = None
    source: Annotated[
        str | None,
        Option(
            "Correct the predictor of this device, which takes five measurements or more.",
            "fit from scratch",
            names=("--from",),
        ),
    ] = None


@dataclass(frozen=True)
class SearchOptions(LimitOptions):
    """What `search` looks for."""

    device: DeviceName = None
    statistic: Annotated[
        Literal["median", "p90", "p99"] | None,
        Option("Figure of the times that --max-latency is about.", "[search].statistic"),
    ] = None
    verify: Annotated[bool, Option("Measure the finalists on the device.")] = True


@dataclass(frozen=True)
class FinetuneOptions:
    """What `finetune` trains."""

    pick: PickName = "winner"
    steps: Annotated[
        int | None,
        Option(
            "Steps to train.",
            "[finetune].steps, with --from-scratch the supernet's on top",
            minimum=1,
        ),
    ] = None
    from_scratch: Annotated[bool, Option("Start from random weights, for comparison.")] = False

    @property
    def command(self) -> str:
        """Return what was typed."""
        words = ["mosdeploy finetune"]
        words += [f"--pick {shlex.quote(str(self.pick))}"] if self.pick != "winner" else []
        words += [f"--steps {self.steps}"] if self.steps is not None else []
        words += ["--from-scratch"] if self.from_scratch else []
        return " ".join(words)


@dataclass(frozen=True)
class EvaluateOptions:
    """Which subnets are scored."""

    picks: Annotated[
        Pick | Sequence[Pick] | None,
        Option(
            "As `finetune --pick` takes it; may be given several times.",
            "largest, smallest, and the winner if there is one",
            names=("--pick",),
        ),
    ] = None
    beam: Annotated[
        int | None,
        Option("Hypotheses of the beam search.", "[workload].beam", group=TRANSLATION, minimum=1),
    ] = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the picks as texts."""
        return _texts(self.picks)


@dataclass(frozen=True)
class ExportOptions:
    """What `export` builds."""

    pick: PickName = "winner"
    precision: Annotated[
        str | None,
        Option(
            "fp32, int8; translations: fp32-int4-logits, int8-int4-logits, int4; encoders: "
            "int8-fp32-embedding; auto: the fastest that keeps --max-score-drop.",
            "[export].precision, else the workload's",
            metavar="NAME",
        ),
    ] = None
    weights: Annotated[
        Literal["inherited", "finetuned", "teacher", "from-teacher", "scratch"] | None,
        Option("Weights of the subnet.", "the best by validation, but for scratch", metavar="NAME"),
    ] = None
    runtime: Annotated[
        Literal["onnxruntime", "tvm", "auto"],
        Option("auto: build both, time both on the device, keep the faster."),
    ] = "onnxruntime"
    device: DeviceName = None
    max_score_drop: Annotated[
        float | None,
        Option(
            "Points of the first metric that the bundle may lose, of 100.",
            "[export].max_score_drop",
            minimum=0,
        ),
    ] = None
    beam: Annotated[
        int | None,
        Option("Hypotheses of the beam search.", "[workload].beam", group=TRANSLATION, minimum=1),
    ] = None
    shortlist: Annotated[
        int | None,
        Option(
            "Target tokens that are scored for each source token: 50; 0: the vocabulary.",
            "[export].shortlist, else the workload's",
            group=TRANSLATION,
            minimum=0,
        ),
    ] = None
    format: Annotated[
        Literal["optimum", "hf"] | None,
        Option("A folder that these libraries load.", "a bundle", group=ENCODERS),
    ] = None
    workload: Mapping[str, Any] | None = None
    trim_vocabulary: Annotated[
        bool | None,
        Option(
            "Keep only the part of the vocabulary that the examples use.",
            "[export].trim_vocabulary",
            group=ENCODERS,
        ),
    ] = None


@dataclass(frozen=True)
class DeployOptions:
    """Which bundle goes where."""

    device: DeviceName = None
    bundle: BundleName = None
    rollback: Annotated[bool, Option("Go back to the version before the present one.")] = False
    strict: Annotated[bool, Option("Switch only if the bundle keeps its limits there.")] = True


@dataclass(frozen=True)
class VerifyOptions:
    """Which deployment is timed, and limits in place of its own."""

    max_latency: Annotated[
        str | None, Option("Latency limit with its unit: 150ms.", SEARCHED_FOR)
    ] = None
    max_memory: Annotated[
        str | int | None, Option("Limit on the memory of the model: 200MiB.", SEARCHED_FOR)
    ] = None
    device: DeviceName = None


@dataclass(frozen=True)
class CompareOptions:
    """What is compared where."""

    bundles: Annotated[
        Sequence[str | Path],
        Option("Two bundles or more: folders, or names in bundles/.", is_argument=True),
    ] = ()
    device: DeviceName = None


@dataclass(frozen=True)
class PredictOptions:
    """How lines are answered."""

    bundle: BundleName = None
    threads: Annotated[
        int | None,
        Option("Threads to use.", "as many as it was measured with", minimum=1),
    ] = None
    long: Annotated[
        Literal["cut", "window"],
        Option(
            "Cut texts that are too long, or read them in windows that overlap.", group=ENCODERS
        ),
    ] = "cut"
