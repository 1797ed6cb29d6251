//! PostgreSQL through the crate `postgres`: connections that are opened when needed and again when lost, and
//! transactions that are tried again exactly when they certainly were not committed.

mod address;
mod cells;
mod fault;
mod sql;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::postgres::types::ToSql;
use ::postgres::{Client, Error, IsolationLevel, NoTls, Statement, Transaction};

use self::address::Address;
use self::cells::Decoded;
use self::fault::{Fault, NoConnection};
use super::tx::{Dialect, Session};
use super::{Arg, BUSY_SECONDS, DbError, Row, Tx};

/// Idle connections kept. A process whose calls follow one another has one.
const IDLE: usize = 4;

/// Prepared statements kept per connection; more than all rooms together have.
const STATEMENTS: usize = 256;

/// How often a transaction is run when others are in its way each time.
const ATTEMPTS: u32 = 12;

/// Rows fetched at once, which bounds the memory that a long result takes.
const ROWS: i32 = 2_000;

/// How a session behaves, whatever the server's settings are: a commit is on disk when it returns; nobody waits for a
/// lock, or keeps others waiting, for ever.
const SETTINGS: &str = "
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET lock_timeout = '30s';
SET idle_in_transaction_session_timeout = '60s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

pub(super) struct Postgres {
    address: Address,
    /// The URL without its password.
    path: PathBuf,
    patience: Duration,
    idle: Mutex<Vec<Link>>,
}

/// One connection.
struct Link {
    client: Client,
    /// By their text; looked up only.
    statements: HashMap<String, Statement>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    Read,
}

/// How one attempt at a transaction ended.
enum Attempt<R> {
    Done(R),
    /// Not committed, because of what is said.
    Again(Fault, String),
}

impl Postgres {
    /// Connects once, so that a wrong URL is told at once. A server that is just starting is waited for.
    pub fn open(url: &str) -> Result<Self, DbError> {
        let address = Address::read(url)?;
        let db = Postgres {
            path: address.shown().into(),
            address,
            patience: Duration::from_secs(BUSY_SECONDS),
            idle: Mutex::new(Vec::new()),
        };
        let mut waiting = Waiting::new(&db);
        let link = loop {
            match db.connect() {
                Ok(link) => break link,
                Err(NoConnection::Busy(what)) => waiting.lost(what)?,
                Err(NoConnection::Silent(what)) => {
                    return Err(DbError::NoServer {
                        path: db.path,
                        what,
                    });
                }
                Err(NoConnection::Never(error)) => return Err(error),
            }
        };
        db.keep(link);
        Ok(db)
    }

