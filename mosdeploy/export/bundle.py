"""Bundles: the folder that travels to a device.

In: a trained subnet, its tokenizer, what it was made from, and validation sentences. Out: a folder
with model, tokenizer, manifest and a README, whole or not there, and only if the model translates
as the subnet does.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..config.sections import ExportConfig
from ..errors import BundleError, ExportError, StaleInputError
from ..families.translation.onnx_graph import build_graph, state_arrays, write_model
from ..records import BundleManifest, ParityReport, Runtime, SelfTest, WeightOrigin
from ..spaces.costs import num_parameters
from ..spaces.genes import ArchConfig, SearchSpace
from ..spaces.spec import Workload
from ..storage import disk_errors, read_record, replace_folder, sha256_file, write_record
from .onnx.decoding import BOS_ID, EOS_ID, PAD_ID
from .onnx.initializers import Array
from .parity import ExportedModel, ParitySet, Translates, check_parity
from .readme import bundle_readme

MODEL_NAME, TOKENIZER_NAME, MANIFEST_NAME, README_NAME = (
    "model.onnx",
    "tokenizer.model",
    "manifest.json",
    "README.md",
)
UNK_ID = 1
NUM_SELF_TESTS = 3


class HasStateDict(Protocol):
    """What is asked of a subnet: its weights, by the names of the contract between supernet and
    export.
    """

    def state_dict(self) -> Mapping[str, object]:
        """Names to tensors."""


class BuiltModel(Translates, Protocol):
    """A model in a bundle's folder, opened: what runs it, and the processor that it was compiled
    for, if any.
    """

    @property
    def runtime(self) -> Runtime:
        """As the manifest names it."""

    @property
    def processor(self) -> str | None:
        """None for a model that runs anywhere."""


Build = Callable[[Mapping[str, Array], Path], BuiltModel]
"""A subnet's weights and a folder to a model that lies there."""


@dataclass(frozen=True)
class BundleOrigin:
    """What the manifest says of where a bundle comes from; `provenance` maps record names to their
    sha256.
    """

    name: str
    source_lang: str
    target_lang: str
    device: str | None
    provenance: Mapping[str, str]
    weights: WeightOrigin = "inherited"


def max_positions(config: ExportConfig) -> int:
    """Positions that the model of a bundle serves: the longest source with its end token, or the
    most steps.
    """
    return max(config.max_source_len + 1, config.max_decode_steps)


def export_bundle(
    subnet: HasStateDict,
    arch: ArchConfig,
    space: SearchSpace,
    *,
    workload: Workload,
    config: ExportConfig,
    origin: BundleOrigin,
    tokenizer_path: Path,
    parity_set: ParitySet,
    out_dir: Path,
    build: Build | None = None,
) -> BundleManifest:
    """Export a subnet at the beam and precision of a workload.

    Parameters
    ----------
    subnet
        The collapsed subnet, trained.
    parity_set
        Sentences of at most `config.max_source_len` pieces.
    out_dir
        The folder to write; a bundle that stands there is replaced.
    build
        Makes the model; None makes the ONNX graph.

    Returns
    -------
    BundleManifest
        As written into the folder.

    Raises
    ------
    ExportError
        If the model does not translate as the subnet, a weight or a sentence does not fit, or
        `out_dir` is something else than a bundle.
    MosdeployError
        If the disk is full.
    """
    _check_place(out_dir)
    _check_lengths(parity_set, config)
    with disk_errors(out_dir):
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.", dir=out_dir.parent) as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            arrays = state_arrays(subnet.state_dict())
            model = (
                build(arrays, folder)
                if build
                else build_onnx(arrays, arch, space, workload, config, folder)
            )
            shutil.copyfile(tokenizer_path, folder / TOKENIZER_NAME)
            report = check_parity(model, parity_set, config, workload.precision)
            tests = _self_tests(model, parity_set)
            draft = _manifest(
                arch, space, len(arrays["embed.weight"]), workload, config, origin, report, tests
            )
            draft = draft.model_copy(
                update={"runtime": model.runtime, "processor": model.processor}
            )
            manifest = _describe(folder, draft)
            replace_folder(folder, out_dir)
    return manifest


