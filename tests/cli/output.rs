//! The output folder: which folders a run may use, and what a failed run leaves.

use crate::sandbox::{GPU, Sandbox, numbers, steps};

/// All files of a folder with their bytes.
fn contents(sandbox: &Sandbox, dir: &str) -> Vec<(String, Vec<u8>)> {
    let names = sandbox.list(dir).into_iter();
    names
        .map(|name| (name.clone(), sandbox.read(&format!("{dir}/{name}"))))
        .collect()
}

#[test]
fn an_earlier_run_is_replaced_only_on_demand() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("out", "--learning-rate 1e-3");
    sandbox.write("out/notes.md", "mine");
    let before = contents(&sandbox, "out");

    sandbox
        .train("--data d.jsonl --out out")
        .refused(&["out", "--overwrite"]);
    assert_eq!(contents(&sandbox, "out"), before);
    // A bad option is found before the folder is replaced.
    for options in [
        "--data absent.jsonl",
        "--data d.jsonl --batch-size 0",
        "--data d.jsonl --device 99",
    ] {
        let ran = sandbox.train(&format!("--out out --overwrite {options}"));
        ran.refused(&[]);
        assert_eq!(contents(&sandbox, "out"), before, "{options}");
    }

    sandbox.metrics_of("fresh", "--learning-rate 2e-3");
    sandbox.metrics_of("out", "--learning-rate 2e-3 --overwrite");
    assert_eq!(sandbox.read("out/notes.md"), b"mine");
    let weights = |dir: &str| sandbox.read(&format!("{dir}/model.safetensors"));
    assert_eq!(weights("out"), weights("fresh"));
    let mut names = sandbox.list("fresh");
    names.push("notes.md".to_owned());
    names.sort();
    assert_eq!(
        sandbox.list("out"),
        names,
        "nothing of the earlier run is left"
    );
}

#[test]
fn nothing_of_an_earlier_runs_tokenizer_is_left() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    for file in ["added_tokens.json", "special_tokens_map.json"] {
        sandbox.write(&format!("model/{file}"), "{}");
    }
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
        {% if add_generation_prompt %}assistant: {% endif %}";
    sandbox.write("model/chat_template.jinja", template);
    sandbox.train("--model model --data d.jsonl --out out").ok();
    assert!(
        sandbox.exists("out/chat_template.jinja"),
        "a model keeps its files"
    );
    sandbox.train("--data d.jsonl --out out --overwrite").ok();
    sandbox.train("--data d.jsonl --out fresh").ok();
    assert_eq!(sandbox.list("out"), sandbox.list("fresh"));
}

#[test]
fn other_peoples_folders_and_files_are_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "mine");
    sandbox
        .train("--data d.jsonl --out file --overwrite")
        .refused(&["file"]);
    assert_eq!(sandbox.read("file"), b"mine");
    sandbox
        .train("--data d.jsonl --out file/below")
        .refused(&["file/below"]);

    std::fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.train("--data d.jsonl --out empty").ok();
    sandbox.train("--data d.jsonl --out new/folder").ok();
    assert!(sandbox.exists("new/folder/model.safetensors"));
}

#[test]
fn only_the_folder_of_a_run_is_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("run", "--max-steps 1");
    let run_file = |name: &str| sandbox.read(&format!("run/{name}"));

    sandbox.starter("hub-model");
    std::fs::create_dir_all(sandbox.path("clone/.git")).unwrap();
    sandbox.write("clone/run.toml", run_file("run.toml"));
    std::fs::create_dir(sandbox.path("project")).unwrap();
    for (name, content) in [
        ("data.json", "{\"train\": []}"),
        ("run.toml", "seed = 1"),
        ("config.json", "{}"),
    ] {
        sandbox.write(&format!("project/{name}"), content);
    }
    for (dir, expected) in [
        ("hub-model", "holds config.json, model.safetensors"),
        ("clone", "is a repository"),
        ("project", "holds config.json, data.json, run.toml, but"),
    ] {
        let before = sandbox.list(dir);
        let ran = sandbox.train(&format!("--data d.jsonl --overwrite --out {dir}"));
        ran.refused(&[dir, expected, "name another output folder"]);
        assert_eq!(sandbox.list(dir), before);
    }
    // The folder that the program runs in is not overwritten, even if it holds a run.
    sandbox.write("run.toml", run_file("run.toml"));
    for out in [".", "run/.."] {
        let ran = sandbox.train(&format!("--data d.jsonl --overwrite --out {out}"));
        ran.refused(&["the one that the program runs in"]);
    }
    assert!(sandbox.exists("run.toml"));
}

