"""What a bundle and the report say of an encoder: settings, README (a model card), and page."""

from pathlib import Path

from markupsafe import Markup

from ...config.encoder import EncoderRunConfig, TaskKind
from ...errors import ExportError
from ...export.bundle import readme
from ...export.onnx.builder import GraphOptions
from ...records import BundleManifest, SearchResult
from ...report import FamilyPage
from ...report.cells import Stack, counted, draw_stacks
from ...runtime import Encoder
from ...spaces.encoder import EncoderArch, EncoderWorkload
from .dataset import center_and_spread, label_array
from .examples import EncoderData

_FRONT = """\
---
library_name: onnx
pipeline_tag: {pipeline}
tags: [mosdeploy, encoder, {kind}]
---
"""
# pipeline of Hugging Face, and title
_TASKS: dict[TaskKind, tuple[str, str]] = {
    "classification": ("text-classification", "the class of a text"),
    "regression": ("text-classification", "a number for a text"),
    "tagging": ("token-classification", "tags of the words of a text"),
    "embedding": ("sentence-similarity", "the vector of a text"),
}


def bundle_settings(
    config: EncoderRunConfig, workload: EncoderWorkload, data: EncoderData
) -> dict[str, int | float | str | tuple[str, ...]]:
    """What the runtime of an encoder's bundle needs to know beyond what all bundles say."""
    task = config.task
    if not config.gives_answers:
        raise ExportError(
            "a masked-lm network has no answer that a bundle could give: write the run file of a "
            "task, with supernet_from at its top, in another folder"
        )
    scale = {}
    if task.kind == "regression":  # on which answers are compared
        center, spread = center_and_spread(label_array(data.train))
        scale = {"center": center, "spread": spread}
    is_vector = task.kind == "embedding"
    return {
        "kind": task.kind,
        "labels": task.tag_names,
        "num_outputs": config.space.embed_dim[0] if is_vector else task.num_outputs,
        "num_types": config.space.num_types,
        "max_input_len": config.export.max_input_len,
        "takes_pairs": int(any(example.text_pair is not None for example in data.train)),
        "texts_per_call": workload.batch,
        **scale,
    }


def graph_options(config: EncoderRunConfig, *_: object) -> GraphOptions:
    """Positions for the longest text that a bundle takes; the graph holds all of its table."""
    return GraphOptions(max_positions=config.export.max_input_len)


def open_bundle(folder: Path, threads: int | None = None, long: str = "cut") -> Encoder:
    """Open a bundle with the runtime that devices have."""
    return Encoder(folder, threads, long=long)


def bundle_readme(manifest: BundleManifest) -> str:
    """Write the README.md inside a bundle, for people who find the folder on a device."""
    settings = manifest.settings
    kind: TaskKind = settings["kind"]  # type: ignore[assignment]
    pipeline, title = _TASKS[kind]
    longest = f"{settings['max_input_len']} tokens; longer ones are cut, or read in windows"
    facts = {
        "written as": "width, then FFN width and heads of each layer",
        "answers with": answers_with(manifest),
        "longest text": longest,
    }
    if settings["takes_pairs"]:
        facts["two texts judged together"] = "in one line, separated by a tab"
    inputs = f"input_ids, attention_mask{', token_type_ids' if settings['num_types'] else ''}"
    return _FRONT.format(pipeline=pipeline, kind=kind) + readme(
        manifest,
        title=title,
        facts=facts,
        packages="onnxruntime tokenizers",
        files=f"`model.onnx` (inputs {inputs}, int64, texts by tokens, padded on the right; output "
        f"{'vector' if kind == 'embedding' else 'logits'}), `tokenizer.json` (Hugging Face "
        "tokenizers)",
        # the self-test has the tags of the pieces
        prints="a tag for each word." if kind == "tagging" else None,
    )


def answers_with(manifest: BundleManifest) -> str:
    """What an answer is, in a few words: the classes, the tags, a number, a vector."""
    settings = manifest.settings
    labels = settings["labels"]
    assert isinstance(labels, tuple)
    if settings["kind"] == "regression":
        return "a number"
    if settings["kind"] == "embedding":
        return f"a vector of {settings['num_outputs']} numbers, of length 1"
    return ", ".join(labels)


# -- the page


NOTE = (
    "The first layer is at the bottom; the filled part of a box is the width of its feed-forward "
    "network."
)
_CALLS = {
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
    one, several = ("answers a text", "answers {} texts") if kind is None else _CALLS[kind]
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
