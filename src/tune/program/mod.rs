//! An objective that is a program of its own, in any language.
//!
//! Two modes, told apart by the command:
//! - A command with placeholders such as `{lr}` is run once per trial; its value is the last number that it prints.
//! - Any other command is started once per worker and speaks JSON lines on its stdin and stdout, one trial after the
//!   other; see `protocol` and `docs/objective-protocol.md`.
//!
//! **Contract.** Whatever a program does ends its own trial at most: a crash, silence past the limit, a line that is not
//! of the protocol and NaN are failed trials with a reason, and the next trial finds a fresh process. Every process runs
//! in a group of its own, and the whole group ends with its trial or with us, even if we are killed; see `process`.

pub mod memory;
mod placeholders;
mod process;
mod protocol;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::study::declared::Space;
use crate::study::{Stop, Trial};

use placeholders::{LastNumbers, Template};
use process::{Keeper, Next, Process};
use protocol::Said;

pub use process::Leash;

/// The environment variable with the worker's number, from 0: for programs that share out devices among workers.
pub const WORKER_VARIABLE: &str = "AUTOML_WORKER";

/// How long a worker may take to end after its stdin was closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a worker may take to end a trial that it was told to stop.
const PRUNED_WITHIN: Duration = Duration::from_secs(2);

/// Takes the lines that programs write to stderr.
pub type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// What can be wrong with a program before any trial runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// No command.
    #[error("name the program to run after `--`, as in `-- python3 objective.py`")]
    Empty,
    /// It cannot be started.
    #[error("cannot start `{program}`: {why}; is it installed, executable and on PATH?")]
    Start {
        /// The program.
        program: String,
        /// Why.
        why: std::io::Error,
    },
    /// A placeholder that is almost a parameter.
    #[error("`{{{typed}}}` in the command is not a parameter; did you mean `{{{likely}}}`?")]
    Placeholder {
        /// What was written.
        typed: String,
        /// What may have been meant.
        likely: String,
    },
}

/// What a trial may take. One that takes more fails, and its process is ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Time until the answer, the start of the process included.
    pub time: Option<Duration>,
    /// Resident memory of the program and all that it started, in bytes; looked at ten times a second.
    pub memory: Option<u64>,
}

/// A program that is an objective; see the [module](self).
pub struct Program {
    template: Template,
    limits: Limits,
    /// How many values a trial has.
    values: usize,
    keeper: Arc<Keeper>,
    listener: Listener,
    /// Workers that wait for a trial; each number is in here or in use.
    idle: Mutex<Vec<Slot>>,
}

/// The place of one worker.
struct Slot {
    number: usize,
    process: Option<Process>,
}

/// Why a worker gave no values, and whether its process can go on.
enum Failure {
    /// It said so itself.
    Told(Stop),
    /// Its process is of no use any more.
    Broken(Stop),
}

/// Why a question was not answered with values.
enum Lost {
    /// The process ended without a word to this trial.
    Unheard,
    For(Failure),
}

impl Program {
    /// Prepares `command` for trials of `space` with `values` values each, run by up to `workers` at once. A program that
    /// speaks the protocol is started here, so that one that cannot be started is known before the first trial.
    ///
    /// # Errors
    /// No command; a placeholder that is almost a parameter; a program that cannot be started.
    pub fn new(
        command: &[String],
        space: &Space,
        values: usize,
        workers: usize,
        limits: Limits,
        listener: Listener,
    ) -> Result<Self, ProgramError> {
        let template = Template::new(command, space)?;
        let keeper = Arc::new(Keeper::start());
        // The last one is taken first.
        let mut idle: Vec<Slot> = (0..workers.max(1))
            .rev()
            .map(|number| Slot {
                number,
                process: None,
            })
            .collect();
        let program = Program {
            template,
            limits,
            values,
            keeper,
            listener,
            idle: Mutex::new(Vec::new()),
        };
        if program.template.is_per_trial() {
            program.template.check_program()?;
        } else if let Some(first) = idle.last_mut() {
            first.process = Some(program.start(first.number)?);
        }
        *program.lock() = idle;
        Ok(program)
    }

    /// Whether the command is run once per trial.
    pub fn is_per_trial(&self) -> bool {
        self.template.is_per_trial()
    }

    /// Ends every process at once, from any thread.
    pub fn leash(&self) -> Leash {
        Leash::new(Arc::clone(&self.keeper))
    }

    /// Runs a trial whose parameters are drawn, as the objective of a study.
    ///
    /// # Errors
    /// Whatever goes wrong, told in words.
    pub fn run(&self, trial: &mut Trial) -> Result<Vec<f64>, Stop> {
        let deadline = self.limits.time.map(|limit| Instant::now() + limit);
        if self.template.is_per_trial() {
            return self.run_once(trial, deadline).map_err(Stop::Failed);
        }
        let mut slot = self.take();
        let outcome = self.converse(&mut slot, trial, deadline);
        if let Err(Failure::Broken(_)) = outcome {
            // Dropping a process ends it and all that it started.
            slot.process = None;
        }
        self.lock().push(slot);
        outcome.map_err(|failure| match failure {
            Failure::Told(stop) | Failure::Broken(stop) => stop,
        })
    }

