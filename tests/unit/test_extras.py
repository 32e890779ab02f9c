from sprint_agent.extras import install_hint


def test_hint_names_the_extra_and_a_checkout() -> None:
    assert install_hint("openai") == 'pip install ".[openai]" from a checkout'
    assert install_hint("cli,local") == 'pip install ".[cli,local]" from a checkout'


def test_hint_does_not_name_the_stranger_on_the_registry() -> None:
    assert "sprint-agent" not in install_hint("openai")
