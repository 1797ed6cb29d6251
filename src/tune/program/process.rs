//! One process of a program: its lines, its last words, and its certain end.
//!
//! A process leads a group of its own, so that ending the group ends what it started as well, and so that Ctrl-C in a
//! terminal reaches us alone. Threads read its stdout and stderr, write its stdin and wait for its end, so nothing it
//! does or leaves undone can block a trial past its limit. It is reaped last, which keeps its number from naming another
//! process before.
//!
//! The [`Keeper`] knows all groups. Beside ours it runs one shell that reads from a pipe which groups live, and ends
//! them when that pipe closes: when we are killed and can do nothing any more.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Listener, ProgramError, WORKER_VARIABLE, memory};

/// The longest line that is kept.
const LINE: usize = 1 << 20;
/// How many lines wait at most; a program that prints faster than it is read waits itself.
const WAITING: usize = 256;
/// How many lines of stderr are kept for a message.
const WORDS: usize = 8;
/// How often the memory of a process is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the pipes of a process that ended may stay open: long enough to read what is in them.
const ECHO: Duration = Duration::from_secs(1);

/// What a process did next.
#[derive(Debug)]
pub(super) enum Next {
    /// It printed a line.
    Line(String),
    /// It printed a line of more than [`LINE`] bytes, which is lost.
    Overlong,
    /// It closed its stdout.
    Closed,
    /// It ended, and all it printed was read.
    Ended,
    /// It did nothing until the deadline.
    Silence,
    /// It and what it started hold more memory than they may.
    TooLarge,
}

enum Event {
    Line(String),
    Overlong,
    Closed,
    Ended,
}

/// A running process. Dropping it ends it and its group.
pub(super) struct Process {
    child: Child,
    group: u32,
    /// The memory that the group may hold, and when to look at it next.
    most: Option<(u64, Instant)>,
    input: Option<Sender<String>>,
    events: Receiver<Event>,
    closed: bool,
    /// When it was seen to have ended.
    ended: Option<Instant>,
    status: Option<ExitStatus>,
    /// Whether it ran until we ended it.
    by_us: bool,
    words: Arc<Mutex<VecDeque<String>>>,
    stderr: Option<JoinHandle<()>>,
    keeper: Arc<Keeper>,
}

