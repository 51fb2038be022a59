"""Which weights an architecture has in a run folder, and which of them a verb takes."""

import contextlib
import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_args

from ..errors import ConfigError, StaleInputError
from ..records import Scores, SubnetCard, WeightOrigin
from ..spaces.genes import ArchConfig
from ..storage import fingerprint, read_record, sha256_file
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
    """A subnet, where its weights come from, a line that says so, and its card if there is one."""

    subnet: Any
    arch: ArchConfig
    weights: WeightOrigin
    note: str
    card: SubnetCard | None = None


def select_subnet(state: TrainedRun, arch: ArchConfig, wanted: str | None) -> SelectedSubnet:
    """The weights that are asked for; or, if none are, the best by rule."""
    if wanted is None:
        return _best(state, arch)
    without = ("teacher", "from-teacher") if state.teacher is None else ()
    known = [weights for weights in get_args(WeightOrigin) if weights not in without]
    if wanted not in known:
        raise ConfigError(f"unknown weights '{wanted}'; known: {', '.join(known)}")
    for weights in ALONE:
        if wanted == weights:
            return _alone(state, arch, weights)
    if wanted == "teacher":
        return _asked_teacher(state, arch)
    return SelectedSubnet(state.subnet(arch), arch, "inherited", "inherited weights")


def trained_alone(state: TrainedRun, arch: ArchConfig) -> list[SelectedSubnet]:
    """What an architecture has besides inherited weights, as far as it counts."""
    found = []
    for weights in ALONE:
        if state.files.subnet_card_path(arch.key, weights).exists():
            with contextlib.suppress(StaleInputError):
                found.append(_alone(state, arch, weights))
    return found


def trained_weights(state: TrainedRun, arch: ArchConfig) -> list[WeightOrigin]:
    """Into which weights that a verb may take unasked an architecture was trained alone."""
    found = list[WeightOrigin]()
    for weights in UNASKED:
        if state.files.subnet_card_path(arch.key, weights).exists():
            with contextlib.suppress(StaleInputError):
                subnet_card(state, arch, weights)
                found.append(weights)
    return found


def is_trained(state: TrainedRun, arch: ArchConfig) -> bool:
    """Whether an architecture was trained alone, into weights that a verb may take unasked."""
    return bool(trained_weights(state, arch))


def are_current(state: TrainedRun, scores: Scores) -> bool:
    """Whether scores are of the weights at hand; not if these were trained again since."""
    if scores.weights not in ALONE:
        return True
    try:
        card = subnet_card(state, scores.arch, scores.weights)
    except StaleInputError:
        return False
    return card.subnet_sha256 == scores.subnet_sha256


def _asked_teacher(state: TrainedRun, arch: ArchConfig) -> SelectedSubnet:
    if not state.has_parts_of_teacher:
        raise ConfigError("the teacher was given: it is no subnet of this supernet")
    if arch != state.config.space.largest:
        raise ConfigError("the teacher has the weights of the largest subnet: say --pick largest")
    return teacher_subnet(state)


def teacher_subnet(state: TrainedRun) -> SelectedSubnet:
    """The teacher itself, as a subnet of the largest architecture."""
    assert state.teacher is not None  # of a family that has one
    largest = state.config.space.largest
    return SelectedSubnet(
        state.teacher.subnet(largest), largest, "teacher", "the teacher's weights"
    )


def subnet_card(state: TrainedRun, arch: ArchConfig, weights: WeightOrigin) -> SubnetCard:
    """Card of a subnet that was trained alone and counts."""
    verb = VERBS[weights] + state.pick_option(arch)
    supernet = state.card
    path = state.files.subnet_path(arch.key, weights)
    card = read_record(SubnetCard, state.files.subnet_card_path(arch.key, weights), verb)
    made_from = (
        card.data_sha256,
        card.tokenizer_sha256,
        card.supernet_sha256 or supernet.supernet_sha256,
    )
    now = (supernet.data_sha256, supernet.tokenizer_sha256, supernet.supernet_sha256)
    if made_from != now:
        raise StaleInputError(
            f"{path} was made from another supernet or other data; run `{verb}` again"
        )
    if card.made_from_sha256 != made_from_sha256(state, weights):
        raise StaleInputError(
            f"{path} was made in another space, with other max_tokens or another teacher; run "
            f" `{verb}` again"
        )
    if card.arch != arch or not path.exists() or sha256_file(path) != card.subnet_sha256:
        raise StaleInputError(
            f"{path} is missing or is not the file of its card; run `{verb}` again"
        )
    return card


def made_from_sha256(state: TrainedRun, weights: WeightOrigin) -> str | None:
    """Fingerprint of what weights that do not come from the supernet depend on as it does; None for
    those that do, whose supernet says it.
    """
    if weights == "finetuned":
        return None
    teacher = None if state.teacher is None else state.teacher.weights_sha256
    return fingerprint(state.config.space, state.config.max_tokens, teacher)


def losses_of(card: SubnetCard) -> str:
    """The validation losses that a training started from and came to."""
    return f"validation loss {card.start_loss:.4f} to {card.loss:.4f}"


def _best(state: TrainedRun, arch: ArchConfig) -> SelectedSubnet:
    found: list[SelectedSubnet] = []
    note = "inherited weights"
    for weights in UNASKED:
        if not state.files.subnet_card_path(arch.key, weights).exists():
            continue
        try:
            found.append(_alone(state, arch, weights))
        except StaleInputError as error:
            note += f", not {weights} ones: {error}"
    inherited = SelectedSubnet(state.subnet(arch), arch, "inherited", note)
    cards = {subnet.weights: subnet.card for subnet in found if subnet.card}
    if not cards:
        return inherited
    best = min(found, key=lambda subnet: subnet.card.loss if subnet.card else math.inf)
    if cards[best.weights].loss >= _inherited_loss(state, inherited, cards.get("finetuned")):
        note += ", since finetuning did not lower the validation loss"
        return dataclasses.replace(inherited, note=note)
    return best


def _inherited_loss(
    state: TrainedRun, inherited: SelectedSubnet, finetuned: SubnetCard | None
) -> float:
    """The validation loss of inherited weights, which a finetuning of them started from."""
    from ..data.batches import ordered_batches
    from ..training.validation import validation_loss

    if finetuned is not None:
        return finetuned.start_loss
    valid = state.tokenized(state.data.valid)
    return validation_loss(inherited.subnet, ordered_batches(valid))


def _alone(state: TrainedRun, arch: ArchConfig, weights: WeightOrigin) -> SelectedSubnet:
    from ..supernet.checkpoint import load_subnet

    card = subnet_card(state, arch, weights)
    path = state.files.subnet_path(arch.key, weights)
    subnet = load_subnet(path, state.config.space, state.net.skeleton)
    losses = f"validation loss {card.loss:.4f}, {card.start_loss:.4f} with {STARTS[weights]}"
    note = f"{weights} weights of {card.steps} steps, {losses}"
    return SelectedSubnet(subnet, arch, weights, note, card)
