from reid_core.errors import UserError, first_line, printable


def test_a_message_is_quoted_by_its_first_line() -> None:
    assert first_line(ValueError("\n no such package\nmore")) == "no such package"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 1000))) == 200


def test_odd_names_of_files_are_one_line_of_text() -> None:
    assert printable("a\nb\udcff é.jpg") == "a\\nb\\udcff é.jpg"
    assert str(UserError("x\ny.jpg is no picture")) == "x\\ny.jpg is no picture"
