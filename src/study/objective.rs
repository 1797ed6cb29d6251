//! How an objective ends, and running it so that nothing it does takes the study down.
//!
//! An objective returns its value (or several), or a [`Stop`]: pruning is an outcome, not an error. A panic is
//! caught and becomes a failed trial with the panic's message and place; it is not printed, because it would
//! tear the progress bar and is recorded anyway.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::trial::Trial;

/// Why an objective ended without a value. Every ordinary error turns into [`Stop::Failed`] with `?`.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// The trial is not promising and was ended on purpose.
    Pruned,
    /// The trial ended in an error, told in these words.
    Failed(String),
}

impl Stop {
    /// A failed trial, told in these words.
    pub fn failed(why: impl Into<String>) -> Self {
        Stop::Failed(why.into())
    }
}

/// The error with its causes. (`Stop` is no `Error` itself, which is what allows this conversion.)
impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Transparent errors repeat what they wrap.
            if !text.ends_with(&message) {
                text += ": ";
                text += &message;
            }
            cause = error.source();
        }
        Stop::Failed(text)
    }
}

/// The values of one trial, one per direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(pub Vec<f64>);

impl From<f64> for Values {
    fn from(value: f64) -> Self {
        Values(vec![value])
    }
}

impl From<Vec<f64>> for Values {
    fn from(values: Vec<f64>) -> Self {
        Values(values)
    }
}

impl<const N: usize> From<[f64; N]> for Values {
    fn from(values: [f64; N]) -> Self {
        Values(values.to_vec())
    }
}

/// Runs `objective` on `trial`, panics included. Its time begins now, not while it waited for a thread.
pub(crate) fn run<F, R>(objective: &F, trial: &mut Trial) -> Result<Values, Stop>
where
    F: Fn(&mut Trial) -> Result<R, Stop>,
    R: Into<Values>,
{
    let Some(limit) = trial.limit.clone() else {
        return caught(objective, trial);
    };
    limit.reset();
    limit.part(|| caught(objective, trial))
}

fn caught<F, R>(objective: &F, trial: &mut Trial) -> Result<Values, Stop>
where
    F: Fn(&mut Trial) -> Result<R, Stop>,
    R: Into<Values>,
{
    quiet_panics();
    DEPTH.set(DEPTH.get() + 1);
    // The trial is read afterwards, but every call on it leaves it whole.
    let caught = panic::catch_unwind(AssertUnwindSafe(|| objective(trial).map(Into::into)));
    DEPTH.set(DEPTH.get() - 1);
    caught.unwrap_or_else(|payload| {
        let place = PLACE.take().map(|at| format!(" at {at}"));
        Err(Stop::Failed(format!(
            "panicked{}: {}",
            place.unwrap_or_default(),
            message(&*payload)
        )))
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

thread_local! {
    /// How many objectives run on this thread, one inside the other.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic of an objective on this thread was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Puts a hook before the process's panic hook, once. It keeps quiet inside an objective and hands every other
/// panic on to the hook that was there. A panic in a task that an objective spawned on another thread is still
/// printed, and fails the trial like any other.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return before(info);
            }
            let place = info
                .location()
                .map(|at| format!("{}:{}", at.file(), at.line()));
            PLACE.set(place);
        }));
    });
}
