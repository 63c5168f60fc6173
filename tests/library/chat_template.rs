//! Chat templates against transformers' renderings, which `make_fixtures.py` recorded, and the errors for
//! templates and conversations that cannot be used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gpt2_dpo::Error;
use gpt2_dpo::chat_template::{ChatTemplate, Refusal, Specials};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Value>,
    tools: bool,
}

/// The rendering by transformers.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Rendering {
    Text(String),
    Raised { raises: String },
    Failed(()),
}

impl From<Result<String, Refusal>> for Rendering {
    fn from(rendered: Result<String, Refusal>) -> Self {
        match rendered {
            Ok(text) => Rendering::Text(text),
            Err(Refusal::Raised(raises)) => Rendering::Raised { raises },
            Err(_) => Rendering::Failed(()),
        }
    }
}

#[derive(Deserialize)]
struct Expected {
    now: String,
    specials: Specials,
    tools: Value,
    conversations: BTreeMap<String, Conversation>,
    templates: BTreeMap<String, BTreeMap<String, [Rendering; 2]>>,
    snippets: Vec<Rendering>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chat_template")
}

fn expected() -> Expected {
    serde_json::from_str(&fs::read_to_string(folder().join("expected.json")).unwrap()).unwrap()
}

/// Our rendering, or the failure in the fixture's form.
fn rendering(
    expected: &Expected,
    source: &str,
    conversation: &Conversation,
    add_generation_prompt: bool,
) -> Rendering {
    let origin = Path::new("chat_template.jinja");
    let Ok(template) = ChatTemplate::new(source, origin, expected.specials.clone()) else {
        return Rendering::Failed(());
    };
    let template = template.at(expected.now.parse().unwrap());
    let tools = conversation.tools.then_some(&expected.tools);
    let messages = &conversation.messages;
    template
        .render_with_tools(messages, tools, add_generation_prompt)
        .into()
}

#[test]
fn templates_render_what_transformers_renders() {
    let expected = expected();
    assert!(expected.templates.len() >= 12);
    for (name, renderings) in &expected.templates {
        let path = folder().join(format!("templates/{name}.jinja"));
        let source = fs::read_to_string(path).unwrap();
        for (conversation, wanted) in renderings {
            let messages = &expected.conversations[conversation];
            for (wanted, prompt) in wanted.iter().zip([false, true]) {
                let got = rendering(&expected, &source, messages, prompt);
                assert_eq!(&got, wanted, "{name}, {conversation}, prompt {prompt}");
            }
        }
    }
}

