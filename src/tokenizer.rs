//! Text ↔ token ids, and the tokenizer's files from one model directory to the next.

use std::fs;
use std::path::{Path, PathBuf};

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::error::{Error, Result};

/// GPT-2's only special token: begins, ends and separates texts.
const END_OF_TEXT: &str = "<|endoftext|>";

/// What a model directory may hold for a tokenizer; kept byte for byte from [`Tokenizer::load`]
/// to [`Tokenizer::save`].
const FILES: [&str; 7] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

const HELP: &str =
    "copy tokenizer.json, or vocab.json and merges.txt, from the model this one began as";

/// A model's tokenizer together with the files it was read from.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The directory or file it came from, for messages.
    origin: PathBuf,
    files: Vec<File>,
}

/// One of [`FILES`] and its contents.
type File = (&'static str, Vec<u8>);

impl Tokenizer {
    /// True if `dir` holds a tokenizer for [`Tokenizer::load`] to read, sound or not.
    pub fn exists(dir: &Path) -> bool {
        ["tokenizer.json", "vocab.json", "merges.txt"]
            .iter()
            .any(|name| dir.join(name).exists())
    }

    /// Reads `tokenizer.json` from a model directory or, where there is none, builds GPT-2's
    /// byte-level BPE from `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for an unreadable file; [`Error::File`] for a directory without a tokenizer,
    /// with one that makes no sense, or with an `added_tokens.json` and no `tokenizer.json`;
    /// [`Error::Data`] for a bad line of `merges.txt`.
    pub fn load(dir: &Path) -> Result<Self> {
        let files = read_files(dir)?;
        let find = |name| file(&files, name);
        let inner = match (
            find("tokenizer.json"),
            find("vocab.json"),
            find("merges.txt"),
        ) {
            (Some(json), _, _) => from_tokenizer_json(json, &dir.join("tokenizer.json"))?,
            (None, Some(_), Some(_)) if find("added_tokens.json").is_some() => {
                return Err(Error::file(
                    &dir.join("added_tokens.json"),
                    "added tokens are read from a tokenizer.json only, and there is none",
                    "load and save the tokenizer once with transformers, which writes tokenizer.json",
                ));
            }
            (None, Some(vocab), Some(merges)) => from_vocab_and_merges(dir, vocab, merges)?,
            (None, Some(_), None) => {
                return Err(Error::file(dir, "vocab.json without its merges.txt", HELP));
            }
            (None, None, Some(_)) => {
                return Err(Error::file(dir, "merges.txt without its vocab.json", HELP));
            }
            (None, None, None) => return Err(Error::file(dir, "no tokenizer in it", HELP)),
        };
        Ok(Tokenizer {
            inner,
            origin: dir.to_owned(),
            files,
        })
    }

    /// From the bytes of a `tokenizer.json`; `origin` is the path that errors name.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if they are not one.
    pub fn from_json(bytes: &[u8], origin: &Path) -> Result<Self> {
        Ok(Tokenizer {
            inner: from_tokenizer_json(bytes, origin)?,
            origin: origin.to_owned(),
            files: vec![("tokenizer.json", bytes.to_owned())],
        })
    }

    /// The ids of `text`, all of them: nothing is added, cut or padded, whatever `tokenizer.json`
    /// asks for. A special token spelled out in `text` becomes its one id, as in transformers.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the tokenizer's model refuses.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self.inner.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(self.broken("encode", &error)),
        }
    }

    /// The text of `ids`, without special tokens and without ids that have no token (the padding
    /// of a model's vocabulary). Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the tokenizer's decoder refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|error| self.broken("decode", &error))
    }

    /// Highest id + 1, added tokens included: the fewest embedding rows a model needs.
    pub fn vocab_size(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// The id of `<|endoftext|>`, if the vocabulary has it.
    pub fn eos(&self) -> Option<u32> {
        self.inner.token_to_id(END_OF_TEXT)
    }

    /// Decodes ids one at a time, as they are generated.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream {
            tokenizer: self,
            ids: Vec::new(),
            given: 0,
        }
    }

    /// Writes the tokenizer into the model directory `dir`, so that transformers' `AutoTokenizer`
    /// finds there what this tokenizer computes: the files it was read from, plus
    /// `tokenizer.json` and a minimal `tokenizer_config.json` where those were missing.
    /// `max_length` is the model's longest sequence in tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::File`] if the tokenizer cannot be serialized.
    pub fn save(&self, dir: &Path, max_length: usize) -> Result<()> {
        for (name, bytes) in &self.files {
            write(&dir.join(name), bytes)?;
        }
        if self.file("tokenizer.json").is_none() {
            let json = self.inner.to_string(true);
            let json = json.map_err(|error| self.broken("serialize", &error))?;
            write(&dir.join("tokenizer.json"), json.as_bytes())?;
        }
        if self.file("tokenizer_config.json").is_none() {
            let config = format!("{:#}\n", self.minimal_config(max_length));
            write(&dir.join("tokenizer_config.json"), config.as_bytes())?;
        }
        Ok(())
    }

    fn minimal_config(&self, max_length: usize) -> serde_json::Value {
        // transformers' GPT2Tokenizer takes no more than vocabulary and merges from a
        // tokenizer.json and insists on `<|endoftext|>`; the other class takes it as it is. That
        // one would also hand the model token types, which GPT-2 adds to its embeddings, so the
        // inputs are named.
        let class = match (self.file("tokenizer.json"), self.eos()) {
            (None, Some(_)) => "GPT2Tokenizer",
            _ => "PreTrainedTokenizerFast",
        };
        let mut config = serde_json::json!({
            "tokenizer_class": class,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": max_length,
        });
        // Naming a token that the vocabulary lacks would make transformers add it, past the
        // model's last embedding row.
        if self.eos().is_some() {
            for key in ["bos_token", "eos_token", "unk_token"] {
                config[key] = END_OF_TEXT.into();
            }
        }
        config
    }

    fn file(&self, name: &str) -> Option<&[u8]> {
        file(&self.files, name)
    }

    fn broken(&self, action: &str, error: &tokenizers::Error) -> Error {
        let what = format!("the tokenizer cannot {action}: {error}");
        Error::file(&self.origin, what, HELP)
    }
}

