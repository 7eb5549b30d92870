"""Chat models by name: the table of those we suggest, fetching one into the models folder, and finding it there.

Nothing is fetched unless `pull` is called, and only `pull` touches the network. The transport is huggingface_hub's HTTP
session: proxies, certificates and HF_HUB_OFFLINE mean what they mean everywhere. Its own download function is not used,
for since version 2 it throws a partial file away, and reading a file's metadata by it first asks the hub for a list of
coding agents (telemetry).
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from persona.errors import HubError, InputError
from persona.toml import nearest, parse_toml

if TYPE_CHECKING:
    import httpx2

TABLE = Path(__file__).parent / "chat_models.toml"
MODELS = "models"  # the folder in the data folder
Tell = Callable[[int, int], None]  # is told how many bytes are there, of how many (0: not known)

_MARGIN = 100_000_000  # bytes that a download leaves free on the disk
_TIMEOUT = 15.0  # seconds without a byte
_REDIRECTS = 5
_HUB_FILE = re.compile(r"hf:([\w.-]+/[\w.-]+)/([^?#]+\.gguf)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEPT = "What was fetched is kept: the next pull goes on from there."


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the hub, as it stands on its main branch."""

    repo: str
    file: str

    def __str__(self) -> str:
        return f"hf:{self.repo}/{self.file}"

    @property
    def name(self) -> str:
        """The file's name in the models folder."""
        return _name(self.file)


@dataclass(frozen=True)
class WebFile:
    """A file at a URL; nobody tells us its checksum."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The file's name in the models folder."""
        return _name(unquote(urlsplit(self.url).path))


class Row(BaseModel):
    """A model of the table; `size` in bytes is about right, `verified` says that we pulled it ourselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    repo: str
    file: str
    licence: str
    parameters: str
    size: int
    note: str = ""
    verified: bool = False

    @property
    def source(self) -> HubFile:
        """Where it comes from."""
        return HubFile(self.repo, self.file)


class Table(BaseModel):
    """The curated models, and the one that we suggest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    models: tuple[Row, ...]

    @model_validator(mode="after")
    def _suggests_a_row(self) -> Table:
        if self.find(self.default) is None:
            raise ValueError(f"the default '{self.default}' is not among the models")
        return self

    def find(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.models if row.name == name.lower()), None)


class Record(BaseModel):
    """What is known of a pulled file; stands beside it as JSON. `verified`: the hub named this sha256 beforehand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    revision: str | None
    size: int
    sha256: str
    verified: bool
    pulled: datetime.date


class Held(NamedTuple):
    """A model file in the models folder; without a record somebody else put it there."""

    path: Path
    size: int
    record: Record | None


class Pulled(NamedTuple):
    """The outcome of a pull; `fetched` is False where the file was there already."""

    path: Path
    record: Record
    fetched: bool


@dataclass(frozen=True)
class Hub:
    """How files are fetched. `endpoint` None: huggingface_hub's own (HF_ENDPOINT); `token` None: the one that it keeps,
    if any; `retries` in a row that bring nothing are the last, `wait` seconds before the first, doubled each time."""

    endpoint: str | None = None
    token: str | None = None
    retries: int = 5
    wait: float = 0.5


class _Remote(NamedTuple):
    """What a server tells beforehand, or what the file must be asked with; `key` tells partial files apart."""

    url: str
    headers: Mapping[str, str]
    key: str
    size: int | None = None
    sha256: str | None = None
    revision: str | None = None


def catalog(path: Path = TABLE) -> Table:
    """The curated models; HubError if the table is broken."""
    return parse_toml(path, Table, "table of chat models", HubError)


def locate(target: str, table: Table) -> HubFile | WebFile | Path:
    """What a user means by NAME, hf:REPO/FILE, URL or PATH; InputError where it can't be any of them."""
    if target.startswith("hf:"):
        found = _HUB_FILE.fullmatch(target)
        if found is None:
            raise InputError(f"'{target}' does not name a file on the hub. Write it like hf:OWNER/REPO/FILE.gguf.")
        return HubFile(found[1], found[2])
    if target.startswith(("http://", "https://")):
        web = WebFile(target)
        if not _host(target) or not web.name.endswith(".gguf"):
            raise InputError(f"'{target}' does not lead to a .gguf file. Give the URL of the file itself.")
        return web
    if row := table.find(target):
        return row.source
    path = _path(target)
    if target and (_exists(path) or path.suffix == ".gguf" or len(path.parts) > 1):
        return path
    hint = nearest(target, [row.name for row in table.models]).replace("keys", "models")
    raise InputError(f"No model is called '{target}'.{hint} Or give hf:OWNER/REPO/FILE.gguf, a URL or a path.")


