"""Writes the files of the corpora that are binary, and those that hold a hash. The others are written by hand.

    pip install -r ../tests/data/requirements.txt && python make_corpus.py

gzip and zstd (the program) pack; the bytes may differ from one version of a library to the next.
"""

import gzip
import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CORPUS = Path(__file__).resolve().parent / "corpus"


def write(target, name, contents):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)


def zstd(contents, *options):
    return subprocess.run(["zstd", "-q", *options], input=contents, capture_output=True, check=True).stdout


def safetensors(tensors, metadata=None):
    """A file of these tensors: (name, type, shape, bytes) each."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, kind, shape, contents in tensors:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(contents)]}
        data += contents
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def make_weights():
    # tests/common/fuzz_targets.rs has these sizes: 3 tokens, 2 positions, 1 layer, all others 2.
    shapes = {
        "wte.weight": [3, 2],
        "wpe.weight": [2, 2],
        "h.0.ln_1.weight": [2],
        "h.0.ln_1.bias": [2],
        "h.0.attn.c_attn.weight": [2, 6],
        "h.0.attn.c_attn.bias": [6],
        "h.0.attn.c_proj.weight": [2, 2],
        "h.0.attn.c_proj.bias": [2],
        "h.0.ln_2.weight": [2],
        "h.0.ln_2.bias": [2],
        "h.0.mlp.c_fc.weight": [2, 2],
        "h.0.mlp.c_fc.bias": [2],
        "h.0.mlp.c_proj.weight": [2, 2],
        "h.0.mlp.c_proj.bias": [2],
        "ln_f.weight": [2],
        "ln_f.bias": [2],
    }

    def tensors(kind, pack, prefix=""):
        for name, shape in shapes.items():
            count = shape[0] * (shape[1] if len(shape) > 1 else 1)
            yield prefix + name, kind, shape, b"".join(pack(0.25 * at - 0.5) for at in range(count))

    single = list(tensors("F32", floats, "transformer."))
    half = list(tensors("F16", lambda value: struct.pack("<e", value)))
    short = list(tensors("BF16", lambda value: floats(value)[2:]))
    head = ("lm_head.weight", *single[0][1:])
    write("weights", "f32.safetensors", safetensors(single, {"format": "pt"}))
    write("weights", "f16.safetensors", safetensors(half))
    write("weights", "bf16.safetensors", safetensors(short))
    write("weights", "head.safetensors", safetensors([head, *single]))
    write("weights", "head_alone.safetensors", safetensors([head, *single[1:]]))
    mask = ("h.0.attn.bias", "U8", [1, 1, 2, 2], bytes([1, 0, 1, 1]))
    write("weights", "mask.safetensors", safetensors([*half, mask]))
    nan = (*half[1][:3], b"\x00\x7e" * 4)
    write("weights", "nan.safetensors", safetensors([half[0], nan, *half[2:]]))
    write("weights", "missing.safetensors", safetensors(half[:3]))
    write("weights", "long_header.safetensors", struct.pack("<Q", 1 << 62) + b"{}")
    write("weights", "pickle.bin", b"PK\x03\x04archive/data.pkl")


def make_adapters():
    # The same sizes, and rank 1.
    layers = {"attn.c_attn": (2, 6), "attn.c_proj": (2, 2), "mlp.c_fc": (2, 2), "mlp.c_proj": (2, 2)}

    def tensors(kind, pack, prefix, layers):
        for layer, (ins, outs) in layers.items():
            for half, shape in (("A", [1, ins]), ("B", [outs, 1])):
                values = b"".join(pack(0.25 * at - 0.5) for at in range(shape[0] * shape[1]))
                yield f"{prefix}h.0.{layer}.lora_{half}.weight", kind, shape, values

    prefix = "base_model.model.transformer."
    single = list(tensors("F32", floats, prefix, layers))
    short = list(tensors("BF16", lambda value: floats(value)[2:], prefix, {"mlp.c_fc": (2, 2)}))
    bare = list(tensors("F16", lambda value: struct.pack("<e", value), "base_model.model.", layers))
    write("adapter_weights", "f32.safetensors", safetensors(single, {"format": "pt"}))
    write("adapter_weights", "one_layer.safetensors", safetensors(short))
    write("adapter_weights", "without_head.safetensors", safetensors(bare))
    write("adapter_weights", "half.safetensors", safetensors(single[:3]))
    dora = (prefix + "h.0.mlp.c_fc.lora_magnitude_vector", "F32", [2], floats(1, 2))
    write("adapter_weights", "dora.safetensors", safetensors([*single, dora]))
    other = (prefix + "h.1.mlp.c_fc.lora_A.weight", "F32", [1, 2], floats(1, 2))
    write("adapter_weights", "other_model.safetensors", safetensors([*single, other]))


def make_reference_cache():
    def cache(*values, name="logps", kind="F32", shape=None):
        contents = floats(*values)
        return safetensors([(name, kind, shape or [len(values)], contents)])

    # The two pairs of tests/common/fuzz_targets have 3 and 4 response tokens.
    whole = [-0.5, -1.25, -2.0, -0.125, -3.5, -0.75, -1.0]
    write("reference_cache", "whole.safetensors", cache(*whole))
    write("reference_cache", "part.safetensors", cache(*whole[:3]))
    write("reference_cache", "odd_part.safetensors", cache(*whole[:5]))
    write("reference_cache", "longer.safetensors", cache(*whole, -1.0))
    write("reference_cache", "empty_tensor.safetensors", cache())
    write("reference_cache", "nan.safetensors", cache(*whole[:6], float("nan")))
    write("reference_cache", "other_name.safetensors", cache(*whole, name="logp"))
    write("reference_cache", "other_type.safetensors", cache(*whole, kind="I32"))
    write("reference_cache", "two_axes.safetensors", cache(*whole, shape=[7, 1]))
    write("reference_cache", "cut_off.safetensors", cache(*whole)[:-3])
    write("reference_cache", "empty.safetensors", b"")


def make_manifests():
    position = (CORPUS / "checkpoint_position" / "whole.json").read_bytes()
    contents = dict.fromkeys(["metrics.jsonl", "model.safetensors", "optimizer.safetensors", "run.toml"], b"")
    contents["training.json"] = position
    lines = {name: f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in sorted(contents.items())}

    def manifest(name, *lines):
        write("checkpoint_manifest", name, "".join(lines).encode())

    whole = list(lines.values())
    manifest("whole.sha256", *whole)
    manifest("one_missing.sha256", *whole[1:])
    manifest("wrong_hash.sha256", *whole[:4], whole[0][:64] + whole[4][64:])
    manifest("unsorted.sha256", *reversed(whole))
    manifest("twice.sha256", *whole, whole[-1])
    manifest("outside.sha256", whole[0][:66] + "../run.toml\n", *whole)
    manifest("absolute.sha256", whole[0][:66] + "/dev/null\n", *whole)
    manifest("folder.sha256", whole[0][:66] + "\n", *whole)
    manifest("absent.sha256", whole[0][:66] + "additional_chat_templates/a.jinja\n", *whole)
    manifest("one_space.sha256", *(line.replace("  ", " ") for line in whole))
    manifest("no_newline.sha256", "".join(whole)[:-1])
    manifest("empty.sha256")


def parquet(table, **options):
    sink = pa.BufferOutputStream()
    settings = {"store_schema": False, "write_statistics": False, "compression": "none", "use_dictionary": False}
    pq.write_table(table, sink, **{**settings, **options})
    return sink.getvalue().to_pybytes()


def texts():
    rows = {"prompt": ["Hi", "Bye"], "chosen": ["Hello.", "See you."], "rejected": ["Go.", "No."]}
    return pa.table(rows)


def make_parquet():
    message = pa.struct([("role", pa.string()), ("content", pa.string())])

    def said(*contents):
        return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]

    lists = pa.table(
        {
            "chosen": pa.array([said("Hi", "Hello."), None, said("Bye", "See you.")], pa.list_(message)),
            "rejected": pa.array([said("Hi", "Go."), [], said("Bye", None)], pa.list_(message)),
        }
    )
    kinds = texts().append_column("score_chosen", pa.array([1.5, float("nan")], pa.float64()))
    kinds = kinds.append_column("score_rejected", pa.array([-1, None], pa.int32()))
    kinds = kinds.append_column("good", pa.array([True, False]))
    kinds = kinds.append_column("half", pa.array([0.5, None], pa.float16()))
    kinds = kinds.append_column("cost", pa.array([None, "12.50"]).cast(pa.decimal128(7, 2)))
    kinds = kinds.append_column("day", pa.array([0, -719163], pa.date32()))
    kinds = kinds.append_column("at", pa.array([2**62, -(2**62)], pa.timestamp("us")))
    kinds = kinds.append_column("raw", pa.array([b"\xff", b""], pa.binary()))
    ids = {"prompt_ids": [[72], [1, 2]], "chosen_ids": [[1], [3, 258]], "rejected_ids": [[2], [4]]}
    ids = pa.table({name: pa.array(rows, pa.list_(pa.int64())) for name, rows in ids.items()})
    for name, table, options in [
        ("texts", texts(), {}),
        ("dictionary", texts(), {"use_dictionary": True}),
        ("snappy", texts(), {"compression": "snappy"}),
        ("gzip", texts(), {"compression": "gzip", "data_page_version": "2.0"}),
        ("zstd", lists, {"compression": "zstd", "data_page_version": "2.0"}),
        ("lists", lists, {}),
        ("ids", ids, {"use_dictionary": True}),
        ("kinds", kinds, {"write_statistics": True}),
        ("groups", texts(), {"row_group_size": 1}),
        ("delta", texts(), {"column_encoding": dict.fromkeys(texts().column_names, "DELTA_BYTE_ARRAY")}),
        ("brotli", texts(), {"compression": "brotli"}),
        ("no_rows", texts().slice(0, 0), {}),
    ]:
        write("records_parquet", f"{name}.parquet", parquet(table, **options))
    write("records_parquet", "cut_off.parquet", parquet(texts())[:-20])


def make_packed():
    lines = (CORPUS / "records_jsonl" / "pair.jsonl").read_bytes()
    array = (CORPUS / "records_json" / "array.json").read_bytes()

    def packed(contents):
        return gzip.compress(contents, mtime=0)

    half = len(lines) // 2
    write("records_packed", "lines.gz", packed(lines))
    write("records_packed", "array.gz", packed(array))
    write("records_packed", "two_members.gz", packed(lines[:half]) + packed(lines[half:]))
    write("records_packed", "parquet.gz", packed(parquet(texts())))
    write("records_packed", "twice.gz", packed(packed(lines)))
    write("records_packed", "cut_off.gz", packed(lines)[:-9])
    write("records_packed", "lines.zst", zstd(lines, "--check"))
    write("records_packed", "array.zst", zstd(array, "-19", "--no-check"))
    write("records_packed", "skippable.zst", b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(lines))
    write("records_packed", "two_frames.zst", zstd(lines[:half]) + zstd(lines[half:]))
    write("records_packed", "parquet.zst", zstd(parquet(texts())))
    write("records_packed", "not_packed.jsonl", lines)
    write("records_packed", "csv.txt", b"prompt,chosen,rejected\nHi,Hello.,Go.\n")


if __name__ == "__main__":
    make_weights()
    make_adapters()
    make_reference_cache()
    make_manifests()
    make_parquet()
    make_packed()
