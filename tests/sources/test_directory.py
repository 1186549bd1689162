"""A directory that is wrong, damaged or of another revision: one sentence."""

import json
import shutil

import pytest

from ablate.config import section
from ablate.errors import UserError
from ablate.sources.base import SourceConfig, read
from ablate.sources.choices import SOURCES
from ablate.sources.hub import locate

COMMIT, OTHER = "a" * 40, "b" * 40


def facts_of(**rows: int) -> SourceConfig:
    return SourceConfig(hub="made/here", revision=COMMIT, license=None, float_tolerance=None, rows=rows)


def read_all(public_sets, name, directory=None):
    place, facts = locate(str(directory or public_sets[name]), facts_of())
    return list(read(SOURCES[name], place, facts))


@pytest.fixture
def copied(public_sets, tmp_path):
    def copy(name):
        return shutil.copytree(public_sets[name], tmp_path / name)

    return copy


def cut(path, share=0.7):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", SOURCES)
def test_the_directory_of_another_data_set_is_the_users_error(public_sets, name):
    other = public_sets["deepcoder" if name != "deepcoder" else "livecodebench"]
    facts = json.loads((public_sets[name] / "source.json").read_text())
    with pytest.raises(UserError, match=r"holds no|has no column"):
        list(read(SOURCES[name], other, facts_of(**facts["rows"])))


def test_a_directory_that_does_not_exist_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="is not a directory"):
        locate(str(tmp_path / "missing"), facts_of())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("deepcoder", "taco/train-00000-of-00001.parquet"),
        ("primeintellect", "data/train-00000-of-00001.parquet"),
        ("nouscoder", "rl_train.jsonl"),
        ("taco_verified", "taco_verified.json"),
        ("livecodebench", "test3.jsonl"),
    ],
)
def test_a_file_that_is_cut_off_is_the_users_error(copied, name, file):
    directory = copied(name)
    cut(directory / file)
    with pytest.raises(UserError, match=r"again"):
        read_all(None, name, directory)


def test_elements_before_the_cut_of_an_array_are_read_one_by_one(copied):
    directory = copied("taco_verified")
    cut(directory / "taco_verified.json", share=0.5)
    rows = read(SOURCES["taco_verified"], *locate(str(directory), facts_of()))
    assert next(rows).row == 0
    with pytest.raises(UserError, match=r"is not JSON after element \d+"):
        list(rows)


@pytest.mark.parametrize(
    ("name", "config", "change"), [("deepcoder", "taco", 1), ("livecodebench", "v6", -1), ("taco_verified", "train", 7)]
)
def test_another_number_of_rows_is_the_users_error(copied, name, config, change):
    directory = copied(name)
    facts = json.loads((directory / "source.json").read_text())
    facts["rows"][config] += change
    (directory / "source.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=rf"config {config} in .* rows, not {facts['rows'][config]}"):
        read_all(None, name, directory)


@pytest.mark.parametrize("name", ["deepcoder", "livecodebench"])
def test_a_config_that_the_data_set_does_not_have_is_the_users_error(public_sets, name):
    with pytest.raises(UserError, match=f"{name} has no config extra"):
        list(read(SOURCES[name], public_sets[name], facts_of(extra=1)))


@pytest.mark.parametrize("content", ["[]", '{"revision": "x"}', '{"revision": "x", "rows": 3}', "{"])
def test_facts_of_a_generated_set_that_are_no_facts_are_the_users_error(copied, content):
    directory = copied("nouscoder")
    (directory / "source.json").write_text(content)
    with pytest.raises(UserError, match=r"source\.json must hold"):
        read_all(None, "nouscoder", directory)


def record_revision(directory, *commits):
    """Leave what the Hub's client leaves in a directory that it downloaded to."""
    for number, commit in enumerate(commits):
        path = directory / ".cache" / "huggingface" / "download" / f"file{number}.parquet.metadata"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{commit}\netag\n1700000000.0\n")


def test_the_pinned_revision_is_accepted_and_recorded(tmp_path):
    record_revision(tmp_path, COMMIT, COMMIT)
    assert locate(str(tmp_path), facts_of(train=1)) == (tmp_path, facts_of(train=1))


def test_another_revision_is_the_users_error(tmp_path):
    record_revision(tmp_path, OTHER)
    with pytest.raises(UserError, match=f"is revision {OTHER} of made/here, not {COMMIT}"):
        locate(str(tmp_path), facts_of())


def test_files_of_two_revisions_in_one_directory_are_the_users_error(tmp_path):
    record_revision(tmp_path, COMMIT, OTHER)
    with pytest.raises(UserError, match="mixes files"):
        locate(str(tmp_path), facts_of())


def test_the_revision_of_a_snapshot_in_the_hubs_cache_is_its_name(tmp_path):
    snapshot = tmp_path / "snapshots" / OTHER
    snapshot.mkdir(parents=True)
    with pytest.raises(UserError, match=f"is revision {OTHER}"):
        locate(str(snapshot), facts_of())
    assert locate(str(snapshot), SourceConfig("made/here", None, None, {}, None))[1].revision == OTHER


def test_a_hub_id_without_a_network_is_the_users_error(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="made/here could not be downloaded"):
        locate("made/here", facts_of())


def test_a_hub_id_without_the_client_is_the_users_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="install it, or download"):
        locate("made/here", facts_of())


def test_every_source_has_its_facts_and_every_fact_sheet_its_source():
    from pathlib import Path

    from omegaconf import OmegaConf

    sheets = {path.stem: path for path in (Path(__file__).parents[2] / "conf" / "source").glob("*.yaml")}
    assert sheets.keys() == SOURCES.keys()
    for name, path in sheets.items():
        assert path.read_text().startswith(f"# @package sources.{name}\n")
        facts = section(SourceConfig, OmegaConf.load(path), f"sources.{name}")
        assert "/" in facts.hub or name == "icpc"  # which is no set of the Hub
        assert all(number is None or number > 0 for number in facts.rows.values())


def test_a_blank_line_of_a_jsonl_file_is_no_row(copied):
    directory = copied("nouscoder")
    path = directory / "rl_train.jsonl"
    before = read_all(None, "nouscoder", directory)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\n", 1) + b"\n  \n")
    assert read_all(None, "nouscoder", directory) == before


@pytest.mark.parametrize(
    ("name", "file"), [("deepcoder", "taco/train-00000-of-00001.parquet"), ("nouscoder", "rl_train.jsonl")]
)
def test_a_row_that_is_not_utf_8_is_rejected_by_name_and_no_other_row_is(copied, name, file):
    directory = copied(name)
    before = read_all(None, name, directory)
    path, whole = directory / file, (directory / file).read_bytes()
    if file.endswith("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        texts = [value.encode() for value in table["problem"].to_pylist()]
        texts[1] = b"Print caf\xe9."
        broken = pa.StringArray.from_buffers(len(texts), *pa.array(texts, pa.binary()).buffers()[1:])
        pq.write_table(table.set_column(table.schema.get_field_index("problem"), "problem", broken), path)
    else:
        lines = whole.split(b"\n")
        lines[1] = lines[1].replace(b"Read", b"R\xe9ad", 1)
        path.write_bytes(b"\n".join(lines))
    after = read_all(None, name, directory)
    changed = [row for row in after if row not in before]
    assert len(after) == len(before)
    assert [(row.row, row.reason) for row in changed] == [(1, "lone_surrogate")]
