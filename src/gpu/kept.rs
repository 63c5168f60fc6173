//! The file that keeps what a device compiled: the names of the kernels, and the driver's own code for them.
//!
//! A driver may crash at code that it has not made. So the file says in its first line the digest of all that follows,
//! and in its second line for which adapter, driver and kernels it is; a file that is damaged, cut short or another's
//! counts as empty. wgpu and the driver compare their own marks in the code besides.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounded;
use crate::digest::hex;

/// The most bytes of a file that is read. A driver's code for all kernels has a few MiB.
const MOST: u64 = 64 << 20;

/// What a run leaves to the next one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Kept {
    /// The kernels that ran, each by its full name, in the order of their first use.
    pub kernels: Vec<String>,
    /// The driver's code; empty if it has no cache that can be kept.
    code: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The file's own name, which is a key of adapter, driver, kernels and version.
    key: String,
    kernels: Vec<String>,
}

impl Kept {
    pub fn new(kernels: Vec<String>, code: Vec<u8>) -> Kept {
        Kept { kernels, code }
    }

    /// What the file holds; nothing if it is missing, damaged, or written under another name.
    pub fn read(path: &Path) -> Kept {
        let bytes = bounded::read(path, MOST).ok();
        let kept = bytes.and_then(|bytes| Kept::parse(&bytes, &key(path)));
        kept.unwrap_or_default()
    }

    fn parse(bytes: &[u8], key: &str) -> Option<Kept> {
        let (digest, rest) = line(bytes)?;
        if digest != hex(Sha256::digest(rest)).as_bytes() {
            return None;
        }
        let (header, code) = line(rest)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        (header.key == key).then(|| Kept::new(header.kernels, code.to_vec()))
    }

    /// Writes the file atomically: a reader sees the whole old file or the whole new one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let header = Header {
            key: key(path),
            kernels: self.kernels.clone(),
        };
        let mut rest = serde_json::to_vec(&header)?;
        rest.push(b'\n');
        rest.extend(&self.code);
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        writeln!(file, "{}", hex(Sha256::digest(&rest)))?;
        file.write_all(&rest)?;
        file.flush()?;
        file.persist(path)?;
        Ok(())
    }

    /// The driver's cache of pipelines, with this code in it; `None` if the device has none.
    pub fn driver_cache(&self, device: &wgpu::Device) -> Option<wgpu::PipelineCache> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("pipelines"),
            data: (!self.code.is_empty()).then_some(&self.code[..]),
            fallback: true,
        };
        // SAFETY: the code comes from `PipelineCache::get_data` on this adapter with this driver: `parse` checks digest
        // and key of the file. Only who may write the user's files can forge both.
        #[allow(unsafe_code)]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        match pollster::block_on(scope.pop()) {
            None => Some(cache),
            Some(_) => None, // wgpu refuses it as another device's
        }
    }
}

/// The first line without its end, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn key(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path) -> Kept {
        let kept = Kept::new(
            vec!["linear/nn tiled".into()],
            b"code\nof\0a driver".to_vec(),
        );
        kept.write(path).unwrap();
        kept
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/pipelines-1.bin");
        let kept = written(&path);
        assert_eq!(Kept::read(&path), kept);
        // The next run replaces it.
        Kept::new(Vec::new(), b"more".to_vec())
            .write(&path)
            .unwrap();
        assert_eq!(Kept::read(&path).code, b"more");
    }

    #[test]
    fn a_damaged_file_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipelines-1.bin");
        written(&path);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(Kept::parse(&bytes, "pipelines-1.bin"), None, "byte {at}");
            assert_eq!(
                Kept::parse(&whole[..at], "pipelines-1.bin"),
                None,
                "{at} bytes"
            );
        }
        assert_eq!(Kept::read(&dir.path().join("none")), Kept::default());
        assert_eq!(Kept::read(dir.path()), Kept::default());
    }

    #[test]
    fn a_file_of_another_driver_counts_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipelines-1.bin");
        written(&path);
        let other = dir.path().join("pipelines-2.bin");
        std::fs::copy(path, &other).unwrap();
        assert_eq!(Kept::read(&other), Kept::default());
    }
}
