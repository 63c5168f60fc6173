//! Tokenizers and chat templates.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gpt2_dpo::chat_template::{ChatTemplate, Specials};
use gpt2_dpo::tokenizer::{self, ConfigIds, EndOfText, Tokenizer};
use serde_json::json;

use super::{Memory, folder};

/// The file that may name the tokenizer's class.
const CONFIG: &str = "config.json";

/// The text that tokenizers encode.
const TEXT: &str = "Hi <|endoftext|>the  <s>th\u{F6}</s> 12 it's\n[PAD]\u{1F600}\0";

/// Calls everything that a parsed tokenizer does.
fn use_tokenizer(mut tokenizer: Tokenizer) {
    for text in [TEXT, ""] {
        let guarded = tokenizer.guard(text).text;
        assert_eq!(tokenizer::unguarded(&guarded), text);
        let encoded = [
            tokenizer.encode(text),
            tokenizer.encode_plain(text),
            tokenizer.encode_guarded(&guarded),
            tokenizer.encode_with_special_tokens(text),
        ];
        tokenizer.count_special(text);
        for ids in encoded.into_iter().flatten() {
            let _ = tokenizer.decode(&ids);
            let mut stream = tokenizer.stream();
            for &id in &ids {
                tokenizer.token_text(id);
                let _ = stream.push(id);
            }
            let _ = stream.flush();
        }
    }
    let _ = tokenizer.decode(&[0, 1, u32::MAX]);
    for tools in [true, false] {
        let _ = tokenizer.chat_template(tools);
    }
    EndOfText::decide(Some(&tokenizer), &ConfigIds::Absent, &[0, 7], 8);
    let rows = tokenizer.vocab_size().saturating_sub(1);
    if tokenizer.fit(rows).is_ok() {
        let ids = tokenizer.encode(TEXT).unwrap_or_default();
        assert!(
            ids.iter().all(|&id| (id as usize) < rows),
            "{ids:?}, {rows} rows"
        );
    }
}

/// `tokenizer.json` alone.
pub fn tokenizer_json(bytes: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_json(bytes, Path::new("tokenizer.json")) else {
        return false;
    };
    let mut folder = Memory::default();
    tokenizer.save(&mut folder, 8).unwrap();
    assert_eq!(folder.files["tokenizer.json"], bytes);
    use_tokenizer(tokenizer);
    true
}

/// The files of a tokenizer's folder that a bundle may hold.
fn bundled() -> impl Iterator<Item = &'static str> {
    let more = [CONFIG, "additional_chat_templates/tool_use.jinja"];
    tokenizer::FILES.into_iter().chain(more)
}

/// The files in a bundle. The line `=== NAME` comes before the contents of each.
fn unbundle(bundle: &[u8]) -> BTreeMap<&'static str, Vec<u8>> {
    let mut files: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    let mut current = None;
    for line in bundle.split_inclusive(|&byte| byte == b'\n') {
        let name = line.strip_prefix(b"=== ").map(<[u8]>::trim_ascii_end);
        if let Some(begun) = bundled().find(|known| name == Some(known.as_bytes())) {
            files.entry(begun).or_default();
            current = Some(begun);
        } else if let Some(current) = current {
            files.entry(current).or_default().extend_from_slice(line);
        }
    }
    files
}

/// The files of a tokenizer's folder, as a bundle.
pub fn tokenizer_folder(bundle: &[u8]) -> bool {
    let (read, saved) = (folder("tokenizer"), folder("saved_tokenizer"));
    let files = unbundle(bundle);
    put(&read, &files);
    let Ok(tokenizer) = Tokenizer::load(&read) else {
        return false;
    };
    let mut copy = Memory::default();
    tokenizer.save(&mut copy, 8).unwrap();
    // The writer of the model keeps this file.
    let config = files
        .get(CONFIG)
        .map(|bytes| (CONFIG.to_owned(), bytes.clone()));
    copy.files.extend(config);
    put(&saved, &copy.files);
    let again = Tokenizer::load(&saved).unwrap();
    // With dropout, the ids are drawn.
    if !bundle.windows(7).any(|window| window == b"dropout") {
        assert_eq!(again.encode(TEXT).ok(), tokenizer.encode(TEXT).ok());
    }
    use_tokenizer(tokenizer);
    true
}

/// Makes these the files of the folder, in place of those of an earlier bundle.
fn put<Name: Borrow<str> + Ord>(folder: &Path, files: &BTreeMap<Name, Vec<u8>>) {
    for name in bundled() {
        let path = folder.join(name);
        match files.get(name) {
            Some(bytes) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            None => drop(fs::remove_file(path)),
        }
    }
}

/// A chat template, and a conversation in it.
pub fn chat_template(bytes: &[u8]) -> bool {
    let source = String::from_utf8_lossy(bytes);
    let specials = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let specials = specials.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let origin = Path::new("chat_template.jinja");
    let Ok(template) = ChatTemplate::new(&source, origin, Specials::from(specials)) else {
        return false;
    };
    let template = template.at("2024-07-03T09:08:07".parse().unwrap());
    let messages = [
        json!({"role": "system", "content": "Be kind."}),
        json!({"role": "user", "content": "Hi \u{E4}?"}),
        json!({"role": "assistant", "content": "Hello.", "thinking": "A greeting."}),
        json!({"role": "user", "content": [{"type": "text", "text": "Bye"}]}),
    ];
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"n": 1.5}}}]);
    let rendered = [
        template.render(&messages[..3], false),
        template.render_with_tools(&messages, Some(&tools), true),
    ];
    rendered.iter().any(|rendered| rendered.is_ok())
}
