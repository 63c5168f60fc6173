//! Stops training runs by the events of a Windows console, lets them go on, and compares what they leave with what a
//! run leaves that was never stopped. Works in the current folder.
//!
//!     windows-console PROGRAM               the tests; the exit status is 1 if one fails
//!     windows-console send EVENT PROCESS    ctrl-c, ctrl-break or close, through the console of a process
//!     windows-console show NAME PROGRAM…    a program whose output goes to the console; its id goes to NAME.process
//!     windows-console shield NAME PROGRAM…  the same, with Ctrl-C ignored
//!
//! On Windows every event goes through the console. Wine's console passes Ctrl-C alone: there the others are delivered
//! as Windows delivers them to each process, and what Wine itself makes of them is printed and not judged.

mod console;

#[cfg(not(windows))]
compile_error!("build it for Windows; `scripts/wine_console` runs it under Wine");

use std::env;
use std::fs::{self, File};
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use windows_sys::Win32::System::Threading::CREATE_NEW_CONSOLE;

use console::Event;

type Result<T> = std::result::Result<T, String>;

/// What a run says when it takes an event.
const NOTE: &str = "note: the run stops when it has finished its step and saved it; \
    a second signal ends it at once";

/// Seconds on two cores: an event comes to it in time.
const STEPS: usize = 100;

/// The only step has so many micro-batches that it does not end meanwhile.
const ENDLESS: &str = "train --device cpu --data many.jsonl --data-weights 1000 --batch-size 1 --no-shuffle \
    --gradient-accumulation-steps 100000 --epochs 1 --save-minutes 0 --loss sft";
/// A pair takes 2 ms or more, and each of these counts a thousand times.
const LINES: usize = 100;

/// Rows of `metrics.jsonl` after which a run is stopped: it is under way then, and far from its end.
const ROWS: usize = 4;

/// How long Windows lets a process handle that its console is closed.
const CLOSING: Duration = Duration::from_secs(5);

/// A step that the run would have to finish takes much longer.
const AT_ONCE: Duration = Duration::from_secs(2);

/// No wait in here takes as long, unless something hangs.
const HANGS: Duration = Duration::from_secs(30);

/// How an event gets to a run.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Through the run's console.
    Sent,
    /// By a thread in the run, as Windows starts one for each event.
    Delivered,
}

/// Where a run's output goes.
#[derive(Clone, Copy, PartialEq)]
enum Output {
    Files,
    /// To the run's console, as a user sees it, with a progress bar.
    Console,
    /// There too, and the run's parent ignores Ctrl-C.
    ShieldedConsole,
}

/// A run in a console of its own.
struct Running {
    name: String,
    child: Child,
    /// The program's process: the child, or what the child started.
    program: OwnedHandle,
}

/// What a run said and left when its process ended.
struct Ended {
    code: u32,
    /// It did not end by itself.
    hung: bool,
    after: Duration,
    stdout: String,
    stderr: String,
    checkpoints: Vec<String>,
}

struct Tests {
    program: PathBuf,
    failed: usize,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", event, process] => {
            let event = Event::of(event).expect("the name of an event");
            match console::send(event, process.parse().expect("the id of a process")) {
                Ok(moment) => {
                    println!("{}", moment.duration_since(UNIX_EPOCH).unwrap().as_micros());
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("{}: {error}", event.name());
                    ExitCode::FAILURE
                }
            }
        }
        [how @ ("show" | "shield"), name, program, ref args @ ..] => {
            let ignores = how == "shield";
            let code = console::show(Command::new(program).args(args), ignores, |id| {
                let file = format!("{name}.process");
                fs::write(format!("{file}.part"), id.to_string())?;
                fs::rename(format!("{file}.part"), file)
            });
            std::process::exit(code.unwrap());
        }
        [program] => Tests {
            program: program.into(),
            failed: 0,
        }
        .run(),
        _ => panic!("PROGRAM is missing"),
    }
}

