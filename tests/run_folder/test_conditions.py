"""What goes stale: one thing is changed after measuring, and each verb refuses, measures again or
goes on. The table is the one in docs/reliability.md.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from latency_fixtures import leave_measurements
from walking import edit, make_run_folder

from mosdeploy.devices import connect
from mosdeploy.errors import OtherConditionsError
from mosdeploy.export import candidate
from mosdeploy.latency.dataset import LatencyDataset, ProfilingSession, read_sessions
from mosdeploy.latency.regression import choose
from mosdeploy.pipeline.measuring import collect as collecting
from mosdeploy.pipeline.measuring.collect import CollectRequest, CollectResult, collect
from mosdeploy.records import DeviceState
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.predictors import predictor
from mosdeploy.run_folder.run import Run, open_run
from mosdeploy.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
PROFILE = Path("device_profiles") / "local.toml"
STATE = DeviceState(
    machine="x86_64",
    cpu_model="Xeon",
    gpu="TITAN Xp, 575.1, 1582 MHz",
    packages={"onnxruntime": "1.20.0"},
)

GOES_ON = "counts"
REFUSED = "refused"
AGAIN = "measured again"


@dataclass(frozen=True)
class Row:
    """One change, and what becomes of a profile that is continued, of a search's finalists, and of
    predictions.
    """

    what: str
    change: Callable[["Scene"], None]
    profile: str = REFUSED
    finalists: str = AGAIN
    predictions: str = REFUSED


class Scene:
    """A run folder whose device was measured, and what the device says of itself now."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.state = STATE

    def board(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)

    def config(self, old: str, new: str) -> None:
        edit(self.root / "mosdeploy.toml", old, new)

    def device(self, old: str, new: str) -> None:
        edit(self.root / PROFILE, old, new)

    def outcome(self, act: Callable[[], str]) -> str:
        try:
            return act()
        except OtherConditionsError:
            return REFUSED

    def collected(self, name: str, *, renew: bool) -> str:
        context = Context(open_run(self.root))
        archs = [x.arch for x in LatencyDataset.load(self.root / name).records]
        target = run_profile(self.root, "local")
        again = []

        def measure(_: Context, found: CollectResult, missing: dict, *rest: object) -> None:
            again.extend(missing)

        self.monkeypatch.setattr(collecting, "board_state", lambda *_: self.state)
        self.monkeypatch.setattr(collecting, "_measure", measure)
        collect(context, CollectRequest(target, archs, self.root / name, renew=renew))
        assert len(again) in (0, len(archs))
        return AGAIN if again else GOES_ON

    def predicted(self) -> str:
        predictor(open_run(self.root), "local")
        return GOES_ON


BOARD = (
    "the board behind the alias, its GPU, or ONNX Runtime there (but for the third number of its "
    "version)"
)
MODEL = "`[workload]`, `[space]`, the size of the vocabulary"
ANY = "clocks, time-outs, `work_dir`, how the device is reached, `[training]`, the data"
COUNTS_ALL = (GOES_ON, GOES_ON, GOES_ON)
TIMEOUTS = "command_timeout_s = 5.0\nconnect_timeout_s = 5.0"
ROWS = (
    Row(
        "the graph that is timed (another version of mosdeploy builds it otherwise)",
        lambda scene: scene.monkeypatch.setattr(
            candidate, "build_candidate", lambda *_: b"another graph"
        ),
    ),
    Row(
        "the protocol, `[measure]` of the device profile",
        lambda scene: scene.device("warmup = 1", "warmup = 2"),
    ),
    Row(
        "the machine, where the device is `local` (the run folder was copied)",
        lambda scene: scene.monkeypatch.setattr(connect, "machine_id", lambda: "another"),
    ),
    Row(BOARD, lambda scene: scene.board(cpu_model="EPYC"), predictions=GOES_ON),
    Row(BOARD, lambda scene: scene.board(gpu="H100, 575.1, 1980 MHz"), predictions=GOES_ON),
    Row(
        BOARD,
        lambda scene: scene.board(packages={"onnxruntime": "1.21.0"}),
        predictions=GOES_ON,
    ),
    Row(
        "`provider` or `emulated` of the device profile",
        lambda scene: scene.device('kind = "local"', 'kind = "local"\nemulated = true'),
    ),
    Row(MODEL, lambda scene: scene.config("decode_steps = 6", "decode_steps = 7")),
    Row(MODEL, lambda scene: scene.config("qkv_dim = 32", "qkv_dim = 64")),
    Row(MODEL, lambda scene: scene.config("vocab_size = 44", "vocab_size = 45")),
    Row(ANY, lambda scene: scene.board(packages={"onnxruntime": "1.20.1"}), *COUNTS_ALL),
    Row(
        ANY,
        lambda scene: scene.board(gpu="TITAN Xp, 575.1, 1404 MHz", temperature_c=80.0),
        *COUNTS_ALL,
    ),
    Row(
        ANY,
        lambda scene: scene.device('kind = "local"', f'kind = "local"\n{TIMEOUTS}'),
        *COUNTS_ALL,
    ),
    Row(ANY, lambda scene: scene.config("steps = 12", "steps = 13"), *COUNTS_ALL),
)


