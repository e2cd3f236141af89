import pytest

from infra.tracking.secrets import has_login, redacted, redacted_tree, redacted_values


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postgresql://genvar:pass@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://host/a?token=abc&b=1", "https://host/a?token=***&b=1"),
        ("cannot reach http://a:b@c:1 (refused)", "cannot reach http://***@c:1 (refused)"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("/data/a@b/market", "/data/a@b/market"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_addresses_are_shown_without_their_secrets(text: str, wanted: str) -> None:
    assert redacted(text) == wanted


def test_a_login_is_noticed() -> None:
    assert has_login("http://me:pw@host:5000")
    assert not has_login("http://host:5000/path@1")


def test_what_is_named_like_a_secret_is_hidden() -> None:
    found = redacted_values({"store.password": "x", "store.api_key": "y", "joint.num_epochs": "3", "empty.token": ""})
    assert found == {"store.password": "***", "store.api_key": "***", "joint.num_epochs": "3", "empty.token": ""}


def test_settings_keep_their_shape() -> None:
    tree = {"data": {"root": "s3://a:b@c", "sizes": (1, 2)}, "secret": "x", "num_tokens": 3, "none": None}
    wanted = {"data": {"root": "s3://***@c", "sizes": [1, 2]}, "secret": "***", "num_tokens": 3, "none": None}
    assert redacted_tree(tree) == wanted
