"""Text for people."""

from mosdeploy.printable import duration, printable


def test_what_steers_a_terminal_is_replaced() -> None:
    assert printable("\x1b[2Jred\n\tand more") == "?[2Jred\n\tand more"


def test_a_duration_has_the_unit_that_people_use() -> None:
    times = [duration(seconds) for seconds in (0.2, 40, 89, 91, 3600, 9000)]
    assert times == ["1 s", "40 s", "89 s", "2 min", "60 min", "2.5 h"]
