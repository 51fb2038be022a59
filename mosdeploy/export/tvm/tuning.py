"""MetaSchedule on this machine: better schedules for the linear layers, searched within a time and
kept.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.dlight.cpu.base import CPUScheduleRule
from tvm.target import Target

from ...errors import ExportError
from ...storage import atomic_write, fingerprint, read_lines
from .options import Notify, Tuning
from .schedules import PackedLinear

RECORDS_NAME = "records.jsonl"
WORKLOADS_NAME = "workloads.jsonl"
TRIALS_A_ROUND = 16
POPULATION = 128
TIMEOUT_S = 300.0
"""For one schedule to be compiled, or timed; the first waits until a process has loaded TVM."""

LEAST_PRODUCTS = 2**14
"""Smaller layers take microseconds however they are scheduled."""


class Tuned(CPUScheduleRule):  # type: ignore[misc]
    """A dlight rule: the fastest schedule on record."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def apply(self, func: tirx.PrimFunc, target: Any, _: bool) -> Any:
        """Schedule a function that was tuned, or leave it alone."""
        return (
            self._database.query_schedule(_workload(func), target, "main")
            if _is_tunable(func)
            else None
        )


def open_database(folder: Path) -> Any:
    """Open the records of a folder, or make it; a last line that a kill cut short is dropped."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RECORDS_NAME, WORKLOADS_NAME):
        lines, torn = read_lines(folder / name)
        if torn:
            atomic_write(folder / name, b"".join(line + b"\n" for line in lines))
    try:
        return ms.database.JSONDatabase(str(folder / WORKLOADS_NAME), str(folder / RECORDS_NAME))
    except (ValueError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"the tuning records in {folder} cannot be read ({said}); delete that folder"
        ) from error


def tune(module: Any, target: Target, run: Tuning, notify: Notify) -> Any:
    """Search for schedules of the linear layers whose sizes are known, in rounds, until the time is
    spent.
    """
    # a time holds for one processor and one number of threads
    folder = run.folder / f"{target.attrs['mcpu']}-{run.threads}"
    database = open_database(folder)
    # by name: the same order in every run, on which the fingerprint below depends
    functions = sorted(module.functions_items(), key=lambda item: item[0].name_hint)
    tasks = [func for _, func in functions if _is_tunable(func)]
    # time is counted for each set of layers: another subnet has a budget of its own
    account = folder / f"spent-{fingerprint(*(func.script() for func in tasks))[:12]}.json"
    spent_s = 0.0
    # what cannot be read costs the budget once more, and nothing else
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        spent_s = float(json.loads(account.read_text(encoding="utf-8"))["seconds"])
    # MetaSchedule refuses a target without a number of cores
    target = Target({**target.export(), "num-cores": run.threads})
    with _threads(run.threads):
        search = None
        number = 0
        while tasks and spent_s < run.budget_s:
            # starts two processes, for which a spent budget has no use
            search = search or _Search(database, target, folder)
            begin = time.monotonic()
            func = tasks[number % len(tasks)]
            # the untuned schedules first, then a round for each layer in turn
            note = search.measure_untuned(func) if number < len(tasks) else search.search(func)
            spent_s += time.monotonic() - begin
            number += 1
            # after each round, so that a kill loses the time of one at most
            atomic_write(account, json.dumps({"seconds": spent_s}))
            notify(min(spent_s, run.budget_s), note)
    return database


def build(module: Any, target: Target, _: Any) -> Any:
    """Compile a schedule as MetaSchedule does, in a process of its own, which needs half a minute
    less without the instructions of GPUs that MetaSchedule loads there.
    """
    from tvm.driver import build as build_module
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    plain = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    return build_module(plain, target=target)


def _load_instructions() -> None:
    """Load those that MetaSchedule knows of processors, and not of GPUs, as it does with its first
    task: each of those is a program that TVM parses, which takes a minute.
    """
    names = [f"tvm.s_tir.tensor_intrin.{x}" for x in ("cuda", "hexagon", "rocm")]
    hidden = {name: ModuleType(name) for name in names if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        importlib.import_module("tvm.s_tir.tensor_intrin")
    finally:
        for name in hidden:
            del sys.modules[name]


class _Search:
    """The parts of MetaSchedule that all rounds share; the model of costs learns from round to
    round.
    """

    def __init__(self, database: Any, target: Target, folder: Path) -> None:
        self._database = database
        self._target = target
        self._folder = folder
        self._builder = ms.builder.LocalBuilder(max_workers=1, timeout_sec=TIMEOUT_S, f_build=build)
        self._runner = ms.runner.LocalRunner(TIMEOUT_S)
        self._costs = ms.cost_model.XGBModel(num_tuning_cores=1)
        _load_instructions()

    def measure_untuned(self, func: tirx.PrimFunc) -> str:
        """Put the untuned schedule on record, if nothing is."""
        workload = self._database.commit_workload(_workload(func))
        if not self._database.get_top_k(workload, 1):
            schedule: Any = PackedLinear().apply(workload.mod["main"], self._target, False)
            # compiled and timed in processes of their own, where a crash or a hang ends with a
            # message
            (built,) = self._builder.build([ms.builder.BuilderInput(schedule.mod, self._target)])
            arguments = ms.arg_info.ArgInfo.from_prim_func(schedule.mod["main"])
            if built.artifact_path is None:
                return f"{_name(func)}: {built.error_msg}"
            (future,) = self._runner.run(
                [ms.runner.RunnerInput(built.artifact_path, "cpu", arguments)]
            )
            result = future.result()
            if not result.run_secs:
                return f"{_name(func)}: {result.error_msg}"
            record = (schedule.trace, workload, result.run_secs, self._target, arguments)
            self._database.commit_tuning_record(ms.database.TuningRecord(*record))
        return self._best(func)

    def search(self, func: tirx.PrimFunc) -> str:
        """Try some more schedules, bred from the best on record."""
        strategy = ms.search_strategy.EvolutionarySearch(population_size=POPULATION)
        context = ms.TuneContext(
            mod=_workload(func),
            target=self._target,
            space_generator="post-order-apply",
            search_strategy=strategy,
            task_name="main",
            num_threads=1,
        )
        # one layer and one batch of trials a call: the time is looked at in between
        ms.tune.tune_tasks(
            tasks=[context.clone()],
            task_weights=[1.0],
            work_dir=str(self._folder),
            max_trials_global=TRIALS_A_ROUND,
            num_trials_per_iter=TRIALS_A_ROUND,
            builder=self._builder,
            runner=self._runner,
            database=self._database,
            cost_model=self._costs,
            task_scheduler="round-robin",
        )
        return self._best(func)

    def _best(self, func: tirx.PrimFunc) -> str:
        records = self._database.get_top_k(self._database.commit_workload(_workload(func)), 1)
        return f"{_name(func)}: " + (
            f"{min(map(float, records[0].run_secs)) * 1e6:.1f} us" if records else "none works"
        )


def _name(func: tirx.PrimFunc) -> str:
    """Rows, inputs and outputs of a linear layer."""
    rows = int(func.attrs["tiles"]) * int(func.attrs["rows"])
    return f"{rows} x {int(func.attrs['inputs'])} x {int(func.attrs['outputs'])}"


@contextlib.contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """The processes that measure take their number of threads from the environment."""
    before = os.environ.get("TVM_NUM_THREADS")
    os.environ["TVM_NUM_THREADS"] = str(num_threads)
    try:
        yield
    finally:
        os.environ.pop("TVM_NUM_THREADS")
        if before is not None:
            os.environ["TVM_NUM_THREADS"] = before


def _is_tunable(func: Any) -> bool:
    """Whether it is a linear layer of known size that is worth it."""
    if (
        not isinstance(func, tirx.PrimFunc)
        or not func.attrs
        # 0: the number of tiles is known to a run only, and a layer of unknown size cannot be timed
        or int(func.attrs.get("tiles", 0)) == 0
    ):
        return False
    return int(func.attrs["inputs"]) * int(func.attrs["outputs"]) >= LEAST_PRODUCTS


def _workload(func: tirx.PrimFunc) -> Any:
    # always under one name and with the same attributes: the database finds a layer by its module
    return tvm.IRModule({"main": func.with_attrs({"global_symbol": "main", "tirx.noalias": True})})