impl Tests {
    fn run(mut self) -> ExitCode {
        let wine = console::wine_version();
        match &wine {
            Some(version) => println!("Wine {version}"),
            None => println!("Windows"),
        }
        let line = r#"{"prompt": "What is two?", "chosen": "A number.", "rejected": "A colour."}"#;
        fs::write("many.jsonl", format!("{line}\n").repeat(LINES)).unwrap();
        let whole = self.start("whole", &run(), Output::Files).ended();
        assert_eq!(whole.code, 0, "{}{}", whole.stdout, whole.stderr);

        let way = |event| match wine.is_some() && event != Event::C {
            true => Way::Delivered,
            false => Way::Sent,
        };
        for output in [Output::Files, Output::Console] {
            for event in Event::ALL {
                let name = format!("{}, {}, {}", event.name(), way(event).name(), output.name());
                let stops = self.stops_and_goes_on(event, way(event), output);
                self.judge(&name, stops);
            }
        }
        for event in Event::ALL {
            let name = format!("{}, {}, before the run", event.name(), way(event).name());
            let ends = self.ends_what_has_not_begun(event, way(event));
            self.judge(&name, ends);
        }
        for event in [Event::C, Event::Break] {
            let name = format!("{} twice, {}", event.name(), way(event).name());
            let ends = self.ends_at_the_second(event, way(event));
            self.judge(&name, ends);
        }
        let ignores = self.ignores();
        self.judge("ctrl-c, sent through the console, ignored", ignores);
        if wine.is_some() {
            for event in [Event::Break, Event::Close] {
                println!("NOT JUDGED  {}", self.observe(event));
            }
        }
        println!("{} failed", self.failed);
        ExitCode::from((self.failed > 0) as u8)
    }

    fn judge(&mut self, name: &str, result: Result<String>) {
        match result {
            Ok(seen) => println!("passed  {name}: {seen}"),
            Err(error) => {
                println!("FAILED  {name}: {error}");
                self.failed += 1;
            }
        }
    }

    /// One event: the step is finished and saved, and the run goes on to the bytes of the whole one.
    fn stops_and_goes_on(&self, event: Event, way: Way, output: Output) -> Result<String> {
        let name = format!("{}-{}", event.name(), output.short());
        let mut run = self.start(&name, &run(), output);
        run.until_rows(ROWS)?;
        let moment = self.pass(event, way, &run)?;
        let ended = run.ended_since(moment);
        ended.must(
            ended.code == promised(event),
            "exits with the promised code",
        )?;
        ended.must(ended.checkpoints.len() == 1, "leaves one checkpoint")?;
        let step = ended.checkpoints[0].trim_start_matches("step-");
        let result = format!("{name}/model.safetensors");
        ended.must(!Path::new(&result).exists(), "has no result yet")?;
        if output == Output::Files {
            ended.must(ended.stderr.contains(NOTE), "says what it does")?;
            let last = format!(
                "stopped after step {step} of {STEPS}; go on with: gpt2-dpo train --resume {name}"
            );
            ended.must(
                ended.stdout.ends_with(&format!("{last}\n")),
                "says how to go on",
            )?;
        }

        let args = format!("train --resume {name}");
        let resumed = self.start(&format!("{name}-resumed"), &args, Output::Files);
        let resumed = resumed.ended();
        resumed.must(resumed.code == 0, "goes on to its end")?;
        let from = format!("resume  after step {step} of {STEPS}");
        resumed.must(resumed.stdout.contains(&from), "goes on from there")?;
        same_bytes(&result)?;
        Ok(format!(
            "exit {} after {} ms, with a checkpoint of step {step}; went on to the same weights",
            ended.code,
            ended.after.as_millis()
        ))
    }

    /// An event before there is anything to save, while the program waits for data.
    fn ends_what_has_not_begun(&self, event: Event, way: Way) -> Result<String> {
        let name = format!("{}-early", event.name());
        let run = self.start(&name, "train --device cpu --data -", Output::Files);
        // It says nothing before it has its data.
        thread::sleep(Duration::from_secs(3));
        let moment = self.pass(event, way, &run)?;
        let ended = run.ended_since(moment);
        ended.must(
            ended.code == promised(event),
            "exits with the promised code",
        )?;
        ended.must(ended.after < AT_ONCE, "ends at once")?;
        ended.must(!Path::new(&name).exists(), "leaves nothing")?;
        Ok(format!(
            "exit {} after {} ms",
            ended.code,
            ended.after.as_millis()
        ))
    }

