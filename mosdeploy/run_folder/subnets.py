"""Which weights an architecture has in a run folder, and which of them a verb takes."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import JsonValue

from ..config.units import parse_duration_ms
from ..errors import ConfigError, DamagedError, InfeasibleError, StaleInputError
from ..printable import LEAST, figure_note, latency, milliseconds, predicted
from ..records import Candidate, Scores, SearchResult, SubnetCard, WeightOrigin
from ..spaces.genes import ArchConfig
from ..storage import read_record, sha256_file
from ..workspace import SUBNET_CARD_NAME, SUBNET_NAME
from .artifact import DIGEST, Artifact, Made, explain_difference, settings
from .context import Progress
from .trained_run import TrainedRun

ALONE: tuple[WeightOrigin, ...] = ("finetuned", "from-teacher", "scratch")
"""The weights of a subnet that was trained alone."""

UNASKED: tuple[WeightOrigin, ...] = ("finetuned", "from-teacher")
"""Those of them that a verb may take without being told."""

STARTS: dict[WeightOrigin, str] = {
    "finetuned": "inherited weights",
    "from-teacher": "the teacher's weights",
    "scratch": "random weights",
}
"""What each of them started from."""

VERBS: dict[WeightOrigin, str] = {
    "finetuned": "mosdeploy finetune",
    "from-teacher": "mosdeploy finetune",
    "scratch": "mosdeploy finetune --from-scratch",
}
"""What makes each of them."""


@dataclass(frozen=True)
class SelectedSubnet:
    """An architecture with its weights of one origin, which are read when they are first used."""

    state: TrainedRun
    arch: ArchConfig
    weights: WeightOrigin
    remark: str = ""  # ends the note: why not others

    @cached_property
    def card(self) -> SubnetCard | None:
        """Of weights that were trained alone and count."""
        return subnet_card(self.state, self.arch, self.weights) if self.weights in ALONE else None

    def checked(self) -> Self:
        """Return the subnet, or raise a StaleInputError if its weights do not count."""
        _ = self.card
        return self

    @cached_property
    def subnet(self) -> Any:
        """A plain torch module."""
        from ..supernet.checkpoint import load_subnet

        state = self.state
        if self.weights == "inherited":
            return state.subnet(self.arch)
        if self.weights == "teacher":
            assert state.teacher is not None  # of a family that has one
            return state.teacher.subnet(self.arch)
        path = state.files.subnet_path(self.arch.key, self.weights)
        return load_subnet(path, state.config.space, state.net.skeleton)

    @property
    def note(self) -> str:
        """A line that says where the weights come from."""
        if (card := self.card) is None:
            origin = "the teacher's" if self.weights == "teacher" else "inherited"
            return f"{origin} weights{self.remark}"
        losses = f"validation loss {card.loss:.4f}, {card.start_loss:.4f} with"
        return f"{self.weights} weights of {card.steps} steps, {losses} {STARTS[self.weights]}"


def select_subnet(state: TrainedRun, arch: ArchConfig, wanted: str | None) -> SelectedSubnet:
    """The weights that are asked for; or, if none are, the best by rule."""
    if wanted is None:
        return _best(state, arch)
    without = ("teacher", "from-teacher") if state.teacher is None else ()
    known = [weights for weights in get_args(WeightOrigin) if weights not in without]
    if wanted not in known:
        raise ConfigError(f"unknown weights '{wanted}'; known: {', '.join(known)}")
    if wanted == "teacher" and not state.has_parts_of_teacher:
        raise ConfigError("the teacher was given: it is no subnet of this supernet")
    if wanted == "teacher" and arch != state.config.space.largest:
        raise ConfigError("the teacher has the weights of the largest subnet: say --pick largest")
    return SelectedSubnet(state, arch, known[known.index(wanted)]).checked()


def trained_alone(
    state: TrainedRun, arch: ArchConfig, origins: Sequence[WeightOrigin] = ALONE
) -> list[SelectedSubnet]:
    """What an architecture has besides inherited weights, as far as it counts."""
    found = []
    for weights in origins:
        if state.files.subnet_card_path(arch.key, weights).exists():
            with contextlib.suppress(StaleInputError):
                found.append(SelectedSubnet(state, arch, weights).checked())
    return found


def is_trained(state: TrainedRun, arch: ArchConfig) -> bool:
    """Whether an architecture was trained alone, into weights that a verb may take unasked."""
    return bool(trained_alone(state, arch, UNASKED))


def are_current(state: TrainedRun, scores: Scores) -> bool:
    """Whether scores are of the weights at hand; not if these were trained again since."""
    if scores.weights not in ALONE:
        return True
    try:
        card = subnet_card(state, scores.arch, scores.weights)
    except StaleInputError:
        return False
    return card.subnet_sha256 == scores.subnet_sha256


def subnet_card(state: TrainedRun, arch: ArchConfig, weights: WeightOrigin) -> SubnetCard:
    """Card of a subnet that was trained alone and counts."""
    verb = VERBS[weights] + state.pick_option(arch)
    folder = state.files.subnet_path(arch.key, weights).parent
    card = whole_subnet_card(folder, verb)
    if changed := explain_difference(card.inputs, subnet_inputs(state, weights)):
        raise StaleInputError(f"{folder} no longer counts: {changed}; run `{verb}` again")
    return card


def whole_subnet_card(folder: Path, verb: str = "mosdeploy finetune") -> SubnetCard:
    """Card of the subnet in a folder.

    Raises
    ------
    DamagedError
        If the weights are not those of the card.
    """
    card = read_record(SubnetCard, folder / SUBNET_CARD_NAME, verb)
    path = folder / SUBNET_NAME
    if not path.exists() or sha256_file(path) != card.subnet_sha256:
        raise DamagedError(
            f"{path} is missing or is not the file of its card; delete {folder} and run `{verb}` "
            "again"
        )
    return card


def subnet_inputs(state: TrainedRun, weights: str) -> dict[str, JsonValue]:
    """What a subnet that is trained alone starts from."""
    card = state.card
    found: dict[str, JsonValue] = {
        "data": f"{DIGEST}{card.data_sha256}",
        "tokenizer": f"{DIGEST}{card.tokenizer_sha256}",
    }
    if weights == "finetuned":
        return found | {"supernet": f"{DIGEST}{card.supernet_sha256}"}
    teacher = None if state.teacher is None else f"{DIGEST}{state.teacher.weights_sha256}"
    return found | {
        **settings(state.config.space, "space"),
        "max_tokens": state.config.max_tokens,
        "teacher": teacher,
    }


def subnet_artifact(state: Callable[[], TrainedRun], folder: Path, weights: str) -> Artifact:
    """A subnet that was trained alone, as an artifact of the run folder."""

    def made(folder: Path) -> Made | None:
        if not (folder / SUBNET_CARD_NAME).exists():
            return None
        card = whole_subnet_card(folder)
        losses = f"validation loss {card.start_loss:.3f} to {card.loss:.3f}"
        return Made(card.inputs, f"{card.steps:,} steps, {losses}")

    command = next((verb for name, verb in VERBS.items() if name == weights), "mosdeploy finetune")
    return Artifact(
        "subnet", folder, command, lambda: subnet_inputs(state(), weights), made, folder.name
    )


def losses_of(card: SubnetCard) -> str:
    """The validation losses that a training started from and came to."""
    return f"validation loss {card.start_loss:.4f} to {card.loss:.4f}"


def _best(state: TrainedRun, arch: ArchConfig) -> SelectedSubnet:
    found: list[SelectedSubnet] = []
    remark = ""
    for weights in UNASKED:
        if not state.files.subnet_card_path(arch.key, weights).exists():
            continue
        try:
            found.append(SelectedSubnet(state, arch, weights).checked())
        except DamagedError:  # weights that were made are not replaced by others unasked
            raise
        except StaleInputError as error:
            remark += f", not {weights} ones: {error}"
    inherited = SelectedSubnet(state, arch, "inherited", remark)
    cards = {subnet.weights: subnet.card for subnet in found if subnet.card}
    if not cards:
        return inherited
    best = min(found, key=lambda subnet: cards[subnet.weights].loss)
    if cards[best.weights].loss >= _inherited_loss(inherited, cards.get("finetuned")):
        remark += ", since finetuning did not lower the validation loss"
        return replace(inherited, remark=remark)
    return best


def _inherited_loss(inherited: SelectedSubnet, finetuned: SubnetCard | None) -> float:
    """The validation loss of inherited weights, which a finetuning of them started from."""
    from ..data.batches import ordered_batches
    from ..training.trainer import validation_loss

    if finetuned is not None:
        return finetuned.start_loss
    valid = inherited.state.training_validation_set()
    return validation_loss(inherited.subnet, ordered_batches(valid))


_NUMBER = re.compile(r"-?[0-9]{1,6}")  # the key of an architecture may be of digits too
_DURATION = re.compile(r"[0-9.]+\s*(us|ms|s)")


@dataclass(frozen=True)
class Picked:
    """A subnet that was picked; `label` is short, for tables, `limit_ms` the limit that it was
    picked by, if it was.
    """

    arch: ArchConfig
    label: str
    limit_ms: float | None = None


def pick(state: TrainedRun, name: str, progress: Progress) -> Picked:
    """Find the subnet that a name means, and say of a member of the front what its latency is."""
    from ..search.front import front_members

    is_number = _NUMBER.fullmatch(name) is not None
    if not (is_number or _DURATION.fullmatch(name)):
        return Picked(state.arch(name), Path(name).stem)
    search = state.search_result()
    members = front_members(search)
    limit_ms = None if is_number else parse_duration_ms(name)
    i = int(name) - 1 if limit_ms is None else _within(search, members, limit_ms)
    if not 0 <= i < len(members):
        raise ConfigError(
            f"'{name}' is no number of the search's front: write 1 (the fastest) to "
            f"{len(members)}, or a latency with its unit, such as 18ms"
        )
    progress.say(f"picked {i + 1} of the front: {_latency(members[i], search)}")
    return Picked(members[i].arch, f"front {i + 1}", limit_ms)


def _within(search: SearchResult, members: tuple[Candidate, ...], limit_ms: float) -> int:
    from ..search.front import best_within, needed_ms

    numbers = {i: ms for i, x in enumerate(members, 1) if (ms := needed_ms(x)) is not None}
    if not numbers:
        raise ConfigError(
            "the search had no latency predictor, so its front has no latencies; pick by number, 1 "
            f"to {len(members)}"
        )
    i = best_within(members, limit_ms)
    if i is None:
        number, least_ms = min(numbers.items(), key=itemgetter(1))
        raise InfeasibleError(
            f"no member of the front keeps {latency(limit_ms)}{figure_note(search.statistic)}: the "
            f"fastest takes {latency(least_ms, 4, LEAST)} on {search.device}; pick it as {number}, "
            "or search again with a lower limit",
            least_ms,
        )
    return i


def _latency(candidate: Candidate, search: SearchResult) -> str:
    if candidate.predicted_ms is None:
        return f"its latency on {search.device} is not known"
    figure = figure_note(search.statistic)
    measured = "not measured"
    if candidate.measured_ms is not None:
        measured = f"measured {milliseconds(candidate.measured_ms)}"
    time = f"{predicted(search.level)} {milliseconds(candidate.predicted_ms)}{figure}"
    return f"{time} on {search.device}, {measured}"
