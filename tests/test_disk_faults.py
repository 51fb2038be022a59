"""The disk fails at one write call after the other: every verb's records end in a MosdeployError
alone, and what stood there or takes its place is whole.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import synthetic
from faults import Faults, can_exchange, fail_everywhere, faults, killed_at_rename
from supernet_fixtures import toy_supernet

from mosdeploy.data.batches import Ragged
from mosdeploy.families.translation.dataset import TranslationDataset
from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession, read_sessions
from mosdeploy.records import Deployment, DeviceState, SearchResult, SupernetCard
from mosdeploy.search.evolution import LossCache
from mosdeploy.storage import (
    append_line,
    disk_errors,
    read_lines,
    read_record,
    replace_folder,
    restore_folder,
    write_record,
)
from mosdeploy.supernet.checkpoint import (
    load_supernet,
    load_training_state,
    save_supernet,
    save_training_state,
)
from mosdeploy.workspace import Workspace

__all__ = ["can_exchange", "faults"]

CONTEXT = synthetic.full_inputs().context
RECORD = synthetic.full_inputs().records[0]
NET = toy_supernet()
STATE = DeviceState(packages={"onnxruntime": "1.22.0"})


@dataclass(frozen=True)
class Work:
    """What is done once before anything fails, what then fails, and what must hold after it."""

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    check: Callable[[Path], object]


def measure(root: Path) -> None:
    path = Workspace(root).latency_path("rpi", "sentence")
    dataset = LatencyDataset.open(path, CONTEXT)
    session = ProfilingSession(path, "rpi", STATE, dataset_id="d1")
    dataset.append(RECORD)
    session.add_reference("1", RECORD.measurement)
    session.end(STATE)


def check_measured(root: Path) -> None:
    path = Workspace(root).latency_path("rpi", "sentence")
    dataset = LatencyDataset.load(path)
    assert not dataset.torn
    assert 1 <= len(dataset.records) <= 2
    assert 1 <= len(read_sessions(path)) <= 2


def save_step(root: Path, step: int) -> None:
    files = Workspace(root)
    append_line(files.training_log_path, {"step": step})
    save_training_state(files.checkpoint_path, {"step": step})


def end_training(root: Path) -> None:
    files = Workspace(root)
    save_step(root, 2)
    save_supernet(files.supernet_path, NET)
    write_record(files.supernet_card_path, synthetic.supernet())


def check_training(root: Path) -> None:
    files = Workspace(root)
    step = load_training_state(files.checkpoint_path)["step"]
    num_lines = len(read_lines(files.training_log_path)[0])
    assert 1 <= step <= num_lines <= 2
    if files.supernet_path.exists():
        # whose checksum is over all that it holds
        net = load_supernet(files.supernet_path, type(NET.space), lambda *_: copy.deepcopy(NET))
        assert net.space == NET.space
    if files.supernet_card_path.exists():
        assert step == 2
        read_record(SupernetCard, files.supernet_card_path, "")


def deploy(root: Path, median_ms: float) -> None:
    write_record(Workspace(root).deployment_path("rpi"), synthetic.deployment(median_ms))


def check_deployed(root: Path) -> None:
    found = read_record(Deployment, Workspace(root).deployment_path("rpi"), "")
    assert found in (synthetic.deployment(1.0), synthetic.deployment(2.0))


def two_supernets(root: Path) -> None:
    for folder in (Workspace(root).supernet_dir, Workspace(root).beside.supernet_dir):
        folder.mkdir()
        (folder / "name").write_text(folder.name)


def take_place(root: Path) -> None:
    files = Workspace(root)
    with disk_errors(files.supernet_dir):
        replace_folder(files.beside.supernet_dir, files.supernet_dir)


def check_placed(root: Path) -> None:
    files = Workspace(root)
    name = (files.supernet_dir / "name").read_text()
    assert name in ("supernet", "supernet-new")
    if name == "supernet":
        assert (files.beside.supernet_dir / "name").read_text() == "supernet-new"


def search(root: Path, seed: int) -> None:
    files = Workspace(root)
    losses = LossCache(files.quality_path, "net").wrap(lambda _: 1.0 + seed)
    list(losses([synthetic.SPACE.smallest, synthetic.SPACE.largest][:seed]))
    result = synthetic.search_result().model_copy(update={"seed": seed})
    write_record(files.search_result_path, result)


def check_searched(root: Path) -> None:
    files = Workspace(root)
    losses = LossCache(files.quality_path, "net").wrap(lambda _: 0.0)
    assert list(losses([synthetic.SPACE.smallest])) == [2.0]
    seed = read_record(SearchResult, files.search_result_path, "").seed
    assert seed in (1, 2)
    if seed == 2:  # its losses are on the disk before it is
        assert len(read_lines(files.quality_path)[0]) == 2


WORKS = {
    "profile": Work(measure, measure, check_measured),
    "train": Work(lambda root: save_step(root, 1), end_training, check_training),
    "train again": Work(two_supernets, take_place, check_placed),
    "search": Work(lambda root: search(root, 1), lambda root: search(root, 2), check_searched),
    "deploy": Work(lambda root: deploy(root, 1.0), lambda root: deploy(root, 2.0), check_deployed),
}


@pytest.mark.usefixtures("can_exchange")
@pytest.mark.parametrize("name", WORKS)
def test_a_disk_that_fails_anywhere_leaves_whole_records(
    tmp_path: Path,
    faults: Faults,
    name: str,
) -> None:
    work = WORKS[name]
    before = tmp_path / "before"
    before.mkdir()
    work.prepare(before)
    assert fail_everywhere(faults, before, work.act, work.check) >= 3


def test_a_supernet_whose_replacement_is_killed_is_put_back(tmp_path: Path) -> None:
    # without torch, so that each process starts at once
    code = "storage.replace_folder(root / 'supernet-new', root / 'supernet')"
    for number in (1, 2, 3, 4):
        root = tmp_path / f"run-{number}"
        root.mkdir()
        two_supernets(root)
        assert killed_at_rename(number, code, root) == (number < 4)
        restore_folder(Workspace(root).supernet_dir)
        check_placed(root)
        assert not list(root.glob(".*"))


def test_token_ids_are_written_whole_or_not_at_all(
    tmp_path: Path,
    faults: Faults,
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    first, second = (
        TranslationDataset(Ragged.of(rows), Ragged.of(rows)) for rows in ([[5]], [[5, 6], [7]])
    )
    first.save(before / "tokens.npy")

    def check(root: Path) -> None:
        found = TranslationDataset.open(root / "tokens.npy")
        assert any(np.array_equal(found.lengths, x.lengths) for x in (first, second))

    fail_everywhere(faults, before, lambda root: second.save(root / "tokens.npy"), check)
