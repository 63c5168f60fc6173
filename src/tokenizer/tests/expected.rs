//! Compares many kinds of tokenizer folders with recorded results of transformers and TRL: see
//! tests/words/make_fixtures.py.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use tempfile::TempDir;

use super::super::{Tokenizer, unguarded};

#[derive(Deserialize)]
struct Expected {
    samples: Vec<String>,
    chats: Vec<Vec<String>>,
    pair: [String; 3],
    texts: BTreeMap<String, String>,
    folders: Vec<Folder>,
}

#[derive(Deserialize)]
struct Folder {
    name: String,
    files: BTreeMap<String, String>,
    named: BTreeMap<String, String>,
    extra: Vec<String>,
    size: usize,
    ids: Vec<Sample>,
    guarded: Vec<Vec<u32>>,
    trl: Option<Prepared>,
    template: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Sample {
    encode: Vec<u32>,
    special: usize,
    whole: Option<Vec<u32>>,
    split: Option<Vec<u32>>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Prepared {
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
}

impl Expected {
    fn read() -> Expected {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bytes = fs::read(root.join("tests/words/expected.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn write(&self, folder: &Folder) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, key) in &folder.files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &self.texts[key]).unwrap();
        }
        dir
    }

    /// Runs `check` on every folder's tokenizer.
    fn each(&self, check: impl Fn(&Folder, &Tokenizer)) {
        for folder in &self.folders {
            let tokenizer = Tokenizer::load(self.write(folder).path()).unwrap();
            check(folder, &tokenizer);
        }
    }

    fn check_ids(&self, folder: &Folder, tokenizer: &Tokenizer) {
        for (text, sample) in self.samples.iter().zip(&folder.ids) {
            let at = format!("{}: {text:?}", folder.name);
            let plain = &sample.encode;
            assert_eq!(tokenizer.encode(text).unwrap(), *plain, "{at}");
            let whole = sample.whole.as_ref().unwrap_or(plain);
            assert_eq!(
                tokenizer.encode_with_special_tokens(text).unwrap(),
                *whole,
                "{at}"
            );
            let split = sample.split.as_ref().unwrap_or(plain);
            assert_eq!(tokenizer.encode_plain(text).unwrap(), *split, "{at}");
            let around = [tokenizer.begin(), plain, tokenizer.end()].concat();
            assert_eq!(around, *whole, "{at}");
        }
    }
}

#[test]
fn every_folder_is_read_as_transformers_reads_it() {
    let expected = Expected::read();
    expected.each(|folder, tokenizer| {
        let named = tokenizer.named_tokens().iter();
        let named: BTreeMap<_, _> = named.map(|n| (n.name.clone(), n.text.clone())).collect();
        assert_eq!(named, folder.named, "{}", folder.name);
        assert_eq!(
            tokenizer.additional_special_tokens(),
            folder.extra,
            "{}",
            folder.name
        );
        assert_eq!(tokenizer.vocab_size(), folder.size, "{}", folder.name);
        expected.check_ids(folder, tokenizer);
    });
}

#[test]
fn special_tokens_of_a_template_are_tokens_and_those_of_its_content_are_text() {
    let expected = Expected::read();
    expected.each(|folder, tokenizer| {
        for (chat, ids) in expected.chats.iter().zip(&folder.guarded) {
            let content = |at: usize| at % 2 == 1;
            let parts = chat.iter().enumerate().map(|(at, part)| match content(at) {
                true => tokenizer.guard(part).text.into_owned(),
                false => part.clone(),
            });
            let rendered: String = parts.collect();
            let at = format!("{}: {chat:?}", folder.name);
            assert_eq!(tokenizer.encode_guarded(&rendered).unwrap(), *ids, "{at}");
            assert_eq!(unguarded(&rendered), chat.concat(), "{at}");
        }
        for (text, sample) in expected.samples.iter().zip(&folder.ids) {
            let at = format!("{}: {text:?}", folder.name);
            let guarded = tokenizer.guard(text);
            assert_eq!(guarded.tokens, sample.special, "{at}");
            // Guarded content is all text. A text without marks encodes as with `encode`.
            let split = sample.split.as_ref().unwrap_or(&sample.encode);
            assert_eq!(
                tokenizer.encode_guarded(&guarded.text).unwrap(),
                *split,
                "{at}"
            );
            assert_eq!(
                tokenizer.encode_guarded(text).unwrap(),
                sample.encode,
                "{at}"
            );
        }
    });
}

#[test]
fn what_is_put_around_a_text_is_where_trl_has_it() {
    let expected = Expected::read();
    let [prompt, chosen, rejected] = &expected.pair;
    expected.each(|folder, tokenizer| {
        let Some(trl) = &folder.trl else {
            return;
        };
        let eos = &tokenizer.named("eos_token").unwrap().text;
        let around = |text: &str| {
            let ids = tokenizer.encode(text).unwrap();
            [tokenizer.begin(), &ids, tokenizer.end()].concat()
        };
        let alone = around(prompt);
        let joined = |response: &str| around(&format!("{prompt}{response}{eos}"));
        let (chosen, rejected) = (joined(chosen), joined(rejected));
        let common = |other: &[u32]| {
            let pairs = alone.iter().zip(other);
            pairs.take_while(|(a, b)| a == b).count()
        };
        let cut = common(&chosen).min(common(&rejected));
        let prepared = Prepared {
            prompt: alone[..cut].to_vec(),
            chosen: chosen[cut..].to_vec(),
            rejected: rejected[cut..].to_vec(),
        };
        assert_eq!(prepared, *trl, "{}", folder.name);
    });
}

#[test]
fn chat_templates_are_those_that_transformers_takes() {
    Expected::read().each(|folder, tokenizer| {
        for (key, tools) in [("chat", false), ("tools", true)] {
            let template = tokenizer.chat_template(tools).unwrap();
            let text = template.map(|template| template.text);
            let expected = folder.template.get(key).map(String::as_str);
            assert_eq!(text, expected, "{}", folder.name);
        }
    });
}

#[test]
fn what_is_saved_is_read_as_the_source_was() {
    let expected = Expected::read();
    expected.each(|folder, tokenizer| {
        let to = tempfile::tempdir().unwrap();
        tokenizer
            .save(&mut crate::storage::Replacing::on_disk(to.path()), 64)
            .unwrap();
        for (name, key) in folder
            .files
            .iter()
            .filter(|(name, _)| *name != "config.json")
        {
            let saved = fs::read_to_string(to.path().join(name)).unwrap();
            assert_eq!(saved, expected.texts[key], "{}: {name}", folder.name);
        }
        // Every output folder also gets the model's own config.json.
        let config = &expected.texts[&folder.files["config.json"]];
        fs::write(to.path().join("config.json"), config).unwrap();
        let again = Tokenizer::load(to.path()).unwrap();
        expected.check_ids(folder, &again);
    });
}
