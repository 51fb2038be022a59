"""The disk fails at one call of a verb after the other: an error of our own that names the file,
and what stood there is whole. So it is while another verb writes.
"""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import Faults, fail_everywhere, faults
from walking import edit, opened

from mosdeploy.export.bundle import read_manifest
from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession
from mosdeploy.latency.predictor import LatencyPredictor
from mosdeploy.record import parse_json
from mosdeploy.records import Deployment, SearchResult
from mosdeploy.report import Report
from mosdeploy.run_folder.bundles import newest_bundle
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import subnet_card
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.search.evolution import CachedLoss
from mosdeploy.storage import read_lines, read_record
from mosdeploy.supernet.checkpoint import load_subnet
from mosdeploy.workspace import Workspace

__all__ = ["faults"]

pytestmark = pytest.mark.slow


def search(root: Path) -> None:
    opened(root).search("9s", verify=False)


def check_search(root: Path) -> None:
    files = Workspace(root)
    result = read_record(SearchResult, files.search_result_path, "")
    assert result.limits.max_latency_ms in (10_000.0, 9_000.0)
    lines, _ = read_lines(files.quality_path)
    assert len(lines) >= 3
    for line in lines:
        parse_json(CachedLoss, line, "")


def finetune(root: Path) -> None:
    opened(root).finetune(steps=2)


def check_subnets(root: Path) -> None:
    """Every card that is there is of a subnet that is whole."""
    state = trained_run(open_run(root))
    arch = state.search_result().winner.arch
    if state.files.subnet_card_path(arch.key, "finetuned").exists():
        assert subnet_card(state, arch, "finetuned").steps == 2
        path = state.files.subnet_path(arch.key, "finetuned")
        load_subnet(path, state.config.space, state.net.skeleton)


def train(root: Path) -> None:
    opened(root).train()


def train_otherwise(root: Path) -> None:
    edit(root / "mosdeploy.toml", "\nsteps = 12", "\nsteps = 2")


def check_trained(root: Path) -> None:
    """The old supernet or the new one stands there whole."""
    card = open_run(root).whole_supernet_card()
    files = Workspace(root)
    assert card.steps == len(read_lines(files.training_log_path)[0])
    assert card.steps in (2, 12)


def profile(root: Path) -> None:
    opened(root).profile()


def forget_two(root: Path) -> None:
    """Two subnets have to be measured again."""
    path = Workspace(root).latency_path("local", "sentence")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def check_profile(root: Path) -> None:
    dataset = LatencyDataset.load(Workspace(root).latency_path("local", "sentence"))
    assert 10 <= len(dataset.usable) <= 12
    assert {x.session for x in dataset.records} <= {x.session for x in dataset.sessions}


def export(root: Path) -> None:
    opened(root).export()


def check_exported(root: Path) -> None:
    """The one bundle is whole, the old one or the new one, and is the newest."""
    folder = Workspace(root).bundles_dir
    (bundle,) = (x for x in folder.iterdir() if x.is_dir() and x.name[0] != ".")
    read_manifest(bundle)
    assert newest_bundle(Workspace(root)) == bundle


def deploy(root: Path) -> None:
    opened(root).deploy()


def check_deployed(root: Path) -> None:
    """What the folder says is on the device is there whole, and passes its self-test."""
    files = Workspace(root)
    found = read_record(Deployment, files.deployment_path("local"), "")
    bundle = read_manifest(Path(found.remote_dir) / "bundle")
    assert (found.bundle, found.self_test_passed) == (bundle.name, True)


def report(root: Path) -> None:
    opened(root).report()


def check_report(root: Path) -> None:
    folder = Workspace(root).report_dir
    read_record(Report, folder / "report.json", "")
    assert (folder / "index.html").read_text().rstrip().endswith("</html>")


@dataclass(frozen=True)
class Verb:
    """What fails, and what must hold after it."""

    act: Callable[[Path], None]
    check: Callable[[Path], None]
    num_writes: int
    num_reads: int
    prepare: Callable[[Path], None] | None = None
    every: int = 1


VERBS = {
    "search": Verb(search, check_search, num_writes=8, num_reads=10),
    "finetune": Verb(finetune, check_subnets, num_writes=40, num_reads=20),
    "train": Verb(train, check_trained, num_writes=20, num_reads=20, prepare=train_otherwise),
    "profile": Verb(profile, check_profile, num_writes=5, num_reads=5, prepare=forget_two, every=4),
    "export": Verb(export, check_exported, num_writes=20, num_reads=10),
    "deploy": Verb(deploy, check_deployed, num_writes=3, num_reads=10),
    "report": Verb(report, check_report, num_writes=8, num_reads=20),
}


@pytest.fixture
def before(walked: Path, tmp_path: Path) -> Path:
    """The walked folder without its device; two losses at least have to be computed again."""
    root = Path(shutil.copytree(walked, tmp_path / "run", ignore=shutil.ignore_patterns("device")))
    path = Workspace(root).quality_path
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    return root


@pytest.mark.parametrize("call", ["write", "open", "read"])
@pytest.mark.parametrize("name", VERBS)
def test_a_disk_that_fails_at_any_call(before: Path, faults: Faults, name: str, call: str) -> None:
    verb = VERBS[name]
    if verb.prepare is not None:
        verb.prepare(before)
    num_failures = fail_everywhere(
        faults,
        before,
        verb.act,
        verb.check,
        reads=call != "write",
        opens=call == "read",
        every=verb.every,
    )
    assert num_failures >= (verb.num_writes if call == "write" else verb.num_reads)


def profile_on(root: Path) -> None:
    """What a profile writes that goes on, of a board that became slower."""
    dataset = LatencyDataset.load(Workspace(root).latency_path("local", "sentence"))
    old = dataset.sessions[0]
    session = ProfilingSession(
        dataset.path, "local", old.state, dataset_id=dataset.context.dataset_id
    )
    for timing in old.references:
        total = timing.total.model_copy(update={"median_ms": 3 * timing.total.median_ms})
        measured = dataset.records[0].measurement.model_copy(update={"total": total})
        session.add_reference(f"{timing.measured_at} again", measured)
    for record in dataset.records[:4]:
        dataset.append(record.model_copy(update={"session": session.record.session}))
    session.end(old.state)


def test_a_report_while_a_profile_writes(before: Path, faults: Faults) -> None:
    space = open_run(before).config.space
    genes = space.genes([space.smallest, space.largest])
    for number in itertools.count(1):
        root = Path(shutil.copytree(before, before.with_name(f"run-{number}")))
        files = Workspace(root)
        with faults.before(number, files.root / "predictors", lambda: profile_on(root), reads=True):  # noqa: B023
            report(root)
        check_report(root)
        saved = LatencyPredictor.load(files.predictor_path("local", "sentence"))
        dataset = LatencyDataset.load(files.latency_path("local", "sentence"))
        if saved.card.dataset_sha256 == dataset.sha256:  # which then counts as fitted to it
            fitted = LatencyPredictor.fit_dataset(space, dataset)
            assert saved.predict(genes).tolist() == fitted.predict(genes).tolist()
        shutil.rmtree(root)
        if not faults.failed:
            break
    assert number > 5