def read_manifest(bundle_dir: Path) -> BundleManifest:
    """Read a bundle's manifest and make sure that its files are those that it names.

    Raises
    ------
    BundleError
        If the manifest is missing or corrupt, or a file is missing or has changed; names the file.
    """
    try:
        manifest = read_record(BundleManifest, bundle_dir / MANIFEST_NAME, "mosdeploy export")
    except StaleInputError as error:
        raise BundleError(str(error)) from error
    for name, expected in manifest.sha256.items():
        path = bundle_dir / name
        if Path(name).name != name or not path.is_file() or sha256_file(path) != expected:
            raise BundleError(
                f"{path} is missing or is not the file that the manifest names; run `mosdeploy export` again"
            )
    return manifest


def build_onnx(
    arrays: Mapping[str, Array],
    arch: ArchConfig,
    space: SearchSpace,
    workload: Workload,
    config: ExportConfig,
    folder: Path,
) -> ExportedModel:
    """Write the self-contained ONNX model and open it."""
    model = build_graph(
        arch,
        space,
        len(arrays["embed.weight"]),
        arrays,
        beam=workload.beam,
        length_penalty=config.length_penalty,
        precision=workload.precision,
        max_positions=max_positions(config),
    )
    write_model(model, folder / MODEL_NAME)
    del model  # before ONNX Runtime holds the weights once more
    return ExportedModel(folder / MODEL_NAME, config.max_decode_steps)


def _check_place(out_dir: Path) -> None:
    if out_dir.exists() and not (out_dir / MANIFEST_NAME).is_file():
        raise ExportError(
            f"{out_dir} exists and is not a bundle; move it away, or choose another folder"
        )


def _check_lengths(pairs: ParitySet, config: ExportConfig) -> None:
    if not pairs.source_ids:
        raise ExportError(
            "no validation sentence to check the bundle with; give the corpus a validation set"
        )
    longest = max(map(len, pairs.source_ids))
    if longest > config.max_source_len:
        raise ExportError(
            f"a validation sentence has {longest} pieces, but export.max_source_len is {config.max_source_len}; "
            "raise it, or lower corpus.max_tokens"
        )


def _self_tests(model: Translates, pairs: ParitySet) -> tuple[SelfTest, ...]:
    """Sentences of different length and what the model answers to each alone."""
    order = sorted(range(len(pairs.sources)), key=lambda i: (len(pairs.source_ids[i]), i))
    chosen = sorted(
        {order[(2 * k + 1) * len(order) // (2 * NUM_SELF_TESTS)] for k in range(NUM_SELF_TESTS)}
    )
    tests = []
    for i in chosen:
        output_ids = model.translate([pairs.source_ids[i]])[0]
        tests.append(
            SelfTest(
                source=pairs.sources[i],
                source_ids=tuple(pairs.source_ids[i]),
                output_ids=tuple(output_ids),
                output=pairs.decode(output_ids),
            )
        )
    return tuple(tests)


def _manifest(
    arch: ArchConfig,
    space: SearchSpace,
    vocab_size: int,
    workload: Workload,
    config: ExportConfig,
    origin: BundleOrigin,
    report: ParityReport,
    tests: tuple[SelfTest, ...],
) -> BundleManifest:
    return BundleManifest(
        name=origin.name,
        precision=workload.precision,
        beam=workload.beam,
        length_penalty=config.length_penalty,
        source_lang=origin.source_lang,
        target_lang=origin.target_lang,
        pad_id=PAD_ID,
        unk_id=UNK_ID,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        vocab_size=vocab_size,
        max_source_len=config.max_source_len,
        max_decode_steps=config.max_decode_steps,
        arch=arch,
        num_parameters=num_parameters(space, arch, vocab_size),
        workload=workload,
        device=origin.device,
        provenance=dict(origin.provenance),
        weights=origin.weights,
        parity=report,
        self_test=tests,
        sha256={},
    )


def _describe(folder: Path, draft: BundleManifest) -> BundleManifest:
    """Write README and manifest; give the manifest, with the hash of every other file."""
    (folder / README_NAME).write_text(bundle_readme(draft), encoding="utf-8")
    hashes = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    manifest = draft.model_copy(update={"sha256": hashes})
    write_record(folder / MANIFEST_NAME, manifest)
    return manifest
