//! Ctrl-C and its kin: the first one asks a run to stop, a second one ends the process at once.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use gpt2_dpo::train::Stop;

use super::tell;

/// Signals that end a process, watched until it ends.
pub struct Signals {
    /// Set by the first signal while a run is under way.
    pub stop: Stop,
}

/// The first signal; 0 = none so far.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// True while there is a run that saves what it has when it is asked to stop.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// True when the process has nothing left to save.
static IS_DONE: AtomicBool = AtomicBool::new(false);

impl Signals {
    /// Watches the signals. Before [`Signals::running`] the first one ends the process.
    pub fn watch() -> Signals {
        let stop = Stop::default();
        system::watch(stop.clone());
        Signals { stop }
    }

    /// From now on the first signal is a request to the run.
    pub fn running(&self) {
        IS_RUNNING.store(true, Ordering::SeqCst);
    }

    /// The exit code of a process that a signal asked to stop: 128 and the signal's number.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(code(FIRST.load(Ordering::SeqCst)) as u8)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        IS_RUNNING.store(false, Ordering::SeqCst);
        IS_DONE.store(true, Ordering::SeqCst);
    }
}

fn code(signal: i32) -> i32 {
    128 + signal
}

/// Asks the run to stop at the first signal, and ends the process at the second, or if there is no run.
fn take(signal: i32, stop: &Stop) {
    let is_first = FIRST
        .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok();
    if is_first && IS_RUNNING.load(Ordering::SeqCst) {
        stop.request();
        tell!(
            "note: the run stops after this step and saves a checkpoint; a second signal ends it at once"
        );
    } else {
        std::process::exit(code(signal));
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

    fn is_ignored(signal: i32) -> bool {
        // SAFETY: the action of a signal is only read, into a struct for which all zeros are a valid value.
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
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::Duration;

    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    use super::{IS_DONE, Stop, take};

    /// The numbers that POSIX gives to an interrupt and to a request to end.
    const INTERRUPT: i32 = 2;
    const TERMINATE: i32 = 15;

    static STOP: OnceLock<Stop> = OnceLock::new();

    pub fn watch(stop: Stop) {
        let _ = STOP.set(stop);
        // SAFETY: the handler is a function of this program, which lives as long as the process.
        unsafe {
            SetConsoleCtrlHandler(Some(handle), 1);
        }
    }

    /// Windows calls this on a thread of its own.
    unsafe extern "system" fn handle(event: u32) -> BOOL {
        let Some(stop) = STOP.get() else {
            return 0;
        };
        match event {
            CTRL_C_EVENT | CTRL_BREAK_EVENT => take(INTERRUPT, stop),
            _ => {
                take(TERMINATE, stop);
                // When this returns, Windows ends the process: a closed console leaves it some seconds.
                while !IS_DONE.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
        1
    }
}

#[cfg(not(any(unix, windows)))]
mod system {
    use super::Stop;

    pub fn watch(_: Stop) {}
}
