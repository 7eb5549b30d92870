from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from persona.errors import HubError, InputError
from persona.hub import Hub, HubFile, Pulled, WebFile, catalog, held, locate, pull, read_record, resolve, shown_bytes
from tests.hubs import COMMIT, StandInHub

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

WEIGHTS = b"GGUF" + bytes(range(256)) * 1600  # 409,604 bytes: several chunks
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
SOURCE = HubFile("maker/model", "quantised/weights.gguf")
TOKEN = "hf_of-a-test"


@pytest.fixture
def standin() -> Iterator[StandInHub]:
    with StandInHub({"maker/model/quantised/weights.gguf": WEIGHTS}) as made:
        yield made


def fetch(
    standin: StandInHub, folder: Path, source: HubFile | WebFile = SOURCE, *, retries: int = 5, token: str = TOKEN
) -> Pulled:
    return pull(source, folder, Hub(standin.url, token, retries=retries, wait=0), lambda _done, _total: None)


def refused(standin: StandInHub, folder: Path, source: HubFile | WebFile = SOURCE, **options: int) -> str:
    with pytest.raises(HubError) as caught:
        fetch(standin, folder, source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(standin: StandInHub) -> WebFile:
    return WebFile(f"{standin.url}/files/maker/model/quantised/weights.gguf")


def test_a_pull_brings_the_file_and_records_what_was_verified(standin: StandInHub, tmp_path: Path):
    path, record, fetched = fetch(standin, tmp_path)
    assert (path, path.read_bytes(), fetched) == (tmp_path / "weights.gguf", WEIGHTS, True)
    assert (record.source, record.revision, record.size) == (str(SOURCE), COMMIT, len(WEIGHTS))
    assert (record.sha256, record.verified) == (SHA256, True)
    assert read_record(path) == record
    assert held(tmp_path) == [(path, len(WEIGHTS), record)]


def test_progress_runs_from_nothing_to_the_announced_size(standin: StandInHub, tmp_path: Path):
    told: list[tuple[int, int]] = []
    pull(SOURCE, tmp_path, Hub(standin.url, TOKEN), lambda done, total: told.append((done, total)))
    assert (told[0], told[-1]) == ((0, len(WEIGHTS)), (len(WEIGHTS), len(WEIGHTS)))


def test_what_was_announced_is_what_is_fetched_though_main_moves_on(standin: StandInHub, tmp_path: Path):
    fetch(standin, tmp_path)
    assert [request.path.split("/")[4] for request in standin.requests] == ["main", COMMIT]


def test_a_file_that_is_there_is_not_fetched_again(standin: StandInHub, tmp_path: Path):
    first = fetch(standin, tmp_path)
    again = fetch(standin, tmp_path)
    assert (again.fetched, again.record, standin.served) == (False, first.record, len(WEIGHTS))


def test_the_right_file_put_there_by_hand_is_only_recorded(standin: StandInHub, tmp_path: Path):
    (tmp_path / "weights.gguf").write_bytes(WEIGHTS)
    done = fetch(standin, tmp_path)
    assert (done.fetched, done.record.verified, standin.served) == (False, True, 0)


def test_another_file_of_that_name_is_never_overwritten(standin: StandInHub, tmp_path: Path):
    (tmp_path / "weights.gguf").write_bytes(b"mine")
    assert "Another file stands at" in refused(standin, tmp_path)
    assert (tmp_path / "weights.gguf").read_bytes() == b"mine"


def test_a_pulled_file_that_was_damaged_is_fetched_anew(standin: StandInHub, tmp_path: Path):
    path = fetch(standin, tmp_path).path
    path.write_bytes(WEIGHTS[:-1] + b"!")
    assert fetch(standin, tmp_path).fetched
    assert path.read_bytes() == WEIGHTS


def test_a_broken_connection_is_taken_up_where_it_broke(standin: StandInHub, tmp_path: Path):
    standin.drop_after = 150_000
    assert fetch(standin, tmp_path).path.read_bytes() == WEIGHTS
    assert standin.served == len(WEIGHTS)
    assert standin.asked("GET")[-1].headers["Range"] == "bytes=150000-"


def test_a_pull_that_ended_half_way_goes_on_in_the_next(standin: StandInHub, tmp_path: Path):
    standin.drop_after = 150_000
    assert "What was fetched is kept" in refused(standin, tmp_path, retries=0)
    before = standin.served
    assert fetch(standin, tmp_path).path.read_bytes() == WEIGHTS
    assert standin.served - before == len(WEIGHTS) - 150_000
    assert not list(tmp_path.glob("*.part"))


def test_a_server_that_ignores_ranges_still_yields_the_right_file(standin: StandInHub, tmp_path: Path):
    standin.drop_after, standin.ranges = 150_000, False
    assert fetch(standin, tmp_path).path.read_bytes() == WEIGHTS


def test_a_wrong_checksum_leaves_nothing_behind(standin: StandInHub, tmp_path: Path):
    standin.corrupt = True
    assert "The checksum of 'hf:maker/model/quantised/weights.gguf' differs" in refused(standin, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".gguf", ".part", ".json")]
    standin.corrupt = False
    assert fetch(standin, tmp_path).record.verified


