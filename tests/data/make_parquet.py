"""Writes the parquet files beside this file, and as JSON what pyarrow reads from them.

    pip install -r requirements.txt && python make_parquet.py

pairs-*.parquet    the schema of UltraFeedback's preference files, in every codec that is read, with and
                   without dictionaries, in both page versions, in row groups of two and tiny pages;
                   all hold the rows of pairs.json
*_prefs.parquet    UltraFeedback's two splits of pairs with few rows, one of them with equal responses
types.parquet      one column for each type, with nulls; types.json has what it should become
encodings.parquet  the encodings that are chosen by hand alone; encodings.json
old.parquet        lists and times as old writers have them; old.json
codec-*.parquet    codecs that are not read
"""

import datetime
import decimal
import json
import platform
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent


def messages(*contents):
    roles = ("user", "assistant")
    return [{"content": text, "role": roles[at % 2]} for at, text in enumerate(contents)]


def pair(at, prompt, chosen, rejected, scores):
    return {
        "prompt": prompt,
        "prompt_id": f"{at:08x}",
        "chosen": messages(prompt, chosen),
        "rejected": messages(prompt, rejected),
        "messages": messages(prompt, chosen),
        "score_chosen": scores[0],
        "score_rejected": scores[1],
    }


PAIRS = [
    pair(0, "What does a frog say?", "A frog says croak.", "Croak.", (8.5, 6.0)),
    pair(1, "Zwölf\nZeilen \"quoted\" 🐸", "é", "e\u0000e", (7.0, 7.0)),
    pair(2, "", "", " ", (None, 1.0)),
    pair(3, "Count.", "one two " * 40, "one " * 60, (float("nan"), float("-inf"))),
    pair(4, "Count.", "one two " * 40, "one", (10.0, 0.1)),
]
# Lists that are empty, missing, or have only null items.
PAIRS[2].update(messages=[], rejected=None)
PAIRS[4]["messages"] = [None, {"content": None, "role": "user"}]

MESSAGES = pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))
PAIR_SCHEMA = pa.schema([
    ("prompt", pa.string()),
    ("prompt_id", pa.string()),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    ("messages", MESSAGES),
    ("score_chosen", pa.float64()),
    ("score_rejected", pa.float64()),
])

NOON = datetime.datetime(2024, 2, 29, 12, 30, 15, 250_000)
UTC = datetime.timezone.utc


def types():
    """Name → type, and three values."""
    pair_type = pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])
    return {
        "large_string": (pa.large_string(), ["é", None, ""]),
        "category": (pa.dictionary(pa.int8(), pa.string()), ["red", "blue", "red"]),
        "required": (pa.field("required", pa.string(), nullable=False), ["x", "y", "z"]),
        "bool": (pa.bool_(), [True, None, False]),
        "int8": (pa.int8(), [-128, None, 127]),
        "int16": (pa.int16(), [-32768, None, 32767]),
        "int32": (pa.int32(), [-(2**31), None, 2**31 - 1]),
        "int64": (pa.int64(), [-(2**63), None, 2**63 - 1]),
        "uint8": (pa.uint8(), [0, None, 255]),
        "uint32": (pa.uint32(), [0, None, 2**32 - 1]),
        "uint64": (pa.uint64(), [0, None, 2**64 - 1]),
        "half": (pa.float16(), [0.5, None, -65504.0]),
        "float": (pa.float32(), [0.5, None, float("inf")]),
        "double": (pa.float64(), [0.1, float("nan"), float("-inf")]),
        "decimal": (pa.decimal128(9, 2), [decimal.Decimal("-12.34"), None, decimal.Decimal("0.10")]),
        "decimal_integer": (pa.decimal128(20, 0), [decimal.Decimal(-7), None, decimal.Decimal(10**15)]),
        "decimal_long": (pa.decimal256(50, 1), [decimal.Decimal(1), None, None]),
        "date": (pa.date32(), [datetime.date(2024, 2, 29), None, datetime.date(1969, 12, 31)]),
        "time": (pa.time64("us"), [NOON.time(), None, datetime.time(0, 0)]),
        "seconds": (pa.timestamp("s"), [NOON.replace(microsecond=0), None, None]),
        "millis": (pa.timestamp("ms"), [NOON, None, datetime.datetime(1969, 12, 31, 23, 59, 59)]),
        "micros": (pa.timestamp("us", tz="UTC"), [NOON.replace(tzinfo=UTC), None, None]),
        # 2**63 - 1 nanoseconds, the largest timestamp.
        "nanos": (pa.timestamp("ns"), [pa.scalar(2**63 - 1, pa.timestamp("ns")), None, NOON]),
        "no_calendar": (pa.timestamp("us"), [pa.scalar(2**63 - 1, pa.timestamp("us")), None, None]),
        "utf8_bytes": (pa.binary(), [b"text", None, b""]),
        "binary": (pa.binary(), [b"\xff\xfe", None, None]),
        "fixed_binary": (pa.binary(4), [b"abcd", None, None]),
        "map": (pa.map_(pa.string(), pa.int32()), [[("k", 1), ("l", None)], [], None]),
        "number_map": (pa.map_(pa.int32(), pa.string()), [[(1, "one")], None, []]),
        "lists": (pa.list_(pa.list_(pa.int32())), [[[1, None], [], None, [2]], [], None]),
        "structs": (pa.list_(pair_type), [
            [{"a": 1, "b": ["x", None]}, None, {"a": None, "b": None}, {"a": 2, "b": []}],
            None,
            [],
        ]),
        "struct": (pa.struct([("inner", pair_type), ("n", pa.null())]), [
            {"inner": None, "n": None}, None, {"inner": {"a": 3, "b": ["y", "z"]}, "n": None},
        ]),
        "fixed_list": (pa.list_(pa.int64(), 2), [[1, 2], None, [3, 4]]),
    }