/// Text as it becomes complete: see [`Tokenizer::stream`].
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Bytes of text handed out.
    given: usize,
}

impl TextStream<'_> {
    /// Takes the next id; returns the text that it completes, if any. A character spread over
    /// several tokens appears with the last of them.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        // Decoding from the start each time is quadratic, and unnoticeable at GPT-2's lengths.
        let text = self.tokenizer.decode(&self.ids)?;
        // A character still without its last bytes decodes to U+FFFD.
        Ok(self.advance(text.trim_end_matches(char::REPLACEMENT_CHARACTER)))
    }

    /// What is left at the end: U+FFFD for a character that was never completed.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::decode`].
    pub fn flush(&mut self) -> Result<Option<String>> {
        let text = self.tokenizer.decode(&self.ids)?;
        Ok(self.advance(&text))
    }

    fn advance(&mut self, text: &str) -> Option<String> {
        let new = text.get(self.given..).filter(|new| !new.is_empty())?;
        self.given = text.len();
        Some(new.to_owned())
    }
}

fn from_tokenizer_json(bytes: &[u8], path: &Path) -> Result<tokenizers::Tokenizer> {
    let not_one = |error| Error::file(path, format!("not a tokenizer: {error}"), HELP);
    let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(not_one)?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(not_one)?;
    Ok(inner)
}

/// GPT-2's tokenizer as transformers' `GPT2Tokenizer` builds it.
fn from_vocab_and_merges(dir: &Path, vocab: &[u8], merges: &[u8]) -> Result<tokenizers::Tokenizer> {
    let path = dir.join("vocab.json");
    let not_one = |error| Error::file(&path, format!("not a vocabulary: {error}"), HELP);
    let vocab: Vocab = serde_json::from_slice(vocab).map_err(|error| not_one(error.to_string()))?;
    let has_end_of_text = vocab.contains_key(END_OF_TEXT);

    let path = dir.join("merges.txt");
    let merges = parse_merges(merges, &path)?;
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build();
    let bpe = bpe.map_err(|error| {
        let what = format!("does not fit its vocab.json: {error}");
        Error::file(&path, what, HELP)
    })?;

    let bytes = ByteLevel::default().add_prefix_space(false);
    let mut inner = tokenizers::Tokenizer::new(bpe);
    inner.with_pre_tokenizer(Some(bytes));
    inner.with_decoder(Some(bytes));
    if has_end_of_text {
        let special = [AddedToken::from(END_OF_TEXT, true)];
        inner
            .add_special_tokens(special)
            .map_err(|error| not_one(error.to_string()))?;
    }
    Ok(inner)
}

/// The pairs of `merges.txt`, in order of rank: two tokens and a space between on each line.
fn parse_merges(bytes: &[u8], path: &Path) -> Result<Merges> {
    let text = str::from_utf8(bytes)
        .map_err(|error| Error::file(path, format!("not UTF-8: {error}"), HELP))?;
    let lines = text.lines().enumerate();
    let is_version = |at, line: &str| at == 0 && line.starts_with("#version");
    lines
        .filter(|&(at, line)| !line.is_empty() && !is_version(at, line))
        .map(|(at, line)| match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() => {
                Ok((left.to_owned(), right.to_owned()))
            }
            _ => Err(Error::data(
                path,
                at + 1,
                format!("`{line}` is not two tokens with a space between"),
                HELP,
            )),
        })
        .collect()
}

fn file<'a>(files: &'a [File], name: &str) -> Option<&'a [u8]> {
    let found = files.iter().find(|(found, _)| *found == name);
    found.map(|(_, bytes)| bytes.as_slice())
}

fn read_files(dir: &Path) -> Result<Vec<File>> {
    let paths = FILES.map(|name| (name, dir.join(name)));
    paths
        .into_iter()
        .filter(|(_, path)| path.exists())
        .map(|(name, path)| match fs::read(&path) {
            Ok(bytes) => Ok((name, bytes)),
            Err(error) => Err(Error::io("read", path, error)),
        })
        .collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::io("write", path, error))
}

#[cfg(test)]
pub(crate) mod tests;
