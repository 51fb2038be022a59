"""The verb `finetune`: train one subnet alone, from its inherited weights, from its part of the
teacher, or from scratch.
"""

from dataclasses import replace

from ..config.sections import FinetuneConfig, TrainingConfig
from ..errors import ConfigError
from ..records import SubnetCard, WeightOrigin
from ..run_folder.context import SILENT, Context
from ..run_folder.options import FinetuneOptions
from ..run_folder.subnets import STARTS, losses_of, pick
from ..run_folder.trained_run import trained_run
from .equal_time import steps_for
from .training.subnet_training import LARGEST, SubnetTraining, teacher_card

CURVE_POINTS = 20
"""How often the validation loss is logged on the way, at most."""
WARMUP = 10
"""A training's steps over those in which its learning rate rises."""
RESUMED_WARMUP = 50
"""The same, from all of the inherited weights, whose rate was still at its peak."""


def _starts(
    options: FinetuneOptions, has_teacher: bool, *, from_teacher: bool
) -> tuple[WeightOrigin, ...]:
    """What the results are called: with a teacher whose parts subnets are, both starts are
    tried, and the better one is kept.
    """
    if options.from_scratch:
        return ("scratch",)
    if from_teacher and not has_teacher:
        raise ConfigError("there is no teacher whose weights a subnet can start from")
    if from_teacher:
        return ("from-teacher",)
    return ("finetuned", "from-teacher") if has_teacher else ("finetuned",)


def finetune(
    context: Context, options: FinetuneOptions | None = None, *, from_teacher: bool = False
) -> SubnetCard:
    """Train one subnet alone, or go on where a killed run stopped; a finished one is left as
    it is.
    """
    from ..training.device import torch_threads
    from ..training.distributed import init_distributed

    options = options or FinetuneOptions()
    training = context.config.training
    with torch_threads(training.threads), init_distributed(training) as distributed:
        if not distributed.is_first:  # all find the same, and one says it
            context = replace(context, progress=SILENT)
        say = context.progress.say
        state = trained_run(context.run, context.progress)
        arch = pick(state, str(options.pick), context.progress).arch
        own = state.config.finetune
        # the largest may be a teacher, which has its steps whatever they take
        if options.steps is None and options.pick != LARGEST:
            own = own.model_copy(update={"steps": steps_for(state, arch, context.progress)})
        config = alone(state.config.training, own, options)
        teacher = teacher_card(state, arch)
        cards = []
        for weights in _starts(options, state.has_parts_of_teacher, from_teacher=from_teacher):
            subnet = SubnetTraining(state, arch, weights, config, teacher, command=options.command)
            cards.append(subnet.run(distributed, context.progress))
    for card in cards if len(cards) > 1 else ():
        say(f"from {STARTS[card.weights]}: {losses_of(card)}")
    best = min(cards, key=lambda card: card.loss)
    if teacher is not None and teacher.loss >= best.loss:
        say(
            f"its teacher came to a validation loss of {teacher.loss:.3f} itself, and one "
            "that is no better may cost more than it brings: train it longer with `mosdeploy "
            f"finetune --pick {LARGEST} --steps`, or leave [finetune] teacher out"
        )
    return best


def alone(
    training: TrainingConfig, finetune: FinetuneConfig, options: FinetuneOptions
) -> TrainingConfig:
    """The training of one subnet: [training] with its own number of steps and schedule."""
    usual = finetune.steps + (training.steps if options.from_scratch else 0)
    steps = usual if options.steps is None else options.steps
    if steps < 1:
        raise ConfigError(f"steps is {steps}; at least 1 is needed")
    # a supernet whose rate stayed leaves the decay to its winners
    stays = training.schedule == "constant"
    resumes = stays and not options.from_scratch and finetune.inherited_share == 1
    return training.model_copy(
        update={
            "steps": steps,
            "warmup_steps": steps // (RESUMED_WARMUP if resumes else WARMUP),
            "schedule": "cosine" if stays else training.schedule,
            "validate_every": max(1, steps // CURVE_POINTS),
        }
    )