impl Process {
    /// Starts the program `words[0]` with its arguments. Without `talks` its stdin is empty.
    pub(super) fn start(
        words: &[String],
        worker: usize,
        talks: bool,
        memory: Option<u64>,
        keeper: &Arc<Keeper>,
        listener: &Listener,
    ) -> Result<Self, ProgramError> {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env(WORKER_VARIABLE, worker.to_string())
            .stdin(if talks { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        in_own_group(&mut command);
        let mut child = keeper
            .start_child(&mut command)
            .map_err(|why| ProgramError::Start {
                program: words[0].clone(),
                why,
            })?;
        let group = child.id();
        let (sender, events) = mpsc::sync_channel(WAITING);
        let input = child.stdin.take().map(write_lines);
        if let Some(stdout) = child.stdout.take() {
            let sender = sender.clone();
            thread::spawn(move || read_events(stdout, &sender));
        }
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take().map(|stderr| {
            let (said, listener) = (Arc::clone(&said), Arc::clone(listener));
            thread::spawn(move || read_words(stderr, &said, &listener))
        });
        #[cfg(unix)]
        thread::spawn(move || {
            wait_without_reaping(group);
            let _ = sender.send(Event::Ended);
        });
        Ok(Process {
            child,
            group,
            most: memory.map(|most| (most, Instant::now())),
            input,
            events,
            closed: false,
            ended: None,
            status: None,
            by_us: false,
            words: said,
            stderr,
            keeper: Arc::clone(keeper),
        })
    }

    /// Writes a line to its stdin. That it does not read, or that it ended, is seen by [`Process::next`].
    pub(super) fn say(&self, line: &str) {
        if let Some(input) = &self.input {
            let _ = input.send(format!("{line}\n"));
        }
    }

    /// Closes its stdin.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Whether it runs and nothing that it printed waits to be read.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Waits for what it does next, no longer than `deadline`.
    pub(super) fn next(&mut self, deadline: Option<Instant>) -> Next {
        loop {
            if self.ended.is_some() && self.closed {
                return Next::Ended;
            }
            // One that never stops printing is past its limit as well.
            if self.ended.is_none() && deadline.is_some_and(|d| Instant::now() >= d) {
                return Next::Silence;
            }
            if self.ended.is_none() && self.is_too_large() {
                return Next::TooLarge;
            }
            let until = [
                self.ended.map(|at| at + ECHO),
                self.most.filter(|_| self.ended.is_none()).map(|(_, at)| at),
                deadline,
            ];
            let until = until.into_iter().flatten().min();
            let event = match until {
                None => self
                    .events
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.events.recv_timeout(left)
                }
            };
            match event {
                Ok(Event::Line(line)) => return Next::Line(line),
                Ok(Event::Overlong) => return Next::Overlong,
                Ok(Event::Closed) => {
                    self.closed = true;
                    if self.ended.is_none() {
                        return Next::Closed;
                    }
                }
                Ok(Event::Ended) => {
                    self.ended = Some(Instant::now());
                    // What it started holds the other ends of its pipes.
                    end_group(self.group);
                }
                // The deadline, or the time for another look at its memory.
                Err(RecvTimeoutError::Timeout) if self.ended.is_none() => {}
                // Its pipes are held by a process that left the group, or both threads are done.
                Err(_) => {
                    self.ended.get_or_insert_with(Instant::now);
                    self.closed = true;
                }
            }
        }
    }

    /// Whether it holds more memory than it may, as far as it is time to look.
    fn is_too_large(&mut self) -> bool {
        let now = Instant::now();
        let Some((most, at)) = self.most.as_mut().filter(|(_, at)| *at <= now) else {
            return false;
        };
        *at = now + LOOK;
        memory::of_group(self.group) > *most
    }

    /// Whether it ended and said that all went well. One that still runs is ended.
    pub(super) fn succeeded(&mut self) -> bool {
        self.await_end();
        self.end().is_some_and(|status| status.success())
    }

    /// Waits for the end of a process that closed its stdout, which is near in most cases.
    pub(super) fn await_end(&mut self) {
        let until = Instant::now() + ECHO;
        let over = |next| matches!(next, Next::Silence | Next::Ended | Next::TooLarge);
        while self.ended.is_none() && !over(self.next(Some(until))) {}
    }

    /// How it ended and the last it wrote to stderr. One that still runs is ended.
    pub(super) fn obituary(&mut self) -> String {
        if self.status.is_none() {
            self.await_end();
        }
        let how = match (self.end(), self.by_us) {
            (Some(status), false) => status.to_string(),
            _ => "it closed its stdout and did not end".to_owned(),
        };
        if let Some(reader) = self.stderr.take() {
            let until = Instant::now() + ECHO;
            while !reader.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let words = lock(&self.words);
        let last = words.iter().rev().find(|line| !line.trim().is_empty());
        match last {
            Some(last) => format!(
                "the program ended without an answer ({how}): {}",
                last.trim()
            ),
            None => format!("the program ended without an answer ({how})"),
        }
    }

    /// Ends the group and reaps the process, once.
    fn end(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.by_us = self.ended.is_none();
            self.close_input();
            end_group(self.group);
            // Where there are no groups.
            let _ = self.child.kill();
            self.keeper.forget(self.group);
            self.status = self.child.wait().ok();
        }
        self.status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is whole after every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_lines(mut stdin: ChildStdin) -> Sender<String> {
    let (sender, lines) = mpsc::channel::<String>();
    thread::spawn(move || {
        for line in lines {
            if stdin.write_all(line.as_bytes()).is_err() {
                break;
            }
        }
    });
    sender
}

/// Calls `each` with every line, `None` for one that is too long, until the end or until it says no.
fn read_lines(from: impl Read, mut each: impl FnMut(Option<String>) -> bool) {
    let mut from = BufReader::new(from);
    let (mut line, mut skipping) = (Vec::new(), false);
    loop {
        line.clear();
        let Ok(read) = from.by_ref().take(LINE as u64).read_until(b'\n', &mut line) else {
            return;
        };
        if read == 0 {
            return;
        }
        let whole = line.last() == Some(&b'\n') || read < LINE;
        if whole && !skipping {
            let text = String::from_utf8_lossy(&line);
            if !each(Some(text.trim_end_matches(['\n', '\r']).to_owned())) {
                return;
            }
        } else if !skipping && !each(None) {
            return;
        }
        skipping = !whole;
    }
}

fn read_events(stdout: impl Read, events: &SyncSender<Event>) {
    read_lines(stdout, |line| {
        let event = line.map_or(Event::Overlong, Event::Line);
        events.send(event).is_ok()
    });
    let _ = events.send(Event::Closed);
    // Where nobody waits for the end of the process.
    #[cfg(not(unix))]
    let _ = events.send(Event::Ended);
}

fn read_words(stderr: impl Read, said: &Mutex<VecDeque<String>>, listener: &Listener) {
    read_lines(stderr, |line| {
        let line = line.unwrap_or_else(|| "(a line of more than a megabyte)".to_owned());
        listener(&line);
        let mut said = lock(said);
        if said.len() == WORDS {
            said.pop_front();
        }
        said.push_back(line.chars().take(500).collect());
        true
    });
}

#[cfg(unix)]
fn in_own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
}

#[cfg(not(unix))]
fn in_own_group(_: &mut Command) {}

#[cfg(unix)]
fn pid(number: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(number).ok()?)
}

/// Kills all processes of a group. One that is gone is no error.
#[cfg(unix)]
fn end_group(group: u32) {
    if let Some(group) = pid(group) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn end_group(_: u32) {}

#[cfg(unix)]
fn wait_without_reaping(process: u32) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(process) = pid(process) else { return };
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(process), how) {}
}

