"""What goes stale after training and searching: one thing is changed, and subnets, the winner and
scores are refused, left out or count. The table is the one in docs/reliability.md.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from walking import change_data, edit, opened

from mosdeploy.errors import PredictorError, StaleInputError
from mosdeploy.records import SearchResult
from mosdeploy.run_folder.budget import split_steps
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.storage import read_record, sha256_file, write_record
from mosdeploy.supernet.checkpoint import save_supernet

REPOSITORY = Path(__file__).parents[2]
COUNTS = "counts"
REFUSED = "refused"
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Row:
    """One change, and what becomes of subnets that are searched, scored, trained on or exported; of
    the winner; and of scores in the report.
    """

    what: str
    change: Callable[[Path], None]
    subnets: str
    winner: str
    scores: str


def config(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: edit(root / "mosdeploy.toml", old, new)


def train_again(root: Path) -> None:
    state = trained_run(open_run(root))
    with torch.no_grad():
        next(state.net.parameters()).add_(1.0)
    save_supernet(state.files.supernet_path, state.net)
    sha256 = sha256_file(state.files.supernet_path)
    card = state.card.model_copy(update={"supernet_sha256": sha256})
    write_record(state.files.supernet_card_path, card)


def search_again(root: Path) -> None:
    """A search by size, which needs no latencies."""
    run = open_run(root)
    path = run.workspace.search_result_path
    changes = {
        "predictor_sha256": None,
        "workload": run.config.workload,
        "supernet_sha256": run.supernet_card().supernet_sha256,
    }
    result = read_record(SearchResult, path, "").model_copy(update=changes)
    write_record(path, result)


def both(first: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        first(root)
        search_again(root)

    return change


def change_budget(root: Path) -> None:
    """One of 171 steps, of which the supernet has 12, as many as it was trained for, grows."""
    state = trained_run(open_run(root))
    card = state.card.model_copy(update={"budget": split_steps(171)})
    write_record(state.files.supernet_card_path, card)
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 12\nbudget = 171")
    assert trained_run(open_run(root)).data.train
    edit(root / "mosdeploy.toml", "budget = 171", "budget = 400")


change_same_time = config(
    "[training]", "[finetune]\nsame_time = true\ninherited_share = 0.4\n[training]"
)
change_beam = config("decode_steps = 6", "decode_steps = 6\nbeam = 2")

MORE_EXPERTS = "[supernet]\nnum_experts = 3\n[training]"
TRAINED = "the data, `[supernet]`, `[training]`"

ROWS = (
    Row(TRAINED, change_data, REFUSED, COUNTS, COUNTS),
    Row(TRAINED, config("[training]", MORE_EXPERTS), REFUSED, COUNTS, COUNTS),
    Row(TRAINED, config("steps = 12", "steps = 13"), REFUSED, COUNTS, COUNTS),
    Row(TRAINED, change_budget, REFUSED, COUNTS, COUNTS),
    Row(
        "the size of the vocabulary",
        config("vocab_size = 44", "vocab_size = 45"),
        REFUSED,
        COUNTS,
        REFUSED,
    ),
    Row("`[space]`", config("qkv_dim = 32", "qkv_dim = 64"), REFUSED, REFUSED, REFUSED),
    Row("`[workload]`, its beam too", change_beam, COUNTS, REFUSED, REFUSED),
    Row("`[workload]`, and `search` again", both(change_beam), COUNTS, COUNTS, LEFT_OUT),
    Row(
        "`[finetune] same_time`, of parts of the inherited weights",
        change_same_time,
        COUNTS,
        REFUSED,
        REFUSED,
    ),
    Row("`train` again", train_again, COUNTS, REFUSED, REFUSED),
    Row("`train` and `search` again", both(train_again), COUNTS, COUNTS, LEFT_OUT),
)


def outcome(act: Callable[[], object]) -> str:
    """What becomes of something; an act that gives nothing leaves it out."""
    try:
        return COUNTS if act() else LEFT_OUT
    except (StaleInputError, PredictorError):
        return REFUSED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_what_goes_stale(walked: Path, tmp_path: Path, row: Row) -> None:
    ignored = shutil.ignore_patterns("device")
    root = Path(shutil.copytree(walked, tmp_path / "run", ignore=ignored))
    row.change(root)

    def subnets() -> object:
        state = trained_run(open_run(root))
        return state.data and state.subnet(state.config.space.smallest)

    found = Row(
        row.what,
        row.change,
        subnets=outcome(subnets),
        winner=outcome(lambda: trained_run(open_run(root)).search_result()),
        scores=outcome(lambda: opened(root).report().report.headline.metrics),
    )
    assert found == row


def test_a_search_that_would_choose_the_same_counts(walked: Path, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("device")
    root = Path(shutil.copytree(walked, tmp_path / "run", ignore=ignored))
    # all is inherited: the time of steps decides nothing
    edit(root / "mosdeploy.toml", "[training]", "[finetune]\nsame_time = true\n[training]")
    assert not trained_run(open_run(root)).search_result().weighs_time
    edit(root / "mosdeploy.toml", "[finetune]", "[finetune]\ninherited_share = 0.4")
    with pytest.raises(StaleInputError, match=r"`same_time` .*run `mosdeploy search` again"):
        trained_run(open_run(root)).search_result()


def test_the_documentation_quotes_the_table() -> None:
    lines = [f"| {x.what} | {x.subnets} | {x.winner} | {x.scores} |" for x in ROWS]
    rows = dict.fromkeys(lines)
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    assert "\n".join(rows) in text
