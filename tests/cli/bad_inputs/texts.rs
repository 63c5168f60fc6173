//! Tokenizers and chat templates.

use super::contents::*;
use super::*;

/// The files of a tokenizer.
pub(super) fn tokenizers() -> Vec<BadInput> {
    vec![
        model(
            "tokenizer.json: empty",
            "model/tokenizer.json",
            text(""),
            &["model/tokenizer.json: cannot be read"],
        ),
        model(
            "tokenizer.json: null",
            "model/tokenizer.json",
            text("null"),
            &["model/tokenizer.json: cannot be read"],
        ),
        model(
            "tokenizer.json: a web page",
            "model/tokenizer.json",
            text("<!doctype html>"),
            &["model/tokenizer.json: a web page"],
        ),
        model(
            "tokenizer.json: 100 000 brackets",
            "model/tokenizer.json",
            repeated("", "[", 100_000, ""),
            &["model/tokenizer.json: cannot be read"],
        ),
        model(
            "tokenizer.json: another model",
            "model/tokenizer.json",
            starter_json(
                "tokenizer.json",
                "/model",
                r#"{"type":"Unigram","vocab":[["a",0.0]],"unk_id":0}"#,
            ),
            &["model/tokenizer.json: its model is a Unigram"],
        ),
        model(
            "tokenizer.json: no vocabulary",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/vocab", "{}"),
            &["model/tokenizer.json: its merges do not fit the vocabulary"],
        ),
        model(
            "tokenizer.json: an id beyond the embeddings",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/vocab/zzz", "1024"),
            &["model: ", "1024 embedding rows", "`zzz` (1024)"],
        ),
        model(
            "tokenizer.json: the largest id",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/vocab/zzz", "4294967295"),
            &["model: ", "`zzz` (4294967295)"],
        )
        .claims(),
        model(
            "tokenizer.json: an id of 33 bits",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/vocab/zzz", "4294967296"),
            &["model/tokenizer.json: its `model.vocab`", "4294967296"],
        ),
        model(
            "tokenizer.json: a negative id",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/vocab/zzz", "-1"),
            &["model/tokenizer.json: its `model.vocab`", "-1"],
        ),
        model(
            "tokenizer.json: a merge of no tokens",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/merges", r#"["q zzzz"]"#),
            &["model/tokenizer.json: its merges", "`zzzz`"],
        ),
        model(
            "tokenizer.json: a number for a merge",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/merges", "[5]"),
            &["model/tokenizer.json: its merge 5 is not two tokens"],
        ),
        model(
            "tokenizer.json: a pattern that is none",
            "model/tokenizer.json",
            starter_json(
                "tokenizer.json",
                "/pre_tokenizer",
                "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"([\"},\"behavior\":\"Isolated\",\
\"invert\":false}",
            ),
            &["model/tokenizer.json: not a tokenizer"],
        )
        .with(
            "model/tokenizer_config.json",
            text(r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#),
        ),
        model(
            "tokenizer.json: a pattern of 10^9 states",
            "model/tokenizer.json",
            starter_json(
                "tokenizer.json",
                "/pre_tokenizer",
                "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a{1000}){1000}{1000}\"}\
,\"behavior\":\"Isolated\",\"invert\":false}",
            ),
            &["model/tokenizer.json: not a tokenizer"],
        )
        .with(
            "model/tokenizer_config.json",
            text(r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#),
        )
        .claims(),
        model(
            "tokenizer.json: of version 9",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/version", r#""9.0""#),
            &["model/tokenizer.json: not a tokenizer", "version '9.0'"],
        )
        .with(
            "model/tokenizer_config.json",
            text(r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#),
        ),
        model(
            "tokenizer.json: a dropout of 7.5",
            "model/tokenizer.json",
            starter_json("tokenizer.json", "/model/dropout", "7.5"),
            &["model/tokenizer.json: not a tokenizer", "Dropout"],
        )
        .with(
            "model/tokenizer_config.json",
            text(r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#),
        ),
        model(
            "tokenizer.json: characters that are not Base64 of a map",
            "model/tokenizer.json",
            starter_json(
                "tokenizer.json",
                "/normalizer",
                r#"{"type":"Precompiled","precompiled_charsmap":"AAAA"}"#,
            ),
            &["model/tokenizer.json"],
        )
        .with(
            "model/tokenizer_config.json",
            text(r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#),
        ),
        model(
            "vocab.json: cut off",
            "model/vocab.json",
            text("{"),
            &["model/vocab.json: cannot be read"],
        )
        .with("model/merges.txt", text("#version: 0.2\n"))
        .without(&["model/tokenizer.json"]),
        model(
            "vocab.json: without merges.txt",
            "model/vocab.json",
            text(r#"{"a":0}"#),
            &["vocab.json without its merges.txt"],
        )
        .without(&["model/tokenizer.json"]),
        model(
            "merges.txt: one token on a line",
            "model/merges.txt",
            text("#version: 0.2\na\n"),
            &["model/merges.txt:2: `a` is not two tokens"],
        )
        .with("model/vocab.json", text(r#"{"a":0}"#))
        .without(&["model/tokenizer.json"]),
        model(
            "merges.txt: not UTF-8",
            "model/merges.txt",
            b"#version: 0.2\n\xff \xfe\n".to_vec(),
            &["model/merges.txt: not UTF-8"],
        )
        .with("model/vocab.json", text(r#"{"a":0}"#))
        .without(&["model/tokenizer.json"]),
        model(
            "merges.txt: a merge longer than every token",
            "model/merges.txt",
            text("#version: 0.2\na b\n"),
            &["model/", "merges"],
        )
        .with("model/vocab.json", text(r#"{"a":0,"b":1}"#))
        .without(&["model/tokenizer.json"]),
        model(
            "tokenizer_config.json: a number for a token",
            "model/tokenizer_config.json",
            text(r#"{"eos_token":5}"#),
            &["model/tokenizer_config.json: `eos_token` is 5"],
        ),
        model(
            "tokenizer_config.json: a word for a flag",
            "model/tokenizer_config.json",
            text(r#"{"add_prefix_space":"yes"}"#),
            &[r#"model/tokenizer_config.json: `add_prefix_space` is "yes""#],
        ),
        model(
            "tokenizer_config.json: a word for an id",
            "model/tokenizer_config.json",
            text(r#"{"added_tokens_decoder":{"x":{"content":"a"}}}"#),
            &["model/tokenizer_config.json: `added_tokens_decoder`"],
        ),
        model(
            "special_tokens_map.json: cut off",
            "model/special_tokens_map.json",
            text("{"),
            &["model/special_tokens_map.json: cannot be read"],
        ),
        model(
            "added_tokens.json: a negative id",
            "model/added_tokens.json",
            text(r#"{"<x>":-1}"#),
            &["model/added_tokens.json: cannot be read"],
        ),
    ]
}

/// Chat templates that are none, that never end, or that write too much.
pub(super) fn templates() -> Vec<BadInput> {
    vec![
        template(
            "a template of 3 MB",
            &"{{ a }}".repeat(450_000),
            &["t.jinja: a chat template of more than 1024 KiB"],
        )
        .claims(),
        template(
            "a template that fills in a billion digits",
            "{{ '%1000000000d' % 5 }}",
            &["a text or list of more than 16777216"],
        )
        .claims(),
        template(
            "a template that writes without end",
            "{% for i in range(99999) %}{{ 'ab' * 999999 }}{% endfor %}",
            &["the chat template writes a prompt of more than 16 MiB"],
        )
        .claims(),
        template(
            "a loop that is not closed",
            "{% for m in messages %}x",
            &["t.jinja: line 1 of the chat template: `{% for %}` without"],
        ),
        template(
            "half an expression",
            "{{ 1 + }}",
            &[
                "t.jinja: line 1 of the chat template: ",
                "an expression was expected",
            ],
        ),
        template(
            "a tag that Jinja lacks",
            "{% frobnicate %}",
            &["t.jinja: line 1 of the chat template: unknown tag `frobnicate`"],
        ),
        template(
            "another file",
            r#"{% include "x" %}"#,
            &["t.jinja: line 1 of the chat template: the tag `include`"],
        ),
        template(
            "10^10 rounds",
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}\
{% endfor %}",
            &["stopped at its line 1", "steps"],
        ),
        template(
            "a range of 10^12",
            "{% for i in range(10**12) %}x{% endfor %}",
            &["the chat template fails at its line 1: a range of more than 100000"],
        )
        .claims(),
        template(
            "a text of 10^12",
            r#"{{ "x" * 10**12 }}"#,
            &["the chat template fails at its line 1: a text or list of more than 16777216"],
        )
        .claims(),
        template(
            "a text that doubles 100 times",
            "{% set ns = namespace(s=\"x\") %}{% for i in range(100) %}{% set ns.s \
= ns.s + ns.s %}{% endfor %}{{ ns.s }}",
            &["the chat template fails at its line 1: a text or list of more than 16777216"],
        )
        .claims(),
        template(
            "a text of 10^10 around another",
            r#"{{ "x".center(10**10) }}"#,
            &["the chat template fails at its line 1: a text or list of more than 16777216"],
        )
        .claims(),
        template(
            "a join of 10^10",
            r#"{{ range(100000)|join("x"*100000) }}"#,
            &["the chat template fails at its line 1: a text or list of more than 16777216"],
        )
        .claims(),
        template(
            "a macro that calls itself",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            &["the chat template fails at its line 1: recursion limit"],
        ),
        template(
            "a division by zero",
            "{{ 1 // 0 }}",
            &["the chat template fails at its line 1: unable to calculate 1 // 0"],
        ),
        template(
            "10 to the power of 10^9",
            "{{ 10 ** (10 ** 9) }}",
            &["the chat template fails at its line 1: unable to calculate"],
        )
        .claims(),
        template(
            "lists nested 10 000 deep",
            "{% set ns = namespace(l=[]) %}{% for i in range(10000) %}{% set ns.l \
= [ns.l] %}{% endfor %}{{ ns.l }}",
            &["the chat template fails at its line 1: a value nested more than 200 deep"],
        ),
        template_in_training(
            "a refusal of its own, in training",
            r#"{{ raise_exception("no") }}"#,
            &["d.jsonl:1: the chat template refuses the conversation: no"],
        ),
        template_in_training(
            "no text at all, in training",
            "x",
            &["d.jsonl:1: the chosen response has no tokens"],
        ),
    ]
}
