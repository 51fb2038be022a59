"""Ours where there is one limit: a supernet of what keeps it, in the compute of one by hand."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from by_hand_report import Cell
from walk_cells import judged, kept, write_run_file

import mosdeploy
from mosdeploy.recipes import read_recipe
from mosdeploy.record import Record

WAY = "ours, one limit"


class Trained(Record):
    """CPU seconds of a supernet's training."""

    seconds: float


@dataclass(frozen=True)
class OneLimit:
    """The walk of one limit and seed.

    Attributes
    ----------
    folder
        The run folder.
    options
        What its run file says otherwise than the recipe `tiny`.
    predictors
        Of the profile that all walks share.
    """

    folder: Path
    options: Mapping[str, Mapping[str, Any]]
    predictors: Path
    limit_ms: float
    seed: int

    def cell(self, total_s: float, step_s: float) -> Cell:
        """Train the supernet within the limit, search, and train the winner for what is left.

        Parameters
        ----------
        total_s
            CPU seconds of all training.
        step_s
            Of one step of a subnet of this limit alone.
        """
        limit = f"{self.limit_ms:.4f}ms"
        write_run_file(self.folder, read_recipe("tiny"), self.options)
        if not (self.folder / "predictors").exists():
            shutil.copytree(self.predictors, self.folder / "predictors")
        run = mosdeploy.open_run(self.folder)

        def train() -> Trained:
            start = time.process_time()
            run.train(limit, device="local")
            return Trained(seconds=time.process_time() - start)

        supernet_s = kept(self.folder / "supernet-seconds.json", Trained, train).seconds
        if not (self.folder / "search" / "result.json").exists():
            run.search(limit, device="local")
        steps = round((total_s - supernet_s) / step_s)
        start = time.process_time()
        card = run.finetune(steps=steps)
        return Cell(
            way=WAY,
            seed=self.seed,
            limit_ms=self.limit_ms,
            num_limits=1,
            steps=steps,
            seconds=time.process_time() - start + supernet_s,
            scores=judged(self.folder, "winner", card.weights),
        )
