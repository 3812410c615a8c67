from __future__ import annotations

import json
from pathlib import Path

import pytest

import job_inputs as inputs
from renoise import ConfigError, StorageError
from renoise.jobs.blocks import index, read_blocks
from renoise.jobs.columns import Columns
from renoise.jobs.sources import open_source

pytest.importorskip("pyarrow")

COLUMNS = Columns(targets="targets")


def test_blocks_hold_all_rows_in_their_order(tmp_path: Path) -> None:
    rows = inputs.records(11)
    source = open_source(str(inputs.as_shards(tmp_path / "rows", rows, each=3)), COLUMNS)
    found = index(source, 4)
    assert found.rows == 11
    assert [block.count for block in found.blocks] == [4, 4, 3]
    read = [[row.id for span in block.spans for row in source.read(span)] for block in found.blocks]
    assert [id_ for ids in read for id_ in ids] == [row["id"] for row in rows]
    assert [len(ids) for ids in read] == [4, 4, 3]


def test_blocks_come_back_from_their_lines(tmp_path: Path) -> None:
    source = open_source(str(inputs.as_parquet(tmp_path / "rows.parquet", inputs.records(9))), COLUMNS)
    found = index(source, 4)
    assert read_blocks([json.loads(line) for line in found.to_lines().splitlines()]) == found.blocks
    with pytest.raises(StorageError, match="block 0 of the job makes no sense"):
        read_blocks([[1, ["rows", "x", 3]]])


def test_doubled_ids_are_found_and_listed_in_bounds(tmp_path: Path) -> None:
    rows = [row for row in inputs.records(40) for _ in range(2)]
    source = open_source(str(inputs.as_parquet(tmp_path / "rows.parquet", rows)), COLUMNS)
    with pytest.raises(ConfigError, match="40 of the 80 rows have the id of a row before them: row-000,") as error:
        index(source, 64)
    assert "row-009 ..." in str(error.value)
    assert "row-010" not in str(error.value)


def test_an_image_that_is_there_twice_is_a_double_only_with_its_caption(tmp_path: Path) -> None:
    row = {key: value for key, value in inputs.records(1)[0].items() if key != "id"}
    other = {**row, "caption": "a bird"}
    source = open_source(str(inputs.as_parquet(tmp_path / "rows.parquet", [row, other])), COLUMNS)
    assert index(source, 64).rows == 2
    source = open_source(str(inputs.as_parquet(tmp_path / "twice.parquet", [row, other, row])), COLUMNS)
    with pytest.raises(
        ConfigError, match=r"1 of the 3 rows .*ids are made from the image, its caption and its targets"
    ):
        index(source, 64)


def test_an_input_without_rows_is_refused(tmp_path: Path) -> None:
    path = inputs.as_parquet(tmp_path / "rows.parquet", inputs.records(1))
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ConfigError, match="has no rows"):
        index(open_source(str(path), COLUMNS), 64)
