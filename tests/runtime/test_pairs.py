"""Two texts in a line, and single texts that look like two."""

from pathlib import Path

import pytest
from encoder_bundles import CLS_ID, SEP_ID, edit_manifest, encoder_config, export_encoder, in_numpy

from mosdeploy.runtime import Encoder

SINGLE = ("classification", "regression", "tagging", "embedding")


@pytest.mark.parametrize("kind", SINGLE)
def test_a_model_of_single_texts_reads_a_tab_as_a_space(tmp_path: Path, kind: str) -> None:
    encoder = Encoder(export_encoder(tmp_path, kind, has_pairs=False), threads=1)
    assert not encoder.settings.takes_pairs
    lines = ["the cat\tsee a house", "the cat see a house"]
    answers = encoder.answer(lines)
    assert [answer.pop("is_joined", False) for answer in answers] == [True, False]
    for answer in answers:
        for entity in answer.get("entities", ()):
            entity["text"] = entity["text"].replace("\t", " ")
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("kind", "takes_pairs"),
    [("classification", True), ("regression", True), ("tagging", False), ("embedding", False)],
)
def test_an_older_bundle_takes_pairs_by_its_kind(
    tmp_path: Path, kind: str, takes_pairs: bool
) -> None:
    folder = export_encoder(tmp_path, kind, has_pairs=False)
    edit_manifest(folder, lambda data: data["settings"].pop("takes_pairs"))
    assert Encoder(folder, threads=1).settings.takes_pairs == takes_pairs


@pytest.mark.parametrize("kind", ["classification", "embedding"])
def test_a_separator_inside_a_single_text_starts_no_second_one(tmp_path: Path, kind: str) -> None:
    """As transformers' tokenizers have it: the types of a single text are all zero."""
    encoder = Encoder(export_encoder(tmp_path, kind, has_pairs=False), threads=1)
    ids = encoder.tokenizer.encode("the cat [SEP] a house")
    assert ids.count(SEP_ID) == 2 and ids[0] == CLS_ID
    (found,) = encoder.predict_ids([ids])
    assert found == pytest.approx(
        in_numpy(encoder_config(kind), [ids], has_pairs=False)[0], abs=5e-5
    )
