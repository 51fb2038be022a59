"""Bundles: the folder that travels to a device."""

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..config.sections import ExportConfig
from ..config.units import Statistic
from ..errors import BundleError, ExportError, MosdeployError, StaleInputError
from ..records import BundleManifest, Limits, ParityReport, Runtime, SelfTest, WeightOrigin
from ..runtime.errors import ManifestError
from ..runtime.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, TOKENIZER_NAMES
from ..runtime.manifest import read_manifest as read_as_runtime
from ..runtime.self_test import scale_of
from ..spaces.genes import ArchConfig
from ..spaces.spec import ModelSpec
from ..storage import (
    disk_errors,
    locked,
    read_record,
    remove_scratch,
    replace_folder,
    restore_folder,
    sha256_file,
    write_record,
)
from .parity import (
    ParityExamples,
    PredictsIds,
    check_parity,
    check_tokenizer,
    choose_self_tests,
)

README_NAME = "README.md"

_README = """\
# {m.name}: {title}

Made by mosdeploy: model, tokenizer and settings.

| | |
|---|---|
| architecture | {m.arch} |
| parameters | {m.num_parameters:,} |
| weights | {m.weights} |
| precision | {m.precision} |
{facts}| {m.parity.metric} on {m.parity.num_examples} validation examples | \
{m.parity.bundle_score:.2f} (the trained network: {m.parity.torch_score:.2f}) |

{binding}Run it with the package `mosdeploy_runtime`: the folder `mosdeploy/runtime` of mosdeploy, \
copied here under this name (`mosdeploy deploy` brings it to a device). Where mosdeploy is \
installed, `mosdeploy.runtime` does the same:

    pip install numpy {packages}
    printf '%s\\n' {input} | python -m mosdeploy_runtime .
    python -m mosdeploy_runtime . --self-test

The first prints{prints}

{providers}Files: {files}, `manifest.json` (what it was made from, the sha256 of each file, \
examples with expected answers).
"""
_BINDING = """\
`model.so` is machine code for {processor}: run it only if you trust where this bundle comes from.

"""
_PROVIDERS = """\
It computes on the CPU unless another execution provider of ONNX Runtime is named. On an NVIDIA GPU,
with the package `onnxruntime-gpu` in place of `onnxruntime`:

    python -m mosdeploy_runtime . --provider CUDAExecutionProvider

or in Python `mosdeploy_runtime.open_model(".", providers=["CUDAExecutionProvider"])`.

"""
MAX_SHOWN = 500
"""Characters of an example's answer that the README shows."""

HASHES_BYTES = 2**12
"""What the names and hashes of a bundle's files take in its manifest, at most."""


@dataclass(frozen=True)
class BuiltModel:
    """What a builder left in a folder."""

    runtime: Runtime
    processor: str | None = None
    checked_folder: Path | None = None


ModelBuilder = Callable[[Path], BuiltModel]
"""Writes the files of a model into a folder."""

BundleOpener = Callable[[Path], PredictsIds]
"""Opens a bundle's folder with the runtime that devices have."""


@dataclass(frozen=True)
class BundleOrigin:
    """What the manifest says of where a bundle comes from, and which limits it is held to;
    `provenance` maps record names to their sha256.
    """

    name: str
    device: str | None
    provenance: dict[str, str]
    weights: WeightOrigin = "inherited"
    limits: Limits | None = None
    statistic: Statistic = "median"


@dataclass(frozen=True)
class BundleJob:
    """What is to be exported, and what its manifest says."""

    family: str
    spec: ModelSpec
    arch: ArchConfig
    settings: Mapping[str, int | float | str | tuple[str, ...]]
    origin: BundleOrigin
    tokenizer_path: Path
    limits: ExportConfig
    readme: Callable[[BundleManifest], str]
    tokenizer_sha256: str | None = None


@dataclass(frozen=True)
class DraftBundle:
    """A bundle that was not checked yet, and its model, opened."""

    built: BuiltModel
    model: PredictsIds


def readme(
    manifest: BundleManifest,
    title: str,
    facts: Mapping[str, object],
    packages: str,
    files: str,
    prints: str | None = None,
) -> str:
    """Write how a bundle is run without mosdeploy; `prints` says what the first example prints,
    where that is not its output.
    """
    example = manifest.self_test[0]
    output = example.output
    shown = output if len(output) <= MAX_SHOWN else f"{output[:MAX_SHOWN]}..."
    return _README.format(
        m=manifest,
        title=title,
        facts="".join(f"| {name} | {fact} |\n" for name, fact in facts.items()),
        packages=packages,
        files=files,
        input=shlex.quote(example.input),
        prints=f" {prints}" if prints else f":\n\n    {shown}",
        binding=_BINDING.format(processor=manifest.processor) if manifest.processor else "",
        providers=_PROVIDERS if manifest.runtime == "onnxruntime" else "",
    )