    /// Lets idle workers end by themselves, which is what the end of their stdin asks for, and then ends them.
    pub fn finish(&self) {
        let until = Instant::now() + FAREWELL;
        let mut slots = std::mem::take(&mut *self.lock());
        let mut processes: Vec<Process> = slots.drain(..).filter_map(|s| s.process).collect();
        for process in &mut processes {
            process.close_input();
        }
        for process in &mut processes {
            while !matches!(
                process.next(Some(until)),
                Next::Ended | Next::Silence | Next::TooLarge
            ) {}
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        // Pushing and popping cannot leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Slot {
        // As many trials run at once as there are workers, so one is always there.
        self.lock().pop().unwrap_or(Slot {
            number: 0,
            process: None,
        })
    }

    fn start(&self, number: usize) -> Result<Process, ProgramError> {
        Process::start(
            self.template.words(),
            number,
            true,
            self.limits.memory,
            &self.keeper,
            &self.listener,
        )
    }

    /// One trial in the language of [`protocol`].
    fn converse(
        &self,
        slot: &mut Slot,
        trial: &mut Trial,
        deadline: Option<Instant>,
    ) -> Result<Vec<f64>, Failure> {
        // What was printed after the last answer belongs to no trial, and one cannot know what comes next.
        if slot.process.as_mut().is_some_and(|p| !p.is_quiet()) {
            slot.process = None;
        }
        loop {
            let used = slot.process.is_some();
            let process = match &mut slot.process {
                Some(process) => process,
                none => {
                    let started = self.start(slot.number);
                    none.insert(started.map_err(|e| Failure::Broken(Stop::failed(e.to_string())))?)
                }
            };
            match self.ask(process, trial, deadline) {
                // It answered an earlier trial, ended as a program ends that is done, and never saw this one.
                Err(Lost::Unheard) if used && process.succeeded() => slot.process = None,
                Err(Lost::Unheard) => {
                    return Err(Failure::Broken(Stop::Failed(process.obituary())));
                }
                Err(Lost::For(failure)) => return Err(failure),
                Ok(values) => return Ok(values),
            }
        }
    }

    fn ask(
        &self,
        process: &mut Process,
        trial: &mut Trial,
        mut deadline: Option<Instant>,
    ) -> Result<Vec<f64>, Lost> {
        let (number, seed) = (trial.number(), objective_seed(trial));
        process.say(&protocol::question(number, trial.params(), seed));
        let (mut heard, mut pruned) = (false, false);
        loop {
            let line = match process.next(deadline) {
                Next::Line(line) => Ok(line),
                Next::Overlong => {
                    Err("the program printed a line of more than a megabyte".to_owned())
                }
                Next::Closed | Next::Ended if !heard => return Err(Lost::Unheard),
                Next::Closed | Next::Ended => Err(process.obituary()),
                Next::Silence => Err(self.silence()),
                Next::TooLarge => Err(self.too_large()),
            };
            heard = true;
            let (said, whole) = match line.and_then(|line| protocol::parse(&line)) {
                Ok(Said::Report { step, value }) => {
                    trial.report(step, value);
                    if !pruned && trial.should_prune() {
                        pruned = true;
                        // A program that goes on all the same has nothing to say that counts.
                        let end = Instant::now() + PRUNED_WITHIN;
                        deadline = Some(deadline.map_or(end, |d| d.min(end)));
                    }
                    process.say(&protocol::verdict(pruned));
                    continue;
                }
                Ok(Said::Values {
                    values,
                    constraints,
                }) => match constraints.map_or(Ok(()), |c| trial.constrain(c)) {
                    Ok(()) => (Ok(values), true),
                    Err(why) => (Err(why.into()), true),
                },
                Ok(Said::Pruned) => (Err(Stop::Pruned), true),
                Ok(Said::Fail(why)) => (Err(Stop::Failed(why)), true),
                Err(why) => (Err(Stop::Failed(why)), false),
            };
            // Once it was told to stop, how it did so does not matter.
            let stop = match said {
                Ok(values) if !pruned => return Ok(values),
                Err(stop) if !pruned => stop,
                _ => Stop::Pruned,
            };
            return Err(Lost::For(if whole {
                Failure::Told(stop)
            } else {
                Failure::Broken(stop)
            }));
        }
    }

    /// One trial of a command with placeholders.
    fn run_once(&self, trial: &Trial, deadline: Option<Instant>) -> Result<Vec<f64>, String> {
        let slot = self.take();
        let outcome = self.run_words(&slot, trial, deadline);
        self.lock().push(slot);
        outcome
    }

    fn run_words(
        &self,
        slot: &Slot,
        trial: &Trial,
        deadline: Option<Instant>,
    ) -> Result<Vec<f64>, String> {
        let words = self
            .template
            .fill(trial.params(), trial.number(), objective_seed(trial));
        let mut process = Process::start(
            &words,
            slot.number,
            false,
            self.limits.memory,
            &self.keeper,
            &self.listener,
        )
        .map_err(|e| e.to_string())?;
        let mut numbers = LastNumbers::new(self.values);
        loop {
            match process.next(deadline) {
                Next::Line(line) => numbers.read(&line),
                Next::Overlong | Next::Closed => {}
                Next::Silence => return Err(self.silence()),
                Next::TooLarge => return Err(self.too_large()),
                Next::Ended => break,
            }
        }
        if !process.succeeded() {
            return Err(process.obituary());
        }
        numbers.values()
    }

    fn silence(&self) -> String {
        let limit = self.limits.time.unwrap_or_default().as_secs_f64();
        format!("no answer within {limit} s; the program was ended")
    }

    fn too_large(&self) -> String {
        let most = self.limits.memory.unwrap_or_default() as f64 / 1e6;
        format!("it held more than the limit of {most} MB of memory; the program was ended")
    }
}

/// A number for the program's own random decisions in `trial`, small enough for every language's generators.
pub fn objective_seed(trial: &Trial) -> u32 {
    (trial.seed().child("objective", 0).value() >> 32) as u32
}
