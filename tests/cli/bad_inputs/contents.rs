//! Contents of files, sound ones and what is made of them.

use std::fs;
use std::path::Path;

use super::*;

pub(super) fn text(content: &str) -> Vec<u8> {
    content.into()
}

pub(super) fn repeated(beginning: &str, part: &str, count: usize, end: &str) -> Vec<u8> {
    [beginning, &part.repeat(count), end].concat().into_bytes()
}

pub(super) fn gzip(content: Vec<u8>) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&content).unwrap();
    packed.finish().unwrap()
}

pub(super) fn zstandard(content: Vec<u8>) -> Vec<u8> {
    zstd::encode_all(&content[..], 3).unwrap()
}

pub(super) fn first(count: usize, content: Vec<u8>) -> Vec<u8> {
    assert!(count < content.len());
    content[..count].to_owned()
}

pub(super) fn without_last(count: usize, mut content: Vec<u8>) -> Vec<u8> {
    content.truncate(content.len() - count);
    content
}

/// The content with other bytes from `at` on; a negative `at` counts from the end.
pub(super) fn patched(mut content: Vec<u8>, at: isize, bytes: &[u8]) -> Vec<u8> {
    let from = if at < 0 { content.len() } else { 0 };
    let at = from.strict_add_signed(at);
    content[at..at + bytes.len()].copy_from_slice(bytes);
    content
}

pub(super) fn of_repository(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A safetensors file that says that its header has this many bytes.
pub(super) fn header_of(length: u64, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], rest].concat()
}

/// A safetensors file with this header and so many zeros.
pub(super) fn safetensors(header: &str, zeros: usize) -> Vec<u8> {
    let mut file = header_of(header.len() as u64, header.as_bytes());
    file.resize(file.len() + zeros, 0);
    file
}

/// The starter's weights, in which one tensor is said to have another type and shape.
pub(super) fn starter_weights(tensor: &str, dtype: &str, shape: &[usize]) -> Vec<u8> {
    let file = of_repository("examples/starter/model.safetensors");
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    header[tensor]["dtype"] = dtype.into();
    header[tensor]["shape"] = shape.into();
    let mut file = safetensors(&Value::Object(header).to_string(), 0);
    file.extend(tensors);
    file
}

/// A JSON file of the starter with another value at this pointer.
pub(super) fn starter_json(file: &str, pointer: &str, value: &str) -> Vec<u8> {
    let text = of_repository(&format!("examples/starter/{file}"));
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[key] = serde_json::from_str(value).unwrap();
    json.to_string().into_bytes()
}

/// The checkpoint's training.json with another value under this key.
pub(super) fn training(run: &Sandbox, key: &str, value: &str) -> Vec<u8> {
    let text = run.read(&format!("{CHECKPOINT}/training.json"));
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    json[key] = serde_json::from_str(value).unwrap();
    json.to_string().into_bytes()
}

/// A parquet file whose first page claims to become 2^31 - 1 bytes; the file's length stays.
pub(super) fn huge_page(mut parquet: Vec<u8>) -> Vec<u8> {
    // Behind the magic bytes, in Thrift's compact protocol: the page's type, the claim, the bytes in the file.
    assert!(parquet.starts_with(b"PAR1\x15") && parquet[6] == 0x15);
    let claim = 7..7
        + 1
        + parquet[7..]
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .unwrap();
    let more = 5 - claim.len();
    // Some bytes of the page itself make room.
    parquet.drain(claim.end + 64..claim.end + 64 + more);
    parquet.splice(claim, *b"\xFE\xFF\xFF\xFF\x0F");
    parquet
}