    /// Two events within one step: the first is taken, the second ends the process before the step does.
    fn ends_at_the_second(&self, event: Event, way: Way) -> Result<String> {
        let mut run = self.start(&format!("{}-twice", event.name()), ENDLESS, Output::Files);
        run.until_said("output  ")?;
        // The first step begins.
        thread::sleep(Duration::from_secs(2));
        self.pass(event, way, &run)?;
        thread::sleep(Duration::from_secs(2));
        if let Ok(Some(status)) = run.child.try_wait() {
            return Err(format!("the first one ended it: {status}"));
        }
        let moment = self.pass(event, way, &run)?;
        let ended = run.ended_since(moment);
        ended.must(ended.code == 130, "exits with the promised code")?;
        ended.must(ended.stderr.contains(NOTE), "says what it does")?;
        ended.must(ended.checkpoints.is_empty(), "saves nothing")?;
        ended.must(ended.after < AT_ONCE, "ends at once")?;
        Ok(format!(
            "went on after the first, exit {} {} ms after the second",
            ended.code,
            ended.after.as_millis()
        ))
    }

    /// A process ignores Ctrl-C if its parent does, as `start /b` makes it; the program's handler does not change that.
    fn ignores(&self) -> Result<String> {
        let mut run = self.start("ignores", &run(), Output::ShieldedConsole);
        run.until_rows(ROWS)?;
        self.pass(Event::C, Way::Sent, &run)?;
        let ended = run.ended();
        ended.must(ended.code == 0, "runs to its end")?;
        same_bytes("ignores/model.safetensors")?;
        Ok("ran to its end".into())
    }

    /// What becomes of a run when Wine's console is asked for an event that it does not pass.
    fn observe(&self, event: Event) -> String {
        let name = format!("{}-sent", event.name());
        let mut run = self.start(&name, &run(), Output::Files);
        let sent = run
            .until_rows(ROWS)
            .and_then(|()| self.pass(event, Way::Sent, &run));
        let ended = run.ended();
        let sent = sent.map(|_| ());
        let handled = match ended.stderr.contains(NOTE) {
            true => "the run took it",
            false => "the run did not hear of it",
        };
        let result = match Path::new(&name).join("model.safetensors").exists() {
            true => "a result",
            false => "no result",
        };
        let exit = match ended.hung {
            true => format!("hung for {} s", HANGS.as_secs()),
            false => format!(
                "exit {:#x} after {} ms",
                ended.code,
                ended.after.as_millis()
            ),
        };
        format!(
            "{}, {}: {sent:?}; {handled}, {exit}, {result}, checkpoints {:?}",
            event.name(),
            Way::Sent.name(),
            ended.checkpoints
        )
    }

    /// Starts the program in a new console.
    fn start(&self, name: &str, args: &str, output: Output) -> Running {
        let mut command = match output {
            Output::Files => Command::new(&self.program),
            Output::Console | Output::ShieldedConsole => {
                let how = match output {
                    Output::ShieldedConsole => "shield",
                    _ => "show",
                };
                let mut command = Command::new(env::current_exe().unwrap());
                command.args([how, name]).arg(&self.program);
                command
            }
        };
        command.args(args.split_whitespace());
        if !args.contains("--resume") {
            command.args(["--out", name]);
        }
        let child = command
            // A program that reads data there waits, as long as the run is.
            .stdin(Stdio::piped())
            .stdout(File::create(format!("{name}.stdout")).unwrap())
            .stderr(File::create(format!("{name}.stderr")).unwrap())
            .creation_flags(CREATE_NEW_CONSOLE)
            .spawn()
            .unwrap();
        let program = match output {
            Output::Files => child.as_handle().try_clone_to_owned(),
            Output::Console | Output::ShieldedConsole => loop {
                if let Ok(id) = fs::read_to_string(format!("{name}.process")) {
                    break console::open(id.parse().unwrap());
                }
                thread::sleep(Duration::from_millis(2));
            },
        };
        Running {
            name: name.to_owned(),
            child,
            program: program.unwrap(),
        }
    }