#[test]
fn what_is_left_of_a_run_that_broke_off_is_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.metrics_of("whole", "--max-steps 1");
    let complete = sandbox.list("whole");
    for left in [
        &["data.json"][..],
        &["data.json", "metrics.jsonl"],
        &["data.json", "metrics.jsonl", "run.toml", "tokenizer.json"],
        &["run.toml", "config.json"],
    ] {
        let out = format!("left-{}", left.join("-"));
        std::fs::create_dir(sandbox.path(&out)).unwrap();
        for name in left {
            sandbox.write(
                &format!("{out}/{name}"),
                sandbox.read(&format!("whole/{name}")),
            );
        }
        sandbox.write(&format!("{out}/.config.json.a1.partial"), "{");
        sandbox.metrics_of(&out, "--max-steps 1 --overwrite");
        assert_eq!(sandbox.list(&out), complete, "{out}");
    }
}

#[test]
fn nan_before_the_first_good_step_leaves_nothing() {
    let sandbox = Sandbox::new();
    for (options, step) in [
        ("--beta 1e38", "step 1"),
        ("--beta 1e38 --max-steps 1", "step 1"),
    ] {
        for data in ["--data d.jsonl", "--data d.jsonl --eval-data e.jsonl"] {
            sandbox.refuses(
                &format!("{data} {options}"),
                &[step, "d.jsonl:1", "d.jsonl:6"],
            );
        }
    }
}

#[test]
fn an_update_that_overflows_leaves_the_metrics_alone() {
    let sandbox = Sandbox::new();
    let options = "--learning-rate 1e30 --weight-decay 1e30";
    for data in ["--data d.jsonl", "--data d.jsonl --eval-data e.jsonl"] {
        let ran = sandbox.train(&format!("--out out --overwrite {data} {options}"));
        ran.refused(&["step 1"]);
        assert_eq!(
            sandbox.list("out"),
            ["data.json", "metrics.jsonl", "run.toml"]
        );
        assert_eq!(steps(&sandbox.metrics("out")).len(), 1);
    }
}

#[test]
fn nan_in_training_names_what_broke_and_keeps_what_is_good() {
    let sandbox = Sandbox::new();
    for device in ["cpu", GPU] {
        let out = format!("{device}-out");
        let options = format!(
            "--data d.jsonl --device {device} --batch-size 1 --gradient-accumulation-steps 1 --no-shuffle \
             --save-steps 1"
        );
        // The update of step 1 breaks the weights, and step 2 shows it.
        let ran = sandbox.train(&format!("{options} --learning-rate 1e30 --out {out}"));
        ran.refused(&[
            "step 2",
            "--learning-rate",
            "d.jsonl:2",
            "the first such gradient is that of `",
        ]);
        let text = &ran.stderr;
        assert!(text.contains("there is no earlier checkpoint"), "{ran:?}");
        let rows = steps(&sandbox.metrics(&out));
        assert_eq!(numbers(&rows, "step"), [1.0]);
        assert!(!sandbox.exists(&format!("{out}/model.safetensors")));
    }
}

#[test]
fn the_model_is_not_overwritten_by_its_own_run() {
    let sandbox = Sandbox::new();
    let model = sandbox.starter("model");
    let before = sandbox.list("model");
    sandbox
        .run("train --model model --data d.jsonl --out ./model --overwrite --device cpu")
        .refused(&["--out", "model"]);
    assert!(model.join("model.safetensors").exists());
    assert_eq!(sandbox.list("model"), before);
}