/// Ends every process of a program at once; see [`super::Program::leash`].
#[derive(Clone)]
pub struct Leash(Arc<Keeper>);

impl Leash {
    pub(super) fn new(keeper: Arc<Keeper>) -> Self {
        Leash(keeper)
    }

    /// Ends all processes and lets no other begin.
    pub fn pull(&self) {
        let mut kept = lock(&self.0.kept);
        kept.over = true;
        for group in &kept.groups {
            end_group(*group);
        }
    }
}

/// Knows every group that lives; see the module.
pub(super) struct Keeper {
    kept: Mutex<Kept>,
}

struct Kept {
    groups: BTreeSet<u32>,
    over: bool,
    shell: Option<(Child, ChildStdin)>,
}

/// Reads `+ group` and `- group`; at the end of its stdin it kills the groups that are left.
#[cfg(unix)]
const WATCH: &str = "trap '' HUP INT TERM
live=
while read -r sign group; do
  if [ \"$sign\" = + ]; then
    live=\"$live $group\"
  else
    rest=
    for other in $live; do [ \"$other\" = \"$group\" ] || rest=\"$rest $other\"; done
    live=$rest
  fi
done
for group in $live; do kill -s KILL -- \"-$group\" 2> /dev/null; done";

impl Keeper {
    /// Starts the shell that outlives us. Where there is none, we are left without this last safeguard only.
    pub(super) fn start() -> Self {
        #[cfg(unix)]
        let shell = {
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", WATCH])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            in_own_group(&mut command);
            command.spawn().ok().and_then(|mut child| {
                let stdin = child.stdin.take()?;
                Some((child, stdin))
            })
        };
        #[cfg(not(unix))]
        let shell = None;
        Keeper {
            kept: Mutex::new(Kept {
                groups: BTreeSet::new(),
                over: false,
                shell,
            }),
        }
    }

    /// Starts a process and knows its group before anything else can happen here.
    fn start_child(&self, command: &mut Command) -> std::io::Result<Child> {
        let mut kept = lock(&self.kept);
        if kept.over {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        kept.groups.insert(child.id());
        kept.tell('+', child.id());
        Ok(child)
    }

    /// Before a process is reaped and its number may name another.
    fn forget(&self, group: u32) {
        let mut kept = lock(&self.kept);
        kept.groups.remove(&group);
        kept.tell('-', group);
    }
}

impl Kept {
    fn tell(&mut self, sign: char, group: u32) {
        if let Some((_, stdin)) = &mut self.shell {
            let _ = stdin.write_all(format!("{sign} {group}\n").as_bytes());
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some((mut child, stdin)) = self.shell.take() {
            drop(stdin);
            let _ = child.wait();
        }
    }
}
