//! `eval` and `generate` use a trained model with the options of its training.

use serde_json::{Value, json};

use crate::sandbox::{Ran, Row, Sandbox, evals, number};

/// Trains the starter into `out` with unusual values of all options.
fn train(sandbox: &Sandbox) -> Row {
    sandbox.starter("model");
    let options = r"--out out --model model --data d.jsonl --eval-data e.jsonl --max-response-tokens 5 --beta 0.2
        --learning-rate 1e-3 --epochs 2 --batch-size 1 --gradient-accumulation-steps 1 --cache-dir cache
        --truncation keep-start --max-prompt-tokens 12 --device cpu";
    let mut args = vec!["train", "--template", r"Q: {prompt}\nA: "];
    args.extend(options.split_whitespace());
    sandbox.run_with(&args).ok();
    evals(&sandbox.metrics("out")).pop().unwrap()
}

fn evaluate(sandbox: &Sandbox, options: &[&str]) -> (Row, Ran) {
    let args = "eval --model out --reference model --data e.jsonl --device cpu --json";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.extend(options);
    let ran = sandbox.run_with(&args).ok();
    let Ok(Value::Object(row)) = serde_json::from_str(&ran.stdout) else {
        panic!("{ran:?}");
    };
    (row, ran)
}

#[test]
fn eval_follows_the_run_and_flags_win() {
    let sandbox = Sandbox::new();
    let last = train(&sandbox);
    let (row, ran) = evaluate(&sandbox, &[]);
    for name in [
        "eval_loss",
        "eval_rewards/accuracies",
        "eval_rewards/margins",
        "eval_logps/chosen",
    ] {
        let (ours, theirs) = (number(&row, name), number(&last, name));
        assert!(
            (ours - theirs).abs() < 1e-6 * theirs.abs().max(1.0),
            "{name}: {ours} {theirs}"
        );
    }
    let taken = r#"note: from out/run.toml: --beta 0.2 --chat-template "card" --max-prompt-tokens 12 --max-response-tokens 5 --template "Q: {prompt}\nA: " --truncation "keep-start""#;
    assert!(ran.stderr.contains(taken), "{ran:?}");

    let flags = [
        "--template",
        r"User: {prompt}\nAssistant: ",
        "--beta",
        "0.5",
    ];
    let (other, ran) = evaluate(&sandbox, &flags);
    assert!((number(&other, "eval_loss") - number(&row, "eval_loss")).abs() > 1e-3);
    for said in [
        r#"note: --template "User: {prompt}\nAssistant: " is taken; out/run.toml says "Q: {prompt}\nA: ""#,
        "note: --beta 0.5 is taken; out/run.toml says 0.2",
        "--max-response-tokens 5",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    // A flag with the value of the run is not noted.
    let (same, ran) = evaluate(&sandbox, &["--beta", "0.2"]);
    assert_eq!(same, row);
    assert!(!ran.stderr.contains("is taken"), "{ran:?}");
}

#[test]
fn generate_asks_as_the_model_was_trained() {
    let sandbox = Sandbox::new();
    train(&sandbox);
    let answer = |options: &[&str]| {
        let args = ["generate", "--model", "out", "--device", "cpu"];
        sandbox.run_with(&[&args[..], options].concat()).ok().stdout
    };
    let message = ["--message", "What day comes after Wednesday?"];
    let card = ["--template", r"User: {prompt}\nAssistant: "];
    let asked = |prompt: &str| answer(&["--prompt", prompt]);
    assert_eq!(
        answer(&message),
        asked(r"Q: What day comes after Wednesday?\nA: ")
    );
    assert_eq!(
        answer(&[&message[..], &card].concat()),
        asked(r"User: What day comes after Wednesday?\nAssistant: ")
    );
}

#[test]
fn a_template_file_is_the_models_own_since() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    let template = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";
    sandbox.write("t.jinja", template);
    let rows = sandbox.metrics_of("out", "--model model --chat-template t.jinja --max-steps 2");
    std::fs::remove_file(sandbox.path("t.jinja")).unwrap();
    let (row, _) = evaluate(&sandbox, &[]);
    let last = evals(&rows).pop().unwrap();
    assert!((number(&row, "eval_loss") - number(&last, "eval_loss")).abs() < 1e-6);
    let written = String::from_utf8(sandbox.read("out/chat_template.jinja"));
    assert_eq!(json!(written.unwrap()), json!(template));
}