@pytest.mark.parametrize(
    ("error", "token", "says"),
    [
        ((401, ""), "", "The hub shows us no repository 'maker/model' (HTTP 401)"),
        ((401, "RepoNotFound"), TOKEN, "that HF_TOKEN may read it"),
        ((401, ""), TOKEN, "to the token in HF_TOKEN (HTTP 401)"),
        ((403, ""), TOKEN, "to the token in HF_TOKEN (HTTP 403)"),
        ((403, "GatedRepo"), TOKEN, "'maker/model' is gated (HTTP 403): accept its licence"),
        ((404, "RepoNotFound"), TOKEN, "The hub shows us no repository 'maker/model'"),
        ((404, ""), TOKEN, "The hub has no 'hf:maker/model/quantised/weights.gguf' (HTTP 404)"),
        ((429, ""), TOKEN, "with HTTP 429. Try again later."),
        ((503, ""), TOKEN, "with HTTP 503. Try again later."),
    ],
)
def test_each_refusal_is_a_sentence_of_its_own(
    standin: StandInHub, tmp_path: Path, error: tuple[int, str], token: str, says: str
):
    standin.error = error
    with pytest.raises(HubError) as caught:
        fetch(standin, tmp_path, token=token)
    assert says in str(caught.value)


def test_a_file_that_the_repository_lacks_is_named(standin: StandInHub, tmp_path: Path):
    says = refused(standin, tmp_path, HubFile("maker/model", "other.gguf"))
    assert says.startswith("The repository 'maker/model' has no file 'other.gguf'")


def test_a_name_that_no_repository_can_have_is_wrong_usage(standin: StandInHub, tmp_path: Path):
    with pytest.raises(InputError, match=r"'hf:a--b/c/x\.gguf' can't be on the hub"):
        fetch(standin, tmp_path, HubFile("a--b/c", "x.gguf"))


def test_a_hub_that_does_not_answer_is_named(tmp_path: Path):
    with StandInHub({}) as gone:
        pass
    says = refused(gone, tmp_path)
    assert f"can't be fetched from {gone.url.removeprefix('http://')}" in says


def test_a_server_that_is_no_hub_is_told_apart(standin: StandInHub, tmp_path: Path):
    standin.commit = None
    assert "does not answer as a Hugging Face hub does" in refused(standin, tmp_path)


def test_room_on_the_disk_is_looked_at_before_the_first_byte(standin: StandInHub, tmp_path: Path):
    standin.size = 10**18
    assert f"'weights.gguf' needs {shown_bytes(10**18 + 10**8)} of room" in refused(standin, tmp_path)
    assert not list(tmp_path.glob(".*.part"))


def test_a_folder_that_can_not_be_made_is_one_sentence(standin: StandInHub, tmp_path: Path):
    (tmp_path / "taken").write_text("")
    assert f"Can't write in '{tmp_path / 'taken' / 'models'}'" in refused(standin, tmp_path / "taken" / "models")


