"""Small encoder bundles with a real tokenizer and random weights."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tokenizers
from encoders import answer_in_numpy, encoder_space, encoder_spec, random_weights
from tokenizers import models, normalizers, pre_tokenizers, processors

from mosdeploy.config import load_recipe
from mosdeploy.config.encoder import (
    HEADS,
    EncoderExportConfig,
    EncoderRunConfig,
    TaskConfig,
)
from mosdeploy.export.bundle import BuiltModel, BundleJob, BundleOrigin, export_bundle
from mosdeploy.export.onnx.builder import write_model
from mosdeploy.export.parity import ParityExamples
from mosdeploy.families.encoder.bundle import bundle_readme, bundle_settings
from mosdeploy.families.encoder.examples import EncoderData, Example
from mosdeploy.families.encoder.onnx_graph import build_graph
from mosdeploy.runtime import Encoder
from mosdeploy.runtime.encoder import decode_answer
from mosdeploy.runtime.manifest import ONNX_MODEL_NAME, PAIR_KINDS
from mosdeploy.spaces.encoder import EncoderSpace
from mosdeploy.storage import sha256_file

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLS_ID = 2
SEP_ID = 3
WORDS = ["the", "cat", "see", "small", "red", "house", "take", "one", "book", "ann", "lee", "paris"]
PIECES = (*SPECIAL, *WORDS, "##s", "##a", "##b", "a", "b", ".", ",")
MAX_INPUT_LEN = 10
LABELS = {"classification": ("bad", "fair", "good"), "tagging": ("PER", "LOC")}

TEXTS = [
    "the cat",
    "the cat sees a small red house.",
    "ann takes one book",
    "paris, the red house.",
    "lee sees paris",
    "a b a b.",
    "one small cat takes the red book",
]


def write_tokenizer(path: Path) -> None:
    """A WordPiece tokenizer of 24 pieces, as BERT's."""
    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS_ID), ("[SEP]", SEP_ID)],
    )
    path.write_text(tokenizer.to_str(), encoding="utf-8")


def encoder_config(kind: str) -> EncoderRunConfig:
    task = TaskConfig(kind=kind, train="none", labels=LABELS.get(kind, ()))
    num_outputs = 0 if kind in ("embedding", "masked-lm") else task.num_outputs
    return load_recipe("minilm-l6").model_copy(
        update={
            "task": task,
            "space": encoder_space(head=HEADS[task.kind], num_outputs=num_outputs),
            "export": EncoderExportConfig(max_input_len=MAX_INPUT_LEN, max_score_drop=100.0),
        }
    )


def types_of(ids: list[int], space: EncoderSpace) -> list[int]:
    end = ids.index(SEP_ID) + 1 if SEP_ID in ids and space.num_types == 2 else len(ids)
    return [0] * end + [1] * (len(ids) - end)


def in_numpy(
    config: EncoderRunConfig, inputs: list[list[int]], has_pairs: bool = True
) -> list[list[float]]:
    """Answers of the largest network, as the bundle must give them."""
    space = config.space
    weights = random_weights(space, space.largest, vocab_size=len(PIECES))
    return [
        answer_in_numpy(
            space,
            space.largest,
            weights,
            {
                "input_ids": np.array([ids]),
                "token_type_ids": np.array([types_of(ids, space) if has_pairs else [0] * len(ids)]),
            },
        )
        .ravel()
        .tolist()
        for ids in inputs
    ]


def encode_texts(path: Path, texts: list[str]) -> list[list[int]]:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(MAX_INPUT_LEN)
    return [list(tokenizer.encode(text).ids) for text in texts]


def model_builder(config: EncoderRunConfig, precision: str) -> Callable[[Path], BuiltModel]:
    def build(folder: Path) -> BuiltModel:
        space = config.space
        weights = random_weights(space, space.largest, vocab_size=len(PIECES))
        spec = encoder_spec(space, precision, len(PIECES))
        write_model(build_graph(spec, space.largest, weights), folder / ONNX_MODEL_NAME)
        return BuiltModel("onnxruntime")

    return build


def learned(kind: str, has_pairs: bool = True) -> EncoderData:
    """Data of pairs, where the kind knows them."""
    pair = "a cat" if has_pairs and kind in PAIR_KINDS else None
    return EncoderData((Example("the cat", pair),), (), (), {}, "")


def export_encoder(
    folder: Path, kind: str, precision: str = "fp32", has_pairs: bool = True
) -> Path:
    """Write a bundle of the largest network with random weights; give its folder."""
    config = encoder_config(kind)
    tokenizer_path = folder / "made.json"
    write_tokenizer(tokenizer_path)
    job = BundleJob(
        family="encoder",
        spec=encoder_spec(config.space, precision, len(PIECES)),
        arch=config.space.largest,
        settings=bundle_settings(config, config.workload, learned(kind, has_pairs)),
        origin=BundleOrigin("random", None, {}),
        tokenizer_path=tokenizer_path,
        limits=config.export,
        readme=bundle_readme,
    )
    export_bundle(
        job,
        build=model_builder(config, precision),
        open_bundle=Encoder,
        examples=ParityExamples(
            inputs=TEXTS,
            input_ids=encode_texts(tokenizer_path, TEXTS),
            reference=partial(in_numpy, config),
            # rounded, so that torch and the model say the same
            decode=partial(decode_answer, config.task.kind, config.task.tag_names),
            score=lambda outputs: 0.0,
            metric="accuracy",
        ),
        out_dir=folder / "bundle",
    )
    return folder / "bundle"


def edit_manifest(bundle: Path, change: Callable[[dict], object] = lambda data: None) -> None:
    """Change the manifest of a bundle, after bringing its hashes up to date."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    data["sha256"] = {name: sha256_file(bundle / name) for name in data["sha256"]}
    change(data)
    path.write_text(json.dumps(data))
