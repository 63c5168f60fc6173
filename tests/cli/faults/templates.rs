//! A model with its own chat template is trained with that template, and keeps it.

use serde_json::json;

use super::OK;
use super::inspected::inspect;
use crate::models::untrained;
use crate::sandbox::Sandbox;

const OWN: &str = "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} </>\n\
    {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}";

fn talk() -> String {
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    json!({
        "prompt": [said("system", "Be short."), said("user", "Hi."), said("assistant", "Hello!"), said("user", "Who?")],
        "chosen": [said("assistant", "A frog.")],
        "rejected": [said("assistant", "Croak.")],
    })
    .to_string()
}

const TALK: &str =
    "<system> Be short. </>\n<user> Hi. </>\n<assistant> Hello! </>\n<user> Who? </>\n<assistant> ";

#[test]
fn conversations_are_put_into_the_models_own() {
    for file in ["chat_template.jinja", "tokenizer_config.json"] {
        let sandbox = Sandbox::new();
        untrained(&sandbox, "model", 1024, 32);
        let content = match file {
            "chat_template.jinja" => OWN.to_owned(),
            _ => json!({"chat_template": OWN}).to_string(),
        };
        sandbox.write(&format!("model/{file}"), &content);
        sandbox.write("x.jsonl", format!("{}\n{OK}\n", talk()));

        let found = inspect(&sandbox, "--tokenizer model x.jsonl");
        assert_eq!(found.text(0, "prompt"), TALK);
        assert!(found.text(0, "chosen").starts_with("A frog. </>\n"));
        // A text prompt is a user message.
        let one = "<user> What does a frog say? </>\n<assistant> ";
        assert_eq!(found.text(1, "prompt"), one);
        let card = inspect(&sandbox, "--tokenizer model x.jsonl --chat-template card");
        let one = "Be short.\nUser: Hi.\nAssistant: Hello!\nUser: Who?\nAssistant: ";
        assert_eq!(card.text(0, "prompt"), one);

        let ran = sandbox.train("--model model --data x.jsonl --out card --chat-template card");
        let said = format!("which {file} of the output still has");
        assert!(ran.ok().stderr.contains(&said));

        let ran = sandbox.train("--model model --data x.jsonl --out out").ok();
        assert!(!ran.stderr.contains("own chat template"), "{ran:?}");
        let said = format!("prompts the chat template of model/{file}\n");
        assert_eq!(ran.stdout.matches(&said).count(), 1, "{ran:?}");
        let kept = String::from_utf8(sandbox.read(&format!("out/{file}"))).unwrap();
        assert!(
            kept == content || kept.contains(&json!(OWN).to_string()),
            "{kept}"
        );
        // `generate` on the output uses the template, too.
        let asked = |options: &[&str]| {
            let args = [
                "generate",
                "--model",
                "out",
                "--device",
                "cpu",
                "--max-new-tokens",
                "8",
            ];
            sandbox.run_with(&[&args[..], options].concat()).ok().stdout
        };
        assert_eq!(
            asked(&["--message", "Who?"]),
            asked(&["--prompt", r"<user> Who? </>\n<assistant> "])
        );
    }
}

#[test]
fn a_model_without_one_has_none_to_ask_for() {
    let sandbox = Sandbox::new();
    sandbox.starter("model");
    sandbox.refuses(
        "--model model --data d.jsonl --chat-template model",
        &["--chat-template", "card"],
    );
    sandbox.refuses(
        "--model model --data d.jsonl --chat-template gone.jinja",
        &["gone.jinja"],
    );
}