def test_the_token_goes_to_the_hub_and_not_to_the_storage_it_names(standin: StandInHub, tmp_path: Path):
    with StandInHub(standin.files) as storage:
        standin.storage = storage
        assert fetch(standin, tmp_path).record.verified
    assert {request.headers.get("Authorization") for request in standin.requests} == {f"Bearer {TOKEN}"}
    assert [request.headers.get("Authorization") for request in storage.requests] == [None]


def test_a_repository_that_was_renamed_is_followed(standin: StandInHub, tmp_path: Path):
    standin.moved = {"old/name": "maker/model"}
    done = fetch(standin, tmp_path, HubFile("old/name", "quantised/weights.gguf"))
    assert (done.record.revision, done.record.verified) == (COMMIT, True)


def test_two_pulls_of_one_file_do_not_mix(standin: StandInHub, tmp_path: Path):
    with FileLock(tmp_path / ".weights.gguf.lock"):
        assert refused(standin, tmp_path) == "Another pull of 'weights.gguf' is at work. Wait for it to end."


def test_a_file_from_a_url_is_not_called_verified_and_the_token_stays_home(standin: StandInHub, tmp_path: Path):
    path, record, _ = fetch(standin, tmp_path, plain(standin))
    assert path.read_bytes() == WEIGHTS
    assert (record.source, record.sha256, record.verified) == (plain(standin).url, SHA256, False)
    assert "Authorization" not in standin.requests[0].headers
    assert not fetch(standin, tmp_path, plain(standin)).fetched


def test_a_url_goes_on_where_it_broke_if_the_file_is_still_the_same(standin: StandInHub, tmp_path: Path):
    standin.drop_after = 150_000
    refused(standin, tmp_path, plain(standin), retries=0)
    assert fetch(standin, tmp_path, plain(standin)).record.sha256 == SHA256
    assert standin.served == len(WEIGHTS)


def test_a_url_whose_file_changed_meanwhile_is_fetched_anew(standin: StandInHub, tmp_path: Path):
    standin.drop_after = 150_000
    refused(standin, tmp_path, plain(standin), retries=0)
    other = WEIGHTS[::-1]
    standin.files, standin.etag = {"maker/model/quantised/weights.gguf": other}, '"second"'
    assert fetch(standin, tmp_path, plain(standin)).path.read_bytes() == other


def test_a_url_without_a_version_is_fetched_anew(standin: StandInHub, tmp_path: Path):
    standin.drop_after, standin.etag = 150_000, None
    refused(standin, tmp_path, plain(standin), retries=0)
    assert fetch(standin, tmp_path, plain(standin)).record.sha256 == SHA256
    assert "Range" not in standin.asked("GET")[-1].headers


def test_a_url_that_leads_nowhere_is_named_with_its_status(standin: StandInHub, tmp_path: Path):
    assert "with HTTP 404" in refused(standin, tmp_path, WebFile(f"{standin.url}/files/none.gguf"))


def test_a_partial_file_that_is_whole_already_is_taken_as_it_is(standin: StandInHub, tmp_path: Path):
    (tmp_path / f".weights.gguf.{SHA256[:12]}.part").write_bytes(WEIGHTS)
    assert fetch(standin, tmp_path).record.verified
    assert standin.served == 0