    /// Passes an event to a run; gives its moment.
    fn pass(&self, event: Event, way: Way, run: &Running) -> Result<SystemTime> {
        match way {
            Way::Sent => {
                let sender = Command::new(env::current_exe().unwrap())
                    .args(["send", event.name(), &run.child.id().to_string()])
                    .output()
                    .unwrap();
                let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
                match text(&sender.stdout).parse() {
                    Ok(micros) => Ok(UNIX_EPOCH + Duration::from_micros(micros)),
                    Err(_) => Err(format!(
                        "the sender ended with {}{}",
                        sender.status,
                        text(&sender.stderr)
                    )),
                }
            }
            Way::Delivered => {
                let moment = SystemTime::now();
                let handler = console::deliver(event, &run.program)
                    .map_err(|error| format!("{}: {error}", event.name()))?;
                if event == Event::Close {
                    console::end_after(&handler, &run.program, CLOSING);
                }
                Ok(moment)
            }
        }
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Sent => "sent through the console",
            Way::Delivered => "delivered to the process",
        }
    }
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Output::Files => "output to files",
            Output::Console | Output::ShieldedConsole => "output to the console",
        }
    }

    fn short(self) -> &'static str {
        match self {
            Output::Files => "files",
            Output::Console | Output::ShieldedConsole => "console",
        }
    }
}

impl Running {
    /// Waits until there are so many rows of metrics.
    fn until_rows(&mut self, rows: usize) -> Result<()> {
        let file = Path::new(&self.name).join("metrics.jsonl");
        self.until("rows", || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            text.lines().count() >= rows
        })
    }

    fn until_said(&mut self, text: &str) -> Result<()> {
        let file = format!("{}.stdout", self.name);
        self.until(text, || {
            fs::read_to_string(&file).unwrap_or_default().contains(text)
        })
    }

    fn until(&mut self, what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_there() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > HANGS {
                return Err(format!("no {what} in {}: {ended:?}", self.name));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn ended(self) -> Ended {
        self.ended_since(SystemTime::now())
    }

    /// The end of the process, and the time to it from another process's moment.
    fn ended_since(mut self, moment: SystemTime) -> Ended {
        let begun = Instant::now();
        let mut hung = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if !hung && begun.elapsed() > HANGS {
                hung = true;
                self.child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(2));
        };
        let after = moment.elapsed().unwrap();
        let read = |kind| fs::read_to_string(format!("{}.{kind}", self.name)).unwrap();
        let checkpoints = fs::read_dir(Path::new(&self.name).join("checkpoints"));
        let mut checkpoints: Vec<String> = checkpoints
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        checkpoints.sort();
        Ended {
            // On Windows every process that has ended has a code.
            code: status.code().unwrap() as u32,
            hung,
            after,
            stdout: read("stdout"),
            stderr: read("stderr"),
            checkpoints,
        }
    }
}

impl Ended {
    fn must(&self, holds: bool, what: &str) -> Result<()> {
        match holds {
            true => Ok(()),
            false => Err(self.report(what)),
        }
    }

    fn report(&self, what: &str) -> String {
        format!(
            "it {what}? exit {:#x}{} after {} ms, checkpoints {:?}\n{}{}",
            self.code,
            if self.hung { ", killed," } else { "" },
            self.after.as_millis(),
            self.checkpoints,
            self.stdout,
            self.stderr
        )
    }
}

fn run() -> String {
    format!("train --device cpu --max-steps {STEPS} --cache-dir cache")
}

fn promised(event: Event) -> u32 {
    match event {
        Event::C | Event::Break => 130,
        Event::Close => 143,
    }
}

fn same_bytes(file: &str) -> Result<()> {
    let read = |path: &str| fs::read(path).map_err(|error| format!("{path}: {error}"));
    match read(file)? == read("whole/model.safetensors")? {
        true => Ok(()),
        false => Err(format!("{file} differs from whole/model.safetensors")),
    }
}
