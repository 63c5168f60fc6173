//! Models: sizes and weights.

use super::contents::*;
use super::*;

/// Sizes and settings of config.json and generation_config.json.
pub(super) fn configs() -> Vec<BadInput> {
    vec![
        model(
            "config.json: a negative size",
            "model/config.json",
            starter_json("config.json", "/n_embd", "-128"),
            &["model/config.json: ", "`n_embd` is -128"],
        ),
        model(
            "config.json: a size with an exponent",
            "model/config.json",
            starter_json("config.json", "/n_embd", "1e30"),
            &["model/config.json: ", "`n_embd` is 1e+30"],
        ),
        model(
            "config.json: half a number",
            "model/config.json",
            starter_json("config.json", "/n_embd", "128.5"),
            &["model/config.json: ", "`n_embd` is 128.5"],
        ),
        model(
            "config.json: a size of 20 digits",
            "model/config.json",
            starter_json("config.json", "/n_embd", "99999999999999999999"),
            &["model/config.json: ", "`n_embd` is 1e+20"],
        ),
        model(
            "config.json: a head of 4194304",
            "model/config.json",
            starter_json("config.json", "/n_embd", "16777216"),
            &["model/config.json: ", "a head is 4194304 wide"],
        ),
        model(
            "config.json: too many layers",
            "model/config.json",
            starter_json("config.json", "/n_layer", "1025"),
            &["model/config.json: ", "`n_layer` is 1025"],
        ),
        model(
            "config.json: true for a number",
            "model/config.json",
            starter_json("config.json", "/n_layer", "true"),
            &["model/config.json: ", "`n_layer` is true"],
        ),
        model(
            "config.json: a list for a number",
            "model/config.json",
            starter_json("config.json", "/n_layer", "[4]"),
            &["model/config.json: ", "`n_layer` is [4]"],
        ),
        model(
            "config.json: no heads",
            "model/config.json",
            starter_json("config.json", "/n_head", "0"),
            &["model/config.json: ", "`n_head` is 0"],
        ),
        model(
            "config.json: more heads than numbers",
            "model/config.json",
            starter_json("config.json", "/n_head", "256"),
            &["model/config.json: ", "`n_head` is 256"],
        ),
        model(
            "config.json: no vocabulary",
            "model/config.json",
            starter_json("config.json", "/vocab_size", "0"),
            &["model/config.json: ", "`vocab_size` is 0"],
        ),
        model(
            "config.json: a vocabulary of 10^12",
            "model/config.json",
            starter_json("config.json", "/vocab_size", "1000000000000"),
            &["model/config.json: ", "`vocab_size` is 1000000000000"],
        ),
        model(
            "config.json: no positions",
            "model/config.json",
            starter_json("config.json", "/n_positions", "0"),
            &["model/config.json: ", "`n_positions` is 0"],
        ),
        model(
            "config.json: a size in quotes",
            "model/config.json",
            starter_json("config.json", "/n_inner", r#""512""#),
            &["model/config.json: ", r#"`n_inner` is "512""#],
        ),
        model(
            "config.json: an epsilon of 0",
            "model/config.json",
            starter_json("config.json", "/layer_norm_epsilon", "0"),
            &["model/config.json: ", "`layer_norm_epsilon` is 0"],
        ),
        model(
            "config.json: an epsilon that rounds to infinity",
            "model/config.json",
            starter_json("config.json", "/layer_norm_epsilon", "1e300"),
            &["model/config.json: ", "`layer_norm_epsilon` is 1e+300"],
        ),
        model(
            "config.json: an epsilon that rounds to 0",
            "model/config.json",
            starter_json("config.json", "/layer_norm_epsilon", "1e-60"),
            &["model/config.json: ", "`layer_norm_epsilon` is 1e-60"],
        ),
        model(
            "config.json: an end-of-text beyond the vocabulary",
            "model/config.json",
            starter_json("config.json", "/eos_token_id", "[0,1,5000]"),
            &["model/config.json: ", "0 to 1023"],
        ),
        model(
            "config.json: a word for an end-of-text",
            "model/config.json",
            starter_json("config.json", "/eos_token_id", r#""<|endoftext|>""#),
            &[
                "model/config.json: ",
                r#"`eos_token_id` is "<|endoftext|>""#,
            ],
        ),
        model(
            "config.json: 300 MB of it",
            "model/config.json",
            repeated(r#"{"x":[0"#, ",0", 150_000_000, "]}"),
            &["cannot read model/config.json: it has more than 8 MiB"],
        )
        .claims(),
        model(
            "config.json: cross attention",
            "model/config.json",
            starter_json("config.json", "/add_cross_attention", "true"),
            &["model/config.json: ", "`add_cross_attention` is true"],
        ),
        model(
            "config.json: heads cut out",
            "model/config.json",
            starter_json("config.json", "/pruned_heads", r#"{"1":[0]}"#),
            &["model/config.json: ", r#"`pruned_heads` is {"1":[0]}"#],
        ),
        model(
            "config.json: the largest vocabulary that is allowed, and not the weights'",
            "model/config.json",
            starter_json("config.json", "/vocab_size", "16777216"),
            &[
                "model/model.safetensors: tensor `transformer.w",
                "config.json makes it [16777216, 128]",
            ],
        )
        .claims(),
        model(
            "config.json: the most positions that is allowed, and not the weights'",
            "model/config.json",
            starter_json("config.json", "/n_positions", "16777216"),
            &[
                "model/model.safetensors: tensor `transformer.w",
                "config.json makes it [16777216, 128]",
            ],
        )
        .claims(),
        model(
            "config.json: an array",
            "model/config.json",
            text("[]"),
            &["model/config.json: not a JSON object"],
        ),
        model(
            "config.json: empty",
            "model/config.json",
            text(""),
            &["model/config.json: not a JSON object"],
        ),
        model(
            "config.json: a number that no f64 holds",
            "model/config.json",
            text(r#"{"model_type":"gpt2","n_layer":1e999}"#),
            &["model/config.json: not a JSON object: number out of range"],
        ),
        model(
            "config.json: nested 100 000 deep",
            "model/config.json",
            repeated(r#"{"x":"#, "[", 100_000, ""),
            &["model/config.json: not a JSON object: recursion limit"],
        ),
        model(
            "config.json: not UTF-8",
            "model/config.json",
            b"{\"model_type\":\"gpt\xff2\"}".to_vec(),
            &["model/config.json: not a JSON object", "column 19"],
        ),
        model(
            "config.json: a folder",
            "model/config.json/",
            Vec::new(),
            &["cannot read model/config.json"],
        ),
        model(
            "generation_config.json: cut off",
            "model/generation_config.json",
            text("{"),
            &["model/generation_config.json: not a JSON object"],
        ),
        model(
            "generation_config.json: a word for an id",
            "model/generation_config.json",
            text(r#"{"eos_token_id":"x"}"#),
            &[
                r#"model/generation_config.json: `eos_token_id` is "x""#,
                "remove the file",
            ],
        ),
    ]
}

/// Weights in safetensors files, and the index of several.
pub(super) fn weights() -> Vec<BadInput> {
    vec![
        model(
            "a header of 2^63 bytes",
            "model/model.safetensors",
            header_of(1 << 63, b"{}"),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "it claims a header of 9223372036854775808 bytes",
            ],
        )
        .claims(),
        model(
            "a header of 2^64 - 1 bytes",
            "model/model.safetensors",
            header_of(u64::MAX, b"{}"),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "it claims a header of 18446744073709551615 bytes",
            ],
        )
        .claims(),
        model(
            "a header of 99 MB in a file of 10 bytes",
            "model/model.safetensors",
            header_of(99_000_000, b"{}"),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "it claims a header of 99000000 bytes and has 10",
            ],
        )
        .claims(),
        model(
            "a header that is text",
            "model/model.safetensors",
            header_of(16, b"this is no JSON!"),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: ",
            ],
        ),
        model(
            "nothing but zeros",
            "model/model.safetensors",
            repeated("", "\0", 4_096, ""),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: EOF",
            ],
        ),
        model(
            "a header that is an array",
            "model/model.safetensors",
            safetensors("[]", 0),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: ",
            ],
        ),
        model(
            "no tensor and 100 bytes",
            "model/model.safetensors",
            safetensors("{}", 100),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its tensors have 0 bytes, and 100 bytes follow its header",
            ],
        ),
        model(
            "no tensor",
            "model/model.safetensors",
            safetensors("{}", 0),
            &["model/model.safetensors: tensor `wte.weight`: missing"],
        ),
        model(
            "two tensors in the same bytes",
            "model/model.safetensors",
            safetensors(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":\
{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: invalid offset for tensor `",
            ],
        ),
        model(
            "a gap between two tensors",
            "model/model.safetensors",
            safetensors(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":\
{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}",
                24,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: invalid offset for tensor `b`",
            ],
        ),
        model(
            "a tensor that ends before it begins",
            "model/model.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: invalid offset for tensor `a`",
            ],
        ),
        model(
            "a negative offset",
            "model/model.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#,
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: ",
                "`-8`",
            ],
        ),
        model(
            "a tensor of 4 TB in 8 bytes",
            "model/model.safetensors",
            safetensors(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[1000000000000],\"data_offsets\":\
[0,4000000000000]}}",
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its tensors have 4000000000000 bytes, and 8 bytes follow",
            ],
        )
        .claims(),
        model(
            "a shape whose product overflows",
            "model/model.safetensors",
            safetensors(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,4294967296]\
,\"data_offsets\":[0,8]}}",
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: overflow",
            ],
        )
        .claims(),
        model(
            "offsets at the end of 64 bits",
            "model/model.safetensors",
            safetensors(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[18446744073709551608,\
18446744073709551615]}}",
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: invalid offset for tensor `a`",
            ],
        )
        .claims(),
        model(
            "a type that safetensors lacks",
            "model/model.safetensors",
            safetensors(
                r#"{"a":{"dtype":"Q4_K","shape":[2],"data_offsets":[0,8]}}"#,
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: ",
                "Q4_K",
            ],
        ),
        model(
            "a shape that its bytes do not hold",
            "model/model.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
                8,
            ),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: invalid shape",
            ],
        ),
        model(
            "a tensor without a type",
            "model/model.safetensors",
            safetensors(r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, 8),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its header: missing field `dtype`",
            ],
        ),
        model(
            "a tensor of no GPT-2",
            "model/model.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
                8,
            ),
            &["model/model.safetensors: tensor `a`: no parameter"],
        ),
        model(
            "a byte too many",
            "model/model.safetensors",
            [
                of_repository("examples/starter/model.safetensors"),
                text("x"),
            ]
            .concat(),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its tensors have 3763200 bytes, and 3763201",
            ],
        ),
        model(
            "a byte too few",
            "model/model.safetensors",
            without_last(1, of_repository("examples/starter/model.safetensors")),
            &[
                "model/model.safetensors: not a whole safetensors file:",
                "its tensors have 3763200 bytes, and 3763199",
            ],
        ),
        model(
            "a row in place of a vector",
            "model/model.safetensors",
            starter_weights("transformer.ln_f.bias", "F32", &[1, 128]),
            &[
                "model/model.safetensors: tensor `transformer.ln_f.bias`: its shape is [1, 128]",
                "[128]",
            ],
        ),
        model(
            "whole numbers in place of floats",
            "model/model.safetensors",
            starter_weights("transformer.ln_f.bias", "I32", &[128]),
            &[
                "model/model.safetensors: tensor `transformer.ln_f.bias`: its type is I32",
                "F32",
            ],
        ),
        model(
            "embeddings on their side",
            "model/model.safetensors",
            starter_weights("transformer.wte.weight", "F32", &[128, 1024]),
            &[
                "model/model.safetensors: tensor `transformer.wte.weight`: its shape \
is [128, 1024]",
            ],
        ),
        model(
            "NaN in the last number",
            "model/model.safetensors",
            patched(
                of_repository("examples/starter/model.safetensors"),
                -4,
                b"\0\0\xc0\x7f",
            ),
            &[
                "model/model.safetensors: tensor `transformer.ln_f.bias`: value 127 of \
128 is NaN",
            ],
        ),
        model(
            "a Python pickle",
            "model/model.safetensors",
            repeated("PK\u{3}\u{4}", "\0", 100, ""),
            &[
                "model/model.safetensors: the weights are a Python pickle",
                "save_pretrained",
            ],
        ),
        model(
            "llama.cpp's file",
            "model/model.safetensors",
            repeated("GGUF\u{3}\0\0\0", "\0", 100, ""),
            &["model/model.safetensors: the weights are in llama.cpp's format"],
        ),
        model(
            "index: cut off",
            "model/model.safetensors.index.json",
            text("{"),
            &["model/model.safetensors.index.json: not an index of safetensors"],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: without its map",
            "model/model.safetensors.index.json",
            text(r#"{"metadata":{}}"#),
            &[
                "model/model.safetensors.index.json: not an index",
                "weight_map",
            ],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: a number for a file",
            "model/model.safetensors.index.json",
            text(r#"{"weight_map":{"a":1}}"#),
            &["model/model.safetensors.index.json: not an index"],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: an empty map",
            "model/model.safetensors.index.json",
            text(r#"{"weight_map":{}}"#),
            &["model/model.safetensors.index.json: tensor `wte.weight`: missing"],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: a way out of the folder",
            "model/model.safetensors.index.json",
            text(r#"{"weight_map":{"a":"../d.jsonl"}}"#),
            &[
                "model/model.safetensors.index.json: the shard \"../d.jsonl\" is not \
a file name",
            ],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: an absolute path",
            "model/model.safetensors.index.json",
            text(r#"{"weight_map":{"a":"/etc/passwd"}}"#),
            &[
                "model/model.safetensors.index.json: the shard \"/etc/passwd\" is not \
a file name",
            ],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: a file that is not there",
            "model/model.safetensors.index.json",
            text(r#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#),
            &[
                "model/model-00001-of-00002.safetensors: not here",
                "download it too",
            ],
        )
        .without(&["model/model.safetensors"]),
        model(
            "index: a file of no weights",
            "model/model.safetensors.index.json",
            text(r#"{"weight_map":{"a":"config.json"}}"#),
            &["model/config.json: not a whole safetensors file"],
        )
        .without(&["model/model.safetensors"]),
    ]
}
