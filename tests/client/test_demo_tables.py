"""How the demo writes figures."""

from client.commands.demo import value_text


def test_a_figure_that_is_null_is_unknown() -> None:
    assert [value_text(value) for value in (None, 0.12345, 3)] == ["unknown", "0.123", "3"]
