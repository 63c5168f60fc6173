"""Writes splits.json beside this file: which files Python's `datasets` takes for which split.

    pip install -r requirements.txt && python make_splits.py

Every case is a repository of files without contents, laid in a temporary folder; the README's `configs`
and the files' names are all that the rules look at. A second run writes the same bytes.
"""

import json
import tempfile
from pathlib import Path

import datasets
import yaml
from datasets.data_files import DataFilesDict, get_data_patterns, sanitize_patterns
from datasets.packaged_modules import _ALL_ALLOWED_EXTENSIONS
from datasets.utils.metadata import MetadataConfigs

HERE = Path(__file__).resolve().parent

SPLITS = ["train_prefs", "test_prefs", "train_sft", "test_sft", "train_gen", "test_gen"]

# (name, files, the YAML of README.md or None)
CASES = [
    ("shards of splits of any name", [f"data/{s}-00000-of-00001.parquet" for s in SPLITS], None),
    (
        "several shards, with a hash, and what is beside them",
        [
            "data/validation-00000-of-00001-a7aa39.parquet",
            "data/train-00001-of-00002-a7aa39.parquet",
            "data/train-00000-of-00002-a7aa39.parquet",
            "data/zebra-00000-of-00001.parquet",
            "data/ape-00000-of-00001.parquet",
            "other/train.jsonl",
        ],
        None,
    ),
    ("shards that are not in data", ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"], None),
    ("files with words", ["train.jsonl", "test.jsonl", "dev.jsonl"], None),
    ("words inside names", ["my-train_0.jsonl", "my-train_1.jsonl", "retrain.jsonl", "eval.2.jsonl"], None),
    (
        "folders with words",
        ["train/b.jsonl", "train/a.jsonl", "test/deep/c.jsonl", "x_train/d.jsonl", "dev.jsonl"],
        None,
    ),
    ("folders of configs", ["harmless/train.jsonl.gz", "harmless/test.jsonl.gz", "helpful/train.jsonl.gz"], None),
    ("no word at all", ["b.jsonl", "a.jsonl", "deep/er/c.jsonl"], None),
    ("hidden and special", [".hidden.jsonl", "__cache__/a.jsonl", ".git/x.jsonl", "a.jsonl"], None),
    ("ignored names", ["config.json", "dataset_infos.json", "a.json"], None),
    (
        "declared splits",
        [f"data/{s}-00000-of-00001.parquet" for s in SPLITS],
        "configs:\n- config_name: default\n  data_files:\n"
        "  - split: train_prefs\n    path: data/train_prefs-*\n"
        "  - split: test_sft\n    path: data/test_sft-*\n",
    ),
    (
        "several configs, one of them default",
        ["en/train.jsonl", "en/test.jsonl", "de/a.jsonl", "de/b.jsonl"],
        "configs:\n- config_name: en\n  data_dir: en\n- config_name: de\n  default: true\n"
        "  data_files:\n  - de/b.jsonl\n  - de/a.jsonl\n",
    ),
    (
        "several configs without default",
        ["en/train.jsonl", "de/train.jsonl"],
        "configs:\n- config_name: en\n  data_files: en/*\n- config_name: de\n  data_files: de/**\n",
    ),
    (
        "paths in lists, stars at depth",
        ["a/1.jsonl", "a/b/2.jsonl", "a/b/c/3.jsonl", "z.jsonl"],
        "configs:\n- config_name: default\n  data_files:\n"
        "  - split: one\n    path:\n    - z.jsonl\n    - a/*.jsonl\n"
        "  - split: all\n    path: a/**\n  - split: deep\n    path: a/**/*.jsonl\n"
        "  - split: set\n    path: a/[12].jsonl\n",
    ),
    ("a README with nothing of it", ["train.jsonl"], "license: mit\n"),
]


def splits_of(root, metadata):
    configs = MetadataConfigs.from_dataset_card_data(yaml.safe_load(metadata) if metadata else {})
    default = configs.get_default_config_name() if configs else "default"
    found = []
    for name, config in (configs or {"default": {}}).items():
        base = root / config["data_dir"] if config.get("data_dir") else root
        declared = config.get("data_files")
        patterns = sanitize_patterns(declared) if declared else get_data_patterns(str(base))
        files = DataFilesDict.from_patterns(
            patterns, base_path=str(base), allowed_extensions=_ALL_ALLOWED_EXTENSIONS
        )
        splits = [
            {"split": str(split), "files": list(dict.fromkeys(str(Path(f).relative_to(root)) for f in paths))}
            for split, paths in files.items()
        ]
        found.append({"config": name, "is_default": name == default, "splits": splits})
    return found


def main():
    cases = []
    for name, files, metadata in CASES:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for file in files:
                path = root / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            readme = f"---\n{metadata}---\n# Title\n" if metadata else None
            cases.append({"name": name, "files": files, "readme": readme, "configs": splits_of(root, metadata)})
    made_with = {"datasets": datasets.__version__}
    text = json.dumps({"made_with": made_with, "cases": cases}, indent=1)
    (HERE / "splits.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
