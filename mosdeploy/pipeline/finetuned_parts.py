"""The subnets of a run folder that were trained alone, as `status` tells them."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..errors import MosdeployError
from ..folders import listed
from ..locks import is_locked
from ..records import SubnetCard
from ..run_folder.context import SILENT, Context
from ..run_folder.picking import pick
from ..run_folder.subnets import UNASKED, is_trained, subnet_card
from ..run_folder.summaries import Part
from ..run_folder.trained_run import TrainedRun
from ..spaces.genes import ArchConfig
from ..storage import read_record
from ..workspace import SUBNET_CARD_NAME, SUBNET_NAME
from .begun_subnet import BEGUN, BegunSubnet, read_begun
from .parts import RUNS, look_at

Trained = Callable[[], TrainedRun]


def finetuned_parts(context: Context, trained: Trained) -> Iterator[Part]:
    """Every subnet, every training that was stopped, and the winner without one."""
    root = context.files.subnets_dir
    for path in listed(root, f"*/{SUBNET_CARD_NAME}"):
        yield look_at("finetuned", path.parent.name, partial(_subnet, trained, path), None)
    winner = _untrained_winner(trained)
    detail = "the winner has the weights that it inherits"
    command: str | None = "mosdeploy finetune"
    for path in (*listed(root, f"*/{BEGUN}"), *listed(root, f"*/seed-*/{BEGUN}")):
        found = read_begun(path)
        if found is None:
            continue
        name = str(path.parent.relative_to(root))
        key, _, weights = name.partition("/")[0].partition("-")
        resuming = _resuming(trained, found.command, key)
        stopped = f"a training was stopped; `{resuming}` goes on with it"
        if not _is_current(trained, found):
            stopped = f"a training of an earlier supernet was stopped; `{resuming}` begins it anew"
        if is_locked(path.with_name(SUBNET_NAME)):
            stopped = RUNS
        elif resuming is None:
            stopped = (
                f"a training was stopped, which nothing goes on with now; delete {path.parent}"
            )
        if winner is not None and key == winner.key and weights in UNASKED:
            detail = stopped
            command = resuming
        else:
            yield Part(what="finetuned", name=name, state="unused", detail=stopped)
    if winner is not None:
        yield Part(what="finetuned", state="missing", detail=detail, command=command)


def _is_current(trained: Trained, found: BegunSubnet) -> bool:
    """Whether a training can go on with the supernet that stands."""
    with contextlib.suppress(MosdeployError):
        return found.is_from(trained().card.supernet_sha256)
    return True


def _resuming(trained: Trained, command: str, key: str) -> str | None:
    """What goes on with the training of a subnet: a later search may have given the number by which
    it was picked to another one. None where no name is its.
    """
    words = shlex.split(command)
    place = words.index("--pick") if "--pick" in words else len(words)
    for name in (*words[place + 1 : place + 2], "winner"):
        with contextlib.suppress(MosdeployError, OSError):
            if pick(trained(), name, SILENT).arch.key == key:
                named = [] if name == "winner" else ["--pick", name]
                return shlex.join([*words[:place], *named, *words[place + 2 :]])
    return None


def _untrained_winner(trained: Trained) -> ArchConfig | None:
    """The winner, if it was not trained alone."""
    with contextlib.suppress(MosdeployError):
        winner = trained().search_result().winner.arch
        return None if is_trained(trained(), winner) else winner
    return None


def _subnet(trained: Trained, path: Path) -> str:
    card = read_record(SubnetCard, path, "mosdeploy finetune")
    card = subnet_card(trained(), card.arch, card.weights)
    return f"{card.steps:,} steps, validation loss {card.start_loss:.3f} to {card.loss:.3f}"
