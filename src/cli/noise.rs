//! What drivers and the Vulkan loader write on standard error while they look for devices. It is not this program's, and
//! most of it does not matter: each line gets a mark.

/// Runs `open`, which looks for devices or opens one. What others write on standard error meanwhile is passed on line
/// by line behind `driver: `; where that cannot be arranged, as it is.
#[cfg(unix)]
pub fn marked<T>(open: impl FnOnce() -> T) -> T {
    let guard = Redirected::begin();
    let opened = open();
    drop(guard);
    opened
}

/// See the other one: on Windows drivers write to no console.
#[cfg(not(unix))]
pub fn marked<T>(open: impl FnOnce() -> T) -> T {
    open()
}

/// Standard error leads into a pipe, from which a thread passes it on.
#[cfg(unix)]
struct Redirected {
    own: std::os::fd::OwnedFd,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[cfg(unix)]
impl Redirected {
    fn begin() -> Option<Redirected> {
        use rustix::stdio::{dup2_stderr, stderr};
        let own = rustix::io::fcntl_dupfd_cloexec(stderr(), 0).ok()?;
        let out = std::fs::File::from(own.try_clone().ok()?);
        let (reader, writer) = std::io::pipe().ok()?;
        let pass = std::thread::Builder::new().name("drivers' messages".into());
        let thread = pass.spawn(move || pass_on(reader, out)).ok()?;
        dup2_stderr(&writer).ok()?; // its end closes with the writer, so that the thread ends either way
        Some(Redirected {
            own,
            thread: Some(thread),
        })
    }
}

#[cfg(unix)]
impl Drop for Redirected {
    fn drop(&mut self) {
        // This closes the pipe's last end. If it fails, the thread passes on all that follows.
        let restored = rustix::stdio::dup2_stderr(&self.own).is_ok();
        if let (true, Some(thread)) = (restored, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Writes each line of `from` to `to`, behind a mark, as it comes; one that came before is left out.
#[cfg(unix)]
fn pass_on(from: impl std::io::Read, mut to: impl std::io::Write) {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(from);
    let mut seen = std::collections::HashSet::new();
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        if !text.is_empty() && seen.insert(text.clone()) {
            // A terminal that is gone does not keep a driver from writing.
            let _ = writeln!(to, "driver: {text}");
        }
        line.clear();
    }
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn each_line_gets_a_mark() {
        let mut to = Vec::new();
        super::pass_on(&b"error: one\n\n  two\xff\r\nerror: one\nlast"[..], &mut to);
        let to = String::from_utf8(to).unwrap();
        assert_eq!(
            to,
            "driver: error: one\ndriver:   two\u{fffd}\ndriver: last\n"
        );
    }
}
