"""The artifacts of a run folder, each declared once, in the order of the walk."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ..config.sections import ExportConfig
from ..config.units import Statistic, told_limit
from ..errors import (
    ConfigError,
    DamagedError,
    MosdeployError,
    OtherConditionsError,
    StaleInputError,
)
from ..family import TaskData
from ..printable import (
    byte_size,
    figure_note,
    kept,
    latency,
    memory_kept,
    milliseconds,
    plain,
    three_digits,
)
from ..record import read_json
from ..records import (
    NO_LIMITS,
    DataCard,
    Deployment,
    Limits,
    ScoreTable,
    SearchResult,
    SupernetCard,
    TrainingBudget,
    WeightOrigin,
)
from ..runtime.manifest import MANIFEST_NAME
from ..spaces.genes import ArchConfig
from ..spaces.spec import Workload
from ..storage import (
    fingerprint,
    listed,
    read_errors,
    read_record,
    readable_record,
    sha256_file,
)
from ..version import __version__
from ..workspace import LATENCY_NAME, PREDICTOR_NAME, SUBNET_CARD_NAME, Workspace
from .artifact import DIGEST, JOB_NAME, Artifact, Inputs, JobRecord, Made, settings
from .budget import TRAIN, current_budget, train_command, with_budget
from .bundles import bundle_manifests, deployment_slot, device_option, folder_bytes, newest_bundle
from .context import Context
from .devices import run_profile
from .predictors import (
    check_current,
    further_command,
    lost_its_measurements,
    noise_problem,
    profile_command,
    too_small,
)
from .run import Run, device_of, has_records
from .subnets import ALONE, UNASKED, subnet_artifact, subnet_card, trained_alone
from .teacher import is_taught
from .trained_run import TrainedRun, supernet_inputs, trained_run

if TYPE_CHECKING:
    from ..latency.dataset import LatencyDataset

DATA_CARD_NAME = "data.json"
SUPERNET_NAME = "supernet.safetensors"
TOKENIZER_NAME = "tokenizer.model"
SUPERNET_CARD_NAME = "supernet.json"
NO_VERIFY = " --no-verify"


@dataclass(frozen=True)
class Catalog:
    """All artifacts of a run folder.

    With `read_data` the user's data are read, to see whether they are still those that the
    supernet was trained on.
    """

    context: Context
    read_data: bool = True

    def wanted(self) -> Iterator[Artifact]:
        """What a walk makes, in its order."""
        yield self.data
        if self.context.family.open_teacher is not None:
            yield self.teacher
        yield self.supernet
        device = self._device
        if device is not None:
            yield from self._latencies(device)
        yield self.search
        if (winner := self._winner) is not None:
            yield self.subnet(winner.key, self._winner_weights(winner))
        if self._has_test:
            yield self.scores
        if self.context.config.gives_answers:
            yield self.bundle(self._newest)
            yield from self.deployments()
        yield self.report

    def others(self) -> Iterator[Artifact]:
        """What lies in the folder besides."""
        files = self.context.files
        for device in self._devices:
            if device != self._device:
                yield from self._latencies(device)
        wanted = self._winner
        for path in listed(files.subnets_dir, f"*/{SUBNET_CARD_NAME}"):
            key, _, weights = path.parent.name.partition("-")
            if wanted is None or (key, weights) != (wanted.key, self._winner_weights(wanted)):
                yield self.subnet(key, weights)
        for path in bundle_manifests(files):
            if path.parent != self._newest:
                yield self.bundle(path.parent)

    # -- what is trained

    @property
    def data(self) -> Artifact:
        """The examples, the tokenizer and the card that counts them."""
        return Artifact(
            "data",
            self.context.files.data_card_path,
            self._train_command,
            self._data_inputs,
            self._made_data,
            in_place=True,
        )

    def _data_inputs(self) -> Inputs:
        config = self.context.config
        now: dict[str, JsonValue] = {"vocab_size": config.vocab_size}
        return now | ({"data": f"{DIGEST}{self._loaded.sha256}"} if self.read_data else {})

    def _made_data(self, path: Path) -> Made | None:
        if self.read_data:
            self._loaded  # noqa: B018  data that cannot be read are told first
        if not path.exists():
            path = self.context.files.beside.data_card_path  # of the first training
        if not path.exists():
            return None
        card = read_record(DataCard, path, TRAIN)
        detail = (
            f"{card.num_train:,} train, {card.num_valid:,} valid, {card.num_test:,} test, "
            f"{sum(card.dropped.values()):,} dropped, {card.vocab_size:,} tokens"
        )
        return Made({"vocab_size": card.vocab_size, "data": f"{DIGEST}{card.sha256}"}, detail)

    @cached_property
    def _loaded(self) -> TaskData:
        context = self.context
        return context.family.load_data(context.config, context.files.root)

    @property
    def teacher(self) -> Artifact:
        """What the supernet learns from besides its data; one made otherwise lies elsewhere."""
        return Artifact(
            "teacher",
            self.context.files.teacher_dir,
            self._train_command,
            dict,
            self._made_teacher,
            in_place=True,
        )

    def _made_teacher(self, folder: Path) -> Made | None:
        card = readable_record(SupernetCard, self.context.files.supernet_card_path)
        if card is None and not self.read_data:
            return None
        sha256 = self._loaded.sha256 if self.read_data or card is None else card.data_sha256
        return Made({}) if is_taught(self._budgeted, sha256) else None

    @property
    def supernet(self) -> Artifact:
        """The weight-sharing network."""
        return Artifact(
            "supernet",
            self.context.files.supernet_dir,
            self._train_command,
            lambda: supernet_inputs(
                self._budgeted, self._loaded.sha256 if self.read_data else None
            ),
            self._made_supernet,
        )

    @property
    def _budget(self) -> TrainingBudget | None:
        card = readable_record(SupernetCard, self.context.files.supernet_card_path)
        return None if card is None else card.budget

    @property
    def _budgeted(self) -> Run:
        """The run with the steps that the training of the supernet was given."""
        run = self.context.run
        return with_budget(run, current_budget(self._budget, run.config.training))

    @property
    def _train_command(self) -> str:
        """The training that was stopped, else what trains this supernet again."""
        job = readable_record(JobRecord, self.context.files.beside.supernet_dir / JOB_NAME)
        if job is not None:
            return job.command
        return train_command(self._budget)

    def _made_supernet(self, folder: Path) -> Made | None:
        path = folder / SUPERNET_CARD_NAME
        if not path.exists():
            return None
        card = read_record(SupernetCard, path, TRAIN)
        read_record(DataCard, folder / DATA_CARD_NAME, TRAIN)
        check_files(folder, card)
        losses = f"{card.largest_loss:.3f} (largest), {card.smallest_loss:.3f} (smallest)"
        return Made(card.inputs, f"{card.steps:,} steps, validation loss {losses}")

    @cached_property
    def trained(self) -> TrainedRun:
        """The trained run; raises StaleInputError if there is none that counts."""
        self.supernet.require()
        return trained_run(self.context.run)

    # -- what is measured

    @cached_property
    def _devices(self) -> list[str]:
        workload = self.context.config.workload.name
        folders = listed(self.context.files.predictors_dir, "*/")
        found = (device_of(folder, workload) for folder in folders)
        return [device for device in found if device is not None]

    @cached_property
    def _device(self) -> str | None:
        """The device of the walk; None if it needs none, or several were profiled."""
        if self.context.config.supernet_from is not None:
            return None
        with contextlib.suppress(ConfigError):
            return self.context.run.profiled_device_name(None)
        return None

    def _latencies(self, device: str) -> Iterator[Artifact]:
        """What was measured on a device, unless its predictor came alone, and the predictor."""
        dataset = self.dataset(device)
        predictor = self.predictor(device)
        is_alone = predictor.state().state == "ok" and dataset.state().state == "missing"
        if not is_alone:
            yield dataset
        if self._has_predictor(device):
            yield predictor

    def dataset(self, device: str) -> Artifact:
        """What was measured on a device."""
        path = self.context.files.latency_path(device, self.context.config.workload.name)
        return Artifact(
            "dataset",
            path.parent,
            self._profile_command(device, path),
            dict,
            functools.partial(self._made_dataset, device),
            device,
            in_place=True,
            lock=path,
        )

    def _made_dataset(self, device: str, folder: Path) -> Made | None:
        path = self.context.files.latency_path(device, self.context.config.workload.name)
        if not has_records(path):
            return None
        dataset = _load_dataset(path)
        check_current(self.context.run, dataset)
        detail = _describe_dataset(dataset)
        if noise := noise_problem(dataset):
            # told, but not in the way: a device may always be so
            command = profile_command(dataset, "--renew")
            detail += f"; TOO NOISY: {noise}; `{command}` measures again"
        return Made({}, detail)

    def _profile_command(self, device: str, path: Path) -> str:
        command = f"mosdeploy profile --device {device}"
        try:
            if has_records(path):
                dataset = _load_dataset(path)
                command = profile_command(dataset)
                check_current(self.context.run, dataset)
        except OtherConditionsError:
            return f"{command} --renew"
        except MosdeployError:  # a damaged file is named by the state
            pass
        return command

    def _has_predictor(self, device: str) -> bool:
        """Whether a device has one, or should: not if its times mean nothing."""
        path = self.context.files.latency_path(device, self.context.config.workload.name)
        with contextlib.suppress(MosdeployError):
            if has_records(path) and _load_dataset(path).context.device.emulated:
                return False
        is_there = path.with_name(PREDICTOR_NAME).exists()
        return is_there or (has_records(path) and not too_small(self.context.config))

    def predictor(self, device: str) -> Artifact:
        """The latency predictor of a device."""
        path = self.context.files.predictor_path(device, self.context.config.workload.name)
        latency_path = path.with_name(LATENCY_NAME)

        def inputs() -> Inputs:
            if not has_records(latency_path):
                return {}
            return {"dataset": f"{DIGEST}{_load_dataset(latency_path).sha256}"}

        return Artifact(
            "predictor",
            path.parent,
            self._fit_command(device, latency_path),
            inputs,
            functools.partial(self._made_predictor, device),
            device,
            in_place=True,
            lock=latency_path,
        )

    def _made_predictor(self, device: str, folder: Path) -> Made | None:
        from ..latency.predictor import LatencyPredictor

        path = folder / PREDICTOR_NAME
        if not path.exists():
            return None
        found = LatencyPredictor.load(path)
        found.check(self.context.spec, device)
        if lost_its_measurements(path):
            raise StaleInputError("the measurements that it was fitted to are gone")
        card = found.card
        subnets = "1 subnet" if card.num_samples == 1 else f"{card.num_samples} subnets"
        detail = f"error {card.mape_percent:.2f}% on {subnets}"
        return Made({"dataset": f"{DIGEST}{card.dataset_sha256}"}, detail)

    def _fit_command(self, device: str, path: Path) -> str:
        from ..latency.predictor import LatencyPredictor

        with contextlib.suppress(MosdeployError):
            trial = LatencyPredictor.load(path.with_name(PREDICTOR_NAME)).card.transfer
            if trial is not None and trial.used:
                return f"mosdeploy fit --device {device} --from {trial.source}"
        with contextlib.suppress(MosdeployError):
            if more := further_command(_load_dataset(path), self.context.config):
                return more
        return f"mosdeploy fit --device {device}"

    # -- what is found

    @property
    def search(self) -> Artifact:
        """The winner and the front."""
        files = self.context.files
        return Artifact(
            "search",
            files.search_result_path.parent,
            self._search_command,
            lambda: search_inputs(self.trained),
            self._made_search,
            in_place=True,
            lock=files.quality_path,
        )

    def _made_search(self, folder: Path) -> Made | None:
        path = folder / "result.json"
        if not path.exists():
            return None
        result = read_record(SearchResult, path, "mosdeploy search")
        winner = result.winner
        figure = figure_note(result.statistic)
        words = [f"winner {winner.arch.key[:8]}", "not measured"]
        if winner.measured_ms is not None:
            words[1] = f"{milliseconds(winner.measured_ms)}{figure} on {result.device}"
        limits = result.limits.model_dump(exclude_none=True)
        if (most_ms := limits.pop("max_latency_ms", None)) is not None:
            words.append(f"limit {latency(most_ms)}{figure}")
        words += [told_limit(name, most) for name, most in limits.items()]
        made_from: dict[str, JsonValue] = {
            "supernet": f"{DIGEST}{result.supernet_sha256}",
            **settings(result.workload, "workload"),
            "finetune.same_time": result.weighs_time,
        }
        return Made(made_from, ", ".join(words))

    @property
    def _search_command(self) -> str:
        """The last search again, else one within the run file's limit or a middle one."""
        context = self.context
        if context.config.supernet_from is not None:
            return "mosdeploy search"
        last = readable_record(SearchResult, context.files.search_result_path)
        if last is not None:
            return search_command(context, last.limits, last.device, last.statistic)
        limit = ""
        if Limits.configured(context.config.search) == NO_LIMITS:
            limit = f" {self._middle_limit(self._device)}"
        device = self._device
        return f"mosdeploy search{limit}{'' if device is None else _ending(context, device)}"

    def _middle_limit(self, device: str | None) -> str:
        """The option of a limit between the fastest and the slowest subnet."""
        if device is not None and self._has_predictor(device):
            middle_ms = self._middle_ms(device)
            if middle_ms is not None:
                return f"--max-latency {plain(middle_ms)}ms"
        spec = self.context.spec
        space = self.context.config.space
        middle = sum(spec.num_parameters(x) for x in (space.smallest, space.largest)) // 2
        return f"--max-parameters {middle}"

    def _middle_ms(self, device: str) -> float | None:
        workload = self.context.config.workload.name
        path = self.context.files.latency_path(device, workload)
        with contextlib.suppress(MosdeployError):
            dataset = _load_dataset(path)
            times_ms = [] if dataset.context.device.emulated else dataset.times_ms
            if times_ms:
                low, high = min(times_ms), max(times_ms)
                rounded = (float(plain((low + high) / 2, digits)) for digits in (2, 3, 4, 5, 6))
                return next((x for x in rounded if low <= x <= high), (low + high) / 2)
        return None

    # -- what becomes of it

    @cached_property
    def _winner(self) -> ArchConfig | None:
        """The winner of a search that counts."""
        with contextlib.suppress(MosdeployError):
            self.search.require()
            return self.trained.search_result().winner.arch
        return None

    def _winner_weights(self, arch: ArchConfig) -> WeightOrigin:
        """Into which weights the winner was trained, or would be."""
        files = self.context.files
        found = [x for x in UNASKED if files.subnet_card_path(arch.key, x).exists()]
        return found[0] if found else UNASKED[0]

    def subnet(self, key: str, weights: str) -> Artifact:
        """A subnet that was trained alone."""
        folder = self.context.files.subnet_path(key, weights).parent
        return subnet_artifact(lambda: self.trained, folder, weights)

    @property
    def scores(self) -> Artifact:
        """Quality on the test examples."""
        path = self.context.files.scores_path
        return Artifact(
            "scores",
            path.parent,
            "mosdeploy evaluate",
            self._scored_inputs,
            self._made_scores,
            in_place=True,
            lock=path,
        )

    @cached_property
    def _has_test(self) -> bool:
        card = readable_record(DataCard, self.context.files.data_card_path)
        return card is None or card.num_test > 0

    def _scored_inputs(self) -> Inputs:
        state = self.trained
        found: dict[str, JsonValue] = {
            "evaluation": f"{DIGEST}{scored_inputs(state, self.context.config.workload)}"
        }
        if self._winner is not None:
            found |= {f"{x} winner": f"{DIGEST}{y}" for x, y in self._weights_of(self._winner)}
        return found

    def _weights_of(self, arch: ArchConfig) -> Iterator[tuple[str, str]]:
        yield "inherited", self.trained.card.supernet_sha256
        for chosen in trained_alone(self.trained, arch, UNASKED):
            if chosen.card is not None:
                yield chosen.weights, chosen.card.subnet_sha256

    def _made_scores(self, folder: Path) -> Made | None:
        path = self.context.files.scores_path
        if not path.exists():
            return None
        table = read_record(ScoreTable, path, "mosdeploy evaluate")
        found: dict[str, JsonValue] = {"evaluation": f"{DIGEST}{table.inputs_sha256}"}
        for scores in table.subnets.values():
            if scores.arch == self._winner:
                sha256 = scores.subnet_sha256 or table.supernet_sha256
                found[f"{scores.weights} winner"] = f"{DIGEST}{sha256}"
        return Made(found, f"of {len(table.subnets)} subnets")

    # -- what is delivered

    @cached_property
    def _newest(self) -> Path | None:
        return newest_bundle(self.context.files)

    def bundle(self, folder: Path | None) -> Artifact:
        """A bundle; of None, the one that is not there yet."""
        root = self.context.files.bundles_dir
        return Artifact(
            "bundle",
            folder or root,
            "mosdeploy export",
            functools.partial(self._bundle_inputs, folder),
            functools.partial(self._made_bundle, folder),
            folder.name if folder else "",
        )

    def _bundle_inputs(self, folder: Path | None) -> Inputs:
        from ..export.bundle import read_manifest

        now: dict[str, str] = dict(self.trained.card.provenance)
        path = self.context.files.search_result_path
        if path.exists():
            now["search"] = sha256_file(path)
        if folder is not None:
            manifest = read_manifest(folder)
            # inherited weights too: a training that made the subnet better came after the bundle
            weights = "finetuned" if manifest.weights == "inherited" else manifest.weights
            if weights in ALONE:
                with contextlib.suppress(StaleInputError):
                    card = subnet_card(self.trained, manifest.arch, weights)
                    if manifest.weights in ALONE or card.loss < card.start_loss:
                        now["subnet"] = card.subnet_sha256
            if "search" not in manifest.provenance:  # it is no winner
                now.pop("search", None)
        return {name: f"{DIGEST}{sha256}" for name, sha256 in now.items()}

    def _made_bundle(self, folder: Path | None, _: Path) -> Made | None:
        from ..export.bundle import read_manifest

        if folder is None:
            return None
        manifest = read_manifest(folder)
        made_from = {name: f"{DIGEST}{sha256}" for name, sha256 in manifest.provenance.items()}
        return Made(made_from, f"{manifest.precision}, {byte_size(folder_bytes(folder))}")

    def deployments(self) -> Iterator[Artifact]:
        """What stands on devices; one that is not there yet, if there is none."""
        for device, host in self.context.files.deployed_to():
            yield self.deployment(device, host)
        if not self.context.files.deployed_to():
            wanted = self._bundle_device
            is_meant = wanted is None or self.context.config.device in (None, wanted)
            yield self.deployment(None, None, "" if is_meant else f" --device {wanted}")

    @cached_property
    def _bundle_device(self) -> str | None:
        """The device that the newest bundle was made for."""
        from ..export.bundle import read_manifest

        with contextlib.suppress(MosdeployError):
            return read_manifest(self._newest).device if self._newest else None
        return None

    def deployment(self, device: str | None, host: str | None, option: str = "") -> Artifact:
        """What stands on a device."""
        files = self.context.files
        board = "" if device is None else device_option(device, host)
        path = None if device is None else files.deployment_path(device, host)
        found = readable_record(Deployment, path) if path else None
        if path:
            option = f" --device {board}"
            if found is not None and self._bundle_device not in (None, found.device.name):
                option += f" --bundle {found.bundle}"

        def inputs() -> Inputs:
            now: dict[str, JsonValue] = {"slot": deployment_slot(self.context.run).name}
            is_for_it = found is None or self._bundle_device in (None, found.device.name)
            if self._newest is not None and is_for_it:
                sha256 = sha256_file(self._newest / MANIFEST_NAME)
                if found is None or sha256 not in found.rolled_back_from:
                    now["bundle"] = f"{DIGEST}{sha256}"
            return now

        def made(_: Path) -> Made | None:
            if path is None:
                return None
            record = read_record(Deployment, path, "mosdeploy deploy")
            sha256 = f"{DIGEST}{record.bundle_sha256}"
            return Made({"slot": record.slot, "bundle": sha256}, _describe_deployment(record))

        return Artifact(
            "deployment",
            files.deployments_dir,
            f"mosdeploy deploy{option}",
            inputs,
            made,
            board,
            in_place=True,
            lock=files.deployments_dir / (device or "none"),
        )

    @property
    def report(self) -> Artifact:
        """The page."""
        folder = self.context.files.report_dir
        return Artifact(
            "report",
            folder,
            "mosdeploy report",
            lambda: report_inputs(self.context.files),
            self._made_report,
            in_place=True,
        )

    def _made_report(self, folder: Path) -> Made | None:
        page = self.context.files.report_page_path
        if not page.exists():
            return None
        made_from = read_json(self.context.files.report_path).get("inputs", {})
        return Made(made_from, str(page))


