import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from encoder_bundles import (
    MAX_INPUT_LEN,
    PIECES,
    TEXTS,
    encode_texts,
    encoder_config,
    types_of,
    write_tokenizer,
)
from encoders import answer_in_numpy, encoder_spec, random_weights, uneven_arch

from mosdeploy.config.encoder import POOLED_HEADS, read_vector_modules
from mosdeploy.errors import ExportError
from mosdeploy.families.encoder.formats import write_hf, write_optimum
from mosdeploy.family import FormatJob
from mosdeploy.spaces.encoder import VECTOR_HEADS, BertLayerConfig, EncoderArch
from mosdeploy.storage import sha256_file

LAYER = BertLayerConfig(ffn_dim=40, heads=3)
UNIFORM = EncoderArch(embed_dim=24, layers=(LAYER, LAYER))
NARROW = EncoderArch(embed_dim=24, layers=(LAYER.model_copy(update={"dim": 12}),) * 2)


def make_job(folder: Path, kind: str, arch: EncoderArch = UNIFORM, **changed: object) -> FormatJob:
    """A subnet with random weights; `changed` are constants of its space."""
    config = encoder_config(kind)
    space = config.space.model_copy(update={"heads": (1, 3, 4), **changed})
    write_tokenizer(folder / "made.json")
    return FormatJob(
        spec=encoder_spec(space, vocab_size=len(PIECES)),
        arch=arch,
        weights=random_weights(space, arch, vocab_size=len(PIECES)),
        config=config.model_copy(update={"space": space}),
        tokenizer_path=folder / "made.json",
    )


def expected(job: FormatJob, texts: list[str]) -> list[np.ndarray]:
    space = job.spec.space
    return [
        answer_in_numpy(
            space,
            job.arch,
            job.weights,
            {"input_ids": np.array([ids]), "token_type_ids": np.array([types_of(ids, space)])},
        )
        for ids in encode_texts(job.tokenizer_path, texts)
    ]


def batch_of(folder: Path, texts: list[str]) -> dict:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer(texts, padding=True, truncation=True, return_tensors="pt")


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("classification", {}),
        ("classification", {"num_types": 0, "activation": "gelu_tanh"}),
        ("regression", {"num_types": 1, "activation": "relu"}),
        ("tagging", {}),
        ("masked-lm", {}),
        ("classification", {"head_dim": None}),  # attention as wide as the states, whatever heads
    ],
)
def test_transformers_answers_the_same(tmp_path: Path, kind: str, changed: dict) -> None:
    transformers = pytest.importorskip("transformers")
    job = make_job(tmp_path, kind, **changed)
    folder = tmp_path / "hf"
    write_hf(job, folder)
    model_class = {
        "tagging": transformers.AutoModelForTokenClassification,
        "masked-lm": transformers.AutoModelForMaskedLM,
    }.get(kind, transformers.AutoModelForSequenceClassification)
    model, report = model_class.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    batch = batch_of(folder, TEXTS)
    assert batch["input_ids"].shape[1] == MAX_INPUT_LEN
    found = model.eval()(**batch).logits.detach().numpy()
    for row, mask, answer in zip(found, batch["attention_mask"], expected(job, TEXTS), strict=True):
        real = row[: int(mask.sum())] if row.ndim == 2 else row
        assert real == pytest.approx(answer, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("head", VECTOR_HEADS)
def test_the_vectors_of_a_folder_are_made_as_its_network_makes_them(
    tmp_path: Path, head: str
) -> None:
    write_hf(make_job(tmp_path, "embedding", head=head), tmp_path / "hf")
    said = read_vector_modules(tmp_path / "hf")
    assert said is not None and POOLED_HEADS[said.pooling] == head and said.is_normalized


@pytest.mark.parametrize("head", VECTOR_HEADS)
def test_sentence_transformers_gives_the_same_vectors(tmp_path: Path, head: str) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    job = make_job(tmp_path, "embedding", head=head)
    write_hf(job, tmp_path / "hf")
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "hf"), device="cpu")
    found = model.encode(TEXTS)
    assert found == pytest.approx(np.stack(expected(job, TEXTS)), abs=1e-5)


@pytest.mark.parametrize(
    ("arch", "changed", "reason"),
    [
        (uneven_arch(), {}, "its layers differ"),
        (NARROW, {"layer_dim": (12, 24), "head_dim": None}, "its layers have bottlenecks"),
        (
            EncoderArch(embed_dim=24, layers=(BertLayerConfig(ffn_dim=40, heads=4),)),
            {},
            "its attention is 32 wide, its hidden states 24",
        ),
        (UNIFORM, {"table_dim": 16}, "table is not as wide"),
    ],
)
def test_what_no_bert_can_hold(
    tmp_path: Path, arch: EncoderArch, changed: dict, reason: str
) -> None:
    job = make_job(tmp_path, "classification", arch, **changed)
    with pytest.raises(ExportError, match=reason):
        write_hf(job, tmp_path / "hf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.json"]


def test_a_folder_for_optimum_has_what_its_classes_read(tmp_path: Path) -> None:
    """What Optimum does, by hand: inputs by the names of the model, as the tokenizer makes them."""
    transformers = pytest.importorskip("transformers")
    job = make_job(tmp_path, "classification", uneven_arch())
    folder = tmp_path / "optimum"
    write_optimum(job, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.onnx",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = transformers.AutoConfig.from_pretrained(folder)
    assert config.id2label == {0: "bad", 1: "fair", 2: "good"}
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    batch = batch_of(folder, TEXTS)
    assert set(batch) == {value.name for value in session.get_inputs()}
    (found,) = session.run(["logits"], {name: array.numpy() for name, array in batch.items()})
    assert found == pytest.approx(np.stack(expected(job, TEXTS)), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("write", [write_hf, write_optimum])
def test_another_tokenizer_than_the_networks_is_refused(tmp_path: Path, write: Any) -> None:
    job = make_job(tmp_path, "classification")
    own = dataclasses.replace(job, tokenizer_sha256=sha256_file(job.tokenizer_path))
    write(own, tmp_path / "own")
    # as another export that trims writes it meanwhile
    job.tokenizer_path.write_text(job.tokenizer_path.read_text() + "\n")
    with pytest.raises(ExportError, match=r"made\.json is not the tokenizer that the network"):
        write(own, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_is_replaced_whole_and_nothing_else_is(tmp_path: Path) -> None:
    job = make_job(tmp_path, "classification")
    folder = tmp_path / "model"
    write_hf(job, folder)
    write_optimum(job, folder)
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "config.json").read_text())["num_attention_heads"] == 3
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExportError, match="is no model of Hugging Face; move it away"):
        write_hf(job, tmp_path / "mine")
