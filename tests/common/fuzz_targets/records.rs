//! Records in each format.

use std::fs;
use std::path::Path;

use gpt2_dpo::config::TrainConfig;
use gpt2_dpo::data::{self, Boundary, Options, Selection, Source, Template};
use gpt2_dpo::model::Dims;
use gpt2_dpo::pretrained::{Config, Outline};
use gpt2_dpo::tokenizer::Tokenizer;
use serde_json::json;

use super::{DIMS, folder};

/// The number of ids of [`byte_tokenizer`].
const VOCABULARY: usize = 259;

thread_local! {
    static READER: Reader = Reader::new();
}

/// What reads records: a model without weights, two templates, and the options.
struct Reader {
    outline: Outline,
    text: Template,
    chat: Template,
    options: [Options; 3],
}

impl Reader {
    fn new() -> Reader {
        let dims = Dims {
            vocab_size: VOCABULARY,
            n_positions: 1024,
            ..DIMS
        };
        let config = Config::new(&dims, Some(VOCABULARY as u32 - 1));
        let chat = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}\n\
                    {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
        let plain = TrainConfig::default().data_options().unwrap();
        let demonstrations = Options {
            demonstrations: true,
            skip_bad_records: true,
            allow_special_tokens: true,
            ..plain.clone()
        };
        let joined = Options {
            boundary: Boundary::Joined,
            compare_boundaries: true,
            skip_bad_records: true,
            max_prompt_tokens: 12,
            max_response_tokens: 6,
            selection: Selection {
                dedupe: true,
                ..Selection::default()
            },
            ..plain.clone()
        };
        Reader {
            outline: Outline::new(config, Some(byte_tokenizer())),
            text: Template::text(data::DEFAULT_TEMPLATE).unwrap(),
            chat: Template::chat(chat, Path::new("chat_template.jinja"), None).unwrap(),
            options: [plain, demonstrations, joined],
        }
    }

    /// Reads the records with each of the options. True if one of them found a pair.
    fn read(&self, source: impl Fn() -> Source) -> bool {
        let templates = [&self.text, &self.text, &self.chat];
        let mut taken = false;
        for (options, template) in self.options.iter().zip(templates) {
            let Ok(pairs) = data::read(source(), &self.outline.codec(template), options) else {
                continue;
            };
            taken = true;
            assert!(!pairs.examples.is_empty());
            for example in &pairs.examples {
                let responses = [&example.chosen, &example.rejected];
                let mut ids = responses.into_iter().chain([&example.prompt]).flatten();
                assert!(ids.all(|&id| (id as usize) < VOCABULARY));
                assert!((1..=options.max_prompt_tokens).contains(&example.prompt.len()));
                let longest = responses.map(Vec::len).into_iter().max();
                assert!(longest <= Some(options.max_response_tokens));
                assert_ne!(example.chosen, example.rejected);
            }
        }
        taken
    }
}

/// A tokenizer whose tokens are bytes, two words and `<|endoftext|>`.
fn byte_tokenizer() -> Tokenizer {
    let mut vocabulary = serde_json::Map::new();
    // GPT-2 spells a byte that is no visible character as one of the characters from here on.
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let code = match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
            _ => {
                next += 1;
                next - 1
            }
        };
        let spelled = char::from_u32(code).unwrap();
        vocabulary.insert(spelled.to_string(), byte.into());
    }
    for (id, word) in (256..).zip(["th", "the", "<|endoftext|>"]) {
        vocabulary.insert(word.to_owned(), id.into());
    }
    let json = json!({
        "added_tokens": [{
            "id": 258, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["t h", "th e"]},
    });
    Tokenizer::from_json(json.to_string().as_bytes(), Path::new("tokenizer.json")).unwrap()
}

/// Records in a file, which tells its format itself.
fn records_in_file(name: &str, bytes: &[u8]) -> bool {
    let path = folder("records").join(name);
    fs::write(&path, bytes).unwrap();
    READER.with(|reader| reader.read(|| Source::of(vec![path.clone()])))
}

/// Records as text. A text in memory is UTF-8; other bytes come from a file.
fn records_as_text(name: &str, bytes: &[u8]) -> bool {
    match str::from_utf8(bytes) {
        Ok(text) => READER.with(|reader| reader.read(|| Source::text(text, Path::new(name)))),
        Err(_) => records_in_file(name, bytes),
    }
}

/// An object a line.
pub fn records_jsonl(bytes: &[u8]) -> bool {
    records_as_text("records.jsonl", bytes)
}

/// An array of objects, or objects over several lines.
pub fn records_json(bytes: &[u8]) -> bool {
    records_as_text("records.json", bytes)
}

/// A parquet file. The reader catches panics of the parquet crate.
pub fn records_parquet(bytes: &[u8]) -> bool {
    records_in_file("records.parquet", bytes)
}

/// Any of these formats, packed with gzip or zstd.
pub fn records_packed(bytes: &[u8]) -> bool {
    records_in_file("records.packed", bytes)
}
