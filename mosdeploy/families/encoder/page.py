"""The encoder's parts of the report: its workload in words, architectures drawn as a stack of
layers, the settings of its bundle.
"""

from markupsafe import Markup

from ...records import BundleManifest, SearchResult
from ...report import FamilyPage
from ...report.cells import Stack, counted, draw_stacks
from ...spaces.encoder import EncoderArch, EncoderWorkload
from .bundle import answers_with

NOTE = (
    "The first layer is at the bottom; the filled part of a box is the width of its feed-forward "
    "network."
)
_TASKS = {
    "classification": ("tells the class of a text", "tells the classes of {} texts"),
    "regression": ("gives a text its number", "gives {} texts their numbers"),
    "tagging": ("tags the words of a text", "tags the words of {} texts"),
    "embedding": ("turns a text into a vector", "turns {} texts into vectors"),
}
"""What one call does, with one text and with a batch; it is what was timed."""


def describe_page(search: SearchResult, manifest: BundleManifest | None) -> FamilyPage:
    """Say what the report needs to know about an encoder."""
    workload = search.workload
    assert isinstance(workload, EncoderWorkload)
    kind = None if manifest is None else str(manifest.settings["kind"])
    one, several = ("answers a text", "answers {} texts") if kind is None else _TASKS[kind]
    texts = "a text" if workload.batch == 1 else f"{workload.batch} texts"
    kept = ", padding kept" if workload.padding == "kept" else ""
    facts: tuple[tuple[str, str], ...] = ()
    if manifest is not None:
        longest = manifest.settings["max_input_len"]
        facts = (
            ("Task", str(kind)),
            ("Answers with", answers_with(manifest)),
            ("Longest text", f"{longest} tokens; longer ones are cut, or read in windows"),
        )
    return FamilyPage(
        workload=(
            f"{texts} of {workload.input_len} tokens, threads {workload.threads}, "
            f"{workload.precision}{kept}"
        ),
        task=one if workload.batch == 1 else several.format(workload.batch),
        metric_title="Quality of the answers",
        draw=draw_architecture,
        drawing_note=NOTE,
        layer_header=("layer", "width", "FFN width", "heads"),
        layer_rows=layer_rows,
        bundle_facts=facts,
        example_header=("text", "tags of its pieces" if kind == "tagging" else "answer"),
    )


def layer_rows(arch: EncoderArch) -> tuple[tuple[str | int, ...], ...]:
    """A row for each layer: its number, its widths, its heads."""
    return tuple(
        (i + 1, x.dim or arch.embed_dim, x.ffn_dim, x.heads) for i, x in enumerate(arch.layers)
    )


def draw_architecture(arch: EncoderArch) -> Markup:
    """Draw the stack, first layer at the bottom; the filled part of a box is its FFN width over the
    widest.
    """
    widest = max(x.ffn_dim for x in arch.layers)
    stack = Stack(
        title=f"Encoder, {arch.embed_dim} wide",
        shares=[x.ffn_dim / widest for x in arch.layers],
        texts=[
            (f"{i + 1}: FFN {x.ffn_dim}", counted(x.heads, "head"))
            for i, x in enumerate(arch.layers)
        ],
        style="primary",
    )
    return draw_stacks([stack], f"Encoder of {counted(len(arch.layers), 'layer')}: {arch}")
