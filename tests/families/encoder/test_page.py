import dataclasses
import re
from pathlib import Path

import pytest
from encoder_bundles import export_encoder
from synthetic import full_inputs, search_result

from mosdeploy.export.bundle import read_manifest
from mosdeploy.families.encoder.page import describe_page, draw_architecture
from mosdeploy.pipeline.candidates import choices
from mosdeploy.records import BundleManifest, SearchResult
from mosdeploy.report import build_report
from mosdeploy.spaces.encoder import BertLayerConfig, EncoderArch, EncoderWorkload

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


@pytest.mark.slow
def test_page_is_built_with_it(manifest: BundleManifest, tmp_path: Path) -> None:
    search = search_of_encoder()
    inputs = dataclasses.replace(full_inputs(), search=search, choices=choices(search))
    family = describe_page(search, manifest)
    page = build_report(inputs, family, tmp_path).read_text(encoding="utf-8")
    assert "On rpi, the winner tells the class of a text in 11.6" in page
    assert all(family.draw(x.arch) in page for x in search.front) and "bad, fair, good" in page