def resolve(setting: str, folder: Path, table: Table | None = None) -> Path:
    """The file that FIRESIDE_CHAT_MODEL names: a model of the table, a file in the models folder, or a path.

    HubError where it is not there, or not of the size that was pulled. Reads no more than sizes; no network.
    """
    row = (table or catalog()).find(setting)
    inside = folder / (row.source.name if row else setting)
    path = inside if row or _exists(inside) else _path(setting)
    if not _exists(path):
        if row:
            raise HubError(f"The model '{row.name}' is not here yet. Run `fireside model pull {row.name}`.")
        if setting.startswith(("hf:", "http://", "https://")):
            raise HubError(f"'{setting}' has to be pulled first. Run `fireside model pull {setting}`.")
        raise HubError(
            f"No model file '{setting}', neither in '{folder}' nor as a path. "
            "Correct the name, or run `fireside model list` to see what can be pulled."
        )
    record = read_record(path)
    size = path.stat().st_size
    if record and record.size != size:
        raise HubError(
            f"'{path}' has {size:,} bytes, and had {record.size:,} when it was pulled. "
            f"Run `fireside model pull {record.source}` again."
        )
    return path


def held(folder: Path) -> list[Held]:
    """The model files in the models folder, by name."""
    return [Held(path, path.stat().st_size, read_record(path)) for path in sorted(folder.glob("*.gguf"))]


def read_record(path: Path) -> Record | None:
    """What stands beside a model file; None where there is nothing, or nothing readable."""
    try:
        return Record.model_validate_json(_record_path(path).read_bytes())
    except (OSError, ValidationError):
        return None


def pull(source: HubFile | WebFile, folder: Path, hub: Hub, tell: Tell) -> Pulled:
    """Fetches a file into the models folder, going on where an earlier pull was cut off, and checks it.

    HubError where it can't be had: offline, refused, not there, no room, a checksum that differs, another pull at work.
    """
    with _explained(source, folder, hub):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / source.name):
            if isinstance(source, HubFile):
                return _pull(source, _on_the_hub(source, hub), folder, hub, tell)
            key = hashlib.sha256(source.url.encode()).hexdigest()
            return _pull(source, _Remote(source.url, {}, key), folder, hub, tell)


def _pull(source: HubFile | WebFile, remote: _Remote, folder: Path, hub: Hub, tell: Tell) -> Pulled:
    path = folder / source.name
    if path.exists():
        record = _same(path, source, remote)
        if record:
            return Pulled(path, record, fetched=False)
    part = folder / f".{path.name}.{remote.key[:12]}.part"
    _download(source, remote, part, hub, tell)
    digest = _sha256(part)
    if remote.sha256 not in (None, digest):
        part.unlink()
        raise HubError(
            f"The checksum of '{source}' differs: sha256 {digest[:12]}… came, {remote.sha256[:12]}… was announced. "
            "The file was thrown away; pull again."
        )
    part.replace(path)
    _validator_path(part).unlink(missing_ok=True)
    return Pulled(path, _keep_record(path, source, remote, digest), fetched=True)


def _same(path: Path, source: HubFile | WebFile, remote: _Remote) -> Record | None:
    """The record of a file that is there already and need not be fetched; None where it may be replaced."""
    record = read_record(path)
    ours = record is not None and record.source == str(source)
    size = path.stat().st_size
    if remote.sha256 is None and ours and record and record.size == size:
        return record
    if remote.sha256 is not None and remote.size == size and _sha256(path) == remote.sha256:
        return record if record and record.verified else _keep_record(path, source, remote, remote.sha256)
    if not ours:
        origin = f"came from {record.source}" if record else "was not pulled by fireside"
        raise HubError(f"Another file stands at '{path}' (it {origin}). Move it away, then pull again.")
    return None


