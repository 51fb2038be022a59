"""What a walk will take: training from a few timed steps, measuring from the device's protocol."""

from dataclasses import dataclass
from functools import cached_property

from ..config import RunConfig
from ..config.device import DeviceProfile
from ..family import DataSizes
from ..run_folder.budget import tried_budget, with_budget
from ..run_folder.context import Context
from ..run_folder.summaries import StepTimes, WalkEstimate
from .finetune import CURVE_POINTS
from .same_time import MAX_TIME_S, NUM_TIMED, TURNS
from .step_time import MOST_SUPERNET_STEPS, NUM_SHAPES

START_S = 1.5
"""A process that loads the runtime and a model, on a slow core."""

FORWARD_SHARE = 1 / 3
"""Of a step, what a forward pass alone takes; the backward pass does twice the work."""

WRITING_S = 5.0
"""Loading what was trained and writing a bundle, or a report."""


def estimate_walk(
    context: Context, times: StepTimes, device: DeviceProfile, sizes: DataSizes
) -> WalkEstimate:
    """Add up what each verb takes."""
    config = with_budget(context.run, tried_budget(context, None)).config
    num_winners = context.config.training.num_winners
    parts = _Parts(context, config, times, device, sizes)
    of_each = {
        "search": parts.search_s,
        "finetune": parts.trial_s
        + parts.alone_s
        + parts.num_trainings * config.finetune.steps * times.winner_s,
        "evaluate": parts.evaluate_s,
        "export": parts.export_s,
        "deploy": WRITING_S + parts.measuring_s(1),
        "report": WRITING_S,
    }
    return WalkEstimate(
        verbs={
            "train": parts.prepare_s + parts.teacher_s + config.training.steps * times.supernet_s,
            "profile": parts.measuring_s(config.profile.budget),
            **{verb: num_winners * seconds for verb, seconds in of_each.items()},
        },
        fixed_s=parts.prepare_s + num_winners * (parts.alone_s + parts.trial_s),
        steps={
            "teacher": config.teacher_steps,
            "supernet": config.training.steps,
            "winner": config.finetune.steps,
        },
        times=times,
        device=device.name,
        num_winners=num_winners,
    )


@dataclass(frozen=True)
class _Parts:
    """Seconds of what the verbs do; from `search` on of one winner."""

    context: Context
    config: RunConfig
    times: StepTimes
    device: DeviceProfile
    sizes: DataSizes

    @property
    def has_teacher(self) -> bool:
        return self.context.family.open_teacher is not None

    @property
    def num_trainings(self) -> int:
        """Of a winner: both starts where there is a teacher."""
        return 2 if self.has_teacher else 1

    @cached_property
    def larger(self) -> float:
        """What the largest architecture, also a teacher's, computes to the one that was timed."""
        spec = self.context.spec
        return spec.num_macs(spec.space.largest) / spec.num_macs(spec.reference_arch())

    @cached_property
    def per_example_s(self) -> float:
        """A forward pass."""
        batch = len(self.context.family.made_up_dataset(self.config))
        num_examples = batch * self.config.training.grad_accum_steps
        return FORWARD_SHARE * self.times.winner_s / num_examples

    @property
    def answer_s(self) -> float:
        return self.config.workload.answer_passes * self.per_example_s

    @property
    def prepare_s(self) -> float:
        """A teacher's outputs, and validations of the largest and the smallest."""
        sizes = self.sizes
        training = self.config.training
        labelled = self.larger * (sizes.train + sizes.valid) if self.has_teacher else 0.0
        validations = 1 + training.steps // training.validate_every
        return self.per_example_s * (labelled + validations * sizes.valid * (self.larger + 1))

    @property
    def teacher_s(self) -> float:
        return self.config.teacher_steps * self.times.winner_s * self.larger

    @property
    def alone_s(self) -> float:
        """Validations of a winner."""
        return self.per_example_s * self.num_trainings * CURVE_POINTS * self.sizes.valid

    @property
    def trial_s(self) -> float:
        """Steps of one architecture and of the reference by turns, where winners are trained for a
        time.
        """
        from ..training.cost import MAX_BATCHES

        if not self.config.finetune.same_time:
            return 0.0
        steps = self.config.training.grad_accum_steps
        step_s = self.times.winner_s * min(steps, MAX_BATCHES) / steps
        # one step warms up, and the last one validates too; two are made in any case
        turn_s = min((NUM_TIMED + 2) * step_s, max(MAX_TIME_S, 2 * step_s))
        return TURNS * 2 * turn_s

    @property
    def search_s(self) -> float:
        search = self.config.search
        judged = search.population + search.iterations * (search.mutations + search.crossovers)
        judged_s = judged * search.eval_examples * self.per_example_s
        finetune = self.config.finetune
        counts = (
            finetune.inherited_share < 1
            and self.config.training.steps <= MOST_SUPERNET_STEPS * finetune.steps
        )
        timed_s = NUM_SHAPES * self.trial_s if counts else 0.0
        measured_s = self.measuring_s(search.finalists)
        return judged_s + timed_s + measured_s

    @property
    def evaluate_s(self) -> float:
        """Largest, smallest and winner as inherited, the winner and the teacher as trained."""
        networks = (1 + self.has_teacher) * self.larger + 3
        return networks * self.sizes.test * self.answer_s

    @property
    def export_s(self) -> float:
        """Both torch and the bundle answer what is checked."""
        export = self.config.export
        is_exact = self.config.workload.is_exact
        checked = export.parity_examples if is_exact else export.score_examples
        return WRITING_S + 2 * checked * self.answer_s

    def measuring_s(self, num_subnets: int) -> float:
        """Every subnet and, between them, the reference, in all rounds; each as long as repeats go
        on at most, unless the least number of them takes longer: nobody knows yet what a run takes.
        """
        protocol = self.device.measure
        num_references = 2 + num_subnets // protocol.reference_every
        return protocol.rounds * (num_subnets + num_references) * (START_S + protocol.max_time_s)
