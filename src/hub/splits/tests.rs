use super::*;

fn entries(paths: &[String]) -> Vec<Entry> {
    let entry = |path: &String| Entry {
        path: path.clone(),
        size: 0,
        id: String::new(),
        is_lfs: false,
    };
    paths.iter().map(entry).collect()
}

/// The expected splits are those of Python's `datasets`, recorded by `tests/hub_splits/make_splits.py`.
#[test]
fn splits_are_those_of_datasets() {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        name: String,
        files: Vec<String>,
        readme: Option<String>,
        configs: Vec<Expected>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Expected {
        config: String,
        is_default: bool,
        splits: Vec<ExpectedSplit>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct ExpectedSplit {
        split: String,
        files: Vec<String>,
    }
    let text = include_str!("../../../tests/hub_splits/splits.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    for case in golden.cases {
        let entries = entries(&case.files);
        let configs = configs(case.readme.as_deref().unwrap_or_default()).unwrap();
        let found: Vec<Expected> = configs
            .iter()
            .map(|config| Expected {
                config: config.name.clone(),
                is_default: config.is_default,
                splits: config
                    .splits(&entries)
                    .unwrap()
                    .into_iter()
                    .map(|split| ExpectedSplit {
                        split: split.name,
                        files: split.files.iter().map(|file| file.path.clone()).collect(),
                    })
                    .collect(),
            })
            .collect();
        assert_eq!(found, case.configs, "{}", case.name);
    }
}

#[test]
fn readmes_that_cannot_be_used_are_refused() {
    let readme = |yaml: &str| configs(&format!("---\n{yaml}---\n"));
    assert!(readme("configs: 3\n").unwrap_err().starts_with("configs: "));
    assert!(readme("a: [\n").is_err());
    assert!(
        readme("configs:\n- data_files: x\n")
            .unwrap_err()
            .contains("config_name")
    );
    let outside =
        readme("configs:\n- config_name: a\n  data_files: https://x.y/z.jsonl\n").unwrap();
    assert_eq!(
        outside[0].splits(&[]).unwrap_err(),
        "its split train is outside the repository: https://x.y/z.jsonl"
    );
    let pattern = readme("configs:\n- config_name: a\n  data_files: a/b**c\n").unwrap();
    assert!(pattern[0].splits(&[]).unwrap_err().contains("a/b**c"));
    // Aliases that multiply exponentially are refused.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let before = format!("*a{}, ", i - 1).repeat(10);
        bomb += &format!("a{i}: &a{i} [{before}]\n");
    }
    bomb += "configs: *a11\n";
    assert!(readme(&bomb).is_err());
}

#[test]
fn names_of_shards() {
    let read = |path| shard(path).map(|shard| (shard.split, shard.count));
    assert_eq!(
        read("data/train_prefs-00000-of-00003.parquet"),
        Some(("train_prefs", 3))
    );
    assert_eq!(
        read("a-of-b-00001-of-00002-a7aa39.jsonl"),
        Some(("a-of-b", 2))
    );
    for path in [
        "train.parquet",
        "-of-",
        "x-0000-of-00002",
        "é-of-00002",
        "00001-of-2é000",
    ] {
        assert_eq!(read(path), None, "{path}");
    }
}

#[test]
fn formats_by_extension() {
    assert_eq!(format("a/b.parquet"), Some(Format::Parquet));
    for path in [
        "a.jsonl",
        "a.json",
        "a.ndjson",
        "a.jsonl.gz",
        "a.b.json.zst",
    ] {
        assert_eq!(format(path), Some(Format::Json), "{path}");
    }
    for path in ["a.csv", "jsonl", "a.gz", "json/a", "a.tar.gz"] {
        assert_eq!(format(path), None, "{path}");
    }
}
