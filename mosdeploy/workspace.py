"""Names of the files in a run folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from .storage import listed

SUBNET_NAME = "subnet.safetensors"
SUBNET_CARD_NAME = "subnet.json"
CONFIG_NAME = "mosdeploy.toml"
LATENCY_NAME = "latency.jsonl"
PREDICTOR_NAME = "predictor.json"
PREDICTORS = "predictors"
LOG_NAME = "log.jsonl"
CHECKPOINT_NAME = "checkpoint.pt"
NEW_SUFFIX = "-new"


class _Named:
    """A file or folder of a run that has one name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, files: "Workspace", _: type) -> Path:
        return files.root / self._name.format(suffix=files.suffix)


@dataclass(frozen=True)
class Workspace:
    """The files of one run, by name."""

    root: Path
    suffix: str = ""

    config_path = _Named(CONFIG_NAME)
    teacher_dir = _Named("teacher")
    supernet_dir = _Named("supernet{suffix}")
    data_card_path = _Named("supernet{suffix}/data.json")
    tokenizer_path = _Named("supernet{suffix}/tokenizer.model")
    trimmed_tokenizer_path = _Named("supernet{suffix}/trimmed-tokenizer.model")
    checkpoint_path = _Named(f"supernet{{suffix}}/{CHECKPOINT_NAME}")
    training_log_path = _Named(f"supernet{{suffix}}/{LOG_NAME}")
    supernet_path = _Named("supernet{suffix}/supernet.safetensors")
    supernet_card_path = _Named("supernet{suffix}/supernet.json")
    predictors_dir = _Named(PREDICTORS)
    quality_path = _Named("search/quality.jsonl")
    search_result_path = _Named("search/result.json")
    subnets_dir = _Named("subnets")
    scores_path = _Named("scores.json")
    bundles_dir = _Named("bundles")
    newest_bundle_path = _Named("bundles/.newest")
    formats_dir = _Named("formats")
    deployments_dir = _Named("deployments")
    report_dir = _Named("report")
    report_page_path = _Named("report/index.html")
    report_path = _Named("report/report.json")

    @property
    def beside(self) -> Self:
        """The same run with the folder of a new supernet."""
        return replace(self, suffix=NEW_SUFFIX)

    def budget_path(self, inputs_sha256: str) -> Path:
        return self.supernet_dir / f"budget-{inputs_sha256[:8]}.json"

    def predictor_dir(self, device: str, workload: str) -> Path:
        return self.predictors_dir / f"{device}-{workload}"

    def latency_path(self, device: str, workload: str) -> Path:
        return self.predictor_dir(device, workload) / LATENCY_NAME

    def predictor_path(self, device: str, workload: str) -> Path:
        return self.predictor_dir(device, workload) / PREDICTOR_NAME

    def verified_path(self, device: str, workload: str) -> Path:
        return self.root / "search" / f"{device}-{workload}.jsonl"

    def timed_again_path(self, device: str, workload: str) -> Path:
        return self.root / "search" / "again" / f"{device}-{workload}.jsonl"

    def subnet_path(self, arch_key: str, weights: str) -> Path:
        return self.subnets_dir / f"{arch_key}-{weights}" / SUBNET_NAME

    def subnet_card_path(self, arch_key: str, weights: str) -> Path:
        return self.subnet_path(arch_key, weights).with_name(SUBNET_CARD_NAME)

    def other_scores_path(self, label: str) -> Path:
        """Scores of another workload than that of the run file, by its label: `-beam5`."""
        return self.root / f"scores{label}.json"

    def precisions_path(self, name: str) -> Path:
        return self.root / "precisions" / f"{name}.json"

    def deployment_path(self, device: str, host: str | None = None) -> Path:
        return self.deployments_dir / (
            f"{device}.json" if host is None else f"{device}@{host}.json"
        )

    def begun_rollback_path(self, device: str, host: str | None = None) -> Path:
        """What a rollback notes before it switches, until it is recorded."""
        return self.deployment_path(device, host).with_suffix(".rollback")

    def deployed_to(self) -> list[tuple[str, str | None]]:
        """Device and host of each deployment, sorted."""
        names = sorted(x.stem.partition("@") for x in listed(self.deployments_dir, "*.json"))
        return [(device, host or None) for device, _, host in names]


def tokens_path(folder: Path, split: str) -> Path:
    """Where the token ids of a split lie for as long as a training runs in a folder."""
    return folder / f"tokens-{split}.npy"
