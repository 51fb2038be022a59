"""`train --dry-run`: what a training would cost."""

import functools
from dataclasses import replace

from ..records import DryRun
from ..run_folder.budget import busy, tried_budget, with_budget
from ..run_folder.context import Context
from ..run_folder.devices import check_named
from .train import TrainOptions

ROUTINGS = ("none", "layer", "neuron")


def dry_run(context: Context, options: TrainOptions | None = None) -> DryRun:
    """Try what the configured training costs, beside other ways to share the weights; trains and
    keeps nothing.
    """
    from ..training.cost import CostTask, training_cost

    options = options or TrainOptions()
    check_named(context)
    context.check_checkpoint()
    config = with_budget(context.run, tried_budget(context, options.time_s)).config
    fresh = functools.partial(
        context.family.fresh_supernet, config.space, config.vocab_size, seed=config.training.seed
    )
    examples = context.family.made_up_dataset(config)
    # of a time, that was told with its trial
    if options.time_s is None and (told := busy()):
        context.progress.say(told)
    costs = {}
    total = len(ROUTINGS) + (config.teacher_steps > 0)
    for done, name in enumerate(ROUTINGS):
        context.progress.update("dry run", done, total, name)
        supernet = config.supernet.model_copy(update={"routing": name})
        task = CostTask(fresh=fresh, supernet=supernet, training=config.training, examples=examples)
        costs[name] = training_cost(task)
    teacher_s = 0.0
    if config.teacher_steps:
        context.progress.update("dry run", len(ROUTINGS), total, "teacher")
        # as the estimate of `init` takes it: the largest architecture, trained alone
        alone = functools.partial(
            context.family.fresh_subnet,
            config.space.largest,
            config.space,
            config.vocab_size,
            seed=config.training.seed,
        )
        teacher_s = config.teacher_steps * training_cost(replace(task, fresh=alone)).step_s
    context.progress.update("dry run", total, total)
    return DryRun(
        space_sha256=context.run.space_sha256,
        vocab_size=config.vocab_size,
        steps=config.training.steps,
        costs={"configured": costs[config.supernet.routing], **costs},
        teacher_steps=config.teacher_steps,
        teacher_s=teacher_s,
    )
