"""Every format gives the same rows, from any row on."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import job_inputs as inputs
from renoise import ConfigError
from renoise.jobs.columns import Columns
from renoise.jobs.rows import Row, Span, content_id, joined
from renoise.jobs.sources import Source, open_source

pytest.importorskip("pyarrow")

ROWS = inputs.records(11)
TARGETS = Columns(targets="targets")
Writer = Callable[[Path], Path]


def several(folder: Path) -> Path:
    for n in range(3):
        inputs.as_parquet(folder / f"{n}.parquet", ROWS[4 * n : 4 * n + 4], row_group_size=3)
    return folder


FORMATS: dict[str, Writer] = {
    "one Parquet file": lambda at: inputs.as_parquet(at / "rows.parquet", ROWS, row_group_size=4),
    "Parquet files": lambda at: several(at / "rows"),
    "metadata.jsonl": lambda at: inputs.as_folder(at / "rows", ROWS),
    "captions.jsonl": lambda at: inputs.as_folder(at / "rows", ROWS, "captions.jsonl"),
    "metadata.csv": lambda at: inputs.as_folder(at / "rows", ROWS, "metadata.csv"),
    "shards": lambda at: inputs.as_shards(at / "rows", ROWS),
    "one shard": lambda at: inputs.as_shards(at / "rows", ROWS, each=11) / "00000.tar",
    "save_to_disk": lambda at: inputs.as_saved(at / "rows", ROWS),
}


def rows_of(source: Source) -> list[Row]:
    spans = joined(found.span for found in source.scan())
    return [row for span in spans for row in source.read(span)]


def expected(rows: list[dict[str, Any]]) -> list[Row]:
    return [Row(one["id"], one["image"], one["caption"].strip(), tuple(one["targets"])) for one in rows]


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(FORMATS[request.param](tmp_path))


def test_every_format_gives_the_same_rows(name: str) -> None:
    source = open_source(name, TARGETS)
    assert [found.id for found in source.scan()] == [row["id"] for row in ROWS]
    assert rows_of(source) == expected(ROWS)


def test_rows_are_read_from_any_row_on_in_another_process(name: str) -> None:
    source = pickle.loads(pickle.dumps(open_source(name, TARGETS)))
    found = list(source.scan())
    for start in range(len(ROWS)):
        for stop in (start + 1, start + 3, len(ROWS)):
            spans = joined(one.span for one in found[start:stop])
            assert [row.id for span in spans for row in source.read(span)] == [row["id"] for row in ROWS[start:stop]]


def test_a_url_gives_the_same_rows(name: str) -> None:
    assert rows_of(open_source(f"file://{name}", TARGETS)) == expected(ROWS)


def test_captions_beside_images(tmp_path: Path) -> None:
    folder = inputs.as_folder(tmp_path / "rows", ROWS, "")
    (folder / "row-003.txt").unlink()
    rows = rows_of(open_source(str(folder), Columns(to=("a dog",))))
    assert [row.image for row in rows] == [row["image"] for row in ROWS]
    assert [row.problem is not None for row in rows] == [n == 3 for n in range(11)]


def test_ids_are_made_from_what_a_row_holds(tmp_path: Path) -> None:
    bare = [{key: value for key, value in row.items() if key != "id"} for row in ROWS]
    source = open_source(str(inputs.as_parquet(tmp_path / "rows.parquet", bare)), TARGETS)
    wanted = [content_id(row["image"], row["caption"].strip(), *row["targets"]) for row in ROWS]
    assert [found.id for found in source.scan()] == wanted == [row.id for row in rows_of(source)]
    other = open_source(str(tmp_path / "rows.parquet"), replace(TARGETS, prompt="a bird"))
    assert not {found.id for found in other.scan()} & set(wanted)


def test_images_that_parquet_names_lie_beside_it(tmp_path: Path) -> None:
    named = [{**row, "image": f"images/{row['id']}.png"} for row in ROWS]
    path = inputs.as_parquet(tmp_path / "rows.parquet", named)
    (tmp_path / "images").mkdir()
    for row in ROWS[1:]:
        (tmp_path / "images" / f"{row['id']}.png").write_bytes(row["image"])
    first, *others = rows_of(open_source(str(path), TARGETS))
    assert first.problem is not None
    assert "there is no file" in first.problem
    assert others == expected(ROWS[1:])


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../secret.png", "a\0.png", ""])
def test_a_folder_has_no_images_of_others(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(inputs.png(0))
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": path, "text": "a cat"}))
    (row,) = rows_of(open_source(str(folder), Columns(to=("a dog",))))
    assert row.image is None
    assert row.problem is not None


def test_captions_may_hold_what_separates_lines_elsewhere(tmp_path: Path) -> None:
    text = 'a cat\u2028and\x85a "dog"'
    folder = inputs.as_folder(tmp_path / "rows", [{**ROWS[0], "caption": text}])
    assert rows_of(open_source(str(folder), TARGETS))[0].prompt == text


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        (Columns(to=("a",), image="photo"), "has no column 'photo'; it has caption, id, image, targets"),
        (Columns(to=("a",), id="key"), "has no column 'key'"),
        (Columns(targets="edits"), "has no column 'edits'"),
    ],
)
def test_a_missing_column_is_named_with_those_that_there_are(columns: Columns, error: str, tmp_path: Path) -> None:
    path = inputs.as_parquet(tmp_path / "rows.parquet", ROWS)
    with pytest.raises(ConfigError, match=error):
        open_source(str(path), columns)


def test_a_row_without_an_id_is_named(tmp_path: Path) -> None:
    path = inputs.as_parquet(tmp_path / "rows.parquet", [ROWS[0], {**ROWS[1], "id": None}])
    with pytest.raises(ConfigError, match="row 1, has no id in the column id: None"):
        list(open_source(str(path), TARGETS).scan())


@pytest.mark.parametrize("name", ["rows.parquet", "rows.tar", "rows.zip", "rows.tar.gz"])
def test_what_cannot_be_read_is_one_clear_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not what it is called" * 100)
    with pytest.raises(ConfigError, match=name):
        rows_of(open_source(str(tmp_path / name), TARGETS))


@pytest.mark.parametrize("name", ["one Parquet file", "one shard"])
def test_a_file_that_is_cut_short_is_one_clear_error(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ConfigError, match="cut short"):
        rows_of(open_source(str(path), TARGETS))


def test_nothing_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no input"):
        open_source(str(tmp_path / "none"), TARGETS)
    with pytest.raises(ConfigError, match="no input that is known"):
        open_source(str(tmp_path), TARGETS)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_source("nonsense://bucket/rows", TARGETS)


def test_splits_are_told_apart(tmp_path: Path) -> None:
    for split in ("train", "test"):
        inputs.as_saved(tmp_path / "rows" / split, ROWS)
    (tmp_path / "rows" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ConfigError, match=r"2 splits; give one of .*/test, .*/train"):
        open_source(str(tmp_path / "rows"), TARGETS)
    assert rows_of(open_source(str(tmp_path / "rows" / "test"), TARGETS)) == expected(ROWS)


def test_a_span_begins_where_the_one_before_ends() -> None:
    assert joined(iter([Span("a", 0, 2), Span("a", 2, 3), Span("a", 4, 5)])) == (Span("a", 0, 3), Span("a", 4, 5))
