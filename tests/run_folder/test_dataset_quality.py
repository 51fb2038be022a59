"""What is proposed where the space has too few subnets for a predictor."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from walking import KeptProgress, edit, make_run_folder, opened

from mosdeploy.errors import PredictorError
from mosdeploy.latency.dataset import LatencyDataset
from mosdeploy.records import DeviceState, SessionRecord
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.predictors import profile_command
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.status import status

TOO_SMALL = r"holds only 4 of the 8 architectures that a predictor needs; .*--max-parameters"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A trained supernet of one or two layers in each stack."""
    root = make_run_folder(tmp_path / "run")
    for name in ("encoder_embed_dim", "decoder_embed_dim"):
        edit(root / "mosdeploy.toml", f"{name} = [16, 32]", f"{name} = [32]")
    for name in ("encoder_ffn_dim", "decoder_ffn_dim"):
        edit(root / "mosdeploy.toml", f"{name} = [16, 64]", f"{name} = [64]")
    edit(root / "mosdeploy.toml", "cross_span = [1, 2]", "cross_span = [1]")
    opened(root).train()
    return root


@pytest.mark.slow
def test_a_space_too_small_for_a_predictor_is_searched_by_size(small: Path) -> None:
    progress = KeptProgress()
    found = opened(small, progress).profile()
    assert (found.num_records, found.card, found.further_command) == (4, None, None)
    assert re.search(TOO_SMALL, progress.messages[-1])
    context = Context(open_run(small))
    seen = status(context)
    assert "predictor" not in [part.what for part in seen.parts]
    proposed = re.fullmatch(r"mosdeploy search --max-parameters (\d+)", seen.next_command)
    assert proposed
    run = opened(small)
    for refused in (lambda: run.search("10s"), lambda: run.profile(until_error_percent=5.0)):
        with pytest.raises(PredictorError, match=TOO_SMALL):
            refused()
    winner = run.search(max_parameters=int(proposed[1])).winner
    assert winner.measured_ms is not None
    assert "search" not in status(context).next_command


@pytest.mark.parametrize(
    ("hosts", "named"),
    [([], ""), (["rpi"], ""), (["pi2"], " --hosts pi2"), (["pi2", "rpi"], " --hosts pi2,rpi")],
)
def test_a_proposed_profile_names_the_boards_that_measured(
    tmp_path: Path, hosts: list[str], named: str
) -> None:
    context = synthetic.full_inputs().context
    device = context.device.model_copy(update={"name": "rpi", "kind": "ssh", "host": "rpi"})
    path = tmp_path / "latency.jsonl"
    dataset = LatencyDataset.open(path, context.model_copy(update={"device": device}))
    sessions = [
        SessionRecord(
            session=str(host), host=host or "", dataset_id="d", started_at="", state=DeviceState()
        )
        for host in hosts
    ]
    found = replace(dataset, _sessions=tuple(sessions))
    assert profile_command(found, "--renew") == f"mosdeploy profile --device rpi{named} --renew"
