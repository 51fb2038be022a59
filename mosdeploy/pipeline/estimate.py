"""What a walk will take: training from timed steps and multiply-accumulates, measuring from the
device's protocol.
"""

from dataclasses import dataclass
from functools import cached_property

from ..config import RunConfig
from ..config.device import DeviceProfile
from ..family import DataSizes
from ..run_folder.budget import configured_budget, with_budget
from ..run_folder.context import Context
from ..run_folder.summaries import StepTimes, WalkEstimate
from .finetune import CURVE_POINTS

START_S = 1.5
"""A process that loads the runtime and a model, on a slow core."""

FORWARD_SHARE = 1 / 3
"""Of a step, what a forward pass alone takes; the backward pass does twice the work."""

WRITING_S = 5.0
"""Loading what was trained and writing a bundle, or a report."""


@dataclass(frozen=True)
class WalkCosts:
    """Expected seconds of what the verbs of a walk do; from `search` on of one winner."""

    context: Context
    times: StepTimes
    device: DeviceProfile
    data: DataSizes

    @cached_property
    def config(self) -> RunConfig:
        """The run file with the steps that its budget gives."""
        run = self.context.run
        return with_budget(run, configured_budget(run.config.training)).config

    @property
    def num_winners(self) -> int:
        return self.context.config.training.num_winners

    @property
    def has_teacher(self) -> bool:
        return self.context.family.open_teacher is not None

    @property
    def num_trainings(self) -> int:
        """Of a winner: both starts where there is a teacher."""
        return 2 if self.has_teacher else 1

    @cached_property
    def sizes(self) -> DataSizes:
        """Examples, as far as they are trained and validated on."""
        training = self.config.training
        train = min(self.data.train, training.train_examples or self.data.train)
        valid = min(self.data.valid, training.valid_examples or self.data.valid)
        return DataSizes(train, valid, self.data.test)

    @cached_property
    def larger(self) -> float:
        """What the largest architecture, also a teacher's, computes to the one that was timed."""
        spec = self.context.spec
        return spec.num_macs(spec.space.largest) / spec.num_macs(spec.reference_arch())

    @cached_property
    def batch_examples(self) -> int:
        """Examples that an architecture reads in a step."""
        batch = len(self.context.family.made_up_dataset(self.config))
        return batch * self.config.training.grad_accum_steps

    @property
    def example_s(self) -> float:
        """A forward pass of one example."""
        return FORWARD_SHARE * self.times.winner_s / self.batch_examples

    @property
    def answer_s(self) -> float:
        return self.config.workload.answer_passes * self.example_s

    # -- training

    @property
    def steps_s(self) -> float:
        """All steps of all trainings."""
        return self.teacher_s + self.supernet_s + self.num_winners * self.winner_s

    @property
    def teacher_s(self) -> float:
        return self.config.teacher_steps * self.times.winner_s * self.larger

    @property
    def supernet_s(self) -> float:
        return self.config.training.steps * self.times.supernet_s

    @property
    def winner_s(self) -> float:
        return self.num_trainings * self.config.finetune.steps * self.times.winner_s

    @property
    def num_read(self) -> int:
        """Examples that the longest of the trainings reads."""
        training = self.config.training
        num_archs = {"both": 2, "none": 0}.get(training.sandwich, 1) + training.num_random_archs
        supernet = training.steps * (num_archs if training.batch_sharing == "none" else 1)
        steps = max(self.config.teacher_steps, supernet, self.config.finetune.steps)
        return steps * self.batch_examples

    @property
    def label_s(self) -> float:
        """A teacher's outputs for one example."""
        return self.larger * self.example_s if self.has_teacher else 0.0

    @property
    def labels_s(self) -> float:
        return self.label_s * (self.sizes.train + self.sizes.valid)

    @property
    def supernet_validations_s(self) -> float:
        """Of the largest and the smallest subnet."""
        training = self.config.training
        validations = 1 + training.steps // training.validate_every
        return validations * self.sizes.valid * (self.larger + 1) * self.example_s

    @property
    def winner_validations_s(self) -> float:
        """Between two validations, a winner reads at least twice as many examples."""
        num_read = self.config.finetune.steps * self.batch_examples
        most = max(1, num_read // max(1, 2 * self.sizes.valid))
        validations = self.num_trainings * min(CURVE_POINTS, most)
        return validations * self.sizes.valid * self.example_s

    @property
    def validations_s(self) -> float:
        return self.supernet_validations_s + self.num_winners * self.winner_validations_s

    # -- everything else

    @property
    def search_s(self) -> float:
        search = self.config.search
        judged = search.population + search.iterations * (search.mutations + search.crossovers)
        return judged * search.eval_examples * self.example_s + self.measuring_s(search.finalists)

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

    def estimate(self) -> WalkEstimate:
        """Add up what each verb takes."""
        of_each = {
            "search": self.search_s,
            "finetune": self.winner_s + self.winner_validations_s,
            "evaluate": self.evaluate_s,
            "export": self.export_s,
            "deploy": WRITING_S + self.measuring_s(1),
            "report": WRITING_S,
        }
        train_s = self.teacher_s + self.labels_s + self.supernet_s + self.supernet_validations_s
        return WalkEstimate(
            verbs={
                "train": train_s,
                "profile": self.measuring_s(self.config.profile.budget),
                **{verb: self.num_winners * seconds for verb, seconds in of_each.items()},
            },
            steps={
                "teacher": self.config.teacher_steps,
                "supernet": self.config.training.steps,
                "winner": self.config.finetune.steps,
            },
            times=self.times,
            device=self.device.name,
            num_winners=self.num_winners,
        )
