"""A task that the supernet of another run folder serves: `supernet_from` in its run file."""

import shutil

from pydantic import JsonValue

from ...errors import ConfigError, StaleInputError
from ...records import Candidate, SearchResult
from ...run_folder.context import Context
from ...run_folder.run import Run, open_run
from ...run_folder.trained_run import TrainedRun, cost_function, trained_run
from ...storage import atomic_write, sha256_file, write_record
from .prepare import data_card


def take_supernet(context: Context, inputs: dict[str, JsonValue]) -> str:
    """Take the supernet of another run folder, with a fresh head for the task of this one."""
    from ...data.batches import ordered_batches
    from ...supernet.checkpoint import save_supernet
    from ...training.validation import validation_loss

    run = context.run
    config = run.config
    files = run.workspace
    if run.family.serve_task is None:
        raise ConfigError(f"a supernet of '{run.family.name}' serves no other tasks")
    base = _base(run)
    data = run.family.load_data(config, files.root)
    seed = config.training.seed
    net = run.family.serve_task(base.net, base.config, config, seed, data.train)
    profiles = base.files.root / "device_profiles"
    if profiles.is_dir():
        shutil.copytree(profiles, files.root / profiles.name, dirs_exist_ok=True)
    atomic_write(files.tokenizer_path, base.tokenizer_bytes())
    write_record(files.data_card_path, data_card(run, data, num_too_long=0))
    save_supernet(files.supernet_path, net)
    card = base.card.model_copy(
        update={
            "inputs": inputs,
            "space_sha256": run.space_sha256,
            "data_sha256": data.sha256,
            "supernet_sha256": sha256_file(files.supernet_path),
            "budget": None,
        }
    )
    state = TrainedRun(run, card)
    valid = ordered_batches(state.validation_set(config.search.eval_examples))
    losses = {
        f"{name}_loss": validation_loss(net, valid, state.arch(name))
        for name in ("largest", "smallest")
    }
    write_record(files.supernet_card_path, card.model_copy(update=losses))
    return ""


def take_search(context: Context) -> None:
    """Take what was found in that supernet, if it was searched."""
    path = context.files.search_result_path
    try:
        found = _base(context.run).search_result()
    except StaleInputError:
        path.unlink(missing_ok=True)
        context.progress.say("no search in that supernet counts: say which subnet with --pick")
    else:
        write_record(path, _of_task(found, trained_run(context.run)))


def _base(run: Run) -> TrainedRun:
    assert run.config.supernet_from is not None
    return trained_run(open_run(run.workspace.root / run.config.supernet_from))


def _of_task(found: SearchResult, state: TrainedRun) -> SearchResult:
    """Return what a search found as it is true of a task; its latencies were of another head."""
    cost = cost_function(state.spec, state.family, len(state.tokenizer_bytes()))

    def taken(candidate: Candidate) -> Candidate:
        own = cost(candidate.arch)
        return Candidate(
            arch=candidate.arch,
            loss=candidate.loss,
            predicted_ms=None,
            num_parameters=own.num_parameters,
            num_body_parameters=own.num_body_parameters,
            size_bytes=own.size_bytes,
            memory_bytes=own.memory_bytes,
        )

    return found.model_copy(
        update={
            "workload": state.config.workload,
            "space_sha256": state.card.space_sha256,
            "supernet_sha256": state.card.supernet_sha256,
            "predictor_sha256": None,
            "verified": False,
            "weighs_time": state.weighs_time,
            "level": 1.0,
            "finalists": (),
            "winner": taken(found.winner),
            "front": tuple(map(taken, found.front)),
        }
    )
