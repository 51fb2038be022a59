"""What helps where no bundle of a search keeps its limit as deployed."""

from collections.abc import Mapping, Sequence

from ..printable import latency
from ..records import BundleManifest
from ..run_folder.context import Context
from ..run_folder.subnets import VERBS
from ..run_folder.workloads import changed_workload
from .other_finalists import fast_member


def what_helps(
    context: Context,
    manifest: BundleManifest,
    to_train: Sequence[str],
    taken_ms: Mapping[str, float | None],
    board: str | None = None,
) -> str:
    """What to do where nothing keeps the limit: a search for a lower one is no way, as its bundle
    is held to that one.
    """
    ways = []
    if to_train:
        ways.append(
            f"train the next finalist, `{VERBS[manifest.weights]} --pick {to_train[0]}`: the same "
            "command then tries it in its place"
        )
    if (fast := fast_member(context, manifest, taken_ms)) is not None:
        pick = f"--pick {fast.number}"
        trained = f"`{VERBS[manifest.weights]} {pick}`, then " if manifest.weights in VERBS else ""
        command = " ".join(("mosdeploy export", pick, *_as_exported(context, manifest)))
        if board is not None:
            command += f"`, then `mosdeploy deploy --device {board}"
        ways.append(
            f"take number {fast.number} of the search's front, {trained}`{command}`, which is "
            f"expected to take {latency(fast.expected_ms, 4)} there{_held_to(manifest)}"
        )
    ways.append(f"deploy {manifest.name} beyond its limit with --no-strict")
    told = ", or ".join(ways)
    return told[0].upper() + told[1:]


def _held_to(manifest: BundleManifest) -> str:
    """To which limit a number of the front is held, where the bundle had a limit of its own."""
    limits = manifest.search_limits
    if manifest.limit_ms is None or limits is None or limits.max_latency_ms == manifest.limit_ms:
        return ""
    searched_ms = limits.max_latency_ms
    held = "no limit" if searched_ms is None else f"the search's limit, {latency(searched_ms)}"
    return (
        f" (its bundle is held to {held}: `mosdeploy verify --max-latency {manifest.limit_ms:g}ms` "
        "then holds it to yours)"
    )


def _as_exported(context: Context, manifest: BundleManifest) -> list[str]:
    """The options of `export` with which a bundle differs from what the run file says."""
    options = []
    limits = context.config.export
    workload = changed_workload(context.config.workload, None, None, limits.workload_changes)
    precision = limits.precision or workload.precision
    known = {"precision": precision} | {
        name: getattr(workload, name, None) for name in ("beam", "shortlist")
    }
    for name, value in known.items():
        if (made := getattr(manifest.workload, name, None)) != value:
            options.append(f"--{name} {made}")
    if manifest.max_score_drop not in (None, limits.max_score_drop):
        options.append(f"--max-score-drop {manifest.max_score_drop:g}")
    if manifest.vocab_size < context.run.supernet_card().vocab_size and not limits.trim_vocabulary:
        options.append("--trim-vocabulary")
    if manifest.runtime != "onnxruntime":
        options.append(f"--runtime {manifest.runtime}")
    if manifest.device not in (None, context.config.device):
        options.append(f"--device {manifest.device}")
    if manifest.weights == "scratch":
        options.append("--weights scratch")
    return options
