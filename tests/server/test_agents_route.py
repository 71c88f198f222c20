from __future__ import annotations

from pinecall_cli.server.routes.agents import masked

PHONE = "+13186330963"


def test_secrets_are_masked_by_the_end_of_their_names_and_nothing_else_is():
    shown = {"max_tokens": 5, "tokens_per_s": 3, "contactKey": "phone", "keyterms": ["a"]}
    secret = {"accessToken": "EAA", "appSecret": "s", "x": [{"api-key": "k"}], "password": ""}
    assert masked(shown) == shown
    assert masked(secret) == {
        "accessToken": "***",
        "appSecret": "***",
        "x": [{"api-key": "***"}],
        "password": "",
    }
