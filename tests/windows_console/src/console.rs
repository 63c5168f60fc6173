//! The events of a console, and the two ways in which they reach a process.

use std::ffi::{CStr, c_char, c_void};
use std::fs::OpenOptions;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::{Command, Stdio};
use std::ptr::null;
use std::thread;
use std::time::{Duration, SystemTime};

use windows_sys::Win32::Foundation::{GetLastError, STATUS_CONTROL_C_EXIT};
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, FreeConsole,
    GenerateConsoleCtrlEvent, GetConsoleWindow, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Threading::{
    CreateRemoteThread, OpenProcess, PROCESS_ALL_ACCESS, TerminateProcess, WaitForMultipleObjects,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{PostMessageW, WM_CLOSE};
use windows_sys::core::BOOL;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    C,
    Break,
    Close,
}

impl Event {
    pub const ALL: [Event; 3] = [Event::C, Event::Break, Event::Close];

    pub fn name(self) -> &'static str {
        match self {
            Event::C => "ctrl-c",
            Event::Break => "ctrl-break",
            Event::Close => "close",
        }
    }

    pub fn of(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == name)
    }

    fn number(self) -> u32 {
        match self {
            Event::C => CTRL_C_EVENT,
            Event::Break => CTRL_BREAK_EVENT,
            Event::Close => CTRL_CLOSE_EVENT,
        }
    }
}

/// Wine's version; `None` on Windows.
pub fn wine_version() -> Option<String> {
    // SAFETY: both names end with NUL, and Wine declares `const char *wine_get_version(void)`.
    unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        let function = GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast())?;
        let version: extern "C" fn() -> *const c_char = std::mem::transmute(function);
        Some(CStr::from_ptr(version()).to_string_lossy().into_owned())
    }
}

/// Sends an event through the console of a process, as its keyboard or its window does. The caller gives up its own
/// console, so it is a process for this alone. Gives the moment.
pub fn send(event: Event, process: u32) -> io::Result<SystemTime> {
    // SAFETY: none of these takes a pointer but that of the handler, a function of this program.
    unsafe {
        FreeConsole();
        check(AttachConsole(process))?;
        if event == Event::Close {
            let window = GetConsoleWindow();
            if window.is_null() {
                return Err(io::Error::other("the console has no window"));
            }
            FreeConsole();
            let moment = SystemTime::now();
            check(PostMessageW(window, WM_CLOSE, 0, 0))?;
            return Ok(moment);
        }
        // Group 0 is everybody at this console: the sender too.
        check(SetConsoleCtrlHandler(Some(ignore), 1))?;
        let moment = SystemTime::now();
        check(GenerateConsoleCtrlEvent(event.number(), 0))?;
        // Its own event reaches the sender while it is still there to ignore it.
        thread::sleep(Duration::from_millis(200));
        Ok(moment)
    }
}

/// Keeps the process, whatever the event: closing the console ends it only after the time that Windows leaves it.
unsafe extern "system" fn ignore(event: u32) -> BOOL {
    while event == CTRL_CLOSE_EVENT {
        thread::park();
    }
    1
}

/// Runs a program with its output on this process's console, tells its id, and gives its exit code. The program ignores
/// Ctrl-C if asked to, as it inherits that.
pub fn show(
    command: &mut Command,
    ignores: bool,
    tell: impl FnOnce(u32) -> io::Result<()>,
) -> io::Result<i32> {
    let console = OpenOptions::new().read(true).write(true).open("CONOUT$")?;
    // SAFETY: the handler is a function of this program; without one the call sets a flag.
    unsafe {
        check(SetConsoleCtrlHandler(Some(ignore), 1))?;
        check(SetConsoleCtrlHandler(None, ignores.into()))?;
    }
    let mut program = command
        .stdout(Stdio::from(console.try_clone()?))
        .stderr(Stdio::from(console))
        .spawn()?;
    tell(program.id())?;
    let status = program.wait()?;
    Ok(status
        .code()
        .expect("on Windows every process ends with a code"))
}

/// A process by its id.
pub fn open(process: u32) -> io::Result<OwnedHandle> {
    // SAFETY: the handle is open, and nobody else closes it.
    unsafe {
        let handle = OpenProcess(PROCESS_ALL_ACCESS, 0, process);
        check((!handle.is_null()).into())?;
        Ok(OwnedHandle::from_raw_handle(handle))
    }
}

/// What Windows does itself for each process at a console: starts a thread at `CtrlRoutine`, which calls the process's
/// handlers. To be used where the console does not do it.
pub fn deliver(event: Event, process: &OwnedHandle) -> io::Result<OwnedHandle> {
    // SAFETY: `CtrlRoutine` has the type of a thread's start, takes the event's number for its argument, and lies at
    // the same address in every process, as all of kernelbase.dll does.
    unsafe {
        let kernelbase = GetModuleHandleA(c"kernelbase.dll".as_ptr().cast());
        let routine = GetProcAddress(kernelbase, c"CtrlRoutine".as_ptr().cast())
            .ok_or_else(|| io::Error::other("kernelbase.dll has no CtrlRoutine"))?;
        let start: unsafe extern "system" fn(*mut c_void) -> u32 = std::mem::transmute(routine);
        let thread = CreateRemoteThread(
            process.as_raw_handle(),
            null(),
            0,
            Some(start),
            event.number() as usize as *const c_void,
            0,
            std::ptr::null_mut(),
        );
        check((!thread.is_null()).into())?;
        Ok(OwnedHandle::from_raw_handle(thread))
    }
}

/// What Windows does to a process whose console is closed: ends it as soon as its handler has returned, or after a
/// time.
pub fn end_after(handler: &OwnedHandle, process: &OwnedHandle, time: Duration) {
    let handles = [process.as_raw_handle(), handler.as_raw_handle()];
    // SAFETY: both handles are open as long as their owners, and the count is that of the array.
    unsafe {
        let milliseconds = time.as_millis() as u32;
        WaitForMultipleObjects(handles.len() as u32, handles.as_ptr(), 0, milliseconds);
        TerminateProcess(process.as_raw_handle(), STATUS_CONTROL_C_EXIT as u32);
    }
}

fn check(done: BOOL) -> io::Result<()> {
    match done {
        // SAFETY: it reads a number of this thread.
        0 => Err(io::Error::from_raw_os_error(
            unsafe { GetLastError() } as i32
        )),
        _ => Ok(()),
    }
}