def search_command(
    context: Context, limits: Limits, device: str, statistic: Statistic, *, verify: bool = True
) -> str:
    """Return the command of a search."""
    config = context.config.search
    words = ["mosdeploy search", *limits.options(config.count)]
    if statistic != config.statistic:
        words.append(f"--statistic {statistic}")
    ending = _ending(context, device) if verify else NO_VERIFY
    return " ".join(words) + context.run.device_option(device) + ending


def _ending(context: Context, device: str) -> str:
    """The option of a search for an emulated device, whose times mean nothing."""
    with contextlib.suppress(ConfigError):
        if run_profile(context.files.root, device).emulated:
            return NO_VERIFY
    return ""


# -- what each is made from


def search_inputs(state: TrainedRun) -> dict[str, JsonValue]:
    """What a search depends on whatever its options are."""
    return {
        "supernet": f"{DIGEST}{state.card.supernet_sha256}",
        **settings(state.config.workload, "workload"),
        "finetune.same_time": state.weighs_time,
    }


def scored_inputs(state: TrainedRun, workload: Workload) -> str:
    """Digest of what the scores of a subnet depend on besides its weights."""
    # how a bundle is checked changes no score; the family's limits may
    checks = {name: field.default for name, field in ExportConfig.model_fields.items()}
    return fingerprint(
        __version__,
        state.card.supernet_sha256,
        state.card.data_sha256,
        workload.label,
        state.config.export.model_copy(update=checks),
        state.config.title,  # BLEU splits the words of some languages in their own way
    )


