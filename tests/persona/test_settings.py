from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from persona.errors import ConfigError
from persona.settings import SECRETS, load_settings


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "fireside.toml").write_text(text, encoding="utf-8")
    return folder


def refused(**layers: object) -> str:
    layers.setdefault("environ", {})
    layers.setdefault("places", [])
    with pytest.raises(ConfigError) as caught:
        load_settings(**layers)  # pyright: ignore[reportArgumentType]
    return str(caught.value)


def test_without_any_setting_the_defaults_hold():
    settings = load_settings(environ={}, places=[])
    assert (settings.voice, settings.chroma_url, settings.discord_token) == ("auto", None, None)
    assert settings.data_dir.name == "fireside"


def test_each_layer_beats_the_one_before_it(tmp_path: Path):
    config = write(tmp_path / "config", 'persona = "a"\nvoice = "quotes"\nchat_model = "a"\ndata_dir = "/a"')
    working = write(tmp_path / "working", 'persona = "b"\nchat_model = "b"\ndata_dir = "/b"')
    environ = {"FIRESIDE_CHAT_MODEL": "c", "FIRESIDE_DATA_DIR": "/c"}
    settings = load_settings({"data_dir": "/d", "persona": None}, environ=environ, places=[config, working])
    assert (settings.voice, settings.persona, settings.chat_model) == ("quotes", "b", "c")
    assert settings.data_dir == Path("/d")


def test_an_empty_variable_is_no_setting():
    assert load_settings(environ={"FIRESIDE_VOICE": "", "FIRESIDE_X": ""}, places=[]).voice == "auto"


def test_a_relative_folder_in_a_file_starts_at_the_file(tmp_path: Path):
    place = write(tmp_path / "config", 'data_dir = "data"\npersona = "cards/me.toml"')
    settings = load_settings(environ={}, places=[place])
    assert settings.data_dir == place / "data"
    assert settings.persona == str(place / "cards/me.toml")


def test_an_unknown_key_is_refused_with_the_nearest_one_and_the_file(tmp_path: Path):
    place = write(tmp_path, 'vioce = "quotes"')
    message = refused(places=[place])
    assert "'vioce'" in message
    assert "'voice'" in message
    assert str(place / "fireside.toml") in message


def test_an_unknown_variable_is_refused_with_the_nearest_one():
    assert "'FIRESIDE_DATA_DIR'" in refused(environ={"FIRESIDE_DATADIR": "x"})


def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path):
    assert str(tmp_path) in refused(places=[write(tmp_path, "voice = ")])


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_is_refused_without_being_shown(tmp_path: Path, name: str):
    message = refused(places=[write(tmp_path, f'{name.lower()} = "xoxb-hidden"')])
    assert name in message
    assert "hidden" not in message


def test_secrets_come_from_the_environment_and_print_as_stars():
    settings = load_settings(environ={"DISCORD_TOKEN": "xyz-hidden"}, places=[])
    assert settings.discord_token is not None
    assert settings.discord_token.get_secret_value() == "xyz-hidden"
    assert "hidden" not in repr(settings)


def test_a_secret_with_our_prefix_is_told_its_right_name():
    assert "set DISCORD_TOKEN" in refused(environ={"FIRESIDE_DISCORD_TOKEN": "x"})


def test_the_model_voice_and_its_settings_can_be_set():
    settings = load_settings(
        {"voice": "model", "chat_model": "qwen3-4b"},
        environ={"FIRESIDE_GPU_LAYERS": "0", "MODEL_TOKEN": "s"},
        places=(),
    )
    assert (settings.voice, settings.chat_model, settings.gpu_layers, settings.parallel) == ("model", "qwen3-4b", 0, 8)
    assert settings.model_token is not None
    assert settings.model_token.get_secret_value() == "s"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FIRESIDE_VOICE", "loud"),
        ("FIRESIDE_RISK", "x%"),
        ("FIRESIDE_RISK", "1.5"),
        ("FIRESIDE_CHROMA_URL", "localhost:8000"),
        ("FIRESIDE_CHROMA_URL", "http://host:port"),
        ("FIRESIDE_DISCORD_GATEWAY_URL", "http://localhost"),
        ("FIRESIDE_SLACK_API_URL", "http://localhost/api"),
        ("FIRESIDE_MONITOR_PORT", "-1"),
        ("FIRESIDE_LOG_FORMAT", "xml"),
        ("FIRESIDE_LIMIT_OVERALL", "12 per minute"),
    ],
)
def test_a_wrong_value_is_refused_by_name_place_and_value(name: str, value: str):
    message = refused(environ={name: value})
    assert message.startswith(f"'{name}' in the environment is '{value}'")
    assert message.endswith("Correct it.")