def _on_the_hub(file: HubFile, hub: Hub) -> _Remote:
    """What the hub tells of a file: its commit, size and sha256."""
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.utils import get_session

    token = hub.token or get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = hf_hub_url(file.repo, file.file, endpoint=hub.endpoint)
    session = get_session()
    asked = {**headers, "Accept-Encoding": "identity"}
    response = session.head(url, headers=asked, follow_redirects=False, timeout=_TIMEOUT)
    for _ in range(_REDIRECTS):
        # A file's own redirect, to a storage server, carries what we ask for. One that does not leads to another hub or
        # to the repository's new name; the next request drops the token where the host changes.
        if response.next_request is None or "X-Repo-Commit" in response.headers:
            break
        response = session.send(response.next_request, follow_redirects=False)
    if response.status_code >= 400:
        raise _refused(response, file, bool(token))
    commit = response.headers.get("X-Repo-Commit")
    if not commit:
        raise HubError(f"{_host(url)} does not answer as a Hugging Face hub does. Check HF_ENDPOINT and your proxy.")
    etag = response.headers.get("X-Linked-Etag") or response.headers.get("ETag") or ""
    etag = etag.removeprefix("W/").strip('"')
    size = response.headers.get("X-Linked-Size") or (
        None if response.is_redirect else response.headers.get("Content-Length")
    )
    return _Remote(
        # The commit, not "main": what is fetched is what was announced.
        url=hf_hub_url(file.repo, file.file, revision=commit, endpoint=hub.endpoint),
        headers=headers,
        key=etag or commit,
        size=int(size) if size and size.isdecimal() else None,
        sha256=etag if _SHA256.fullmatch(etag) else None,
        revision=commit,
    )


def _download(source: HubFile | WebFile, remote: _Remote, part: Path, hub: Hub, tell: Tell) -> None:
    """The whole file at `part`; a connection that breaks off is taken up again."""
    import httpx2

    tries = 0
    while True:
        before = _size(part)
        try:
            _receive(source, remote, part, tell)
            return
        except httpx2.TransportError:
            tries = 1 if _size(part) > before else tries + 1
            if tries > hub.retries:
                raise
            time.sleep(hub.wait * 2 ** (tries - 1))


def _receive(source: HubFile | WebFile, remote: _Remote, part: Path, tell: Tell) -> None:
    """One request for what is missing at `part`."""
    import httpx2
    from huggingface_hub.utils import get_session

    at = _size(part)
    if remote.size is not None and at == remote.size:
        return
    asked = {**remote.headers, "Accept-Encoding": "identity"}
    validator = "" if remote.revision else _validator(part)
    # A URL's file may have changed meanwhile: only its validator tells, and without one we begin anew.
    if at and (remote.revision or validator) and (remote.size is None or at < remote.size):
        asked |= {"Range": f"bytes={at}-", **({"If-Range": validator} if validator else {})}
    with get_session().stream("GET", remote.url, headers=asked, timeout=_TIMEOUT) as response:
        if response.status_code == 416 and "Range" in asked:
            part.unlink()
            _receive(source, remote, part, tell)
            return
        if response.status_code >= 400:
            raise _refused(response, source, "Authorization" in remote.headers)
        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code != 206:
            at, whole = 0, response.headers.get("Content-Length", "")
            if not remote.revision:
                _remember(part, response.headers)
        total = remote.size if remote.size is not None else int(whole) if whole.isdecimal() else 0
        _check_room(part.parent, source.name, total - at)
        _write(response, part, at, total, tell)
        if _size(part) < total:
            raise httpx2.RemoteProtocolError(f"it ended after {_size(part):,} of {total:,} bytes")


def _write(response: httpx2.Response, part: Path, at: int, total: int, tell: Tell) -> None:
    """What comes, at once to the disk: a process that is killed loses nothing of it."""
    tell(at, total)
    with part.open("r+b" if part.exists() else "wb", buffering=0) as file:
        file.seek(at)
        file.truncate()
        for chunk in response.iter_raw():
            file.write(chunk)
            at += len(chunk)
            tell(at, total)
        os.fsync(file.fileno())


