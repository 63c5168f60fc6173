#!/usr/bin/env bash
# pyarrow 26.0.1: a table whose only row is a list of several values, written with pages smaller than that list,
# comes back with an empty list. Neither writing nor reading says a word; the same row followed by another one is
# kept. (Seen while making small parquet files of preference pairs: a file of one record is a natural test.)
#
# Installs pyarrow in a temporary folder. Exits with 0 while it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import io
import pyarrow as pa
import pyarrow.parquet as pq


def there_and_back(rows, page):
    file = io.BytesIO()
    pq.write_table(pa.table({"answers": rows}), file, data_page_size=page)
    return pq.read_table(io.BytesIO(file.getvalue()))["answers"].to_pylist()


one, two = [["yes", "no"]], [["yes", "no"], ["maybe"]]
seen = {
    "one row, pages of 4 bytes": (there_and_back(one, 4), []),
    "one row, pages of 64 bytes": (there_and_back(one, 64), one),
    "two rows, pages of 4 bytes": (there_and_back(two, 4), two),
}
for case, (got, _) in seen.items():
    print(f"pyarrow {pa.__version__}, {case}: {got}")
assert all(got == expected for got, expected in seen.values()), "it has changed"
PYTHON
