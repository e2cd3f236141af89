from reid_core.errors import first_line


def test_a_message_is_quoted_by_its_first_line() -> None:
    assert first_line(ValueError("\n no such package\nmore")) == "no such package"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 1000))) == 200
