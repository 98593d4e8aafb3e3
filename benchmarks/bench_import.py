"""How fast `python -m miles import` is, against a bare COPY of the same rows.

    python -m benchmarks.bench_import videos.parquet [--rows N] [--profile]

Both run on a fresh PostgreSQL in a temporary folder, in processes of their own: first COPY, by psycopg,
of the file's rows (already written as CSV, so that nothing but COPY is timed) into an unindexed table of
the same shape, then Miles' import into its own tables with their keys, checks and indexes. Prints the
seconds and rows/s of both, their ratio, and the importer's peak resident memory.
"""

import argparse
import resource
import time
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks import setup

CHUNK = 1 << 20  # bytes handed to COPY at a time

TYPES = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float64(): "float8",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, help="only the first N rows")
    parser.add_argument("--profile", action="store_true", help="print the seconds of each statement of the import")
    given = parser.parse_args()
    with setup.empty() as home:
        from miles import db

        file = setup.head(given.file, given.rows, home)
        rows = pa.parquet.ParquetFile(file).metadata.num_rows
        copied = setup.in_a_process(bare_copy, file, db.conninfo(), home)
        imported, report, peak = setup.in_a_process(miles_import, file, given.profile)
        again, second, _ = setup.in_a_process(miles_import, file)
    print(f"bare COPY     {copied:7.1f} s  {rows / copied:9,.0f} rows/s")
    print(f"Miles import  {imported:7.1f} s  {rows / imported:9,.0f} rows/s  {report}")
    print(f"a second time {again:7.1f} s  {rows / again:9,.0f} rows/s  {second}")
    print(f"ratio         {copied / imported:7.2f}    (at least 0.17, aim 0.33)")
    print(f"peak memory   {peak / 2**20:7,.0f} MB (below 1,500)")
    assert given.rows or copied / imported >= 1 / 6  # a few rows say nothing: the start is most of it
    assert peak < 1.5e9
    assert second.startswith("new 0, updated 0,")


def bare_copy(file: Path, address: str, folder: Path) -> float:
    """Seconds that COPY takes for all rows."""
    source = pa.parquet.ParquetFile(file)
    text = folder / "rows.csv"
    plain = pa.schema(
        pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in source.schema_arrow
    )
    with pa.csv.CSVWriter(text, plain, write_options=pa.csv.WriteOptions(include_header=False)) as writer:
        for batch in source.iter_batches():
            writer.write_batch(batch.cast(plain))
    columns = ", ".join(f'"{field.name}" {_type(field.type)}' for field in plain)
    with psycopg.connect(address) as connection:
        connection.execute(f"CREATE TABLE bare ({columns})")
        connection.commit()
        started = time.perf_counter()
        with connection.cursor().copy("COPY bare FROM STDIN (FORMAT csv)") as copy, text.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                copy.write(chunk)
        connection.commit()
        seconds = time.perf_counter() - started
        connection.execute("DROP TABLE bare")
    text.unlink()
    return seconds


def miles_import(file: Path, profile: bool = False) -> tuple[float, str, int]:
    """Seconds of the import, its report in words, and the peak resident memory of this process in bytes."""
    from miles import db, importing, store

    db.ready()
    if profile:
        run = store.run

        def timed(connection, statement, parameters=None):  # type: ignore[no-untyped-def]
            before = time.perf_counter()
            result = run(connection, statement, parameters)
            print(f"  {time.perf_counter() - before:6.2f} s  {' '.join(statement.split())[:100]}")
            return result

        store.run = timed
    started = time.perf_counter()
    merging = []

    def progress(step: importing.Progress) -> None:
        if step.step == "merge":
            merging.append(time.perf_counter() - started)

    report = importing.import_files([file], on_progress=progress)
    seconds = time.perf_counter() - started
    if profile:
        print(f"  {merging[0]:6.2f} s  reading, checking and staging; the rest is the merge and the commit")
    words = f"new {report.new:,}, updated {report.updated:,}, unchanged {report.unchanged:,}, rejected {report.rejected:,}, snapshots {report.snapshots:,}"
    return seconds, words, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _type(kind: pa.DataType) -> str:
    return "timestamptz" if pa.types.is_timestamp(kind) else TYPES.get(kind, "text")


if __name__ == "__main__":
    main()