/// Each snippet tests one construct, operator, filter, test or method.
#[test]
fn snippets_render_what_transformers_renders() {
    let expected = expected();
    let sources = fs::read_to_string(folder().join("snippets.json")).unwrap();
    let sections: Value = serde_json::from_str(&sources).unwrap();
    let sections = sections.as_object().unwrap().values();
    let sources = sections.flat_map(|section| section.as_array().unwrap());
    let conversation = Conversation {
        messages: expected.conversations["turns"].messages.clone(),
        tools: true,
    };
    let mut differ = Vec::new();
    let mut count = 0;
    for (source, wanted) in sources.zip(&expected.snippets) {
        let source = source.as_str().unwrap();
        count += 1;
        let got = rendering(&expected, source, &conversation, false);
        if got != *wanted {
            differ.push(format!("{source}\n  wanted {wanted:?}\n  got    {got:?}"));
        }
    }
    assert_eq!(count, expected.snippets.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(
        source,
        Path::new("m/tokenizer_config.json"),
        Specials::new(),
    )
    .unwrap()
}

fn said(source: &str) -> Refusal {
    let messages = [json!({"role": "user", "content": "Hi"})];
    template(source).render(&messages, false).unwrap_err()
}

/// The error for an unusable template says where and why, and names the alternative.
#[test]
fn an_unusable_template_is_refused_by_file_line_and_reason() {
    for (source, line, reason) in [
        (
            "a\n{% if x %}\nb",
            2,
            "`{% if %}` without its `{% endif %}`",
        ),
        (
            "{% for x in y %}\n{% endif %}",
            2,
            "`endif`, where `endfor` of the `for` on line 1 was expected",
        ),
        (
            "{{ 1 + }}",
            1,
            "the end of the tag where an expression was expected",
        ),
        ("\n\n{{ 'a }}", 3, "a string without its closing quote"),
        ("{{ (1 ]", 1, "`]` where `)` was expected"),
        ("{{ a", 1, "`{{` without its `}}`"),
        ("{# a", 1, "a comment `{#` without its `#}`"),
        ("{% raw %}", 1, "`{% raw %}` without its `{% endraw %}`"),
        ("{% do x() %}", 1, "unknown tag `do`"),
        (
            "x\n{% include 'y' %}",
            2,
            "the tag `include`: there is no other template to take it from",
        ),
        ("{% break %}", 1, "`break` outside of a loop"),
        (
            "{% for x in [1] %}{% with y = x %}{% continue %}{% endwith %}{% endfor %}",
            1,
            "`continue` inside of `with`, which it cannot leave",
        ),
        (
            "{% macro f() %}{{ kwargs }}{% endmacro %}",
            1,
            "`kwargs` of a macro is not supported",
        ),
        ("{{ 1 $ 2 }}", 1, "unexpected `$`"),
        (
            "{{ '\\N{DASH}' }}",
            1,
            "the escape `\\N{…}` in a string is not supported",
        ),
        ("{{ __add(1, 2) }}", 1, "the name `__add` is reserved"),
        (
            "{% set none = 1 %}",
            1,
            "cannot assign to reserved variable name none",
        ),
    ] {
        let origin = Path::new("m/tokenizer_config.json");
        let err = ChatTemplate::new(source, origin, Specials::new()).unwrap_err();
        assert!(matches!(err, Error::File { .. }));
        assert_eq!(
            err.to_string(),
            format!(
                "m/tokenizer_config.json: line {line} of the chat template: {reason}\n  help: use \
                 `.chat_template` card for the plain User/Assistant template, or `.chat_template` FILE \
                 for another one"
            ),
            "{source}"
        );
    }
}

/// Endless brackets do not overflow the stack.
#[test]
fn a_template_nested_too_deep_is_refused() {
    for (begin, end) in [
        ("(", ")"),
        ("[", "]"),
        ("not ", ""),
        ("-", ""),
        ("f(", ")"),
        ("{1: ", "}"),
    ] {
        let deep = format!("{{{{ {}1{} }}}}", begin.repeat(10_000), end.repeat(10_000));
        let err = ChatTemplate::new(&deep, Path::new("t"), Specials::new()).unwrap_err();
        assert!(err.to_string().contains("nested more than"), "{err}");
    }
    for (begin, end) in [
        ("{% if 1 %}", "{% endif %}"),
        ("{% for x in [1] %}", "{% endfor %}"),
    ] {
        let deep = begin.repeat(10_000) + &end.repeat(10_000);
        let err = ChatTemplate::new(&deep, Path::new("t"), Specials::new()).unwrap_err();
        assert!(err.to_string().contains("nested more than"), "{err}");
    }
}

#[test]
fn a_conversation_that_the_template_refuses_gets_the_templates_own_words() {
    let refusal = said("{{ raise_exception('only ' ~ messages|length ~ ' message') }}");
    assert_eq!(refusal, Refusal::Raised("only 1 message".into()));
    assert_eq!(
        refusal.to_string(),
        "the chat template refuses the conversation: only 1 message"
    );
}

#[test]
fn a_failure_names_the_line_and_the_cause() {
    for (source, line, what) in [
        (
            "\n{{ messages[0].content + none }}",
            2,
            "unsupported operand type(s) for +: 'str' and 'NoneType'",
        ),
        (
            "{{ messages[0].tools.name }}",
            1,
            "an undefined value is used",
        ),
        (
            "{# a\nb #}\n\n{%- for t in tools %}{% endfor %}",
            4,
            "'NoneType' object is not iterable",
        ),
        (
            "{% if 'a' in 5 %}{% endif %}",
            1,
            "argument of type 'int' is not iterable",
        ),
        (
            "{{ messages.append(1) }}",
            1,
            "`append` would change a list, which transformers' sandbox does not allow",
        ),
        (
            "{{ 'a'.casefold() }}",
            1,
            "a value of type 'str' has no method `casefold`",
        ),
        ("{{ 'a'|urlize }}", 1, "filter urlize is unknown"),
        (
            "{{ 'a'|pprint }}",
            1,
            "the filter `pprint` is not supported",
        ),
        ("{{ joiner(',') }}", 1, "`joiner` is not supported"),
        ("{{ 'a' is odder }}", 1, "test odder is unknown"),
        ("{{ f(1) }}", 1, "f is unknown"),
        (
            "{{ {'a': messages|map('upper')}|tojson }}",
            1,
            "Object of type generator is not JSON serializable",
        ),
    ] {
        match said(source) {
            Refusal::Failed {
                line: at,
                what: said,
            } => {
                assert_eq!((at, said.as_str()), (line, what), "{source}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

/// Endless loops, recursion and growth stop with the reason, on a thread with a small stack.
#[test]
fn a_template_without_an_end_is_stopped() {
    let work = || {
        let endless =
            "{% for a in range(99999) %}\n{% for b in range(99999) %}{% endfor %}{% endfor %}";
        let refusal = said(endless);
        assert_eq!(refusal, Refusal::Endless { line: 2 });
        assert!(refusal.to_string().contains("does not come to an end"));

        let recursive = "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}";
        assert!(
            matches!(said(recursive), Refusal::Failed { what, .. } if what.contains("recursion limit"))
        );
        let nested = "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}";
        assert!(
            matches!(said(nested), Refusal::Failed { what, .. } if what.contains("recursion limit"))
        );

        let nesting = "{% set ns = namespace(x=1) %}{% for i in range(99999) %}\
                       {% set ns.x = [ns.x] %}{% endfor %}";
        let in_place = "{% set x = 1 %}".to_owned() + &"{% set x = {1: (x,)} %}".repeat(30_000);
        for source in [nesting, &in_place] {
            let what = "a value nested more than 200 deep".to_owned();
            assert_eq!(said(source), Refusal::Failed { line: 1, what });
        }
        let doubling = "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}\
                        {% set ns.x = [ns.x, ns.x] %}{% endfor %}";
        assert_eq!(said(doubling), Refusal::Endless { line: 1 });

        let growing = "{% set ns = namespace(t='ab') %}{% for i in range(60) %}\
                       {% set ns.t = ns.t + ns.t %}{% endfor %}";
        let longest = 1 << 24;
        for source in [
            growing,
            "{{ 'ab' * 99999999999 }}",
            "{{ 'a'.center(99999999999) }}",
            "{{ [1]|tojson(indent=99999999999) }}",
            "{{ '%99999999999d' % 1 }}",
            "{{ '%.99999999s' % 'a' }}",
            "{{ '%(a)-99999999s' % {'a': 'a'} }}",
            "{{ ('%9999999s' * 9) % (1, 2, 3, 4, 5, 6, 7, 8, 9) }}",
            "{{ '%99999999999999999999999s'|format('a') }}",
        ] {
            match said(source) {
                Refusal::Failed { what, .. } => {
                    assert_eq!(what, format!("a text or list of more than {longest}"));
                }
                other => panic!("{source}: {other:?}"),
            }
        }

        let long = "{% for i in range(100) %}{{ 'ab' * 999999 }}{% endfor %}";
        assert_eq!(said(long), Refusal::TooLong);
        let too_long = " ".repeat((1 << 20) + 1);
        let refused = ChatTemplate::new(&too_long, Path::new("t"), Specials::new()).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("t: a chat template of more than 1024 KiB"),
            "{refused}"
        );
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    thread.spawn(work).unwrap().join().unwrap();
}

/// A name that no conversation has does not silently mean something else.
#[test]
fn messages_are_anything_that_serializes() {
    #[derive(serde::Serialize)]
    struct Message {
        role: &'static str,
        content: &'static str,
    }
    let messages = [Message {
        role: "user",
        content: "Hi",
    }];
    let specials = Specials::from([("eos_token".to_owned(), "<e>".to_owned())]);
    let source =
        "{{ messages[0].role }}: {{ messages[0].content }}{{ eos_token }}{{ pad_token }}\n";
    let template = ChatTemplate::new(source, Path::new("t"), specials).unwrap();
    assert_eq!(template.render(&messages, false).unwrap(), "user: Hi<e>");
}