def _remember(part: Path, headers: Mapping[str, str]) -> None:
    """Keeps the validator of a file that begins to come, for the case that the rest must be asked for later."""
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    _validator_path(part).write_text(validator, encoding="utf-8")


def _validator(part: Path) -> str:
    path = _validator_path(part)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _validator_path(part: Path) -> Path:
    return part.with_suffix(".validator")


def _check_room(folder: Path, name: str, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _MARGIN > free:
        raise HubError(
            f"'{name}' needs {shown_bytes(needed + _MARGIN)} of room in '{folder}', and {shown_bytes(free)} are free. "
            "Make room, or choose another folder with --data-dir."
        )


@contextlib.contextmanager
def _alone(path: Path) -> Generator[None]:
    """Two pulls of one file would write into each other's partial file."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise HubError(f"Another pull of '{path.name}' is at work. Wait for it to end.") from None


@contextlib.contextmanager
def _explained(source: HubFile | WebFile, folder: Path, hub: Hub) -> Generator[None]:
    """Whatever goes wrong on the way, as one sentence."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled:
        raise HubError(
            f"'{source}' can't be fetched while HF_HUB_OFFLINE is set. "
            "Unset it, or give the path of a file that you have."
        ) from None
    except HFValidationError as exc:
        raise InputError(f"'{source}' can't be on the hub: {str(exc).rstrip('.')}. Correct the name.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        url = source.url if isinstance(source, WebFile) else hub.endpoint or constants.ENDPOINT
        why = str(exc).rstrip(".") or type(exc).__name__
        raise HubError(
            f"'{source}' can't be fetched from {_host(url)}: {why}. Check the network, then pull again. {_KEPT}"
        ) from None
    except OSError as exc:
        raise HubError(
            f"Can't write in '{folder}': {exc.strerror or exc}. Make room or choose another folder with --data-dir."
        ) from None


def _refused(response: httpx2.Response, source: HubFile | WebFile, token: bool) -> HubError:
    """The sentence for a status of 400 and above."""
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if isinstance(source, WebFile):
        return HubError(f"{_host(source.url)} answers {source.url} with HTTP {status}. Check the URL, or try later.")
    may_read = "Check the name, and " + ("that HF_TOKEN may read it." if token else "set HF_TOKEN if it is private.")
    if code == "GatedRepo":
        return HubError(
            f"'{source.repo}' is gated (HTTP {status}): accept its licence on the hub, and set HF_TOKEN to a token of "
            "that account."
        )
    if code == "EntryNotFound":
        return HubError(f"The repository '{source.repo}' has no file '{source.file}' (HTTP {status}). Check the name.")
    if code == "RepoNotFound" or (status == 401 and not token):
        return HubError(f"The hub shows us no repository '{source.repo}' (HTTP {status}). {may_read}")
    if status in (401, 403):
        return HubError(f"The hub refuses '{source}' to the token in HF_TOKEN (HTTP {status}). Check the token.")
    if status == 404:
        return HubError(f"The hub has no '{source}' (HTTP 404). {may_read}")
    return HubError(f"The hub answers '{source}' with HTTP {status}. Try again later. {_KEPT}")


def _keep_record(path: Path, source: HubFile | WebFile, remote: _Remote, digest: str) -> Record:
    record = Record(
        source=str(source),
        revision=remote.revision,
        size=path.stat().st_size,
        sha256=digest,
        verified=remote.sha256 is not None,
        pulled=datetime.datetime.now(datetime.UTC).date(),
    )
    temporary = path.with_name(f".{path.name}.json")
    temporary.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(_record_path(path))
    return record


def _name(path: str) -> str:
    """The last part of a path; a backslash parts too, as it does on Windows: no name leads out of the models folder."""
    return PureWindowsPath(path).name


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # "~somebody" who has no home here
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, say
        return False


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def shown_bytes(count: int) -> str:
    """A number of bytes for a person: "2.4 GB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