def report_inputs(files: Workspace) -> dict[str, str]:
    """Return a digest of each kind of record that a report shows."""
    bundle = newest_bundle(files)
    paths = {
        "search": [files.search_result_path],
        "profile": listed(files.predictors_dir, "*/latency.jsonl"),
        "predictor": listed(files.predictors_dir, "*/predictor.json"),
        "finetuning": listed(files.subnets_dir, "*/subnet.json"),
        "evaluation": [files.scores_path],
        "bundle": [bundle / MANIFEST_NAME] if bundle else [],
        "deployment": listed(files.deployments_dir, "*.json"),
    }
    digests = {}
    for name, found in paths.items():
        there = [path for path in found if path.exists()]
        parts = [f"{path.relative_to(files.root)} {sha256_file(path)}" for path in there]
        digests[name] = DIGEST + fingerprint(*parts)
    return digests


# -- what lies in a folder


def check_files(folder: Path, card: SupernetCard) -> None:
    """Check that the supernet and its tokenizer are the files of their card.

    Raises
    ------
    StaleInputError
        If one is not.
    """
    files = {SUPERNET_NAME: card.supernet_sha256, TOKENIZER_NAME: card.tokenizer_sha256}
    for name, sha256 in files.items():
        path = folder / name
        if not path.exists() or sha256_file(path) != sha256:
            raise DamagedError(
                f"{path} is missing or is not the file that {SUPERNET_CARD_NAME} was written for"
            )


