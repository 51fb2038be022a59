import re
import shlex
from functools import partial
from pathlib import Path

import pytest
import torch
from encoder_bundles import (
    PIECES,
    SEP_ID,
    TEXTS,
    encode_texts,
    encoder_config,
    export_encoder,
    learned,
    write_tokenizer,
)
from encoders import random_weights
from synthetic import search_result

from mosdeploy.errors import ExportError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.families.encoder.bundle import (
    bundle_readme,
    bundle_settings,
    describe_page,
    draw_architecture,
    open_bundle,
)
from mosdeploy.families.encoder.dataset import BatchLayout
from mosdeploy.families.encoder.network import EncoderSubnet
from mosdeploy.families.encoder.scoring import predictor
from mosdeploy.families.encoder.tokenizer import EncoderTokenizer
from mosdeploy.records import BundleManifest, SearchResult, SelfTest
from mosdeploy.runtime.encoder import best_places, decode_answer
from mosdeploy.runtime.wordpieces import WordPieces
from mosdeploy.spaces.encoder import BertLayerConfig, EncoderArch, EncoderWorkload


def test_a_network_without_answers_is_not_exported() -> None:
    config = encoder_config("masked-lm")
    with pytest.raises(ExportError, match="supernet_from"):
        bundle_settings(config, config.workload, learned("masked-lm"))


@pytest.mark.parametrize("kind", ["classification", "regression", "tagging", "embedding"])
def test_a_bundle_answers_as_the_network_does(tmp_path: Path, kind: str) -> None:
    space = encoder_config(kind).space
    weights = random_weights(space, space.largest, vocab_size=len(PIECES))
    subnet = EncoderSubnet(space.largest, space, len(PIECES))
    subnet.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model = open_bundle(export_encoder(tmp_path, kind), threads=1)
    inputs = [*encode_texts(tmp_path / "made.json", TEXTS), [2, 5, 6, 3, 7, 3]]
    layout = BatchLayout(pad_id=0, sep_id=SEP_ID, num_types=2).of(learned(kind).train)
    expected = predictor(layout)(subnet, inputs)
    found = model.predict_ids(inputs)
    task = encoder_config(kind).task
    decode = partial(decode_answer, task.kind, task.tag_names)
    for answer, row in zip(expected, found, strict=True):
        assert row == pytest.approx(answer, abs=5e-5)
        assert model.decode(row) == decode(row)


def test_a_device_splits_texts_as_training_does(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    trained = EncoderTokenizer(tmp_path / "tokenizer.json")
    device = WordPieces(tmp_path / "tokenizer.json", len(PIECES), 7, takes_pairs=True)
    tagger = WordPieces(tmp_path / "tokenizer.json", len(PIECES), 7, takes_pairs=False)
    for text in TEXTS:
        assert device.encode(text) == trained.encode(text, max_tokens=7)
        pair = f"{text}\tthe red cat sees"
        assert device.encode(pair) == trained.encode(text, "the red cat sees", max_tokens=7)
        words = text.split()
        tagged = trained.encode_words(words, max_tokens=7)
        pieces = tagger.split(text)
        places = [match.span() for match in re.finditer(r"\S+", text)]
        assert pieces.ids == tagged.ids
        found = [place and place[1] for place in best_places(places, [pieces])]
        assert found == [None if first < 0 else first for first in tagged.first_pieces]


def test_the_readme_is_a_model_card_with_an_example(tmp_path: Path) -> None:
    folder = export_encoder(tmp_path, "classification")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: onnx\npipeline_tag: text-classification\n")
    assert "# random: the class of a text\n" in text
    assert "| answers with | bad, fair, good |" in text
    assert "| accuracy on 7 validation examples | 0.00" in text and "token_type_ids, int64" in text
    manifest = read_manifest(folder)
    assert f"    {manifest.self_test[0].output}\n" in text
    quoted = SelfTest(input="it's 'so'", input_ids=(2, 3), answer=(1.5, 0.0, 0.0), output="bad")
    shown = bundle_readme(manifest.model_copy(update={"self_test": (quoted,)}))
    command = next(line for line in shown.splitlines() if "printf" in line)
    assert shlex.split(command)[:3] == ["printf", r"%s\n", "it's 'so'"]
    tagging = {**manifest.settings, "kind": "tagging"}
    shown = bundle_readme(manifest.model_copy(update={"settings": tagging}))
    assert "The first prints a tag for each word.\n" in shown


ARCH = EncoderArch(
    embed_dim=24,
    layers=(BertLayerConfig(ffn_dim=40, heads=4), BertLayerConfig(ffn_dim=20, heads=1)),
)


def search_of_encoder() -> SearchResult:
    """A search that found two encoders, the second of which was measured."""
    search = search_result()
    winner = search.winner.model_copy(update={"arch": ARCH})
    small = search.front[0].model_copy(
        update={"arch": ARCH.model_copy(update={"layers": ARCH.layers[1:]})}
    )
    return search.model_copy(
        update={
            "winner": winner,
            "finalists": (winner,),
            "front": (small, winner),
            "workload": EncoderWorkload(),
        }
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> BundleManifest:
    folder = tmp_path_factory.mktemp("bundle")
    return read_manifest(export_encoder(folder, "classification"))


def test_layers_are_listed_and_drawn_by_hand() -> None:
    page = describe_page(search_of_encoder(), None)
    assert page.layer_rows(ARCH) == ((1, 24, 40, 4), (2, 24, 20, 1))
    drawing = page.draw(ARCH)
    assert len(page.layer_header) == 4
    filled = re.findall(r'width="([\d.]+)" height="44" rx="5" class="fill primary"', drawing)
    assert filled == ["132", "66"]
    assert "2: FFN 20<" in drawing and "Encoder, 24 wide" in drawing
    assert "Encoder of 2 layers: 24 [40/4h 20/1h]" in draw_architecture(ARCH)


def test_workload_and_bundle_in_words(manifest: BundleManifest) -> None:
    search = search_of_encoder()
    assert describe_page(search, None).workload == "a text of 32 tokens, threads 1, fp32"
    batch = search.model_copy(update={"workload": EncoderWorkload(batch=8, precision="int8")})
    kept = search.model_copy(update={"workload": EncoderWorkload(padding="kept")})
    assert describe_page(kept, None).workload.endswith("threads 1, fp32, padding kept")
    page = describe_page(batch, manifest)
    assert page.workload == "8 texts of 32 tokens, threads 1, int8"
    assert page.task == "tells the classes of 8 texts"
    assert describe_page(search, manifest).task == "tells the class of a text"
    assert page.bundle_facts == (
        ("Task", "classification"),
        ("Answers with", "bad, fair, good"),
        (
            "Longest text",
            "10 tokens; longer ones are cut, or read in windows",
        ),
    )
    assert describe_page(search, None).bundle_facts == ()