def test_an_empty_option_is_refused_as_the_option():
    assert "'--data-dir' on the command line" in refused(given={"data_dir": ""})


@pytest.mark.parametrize("written", ["5%", "0.05"])
def test_a_risk_is_a_share_or_a_percentage(written: str):
    assert load_settings(environ={"FIRESIDE_RISK": written}, places=[]).risk == pytest.approx(0.05)


def secret_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "token file"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_lie_in_a_file(tmp_path: Path, name: str):
    settings = load_settings(environ={f"{name}_FILE": str(secret_file(tmp_path, " s3cret\n"))}, places=[])
    found = getattr(settings, name.lower())
    assert found.get_secret_value() == "s3cret"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_secret_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int):
    path = secret_file(tmp_path, "s3cret", mode)
    message = refused(environ={"DISCORD_TOKEN_FILE": str(path)})
    assert "'DISCORD_TOKEN_FILE'" in message
    assert message.endswith(f"Run `chmod 600 '{path}'`.")
    assert "s3cret" not in message


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_systemd_keeps_to_the_service_may_have_the_mode_that_it_gave_it(tmp_path: Path):
    path = secret_file(tmp_path, "s3cret", 0o440)
    environ = {"HF_TOKEN_FILE": str(path), "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_settings(environ=environ, places=[]).hf_token is not None
    elsewhere = environ | {"CREDENTIALS_DIRECTORY": str(tmp_path.parent)}
    assert "chmod 600" in refused(environ=elsewhere)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "nosuch", "No such file"),
        (lambda folder: folder, "is no file"),
        (lambda folder: secret_file(folder, " \n"), "is empty"),
        (lambda folder: secret_file(folder, "").write_bytes(b"\xff\xfe") and folder / "token file", "is no text"),
    ],
)
def test_a_secrets_file_that_is_of_no_use_is_named(tmp_path: Path, make: Callable[[Path], Path], why: str):
    path = make(tmp_path)
    message = refused(environ={"SLACK_APP_TOKEN_FILE": str(path)})
    assert message.startswith(f"'SLACK_APP_TOKEN_FILE' in the environment is '{path}'")
    assert why in message


def test_a_secret_given_twice_is_refused(tmp_path: Path):
    both = {"HF_TOKEN": "a", "HF_TOKEN_FILE": str(secret_file(tmp_path, "b"))}
    assert "Both HF_TOKEN and HF_TOKEN_FILE" in refused(environ=both)
    assert load_settings(environ={**both, "HF_TOKEN": ""}, places=[]).hf_token is not None


def test_a_secrets_file_is_named_in_the_environment_alone_and_without_our_prefix(tmp_path: Path):
    assert "Set DISCORD_TOKEN_FILE in the environment" in refused(
        places=[write(tmp_path, 'discord_token_file = "/run/token"')]
    )
    assert "set DISCORD_TOKEN_FILE" in refused(environ={"FIRESIDE_DISCORD_TOKEN_FILE": "x"})


def test_monitoring_is_off_and_local_and_the_log_is_for_people_unless_set():
    settings = load_settings(environ={}, places=[])
    assert (settings.monitor_port, settings.monitor_host) == (None, "127.0.0.1")
    assert (settings.log_format, settings.log_level) == ("console", "info")
    environ = {"FIRESIDE_MONITOR_PORT": "9464", "FIRESIDE_LOG_FORMAT": "json", "FIRESIDE_LIMIT_USER": "3/hour"}
    settings = load_settings(environ=environ, places=[])
    assert (settings.monitor_port, settings.log_format, settings.limit_user) == (9464, "json", "3/hour")


@pytest.mark.parametrize("key", ["monitr_port", "log_levle", "limit_users"])
def test_a_mistyped_key_is_told_its_file_and_the_nearest_one(tmp_path: Path, key: str):
    message = refused(places=[write(tmp_path, f"{key} = 1")])
    nearest = {"monitr_port": "monitor_port", "log_levle": "log_level", "limit_users": "limit_user"}[key]
    assert (f"'{key}'" in message, f"'{nearest}'" in message, "fireside.toml" in message) == (True, True, True)


@pytest.mark.parametrize(
    ("line", "key", "shown"),
    [
        ("monitor_port = 70000", "monitor_port", "70000"),
        ("monitor_port = [1]", "monitor_port", "[1]"),
        ('log_level = "loud"', "log_level", "loud"),
        ("[voice]\nloud = true", "voice", "{'loud': True}"),
        ('limit_channel = "0/minute"', "limit_channel", "0/minute"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused_by_key_file_and_value(tmp_path: Path, line: str, key: str, shown: str):
    path = write(tmp_path, line) / "fireside.toml"
    assert refused(places=[tmp_path]).startswith(f"'{key}' in '{path}' is '{shown}'")