    pub fn with_patience(self, patience: Duration) -> Self {
        Postgres { patience, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write<T, E: From<DbError>>(&self, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.run(Mode::Write, &f)
    }

    pub fn read<T, E: From<DbError>>(&self, f: impl Fn(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        self.run(Mode::Read, &f)
    }

    fn run<T, E: From<DbError>>(
        &self,
        mode: Mode,
        f: &impl Fn(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut waiting = Waiting::new(self);
        loop {
            let idle = self.idle().pop();
            let mut link = match idle.map_or_else(|| self.connect(), Ok) {
                Ok(link) => link,
                Err(NoConnection::Busy(what) | NoConnection::Silent(what)) => {
                    waiting.lost(what)?;
                    continue;
                }
                Err(NoConnection::Never(error)) => return Err(error.into()),
            };
            match self.attempt(&mut link, mode, f) {
                Attempt::Done(out) => {
                    self.keep(link);
                    return out;
                }
                Attempt::Again(Fault::Lost, what) => {
                    // What broke one connection has mostly broken all.
                    let old = std::mem::take(&mut *self.idle());
                    drop(old);
                    waiting.lost(what)?;
                }
                Attempt::Again(_, what) => {
                    self.keep(link);
                    waiting.conflict(what)?;
                }
            }
        }
    }

    fn attempt<T, E: From<DbError>>(
        &self,
        link: &mut Link,
        mode: Mode,
        f: &impl Fn(&Tx<'_>) -> Result<T, E>,
    ) -> Attempt<Result<T, E>> {
        let begin = match mode {
            Mode::Write => link
                .client
                .build_transaction()
                .isolation_level(IsolationLevel::ReadCommitted),
            Mode::Read => link
                .client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true),
        };
        let tx = match begin.start() {
            Ok(tx) => tx,
            Err(e) => {
                return match Fault::of(&e) {
                    Fault::Refused => Attempt::Done(Err(fault::told(&e, &self.path).into())),
                    fault => Attempt::Again(fault, fault::text(&e)),
                };
            }
        };
        let session = Open {
            tx: RefCell::new(tx),
            statements: RefCell::new(&mut link.statements),
            path: &self.path,
            failed: RefCell::new(None),
        };
        let out = f(&Tx::new(&session));
        let Open { tx, failed, .. } = session;
        let tx = tx.into_inner();
        // A transaction that is dropped is rolled back. Its connection is not used again when that fails.
        match (failed.into_inner(), out) {
            (Some((fault @ (Fault::Lost | Fault::Conflict), what)), _) => {
                Attempt::Again(fault, what)
            }
            // The server would answer the commit by a rollback, and not call that an error.
            (Some((Fault::Refused, what)), Ok(_)) => Attempt::Done(Err(DbError::Refused {
                path: self.path.clone(),
                what: format!("a statement of the transaction failed before: {what}"),
            }
            .into())),
            (_, Err(e)) => Attempt::Done(Err(e)),
            (None, Ok(out)) if mode == Mode::Read => Attempt::Done(Ok(out)),
            (None, Ok(out)) => match tx.commit() {
                Ok(()) => Attempt::Done(Ok(out)),
                Err(e) => match Fault::of_commit(&e) {
                    None => Attempt::Done(Err(DbError::Unknown {
                        path: self.path.clone(),
                        what: fault::text(&e),
                    }
                    .into())),
                    Some(Fault::Refused) => Attempt::Done(Err(fault::told(&e, &self.path).into())),
                    Some(fault) => Attempt::Again(fault, fault::text(&e)),
                },
            },
        }
    }

    fn connect(&self) -> Result<Link, NoConnection> {
        let told = |e| NoConnection::of(&e, &self.path);
        let connected = match &self.address.encryption {
            Some(tls) => self.address.config.connect(tls.clone()),
            None => self.address.config.connect(NoTls),
        };
        let mut client = connected.map_err(told)?;
        client.batch_execute(SETTINGS).map_err(told)?;
        Ok(Link {
            client,
            statements: HashMap::new(),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        // Nothing that can panic runs under this lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, link: Link) {
        if link.client.is_closed() {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(link);
        }
    }
}

/// How long and how often one call has tried.
struct Waiting<'a> {
    db: &'a Postgres,
    /// Since when there is no connection, and how often it was tried since.
    lost: Option<(Instant, u32)>,
    conflicts: u32,
}

impl<'a> Waiting<'a> {
    fn new(db: &'a Postgres) -> Self {
        Waiting {
            db,
            lost: None,
            conflicts: 0,
        }
    }

    /// Waits before the next attempt at a connection; at first not at all, as an idle one may just have been old.
    fn lost(&mut self, what: String) -> Result<(), DbError> {
        let (since, times) = self.lost.get_or_insert((Instant::now(), 0));
        let waited = since.elapsed();
        if waited >= self.db.patience {
            return Err(DbError::Lost {
                path: self.db.path.clone(),
                seconds: waited.as_secs_f64(),
                what,
            });
        }
        *times += 1;
        if *times > 1 {
            let pause = Duration::from_millis(25) * 2_u32.pow((*times - 2).min(5)) + jitter(*times);
            std::thread::sleep(pause.min(self.db.patience - waited));
        }
        Ok(())
    }

    fn conflict(&mut self, what: String) -> Result<(), DbError> {
        self.conflicts += 1;
        if self.conflicts >= ATTEMPTS {
            return Err(DbError::Conflict {
                path: self.db.path.clone(),
                attempts: self.conflicts,
                what,
            });
        }
        let pause = Duration::from_millis(1) * 2_u32.pow(self.conflicts.min(8));
        std::thread::sleep(pause + jitter(self.conflicts));
        Ok(())
    }
}

/// Up to 16 ms that differ between processes, so that those which met once do not meet again and again.
fn jitter(turn: u32) -> Duration {
    let mixed = std::process::id()
        .wrapping_add(turn)
        .wrapping_mul(0x9e37_79b9);
    Duration::from_millis(u64::from(mixed >> 28))
}

/// An open transaction.
struct Open<'a> {
    tx: RefCell<Transaction<'a>>,
    statements: RefCell<&'a mut HashMap<String, Statement>>,
    path: &'a Path,
    /// The first failure, after which the server refuses everything.
    failed: RefCell<Option<(Fault, String)>>,
}

impl Open<'_> {
    fn failure(&self, error: &Error) -> DbError {
        let mut failed = self.failed.borrow_mut();
        if failed.is_none() {
            *failed = Some((Fault::of(error), fault::text(error)));
        }
        fault::told(error, self.path)
    }

    fn prepared(&self, sql: &str) -> Result<Statement, Error> {
        let mut statements = self.statements.borrow_mut();
        if let Some(statement) = statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.tx.borrow_mut().prepare(&sql::translated(sql))?;
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    fn try_each(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>) -> bool,
    ) -> Result<(), Error> {
        let statement = self.prepared(sql)?;
        let portal = self.tx.borrow_mut().bind(&statement, &params(args))?;
        loop {
            // Nothing is borrowed while `f` runs: it may ask for other rows.
            let rows = self.tx.borrow_mut().query_portal(&portal, ROWS)?;
            for row in &rows {
                if !f(&Row::new(&Decoded::new(row)?, self.path)) {
                    return Ok(());
                }
            }
            if rows.len() < ROWS as usize {
                return Ok(());
            }
        }
    }
}

fn params<'a>(args: &'a [Arg<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    args.iter().map(|arg| arg as &(dyn ToSql + Sync)).collect()
}

impl Session for Open<'_> {
    fn execute(&self, sql: &str, args: &[Arg<'_>]) -> Result<usize, DbError> {
        let changed = self
            .prepared(sql)
            .and_then(|s| self.tx.borrow_mut().execute(&s, &params(args)))
            .map_err(|e| self.failure(&e))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    fn batch(&self, sql: &str) -> Result<(), DbError> {
        let done = self.tx.borrow_mut().batch_execute(sql);
        done.map_err(|e| self.failure(&e))
    }

    fn each(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>) -> bool,
    ) -> Result<(), DbError> {
        self.try_each(sql, args, f).map_err(|e| self.failure(&e))
    }

    fn first(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        f: &mut dyn FnMut(&Row<'_>),
    ) -> Result<(), DbError> {
        let rows = self
            .prepared(sql)
            .and_then(|s| self.tx.borrow_mut().query(&s, &params(args)))
            .map_err(|e| self.failure(&e))?;
        if let Some(row) = rows.first() {
            let row = Decoded::new(row).map_err(|e| self.failure(&e))?;
            f(&Row::new(&row, self.path));
        }
        Ok(())
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }
}
