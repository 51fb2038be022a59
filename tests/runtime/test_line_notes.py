from mosdeploy.runtime.line_notes import LineNotes


def test_each_kind_of_line_is_counted() -> None:
    notes = LineNotes([{"label": "a"}, {"label": "a", "is_single": True, "is_cut": True}, {}])
    assert str(notes).startswith("1 of 3 lines were too long and were cut; 1 of 3 lines hold one")
    assert str(LineNotes([{}, {"label": "a"}])) == ""
    joined = str(LineNotes([{"label": "a", "is_joined": True}]))
    assert joined.startswith("1 of 1 lines hold a tab, or text_pair in JSON, and the model has")