def export_bundle(
    job: BundleJob,
    build: ModelBuilder,
    open_bundle: BundleOpener,
    examples: ParityExamples,
    out_dir: Path,
) -> BundleManifest:
    """Export a subnet, after checking that its bundle answers as torch does; give the manifest."""
    if not examples.input_ids:
        raise ExportError(
            "no validation example to check the bundle with; give the data a validation set"
        )
    with whole_folder(out_dir, MANIFEST_NAME, "is not a bundle") as folder:
        draft = build_draft(job, build, open_bundle=open_bundle, folder=folder)
        check_tokenizer(draft.model, examples)
        report = check_parity(
            draft.model,
            examples,
            limits=job.limits,
            precision=job.spec.workload.precision,
            scale=scale_of(job.settings),
        )
        empty = _manifest(job, draft.built, report=report, tests=())
        room = MAX_MANIFEST_BYTES - HASHES_BYTES - len(empty.model_dump_json(indent=2).encode())
        tests = choose_self_tests(draft.model, examples, room)
        manifest = empty.model_copy(update={"self_test": tests})
        (folder / README_NAME).write_text(job.readme(manifest), encoding="utf-8")
        manifest = _write_manifest(folder, manifest)
        try:  # before it takes the place of another one
            read_as_runtime(folder)
        except ManifestError as error:
            raise ExportError(
                f"no runtime would open this bundle ({error}); no bundle was written"
            ) from error
    return manifest


@contextmanager
def whole_folder(out_dir: Path, marker: str, refusal: str) -> Iterator[Path]:
    """Give the path of a folder to make; when the block ends, it takes the place of `out_dir`."""
    if out_dir.exists() and not (out_dir / marker).is_file():
        raise ExportError(f"{out_dir} exists and {refusal}; move it away, or choose another folder")
    busy = MosdeployError(f"another `mosdeploy export` writes {out_dir}; wait for it, or stop it")
    with locked(out_dir, busy), disk_errors(out_dir):
        restore_folder(out_dir)
        remove_scratch(out_dir)
        with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}.", dir=out_dir.parent) as scratch:
            folder = Path(scratch) / "new"
            yield folder
            replace_folder(folder, out_dir)


def build_draft(
    job: BundleJob, build: ModelBuilder, open_bundle: BundleOpener, folder: Path
) -> DraftBundle:
    """Make a bundle that lacks the answers that it must give, and open it as a device does."""
    folder.mkdir()
    built = build(folder)
    # the runtime reads a manifest only with at least one example
    example = SelfTest(input="", input_ids=(), answer=(), output="")
    report = ParityReport(metric="", num_examples=0, identical=0, torch_score=0.0, bundle_score=0.0)
    manifest = _manifest(job, built, report=report, tests=(example,))
    tokenizer_path = folder / TOKENIZER_NAMES[job.family]
    copy_tokenizer(job.tokenizer_path, tokenizer_path, job.tokenizer_sha256)
    opened = folder
    if built.checked_folder is not None:
        opened = built.checked_folder
        shutil.copyfile(tokenizer_path, opened / TOKENIZER_NAMES[job.family])
    _write_manifest(opened, manifest)
    return DraftBundle(built, open_bundle(opened))


def copy_tokenizer(source: Path, target: Path, sha256: str | None) -> None:
    """Copy a tokenizer."""
    shutil.copyfile(source, target)
    # of the copy: a training or another export that ends meanwhile replaces the file
    if sha256 not in (None, sha256_file(target)):
        raise ExportError(
            f"{source} is not the tokenizer that the network was trained with, or the part of it "
            "that this export keeps; run the same command again"
        )


def read_manifest(bundle_dir: Path) -> BundleManifest:
    """Read a bundle's manifest and make sure that its files are those that it names."""
    try:
        manifest = read_record(BundleManifest, bundle_dir / MANIFEST_NAME, "mosdeploy export")
    except StaleInputError as error:
        raise BundleError(str(error)) from error
    for name, expected in manifest.sha256.items():
        path = bundle_dir / name
        if Path(name).name != name or not path.is_file() or sha256_file(path) != expected:
            raise BundleError(
                f"{path} is missing or is not the file that the manifest names; "
                "run `mosdeploy export` again"
            )
    return manifest


def _manifest(
    job: BundleJob, built: BuiltModel, report: ParityReport, tests: tuple[SelfTest, ...]
) -> BundleManifest:
    """The manifest, without hashes."""
    spec = job.spec
    return BundleManifest(
        **vars(job.origin),
        family=job.family,
        runtime=built.runtime,
        processor=built.processor,
        precision=spec.workload.precision,
        settings=dict(job.settings),
        vocab_size=spec.vocab_size,
        arch=job.arch,
        num_parameters=spec.num_parameters(job.arch),
        workload=spec.workload,
        parity=report,
        self_test=tests,
        sha256={},
    )


def _write_manifest(folder: Path, manifest: BundleManifest) -> BundleManifest:
    """Write the manifest with the hash of every other file; give it."""
    files = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME]
    hashes = {path.name: sha256_file(path) for path in files}
    manifest = manifest.model_copy(update={"sha256": hashes})
    write_record(folder / MANIFEST_NAME, manifest)
    return manifest
