//! Ctrl-C and its kin: the first one asks a run to stop, a second one ends the process at once.

use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use gpt2_dpo::train::Stop;

use super::tell;

/// Signals that end a process, watched until it ends.
pub struct Signals {
    /// Set by the first signal while a run is under way.
    pub stop: Stop,
}

/// The first signal; 0 = none so far.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// What the process does now.
static PHASE: AtomicU8 = AtomicU8::new(IDLE);

/// Nothing that a signal could spoil: the first one ends the process.
const IDLE: u8 = 0;
/// A run, which saves what it has when it is asked to stop.
const RUNNING: u8 = 1;
/// The result of a run is written.
const SAVING: u8 = 2;
/// A signal has stopped the run, and what it did is saved.
const STOPPED: u8 = 3;

impl Signals {
    /// Watches the signals.
    pub fn watch() -> Signals {
        let stop = Stop::default();
        system::watch(stop.clone());
        Signals { stop }
    }

    /// From now on the first signal is a request to the run.
    pub fn running(&self) {
        PHASE.store(RUNNING, Ordering::SeqCst);
    }

    /// The run has ended: what it did is saved, whatever the first signal asks.
    pub fn saving(&self) {
        PHASE.store(SAVING, Ordering::SeqCst);
    }

    /// Everything is saved: the first signal ends the process.
    pub fn nothing_to_save(&self) {
        PHASE.store(IDLE, Ordering::SeqCst);
    }

    /// The exit code of a process that a signal asked to stop: 128 and the signal's number.
    pub fn exit_code(&self) -> ExitCode {
        PHASE.store(STOPPED, Ordering::SeqCst);
        ExitCode::from(code(FIRST.load(Ordering::SeqCst)) as u8)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if PHASE.swap(IDLE, Ordering::SeqCst) == STOPPED {
            system::leave();
        }
    }
}

fn code(signal: i32) -> i32 {
    128 + signal
}

/// Asks the run to stop at the first signal, and ends the process at the second, or if there is nothing to save.
fn take(signal: i32, stop: &Stop) {
    let first = FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    match (first, PHASE.load(Ordering::SeqCst)) {
        (Ok(_), RUNNING) => {
            stop.request();
            tell!(
                "note: the run stops when it has finished its step and saved it; a second signal ends it at once"
            );
        }
        (Ok(_), SAVING) => {
            tell!(
                "note: the run has ended and its result is being saved; a second signal ends it at once"
            );
        }
        (Ok(_), _) => {
            tell!("stopped: there is nothing to save");
            std::process::exit(code(signal));
        }
        (Err(_), _) => std::process::exit(code(signal)),
    }
}

#[cfg(unix)]
mod system {
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    use super::{Stop, take};

    /// Watches those signals that the process does not ignore: `nohup` and a shell's `&` make it ignore some.
    pub fn watch(stop: Stop) {
        let wanted = [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|&signal| !is_ignored(signal));
        // Without the handlers a signal ends the process, as it does for other programs.
        let Ok(mut signals) = Signals::new(wanted.collect::<Vec<_>>()) else {
            return;
        };
        thread::spawn(move || {
            for signal in signals.forever() {
                take(signal, &stop);
            }
        });
    }

    /// The end of `main` ends the process.
    pub fn leave() {}

    fn is_ignored(signal: i32) -> bool {
        // SAFETY: the action of a signal is only read, into a struct for which all zeros are a valid value.
        #[allow(unsafe_code)]
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action) == 0
                && action.sa_sigaction == libc::SIG_IGN
        }
    }
}

#[cfg(windows)]
mod system {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    use super::{Stop, code, take};

    /// The numbers that POSIX gives to an interrupt and to a request to end.
    const INTERRUPT: i32 = 2;
    const TERMINATE: i32 = 15;

    static STOP: OnceLock<Stop> = OnceLock::new();

    /// The console is being closed.
    static CLOSED: AtomicBool = AtomicBool::new(false);

    /// The run has stopped, and nothing of it is left to do but to end the process.
    static LEFT: AtomicBool = AtomicBool::new(false);

    pub fn watch(stop: Stop) {
        let _ = STOP.set(stop);
        // SAFETY: the handler is a function of this program, which lives as long as the process.
        #[allow(unsafe_code)]
        unsafe {
            SetConsoleCtrlHandler(Some(handle), 1);
        }
    }

    // SAFETY: Windows calls this on a thread of its own, and it touches nothing but atomics and a `OnceLock`.
    #[allow(unsafe_code)]
    unsafe extern "system" fn handle(event: u32) -> BOOL {
        let Some(stop) = STOP.get() else {
            return 0;
        };
        match event {
            CTRL_C_EVENT | CTRL_BREAK_EVENT => {
                take(INTERRUPT, stop);
                1
            }
            _ => {
                CLOSED.store(true, Ordering::SeqCst);
                take(TERMINATE, stop);
                // Windows ends the process, with a code of its own, five seconds later, or once this thread has ended:
                // if `main` ended the process, this thread would be the first to go. So it does that itself.
                while !LEFT.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(10));
                }
                std::process::exit(code(TERMINATE));
            }
        }
    }

    /// Leaves the end of the process to the handler of the closed console, if it is closed.
    pub fn leave() {
        LEFT.store(true, Ordering::SeqCst);
        while CLOSED.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

#[cfg(not(any(unix, windows)))]
mod system {
    use super::Stop;

    pub fn watch(_: Stop) {}

    pub fn leave() {}
}
