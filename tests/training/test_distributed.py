"""Several processes that train one network: their losses are those of one process, and none of
them waits for ever.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from example_spaces import SMALL
from rank_job import Job, exchange, start, train_supernet

from mosdeploy.config.sections import TrainingConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.elastic import fresh_supernet
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.checkpoint import load_supernet
from mosdeploy.training.distributed import SINGLE_PROCESS, DistributedContext, init_distributed

Task = Callable[[Job, int], object]

CONFIG = TrainingConfig(
    steps=6,
    tokens_per_batch=60,
    grad_accum_steps=3,
    learning_rate=5e-3,
    warmup_steps=3,
    compute="cpu",
    amp="none",  # a trial may choose otherwise in each run
    threads=1,
    validate_every=3,
    checkpoint_every=2,
)


def run(num_ranks: int, folder: Path, task: Task, **job: Any) -> list[Any]:
    """What each rank answered; None where it was killed, or stopped until the others ended."""
    folder.mkdir(exist_ok=True)
    for rank in range(num_ranks):
        (folder / f"answer-{rank}").unlink(missing_ok=True)
    processes = start(num_ranks, task, {"folder": str(folder), **job})
    try:
        for rank, process in enumerate(processes):
            if rank != job.get("stopped_rank"):
                process.join(timeout=150)
                assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
            process.join()
    answers = [folder / f"answer-{rank}" for rank in range(num_ranks)]
    return [json.loads(path.read_text()) if path.exists() else None for path in answers]


def train(
    num_ranks: int,
    folder: Path,
    space: TranslationSpace,
    config: TrainingConfig = CONFIG,
    **more: Any,
) -> list[Any]:
    job = {"config": config.model_dump(mode="json"), "space": space.model_dump(mode="json"), **more}
    return run(num_ranks, folder, train_supernet, **job)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert train(1, folder, SMALL) == [None]
    return folder


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same_way(folder: Path, undisturbed: Path) -> None:
    lines = log_of(folder)
    wanted = log_of(undisturbed)
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert [line["loss"] for line in lines] == pytest.approx(
        [line["loss"] for line in wanted], rel=1e-5
    )
    for name in ("gradient_norm", "largest_loss", "smallest_loss"):
        numbers = [line[name] for line in wanted if line[name] is not None]
        assert [line[name] for line in lines if line[name] is not None] == pytest.approx(
            numbers, rel=1e-4
        )
    nets = [
        load_supernet(path / "supernet.safetensors", TranslationSpace, fresh_supernet).state_dict()
        for path in (folder, undisturbed)
    ]
    mine, theirs = ({k: v for k, v in net.items() if not k.endswith(".k.bias")} for net in nets)
    torch.testing.assert_close(
        mine, theirs, rtol=0, atol=2e-4
    )  # keys' biases cancel out: Adam follows rounding errors


def test_two_ranks_walk_the_way_of_one(tmp_path: Path, undisturbed: Path) -> None:
    assert train(2, tmp_path, SMALL) == [
        None,
        None,
    ]  # with dropout, and three batches for two ranks
    same_way(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_killed_rank_ends_the_others_and_any_number_resumes(
    tmp_path: Path, undisturbed: Path
) -> None:
    survivor, _ = train(2, tmp_path, SMALL, signal="SIGKILL", stop_at=3, stopped_rank=1)
    assert survivor.startswith("error: rank 0 of 2 lost touch with the others")
    assert "goes on from the last checkpoint" in survivor
    _, survivor = train(2, tmp_path, SMALL, signal="SIGKILL", stop_at=5, stopped_rank=0)
    assert survivor.startswith("error: rank 1 of 2 lost touch with the others")
    assert not (tmp_path / "supernet.safetensors").exists()
    assert train(1, tmp_path, SMALL) == [None]
    same_way(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_silent_rank_is_given_up(tmp_path: Path) -> None:
    survivor, _ = train(
        2, tmp_path, SMALL, signal="SIGSTOP", stop_at=1, stopped_rank=1, silence_s=3.0
    )
    assert "was silent for 3 s" in survivor


def test_ranks_that_start_apart_are_refused(tmp_path: Path) -> None:
    for answer in train(2, tmp_path, SMALL, seeds_differ=True):
        assert answer.startswith("error: the ranks start from different weights")


def test_more_ranks_than_batches_are_refused(tmp_path: Path) -> None:
    for answer in train(2, tmp_path, SMALL, CONFIG.model_copy(update={"grad_accum_steps": 1})):
        assert "leave nothing to do for some of 2 processes" in answer


def test_texts_and_sums_reach_every_rank(tmp_path: Path) -> None:
    answer = ["a text: two", [[3.0, 3.0], [3.0, 3.0]], 10.0, [float(i) for i in range(7)], 2.0]
    assert run(2, tmp_path, exchange, fails=False) == [answer, answer]


def test_what_fails_on_the_first_rank_ends_the_others(tmp_path: Path) -> None:
    first, second = run(2, tmp_path, exchange, fails=True)
    assert first == "error: no corpus"
    assert re.search(
        "the first rank failed; its message says why|one of them ended", second
    )  # the store may be gone


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed(CONFIG) as ranks:
        assert ranks is SINGLE_PROCESS
        numbers = torch.ones(3)
        ranks.all_reduce([numbers])
        ranks.check_same(7)
        assert numbers.tolist() == [1.0, 1.0, 1.0]
        assert ranks.total(2.5) == 2.5
        assert ranks.first("task", lambda: "done") == "done"
        assert ranks.share([1, 2, 3]) == [1, 2, 3]
    assert [DistributedContext(rank, 3).share(range(7)) for rank in range(3)] == [
        range(0, 7, 3),
        range(1, 7, 3),
        range(2, 7, 3),
    ]


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = {
        "WORLD_SIZE": "2",
        "RANK": "1",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(
            ConfigError, match=r"than this machine has GPUs \(1\); lower --nproc-per-node"
        ),
        init_distributed(CONFIG.model_copy(update={"compute": "auto"})),
    ):
        pass