def test_a_url_whose_partial_file_is_whole_already_is_fetched_anew(standin: StandInHub, tmp_path: Path):
    source = plain(standin)
    key = hashlib.sha256(source.url.encode()).hexdigest()[:12]
    (tmp_path / f".weights.gguf.{key}.part").write_bytes(WEIGHTS)
    (tmp_path / f".weights.gguf.{key}.validator").write_text('"first"')
    assert fetch(standin, tmp_path, source).record.sha256 == SHA256


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("qwen3-4b", catalog().models[0].source),
        ("QWEN3-4B", catalog().models[0].source),
        ("hf:maker/model/deep/w.gguf", HubFile("maker/model", "deep/w.gguf")),
        ("https://example.org/a/w%20x.gguf?download=true", WebFile("https://example.org/a/w%20x.gguf?download=true")),
        ("models/w.gguf", Path("models/w.gguf")),
        ("~no-such-user-here/w.gguf", Path("~no-such-user-here/w.gguf")),
    ],
)
def test_a_target_is_a_name_a_hub_file_a_url_or_a_path(target: str, found: object):
    assert locate(target, catalog()) == found


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("qwen3-4", "Did you mean 'qwen3-4b'?"),
        ("zzz", "Known models: "),
        ("", "No model is called ''"),
        ("x" * 5000, "No model is called"),
        ("hf:model.gguf", "Write it like hf:OWNER/REPO/FILE.gguf."),
        ("hf:maker/model", "Write it like hf:OWNER/REPO/FILE.gguf."),
        ("https://example.org/", "does not lead to a .gguf file"),
        ("https:///w.gguf", "does not lead to a .gguf file"),
        ("http://[::1/w.gguf", "does not lead to a .gguf file"),
    ],
)
def test_a_target_that_can_be_nothing_is_wrong_usage(target: str, says: str):
    with pytest.raises(InputError) as caught:
        locate(target, catalog())
    assert says in str(caught.value)


def test_a_name_from_a_url_stays_in_the_folder():
    assert WebFile("https://example.org/..%2F..%2Fw.gguf").name == "w.gguf"


def test_a_setting_is_a_name_of_the_table_a_file_in_the_folder_or_a_path(tmp_path: Path):
    row = catalog().models[0]
    for name in (row.source.name, "own.gguf"):
        (tmp_path / name).write_bytes(WEIGHTS)
    assert resolve(row.name, tmp_path) == tmp_path / row.source.name
    assert resolve("own.gguf", tmp_path) == tmp_path / "own.gguf"
    assert resolve(str(tmp_path / "own.gguf"), tmp_path / "elsewhere") == tmp_path / "own.gguf"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("qwen3-4b", "Run `fireside model pull qwen3-4b`."),
        ("hf:maker/model/w.gguf", "Run `fireside model pull hf:maker/model/w.gguf`."),
        ("w.gguf", "No model file 'w.gguf', neither in "),
    ],
)
def test_a_setting_whose_model_is_not_here_says_how_to_get_it(tmp_path: Path, setting: str, says: str):
    with pytest.raises(HubError) as caught:
        resolve(setting, tmp_path)
    assert says in str(caught.value)


def test_a_pulled_file_of_another_size_is_not_used(standin: StandInHub, tmp_path: Path):
    path = fetch(standin, tmp_path).path
    path.write_bytes(WEIGHTS[:1000])
    with pytest.raises(HubError, match=r"has 1,000 bytes, and had 409,604 when it was pulled"):
        resolve("weights.gguf", tmp_path)


def test_an_unreadable_record_is_as_good_as_none(tmp_path: Path):
    (tmp_path / "w.gguf").write_bytes(WEIGHTS)
    (tmp_path / "w.gguf.json").write_text("{")
    assert held(tmp_path)[0].record is None
    assert resolve("w.gguf", tmp_path) == tmp_path / "w.gguf"


def test_the_table_names_each_model_and_file_once_and_claims_no_verification():
    rows = catalog().models
    assert len({row.name for row in rows}) == len({row.source.name for row in rows}) == len(rows)
    assert all(locate(str(row.source), catalog()) == row.source for row in rows)
    assert not any(row.verified for row in rows)


def test_a_table_whose_default_is_missing_is_refused(tmp_path: Path):
    (tmp_path / "t.toml").write_text('default = "none"\nmodels = []\n')
    with pytest.raises(HubError, match="the default 'none' is not among the models"):
        catalog(tmp_path / "t.toml")


@pytest.mark.parametrize(("count", "shown"), [(7, "7 bytes"), (2_400, "2.4 kB"), (2_380_000_000, "2.4 GB")])
def test_bytes_are_shown_in_a_unit_that_suits(count: int, shown: str):
    assert shown_bytes(count) == shown