def fabricate(run: Run, path: Path) -> None:
    """A dataset of twelve subnets that the local device would have left."""
    spec = run.config.spec
    archs = choose(spec, 12, seed=1)
    times_ms = 3.0 + spec.latency_features(spec.gene_rows(archs)).sum(axis=1)
    leave_measurements(run, "local", path, archs, times_ms, STATE)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a profile and the finalists of a search; tests must not change it."""
    root = make_run_folder(tmp_path_factory.mktemp("measured") / "run")
    run = open_run(root)
    for path in paths(root).values():
        fabricate(run, path)
    predictor(run, "local")
    return root


def paths(root: Path) -> dict[str, Path]:
    files = Workspace(root)
    return {
        "profile": files.latency_path("local", "sentence"),
        "finalists": files.verified_path("local", "sentence"),
    }


@pytest.fixture
def scene(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = Scene(Path(shutil.copytree(measured, tmp_path / "run")), monkeypatch)
    candidate.graph_sha256.cache_clear()
    yield made
    candidate.graph_sha256.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_what_goes_stale(scene: Scene, row: Row) -> None:
    row.change(scene)
    names = {name: str(path.relative_to(scene.root)) for name, path in paths(scene.root).items()}
    found = Row(
        row.what,
        row.change,
        profile=scene.outcome(lambda: scene.collected(names["profile"], renew=False)),
        finalists=scene.outcome(lambda: scene.collected(names["finalists"], renew=True)),
        predictions=scene.outcome(scene.predicted),
    )
    assert found == row


def test_the_documentation_quotes_the_table() -> None:
    lines = [f"| {x.what} | {x.profile} | {x.finalists} | {x.predictions} |" for x in ROWS]
    rows = dict.fromkeys(lines)
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    assert "\n".join(rows) in text


def test_measuring_again_keeps_the_old_file_and_takes_a_new_id(scene: Scene) -> None:
    path = paths(scene.root)["finalists"]
    before = path.read_bytes()
    scene.board(cpu_model="EPYC")
    scene.collected(str(path.relative_to(scene.root)), renew=True)
    old = path.with_suffix(".old")
    assert old.read_bytes() == before
    # the device keeps results by this id: those of before must not come back
    assert LatencyDataset.load(path).context.dataset_id not in before.decode()


def test_a_fleet_may_have_boards_of_two_revisions(scene: Scene) -> None:
    dataset = LatencyDataset.load(paths(scene.root)["profile"])
    other = STATE.model_copy(update={"cpu_model": "Xeon, revision 2"})
    dataset.check_board("pi2", other, is_fleet=True)
    with pytest.raises(OtherConditionsError, match="on pi2, processor was Xeon, is Xeon, rev"):
        dataset.check_board("pi2", other)
    with pytest.raises(OtherConditionsError, match="on local, processor was Xeon, is Xeon, rev"):
        dataset.check_board("local", other, is_fleet=True)
    arm = STATE.model_copy(update={"machine": "aarch64"})
    with pytest.raises(OtherConditionsError, match="machine was x86_64, is aarch64 now"):
        dataset.check_board("pi2", arm, is_fleet=True)


def test_a_session_without_a_runtime_binds_nobody(scene: Scene) -> None:
    path = paths(scene.root)["profile"]
    dataset = LatencyDataset.load(path)
    bare = DeviceState(machine="armv7l")
    ProfilingSession(path, "local", bare, dataset_id=dataset.context.dataset_id)
    dataset.check_board("local", STATE)


def test_the_sessions_of_one_folder_are_told_apart(scene: Scene) -> None:
    path = paths(scene.root)["finalists"]
    other = path.with_name("local-other.jsonl")
    fabricate(open_run(scene.root), other)
    assert len(read_sessions(path)) == 2
    first, second = (LatencyDataset.load(x).sessions for x in (path, other))
    assert len(first) == len(second) == 1
    assert first != second


def test_this_machine_is_told_by_its_id_or_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "machine-id"
    monkeypatch.setattr(connect, "ID_PATHS", (path,))
    named = connect.machine_id()
    path.write_bytes(b"\xff")
    assert connect.machine_id() == named
    path.write_text("0123456789abcdef0123456789abcdef\n")
    first = connect.machine_id()
    path.write_text("fedcba9876543210fedcba9876543210\n")
    assert len({named, first, connect.machine_id()}) == 3
    assert "0123456789abcdef" not in first
