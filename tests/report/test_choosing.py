import dataclasses

import pytest
from synthetic import family_page, full_inputs, inputs_of, search_result

from mosdeploy.report.choosing import cards, front_summary, script_data
from mosdeploy.report.summary import ReportInputs, summarise

SPACE = "\N{NO-BREAK SPACE}"


def winner_card(inputs: ReportInputs):  # type: ignore[no-untyped-def]
    [card] = [x for x in cards(summarise(inputs), family_page()) if x.shown]
    return card


def test_the_winner_is_shown_first_with_all_that_is_known() -> None:
    inputs = full_inputs()
    card = winner_card(inputs)
    assert card.title.endswith(" of the front, the winner")
    assert card.command == "mosdeploy export"
    facts = dict(card.facts)
    assert facts["BLEU, inherited"] == "24.1"
    assert facts["Quality of the task"] is None
    assert (
        "<small>measured in a search; " in facts["On rpi"]
        and f"ms ±{SPACE}2% predicted</small>" in facts["On rpi"]
    )
    assert "measured" in facts["On xeon"]
    assert f"measured on rpi, 1.65{SPACE}ms measured on xeon, 2,022,592 parameters" in card.answer
    assert card.layers.rows == (("layer 1", 256), ("layer 2", 512))


def test_others_are_exported_and_evaluated_by_their_number() -> None:
    inputs = full_inputs()
    made = cards(summarise(inputs), family_page())
    assert [x.title for x in made[:2]] == ["Number 1 of the front", "Number 2 of the front"]
    assert [x.command for x in made[:2]] == [
        "mosdeploy export --pick 1",
        "mosdeploy export --pick 2",
    ]
    facts = dict(made[1].facts)
    assert facts["Quality of the task"] == "<code>mosdeploy evaluate --pick 2</code>"
    assert str(facts["On xeon"]).endswith(f" ±{SPACE}25%<small>predicted, not measured</small>")
    assert f" ±{SPACE}2% predicted on rpi, " in made[1].answer
    assert f" ±{SPACE}25% predicted on xeon, " in made[1].answer


def test_without_test_examples_no_card_tells_how_to_score() -> None:
    made = cards(summarise(full_inputs()), family_page(), has_test=False)
    assert not any("evaluate" in str(card.facts) for card in made)


def test_measured_memory_goes_before_what_was_predicted() -> None:
    inputs = full_inputs()
    first = inputs.choices[0].model_copy(update={"measured_memory_bytes": 3 * 2**20})
    report = summarise(dataclasses.replace(inputs, choices=(first, *inputs.choices[1:])))
    card, *others = cards(report, family_page())
    facts = dict(card.facts)
    assert str(facts["Memory"]).startswith(
        f"3.0{SPACE}MiB<small>of the process, measured in a search; "
    )
    assert card.answer.endswith(f", 3.0{SPACE}MiB of memory measured.")
    assert str(dict(others[0].facts)["Memory"]).endswith("<small>with activations</small>")


def test_script_has_the_need_of_each_choice_on_each_axis() -> None:
    inputs = full_inputs()
    data = script_data(summarise(inputs))
    assert data["keys"] == [x.arch.key for x in inputs.choices]
    assert data["ranks"] == [x.rank for x in inputs.choices]
    latency = data["axes"][0]
    assert (latency["name"], latency["unit"]) == ("latency:rpi", "ms")
    assert list(latency["needed"]) == [x.latencies[0].needed_ms for x in inputs.choices]
    assert all(x["chart"]["width"] == "container" for x in data["axes"])
    assert "https:" not in str(data)
    assert data["agreement"] is not None


def test_finalist_that_broke_the_limit_is_never_chosen() -> None:
    search = search_result()
    beside = search.winner.model_copy(
        update={"arch": search.front[0].arch, "measured_ms": 99.0, "loss": 9.0}
    )
    front = search.front[1:]
    search = search.model_copy(update={"front": front, "finalists": (*search.finalists, beside)})
    inputs = inputs_of(search)
    assert inputs.choices[-1].number is None
    [*_, card] = cards(summarise(inputs), family_page())
    assert (card.title, card.command) == ("Beside the front", None)
    latency = script_data(summarise(inputs))["axes"][0]
    assert latency["needed"][-1] is None
    assert latency["high"] < 99.0


def test_winner_beside_the_front_can_be_chosen() -> None:
    search = search_result()
    front = tuple(x for x in search.front if x.arch != search.winner.arch)
    inputs = inputs_of(search.model_copy(update={"front": front, "finalists": ()}))
    card = winner_card(inputs)
    assert (card.title, card.command) == ("Beside the front, the winner", "mosdeploy export")
    assert dict(card.facts)["Quality of the task"] == (
        "<code>mosdeploy evaluate --pick winner</code>"
    )


def test_nothing_to_compare_is_nothing_to_draw() -> None:
    report = summarise(dataclasses.replace(full_inputs(), records=(), predicted_ms=()))
    report = report.model_copy(update={"agreement": ()})
    assert script_data(report)["agreement"] is None


def test_chart_is_told_in_words() -> None:
    text = front_summary(full_inputs().choices)
    assert text.startswith("Validation loss against what the limit is on: ")
    assert f"{len(search_result().front)} subnets on the front" in text


@pytest.mark.parametrize("verified", [True, False])
def test_report_json_has_the_choices(verified: bool) -> None:
    inputs = inputs_of(search_result(verified=verified))
    report = summarise(inputs)
    assert report.choices == inputs.choices
    [winner] = [x for x in report.choices if x.role == "winner"]
    assert (winner.latencies[0].measured_ms is not None) is verified
