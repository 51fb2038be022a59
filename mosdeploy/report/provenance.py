"""Where the winner's bundle comes from: what is in it, and the fingerprints of all that went in."""

from ..printable import score
from ..records import BundleManifest
from .cells import Facts, Table, byte_size, code
from .family_page import FamilyPage
from .summary import ReportInputs


def bundle_facts(manifest: BundleManifest, size_bytes: int | None, family: FamilyPage) -> Facts:
    """Give the bundle's name, weights, costs and parity, and the family's settings between them."""
    parity = manifest.parity
    scores = f"{score(parity.torch_score)}, {score(parity.bundle_score)}"
    return (
        ("Name", manifest.name),
        ("Weights", manifest.weights),
        ("Precision", manifest.precision),
        ("Size", None if size_bytes is None else byte_size(size_bytes)),
        ("Parameters", f"{manifest.num_parameters:,}"),
        *family.bundle_facts,
        ("Same as trained", f"{parity.identical} of {parity.num_examples} examples"),
        (f"{parity.metric} trained, bundle", scores),
    )


def self_test_table(manifest: BundleManifest, header: tuple[str, str]) -> Table | None:
    """List the examples of the self-test with their outputs; None where it has none."""
    rows = tuple((example.input, example.output) for example in manifest.self_test)
    caption = "What its self-test must answer"
    return Table(header, rows, caption, is_stacked=True) if rows else None


def fingerprints_table(inputs: ReportInputs) -> Table:
    """List the SHA-256 of all that went in, as far as its records are there."""
    search = inputs.search
    digests = {"search space": search.space_sha256, "supernet": search.supernet_sha256}
    if search.predictor_sha256:
        digests["latency predictor"] = search.predictor_sha256
    if inputs.supernet:
        digests["training data"] = inputs.supernet.data_sha256
        digests["tokenizer"] = inputs.supernet.tokenizer_sha256
    if inputs.card:
        digests["latency dataset"] = inputs.card.dataset_sha256
    if inputs.manifest:
        digests |= {f"bundle: {name}": x for name, x in inputs.manifest.provenance.items()}
        digests |= {f"bundle file {name}": x for name, x in inputs.manifest.sha256.items()}
    rows = tuple((name, code(digest)) for name, digest in digests.items())
    return Table(("what", "SHA-256"), rows, is_stacked=True)