# Values that JSON cannot express get a name, as the reader marks them.
UNREADABLE = {
    ("decimal_long", 0): "a decimal of more than 38 digits",
    ("binary", 0): "binary data, not UTF-8",
    ("fixed_binary", 0): "binary data, not UTF-8",
}
OTHERS = {
    ("utf8_bytes", 0): "text",
    ("utf8_bytes", 2): "",
    ("nanos", 0): "2262-04-11T23:47:16.854775807",
    ("no_calendar", 0): 2**63 - 1,
    ("map", 0): {"k": 1, "l": None},
    ("map", 1): {},
    ("number_map", 0): {"1": "one"},
    ("number_map", 2): {},
}


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral() else float(value)
    if isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=None).isoformat()
        text = text[:-3] if "." in text and text.endswith("000") else text
        return text + ("Z" if value.tzinfo else "")
    if isinstance(value, datetime.time):
        text = value.isoformat()
        return text[:-3] if "." in text and text.endswith("000") else text
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


def write_json(name, rows):
    # NaN and Infinity stay as they are: the reader must also accept them in JSON.
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (HERE / f"{name}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_pairs():
    table = pa.Table.from_pylist(PAIRS, schema=PAIR_SCHEMA)
    variants = {
        "none": {"compression": "none", "data_page_version": "1.0"},
        "snappy": {"compression": "snappy", "data_page_version": "2.0"},
        "gzip": {"compression": "gzip", "data_page_version": "1.0", "use_dictionary": False},
        "zstd": {"compression": "zstd", "data_page_version": "2.0", "use_dictionary": False},
    }
    for name, options in variants.items():
        path = HERE / f"pairs-{name}.parquet"
        pq.write_table(table, path, row_group_size=2, data_page_size=8, **options)
        assert pq.read_table(path).num_rows == len(PAIRS)
    write_json("pairs", PAIRS)


def make_splits():
    animals = {
        "frog": "croak", "cow": "moo", "duck": "quack", "sheep": "baa", "cat": "meow", "owl": "hoot", "bee": "buzz",
        "dog": "woof",
    }
    asked = list(enumerate(animals.items()))
    rows = [
        pair(at, f"What does a {animal} say?", f"A {animal} says {sound}.", f"{sound.title()}.", (8.5, 6.0 + at / 4))
        for at, (animal, sound) in asked
    ]
    rows.insert(1, pair(99, "What does a fish say?", "Nothing.", "Nothing.", (5.0, 5.0)))
    for name, part in (("train_prefs", rows[:6]), ("test_prefs", rows[6:])):
        pq.write_table(pa.Table.from_pylist(part, schema=PAIR_SCHEMA), HERE / f"{name}.parquet")


def make_types():
    columns = types()
    fields = [t if isinstance(t, pa.Field) else pa.field(name, t) for name, (t, _) in columns.items()]
    arrays = [
        pa.array([v if isinstance(v, pa.Scalar) else pa.scalar(v, field.type) for v in values], field.type)
        if any(isinstance(v, pa.Scalar) for v in values) else pa.array(values, field.type)
        for field, (_, values) in zip(fields, columns.values())
    ]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    # Without the arrow schema, of which old readers know nothing.
    pq.write_table(table, HERE / "types.parquet", store_schema=False)
    rows = []
    for at in range(3):
        row = {}
        for name, (_, values) in columns.items():
            if (name, at) in UNREADABLE:
                row[name] = {"\u0001": UNREADABLE[name, at]}
            elif (name, at) in OTHERS:
                row[name] = OTHERS[name, at]
            else:
                row[name] = plain(values[at])
        rows.append(row)
    write_json("types", rows)


def make_encodings():
    count = 40
    rows = [
        {"int": at * at - 7, "text": f"prefix {at // 3}", "length": "é" * (at % 5), "double": at / 7}
        for at in range(count)
    ]
    pq.write_table(
        pa.Table.from_pylist(rows), HERE / "encodings.parquet", use_dictionary=False,
        data_page_version="2.0", column_encoding={
            "int": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY",
            "length": "DELTA_LENGTH_BYTE_ARRAY", "double": "BYTE_STREAM_SPLIT",
        },
    )
    write_json("encodings", rows)


def make_old():
    rows = [{"at": NOON, "list": [{"a": "x"}, None]}, {"at": None, "list": []}]
    schema = pa.schema([("at", pa.timestamp("ns")), ("list", pa.list_(pa.struct([("a", pa.string())])))])
    pq.write_table(
        pa.Table.from_pylist(rows, schema), HERE / "old.parquet", version="1.0",
        use_deprecated_int96_timestamps=True, use_compliant_nested_type=False,
    )
    write_json("old", [plain(row) for row in rows])


def make_codecs():
    for codec in ("brotli", "lz4"):
        pq.write_table(pa.table({"a": [1]}), HERE / f"codec-{codec}.parquet", compression=codec)


if __name__ == "__main__":
    make_pairs()
    make_splits()
    make_types()
    make_encodings()
    make_old()
    make_codecs()
    print(f"pyarrow {pa.__version__}, Python {platform.python_version()}")
