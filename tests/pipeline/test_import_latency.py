"""Latencies that others published: what an import fits, refuses, and what a search makes of it."""

from pathlib import Path

import numpy as np
import pytest
from walking import opened

import mosdeploy
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.hat import MEAN_COLUMNS, TIME_COLUMNS
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.pipeline.import_latency import ImportOptions, import_latency
from mosdeploy.records import PredictorCard
from mosdeploy.run_folder.conditions import latency_context
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import run_profile
from mosdeploy.run_folder.predictors import predictor
from mosdeploy.run_folder.run import Run, open_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fresh run folder of HAT's WMT space."""
    mosdeploy.init(tmp_path / "run", "wmt14.en-de")
    return open_run(tmp_path / "run")


@pytest.fixture
def csv_path(tmp_path: Path, run: Run) -> Path:
    """Rows of the run's space."""
    return write_csv(tmp_path / "board.csv", run)


def write_csv(path: Path, run: Run) -> Path:
    """200 rows in HAT's format: 100 ms, 50 ms a decoder layer; rows 30-59 were throttled to half
    the speed.
    """
    space = run.config.space
    rng = np.random.default_rng(0)
    genes = space.genes([space.sample(rng) for _ in range(200)])
    layers = genes[:, space.gene_slices["decoder_layers"]].sum(axis=1)
    rows = np.arange(200)
    slow = np.where((rows >= 30) & (rows < 60), 2.0, 1.0)
    lines = [",".join((*MEAN_COLUMNS, *TIME_COLUMNS))]
    for means, encoder_ms, decoder_ms in zip(
        space.aggregate_genes(genes).tolist(), 100 * slow, 50 * layers * slow, strict=True
    ):
        lines.append(",".join(map(str, [*means, encoder_ms, decoder_ms])))
    path.write_text("\n".join(lines) + "\n")
    return path


def import_csv(run: Run, path: Path, **changes: str) -> PredictorCard:
    given = {"device": "rpi", "workload": "wmt14-ende", "source": "a paper", "licence": "MIT"}
    return import_latency(Context(run), ImportOptions(path, **{**given, **changes}))


def test_an_import_leaves_out_what_was_throttled(run: Run, csv_path: Path) -> None:
    card = import_csv(run, csv_path)
    found = predictor(run, "rpi")
    assert found.card == card
    space = run.config.space
    latency_ms = found.predict(space.genes([space.smallest, space.largest]))
    np.testing.assert_allclose(latency_ms, [150, 400], rtol=0.01)
    (block,) = card.left_out
    assert block.start == pytest.approx(30, abs=5)
    assert block.stop == pytest.approx(60, abs=5)
    assert block.time_ratio == 2.0
    assert (card.source, card.licence) == ("a paper", "MIT")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_format": "xml"}, "unknown format 'xml'; known: hat"),
        (
            {"workload": "iwslt14-deen"},
            "--workload is 'iwslt14-deen', but this run folder is about 'wmt14-ende'",
        ),
        ({"device": "rpy"}, "unknown device 'rpy'; did you mean 'rpi'"),
    ],
)
def test_an_import_of_something_else_is_refused(
    run: Run, csv_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        import_csv(run, csv_path, **changes)
    assert not (run.workspace.root / "predictors").exists()


def test_ones_own_measurements_are_not_replaced_by_a_file(run: Run, csv_path: Path) -> None:
    own = run.workspace.latency_path("rpi", "wmt14-ende")
    own.parent.mkdir(parents=True)
    own.write_text("{}\n{}\n")
    with pytest.raises(ConfigError, match="holds measurements of 'rpi', which count more"):
        import_csv(run, csv_path)


def test_a_profile_that_never_reached_its_device_makes_way_for_a_file(
    run: Run, csv_path: Path
) -> None:
    own = run.workspace.latency_path("rpi", "wmt14-ende")
    LatencyDataset.open(own, latency_context(run, run_profile(run.workspace.root, "rpi")))
    card = import_csv(run, csv_path)
    assert predictor(run, "rpi").card == card
    parts = opened(run.workspace.root).status().parts
    assert [(x.what, x.state) for x in parts if x.name == "rpi"] == [("predictor", "ok")]


def test_a_search_without_the_board_warns_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(folder)
    import_csv(run, write_csv(tmp_path / "board.csv", run), workload="sentence")
    # the limit is that of one decoder layer, not two
    result = opened(folder).search("170ms", device="rpi", verify=False)
    (warning,) = caplog.records
    assert warning.name == "mosdeploy.run_folder.predictors"
    assert "'rpi' was fitted on PyTorch eager" in warning.getMessage()
    assert (result.verified, result.winner.measured_ms, result.finalists) == (False, None, ())
    assert result.winner.predicted_ms == pytest.approx(150, rel=0.01)
    assert len(result.winner.arch.decoder_layers) == 1
