from synthetic import SPACE, digest, family_page, full_inputs, inputs_of, manifest, search_result

from mosdeploy.report.provenance import bundle_facts, fingerprints_table, self_test_table


def test_bundle_by_hand() -> None:
    made = manifest(SPACE.largest)
    facts = dict(bundle_facts(made, 3 * 2**19, family_page()))
    assert facts["Size"] == "1.5\N{NO-BREAK SPACE}MiB"
    assert facts["Longest input"] == "128 tokens"
    assert facts["Same as trained"] == "64 of 64 examples"
    assert facts["BLEU trained, bundle"] == "24.1, 24.1"
    assert dict(bundle_facts(made, None, family_page()))["Size"] is None


def test_self_test_is_listed_with_the_familys_names() -> None:
    made = manifest(SPACE.largest)
    table = self_test_table(made, ("input", "output"))
    assert table is not None
    assert table.header == ("input", "output") and table.is_stacked
    assert table.rows[0] == ("Save file", "Enregistrer le fichier")
    assert self_test_table(made.model_copy(update={"self_test": ()}), ("input", "output")) is None


def test_every_fingerprint_is_listed() -> None:
    rows = dict(fingerprints_table(full_inputs()).rows)
    assert rows["training data"] == f"<code>{digest('7')}</code>"
    assert list(rows) == [
        "search space",
        "supernet",
        "latency predictor",
        "training data",
        "tokenizer",
        "latency dataset",
        "bundle: supernet",
        "bundle: tokenizer",
        "bundle file model.onnx",
        "bundle file tokenizer.model",
    ]


def test_search_alone_has_three_fingerprints() -> None:
    rows = dict(fingerprints_table(inputs_of(search_result())).rows)
    assert list(rows) == ["search space", "supernet", "latency predictor"]
