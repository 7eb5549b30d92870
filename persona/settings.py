"""The settings: fireside.toml in the user's config folder < in the working folder < environment < command line."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from persona.errors import ConfigError
from persona.toml import nearest, read_toml

FILE = "fireside.toml"
PREFIX = "FIRESIDE_"
SECRETS = ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET", "HF_TOKEN", "MODEL_TOKEN")
# Docker and systemd keep these folders to the service themselves, and give the files in them modes of their own.
DOCKER_SECRETS, SYSTEMD_SECRETS = "/run/secrets", "CREDENTIALS_DIRECTORY"


def _url(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError itself when it is no number
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"it has to begin with {' or '.join(s + '://' for s in schemes)} and name a host")
        return url

    return AfterValidator(check)


def _ends_in_slash(url: str) -> str:
    if not url.endswith("/"):
        raise ValueError("it has to end in a slash, like https://slack.com/api/")
    return url


def _share(value: object) -> object:
    """A percentage as a share: 5% is 0.05."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else value
    except ValueError:
        raise ValueError("it has to be a share such as 0.05 or 5%") from None


def _folder(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such user") from None


def _not_empty(value: object) -> object:
    if not str(value):
        raise ValueError("it is empty")
    return value


def _rate(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", value):
        raise ValueError("it has to be a number per second, minute, hour or day, like 12/minute")
    return value


Web = Annotated[str, _url("http", "https")]
Rate = Annotated[str, AfterValidator(_rate)]


class Settings(BaseSettings):
    """Everything that can be set; `load_settings` builds it. A URL that is None leaves the library's default alone."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    data_dir: Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_folder)] = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("fireside", appauthor=False))
    )
    persona: Annotated[str, AfterValidator(_not_empty)] = "ilya"
    voice: Literal["auto", "quotes", "model"] = "auto"
    chat_model: Annotated[str, AfterValidator(_not_empty)] | None = None
    think: bool = False
    context: int = Field(default=8192, ge=1024, le=1_000_000)
    parallel: int = Field(default=8, ge=1, le=32)
    threads: int | None = Field(default=None, ge=1, le=512)
    gpu_layers: int | None = Field(default=None, ge=0)
    flash_attention: Literal["auto", "on", "off"] = "auto"
    risk: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, BeforeValidator(_share)] = None
    chroma_url: Web | None = None
    model_url: Web | None = None
    discord_api_url: Web | None = None
    discord_gateway_url: Annotated[str, _url("ws", "wss")] | None = None
    discord_sharded: bool = False
    retention_days: int = Field(default=90, ge=1, le=3650)
    slack_api_url: Annotated[Web, AfterValidator(_ends_in_slash)] | None = None
    slack_mode: Literal["socket", "http"] = "socket"
    slack_host: Annotated[str, AfterValidator(_not_empty)] = "127.0.0.1"
    slack_port: int = Field(default=3000, ge=0, le=65535)
    test_model: str | None = None
    limit_user: Rate = "12/minute"
    limit_channel: Rate = "40/minute"
    limit_overall: Rate = "600/minute"
    monitor_host: Annotated[str, AfterValidator(_not_empty)] = "127.0.0.1"
    monitor_port: int | None = Field(default=None, ge=0, le=65535)  # 0: any that is free
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    discord_token: SecretStr | None = Field(default=None, validation_alias="DISCORD_TOKEN")
    slack_bot_token: SecretStr | None = Field(default=None, validation_alias="SLACK_BOT_TOKEN")
    slack_app_token: SecretStr | None = Field(default=None, validation_alias="SLACK_APP_TOKEN")
    slack_signing_secret: SecretStr | None = Field(default=None, validation_alias="SLACK_SIGNING_SECRET")
    hf_token: SecretStr | None = Field(default=None, validation_alias="HF_TOKEN")
    model_token: SecretStr | None = Field(default=None, validation_alias="MODEL_TOKEN")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: `load_settings` lays the layers itself, to say in which one a mistake is."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of an environment that is handed in."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {key.lower(): value for key, value in environ.items() if value}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


class _Layer(NamedTuple):
    """Values of one source; ``spelled`` is how a user writes a key there ("FIRESIDE_RISK")."""

    values: Mapping[str, Any]
    where: str = ""
    spelled: Callable[[str], str] = str


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _variable(key: str) -> str:
    return PREFIX + key.upper()


def folders() -> tuple[Path, ...]:
    """Where a fireside.toml is looked for, the weaker place first."""
    return (Path(platformdirs.user_config_dir("fireside", appauthor=False)), Path())


def load_settings(
    given: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    places: Sequence[Path] | None = None,
) -> Settings:
    """The settings; `given` are those of the command line (None: not given). ConfigError names key and place."""
    environ = os.environ if environ is None else environ
    layers = [_file(place / FILE) for place in (folders() if places is None else places)]
    layers.append(_environment(environ))
    options = {key: value for key, value in (given or {}).items() if value is not None}
    layers.append(_Layer(options, "on the command line", _option))
    merged = {key: value for layer in layers for key, value in layer.values.items()}
    try:
        return Settings(**merged)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = str(first["loc"][0])
        layer = next(layer for layer in reversed(layers) if key in layer.values)
        why = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"'{layer.spelled(key)}' {layer.where} is '{layer.values[key]}': {why}. Correct it."
        ) from None


def setting_names() -> list[str]:
    """The keys that a fireside.toml may have."""
    return [name for name in Settings.model_fields if name.upper() not in SECRETS]


def _file(path: Path) -> _Layer:
    try:
        there = path.exists()
    except OSError:  # a config folder that we may not look into holds no settings of ours
        there = False
    if not there:
        return _Layer({})
    table = read_toml(path, "settings file", ConfigError)
    known = setting_names()
    for key in table:
        if key.upper().removesuffix("_FILE") in SECRETS:
            raise ConfigError(
                f"'{key}' in '{path}' is for a secret, and secrets don't belong in that file. "
                f"Set {key.upper()} in the environment, and take the line out."
            )
        if key not in known:
            raise ConfigError(f"Unknown key '{key}' in '{path}'.{nearest(key, known)} Correct it or take it out.")
    # A relative path in a file means: from that file.
    for key in ("data_dir", "persona"):
        value = table.get(key)
        if isinstance(value, str) and (key == "data_dir" or value.endswith(".toml") or "/" in value):
            table[key] = str(path.parent / Path(value).expanduser()) if value else value
    return _Layer(table, f"in '{path}'")


def _environment(environ: Mapping[str, str]) -> _Layer:
    known = [PREFIX + name.upper() for name in setting_names()]
    for name, value in environ.items():
        if not name.upper().startswith(PREFIX) or name.upper() in known or not value:
            continue
        bare = name.upper().removeprefix(PREFIX)
        secret = bare.removesuffix("_FILE") in SECRETS
        hint = f" Secrets have no prefix: set {bare}." if secret else nearest(name.upper(), known)
        raise ConfigError(f"Unknown setting '{name}' in the environment.{hint} Correct it or unset it.")
    given = {**environ, **_secrets_in_files(environ)}
    return _Layer(_Environment(given)(), "in the environment", _variable)


def _secrets_in_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets that NAME_FILE variables point to."""
    kept = [Path(folder) for folder in (DOCKER_SECRETS, environ.get(SYSTEMD_SECRETS)) if folder]
    found: dict[str, str] = {}
    for name in SECRETS:
        variable = f"{name}_FILE"
        if not (given := environ.get(variable)):
            continue
        if environ.get(name):
            raise ConfigError(f"Both {name} and {variable} are set in the environment. Unset one of them.")
        path = Path(given)
        found[name] = _secret(path, f"'{variable}' in the environment is '{path}'", private=path.parent not in kept)
    return found


def _secret(path: Path, told: str, *, private: bool) -> str:
    """What stands in a secret's file; `private`: nobody but its owner may be able to read it."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{told}, which is no file. Put the secret into a file, and name that.")
        if private and os.name != "nt" and mode & 0o077:
            raise ConfigError(
                f"{told}, which others on this machine may read. Run `chmod 600 {shlex.quote(str(path))}`."
            )
        text = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise ConfigError(
            f"{told}, which can't be read: {exc.strerror}. Correct the path, or who owns the file."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{told}, which is no text. Put the secret into it as it was given to you.") from None
    if not text:
        raise ConfigError(f"{told}, and that file is empty. Put the secret into it.")
    return text