@functools.cache
def _dataset(path: Path, modified_ns: int) -> "LatencyDataset":
    from ..latency.dataset import LatencyDataset

    return LatencyDataset.load(path)


def _load_dataset(path: Path) -> "LatencyDataset":
    with read_errors(path):
        modified_ns = path.stat().st_mtime_ns
    return _dataset(path, modified_ns)


def _describe_dataset(dataset: "LatencyDataset") -> str:
    times_ms = dataset.times_ms
    words = [f"{len(dataset.measured)} subnets"]
    if times_ms:
        words.append(f"{three_digits(min(times_ms))} to {milliseconds(max(times_ms))}")
    if failed := len(dataset.measured) - len(dataset.usable):
        words.append(f"{failed} failed")
    if dataset.context.device.emulated:
        words.append("emulated: no latencies")
    return ", ".join(words)


def _describe_deployment(found: Deployment) -> str:
    words = [found.bundle, "rolled back to"] if found.rolled_back_from else [found.bundle]
    figure_ms = found.measurement.figure_ms(found.statistic)
    if figure_ms is None:
        return ", ".join((*words, "not timed"))
    words.append(f"{milliseconds(figure_ms)}{figure_note(found.statistic)}")
    if found.device.emulated:
        return ", ".join(words)
    memory = memory_kept(found.measurement.memory_bytes, found.max_memory_bytes)
    return ", ".join(words) + kept(figure_ms, found.limit_ms, found.statistic) + memory
