//! A real PostgreSQL server for tests: a cluster of its own in a temporary folder, on loopback, ended by its process id.
//! Where PostgreSQL is not installed a test says so and passes, except with `CI=true`, where that is a failure.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

/// The password of the user `postgres`: with signs that URLs have to escape.
pub const PASSWORD: &str = "s3cr3t@/?:";
const ESCAPED: &str = "s3cr3t%40%2F%3F%3A";

pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
    databases: AtomicU32,
}

/// The server that all tests share which leave it as it is. It ends with the last of them.
pub fn shared() -> Option<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Server::start()?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// The folder with `initdb`, `postgres` and the others: behind `initdb` on the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter_map(|folder| folder.join("initdb").canonicalize().ok())
        .filter_map(|file| Some(file.parent()?.to_owned()))
        .collect();
    let mut packaged: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    packaged.sort();
    folders.extend(packaged.into_iter().rev());
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made, or as nobody.
fn user() -> Option<(u32, u32)> {
    if !getuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    ["postgres", "nobody"].iter().find_map(|name| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    })
}

fn command(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    command.current_dir("/").env_clear().env("LC_ALL", "C");
    if let Some((user, group)) = user() {
        command.uid(user).gid(group);
    }
    command
}

impl Server {
    /// A new cluster, or `None` with a note where PostgreSQL is not installed.
    pub fn start() -> Option<Server> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "PostgreSQL is needed with CI=true: `apt-get install postgresql`"
            );
            eprintln!("skipped: there is no `initdb` on the path or below /usr/lib/postgresql");
            return None;
        };
        let folder = tempfile::Builder::new()
            .prefix("automl-pg-")
            .tempdir()
            .unwrap();
        let words = folder.path().join("password");
        std::fs::write(&words, PASSWORD).unwrap();
        if let Some((user, group)) = user() {
            for path in [folder.path(), &words] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
            }
        }
        let made = command(&programs, "initdb")
            .args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
            ])
            .args(["--locale=C", "--no-sync"])
            .arg(format!("--pwfile={}", words.display()))
            .arg("-D")
            .arg(folder.path().join("data"))
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Free now; should another program take it before the server does, the server says so and the test fails.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Server {
            folder,
            programs,
            port,
            child: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        server.go();
        Some(server)
    }

    /// Starts the server process and waits until it listens.
    pub fn go(&self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let child = command(&self.programs, "postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", &format!("port={}", self.port)])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.folder.path().display()
            ))
            // A killed process loses nothing without it; only a machine that loses power would.
            .args(["-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let before = self.child.lock().unwrap().replace(child);
        assert!(before.is_none(), "the server runs already");
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.lock().unwrap().as_mut().unwrap().try_wait();
            assert!(
                ended.unwrap().is_none() && begun.elapsed() < Duration::from_secs(60),
                "the server does not start: {}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server process: in order, with its sessions cut, or like a crash.
    pub fn stop(&self, how: Signal) {
        let Some(mut child) = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            let _ = kill_process(pid, how);
        }
        let _ = child.wait();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database, for the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The same through another port of this machine.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://postgres:{ESCAPED}@127.0.0.1:{port}/{database}")
    }

    /// A new empty database's name.
    pub fn database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        let name = format!("test_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// A new empty database's URL.
    pub fn new_url(&self) -> String {
        self.url(&self.database())
    }

    /// Runs statements with a client that is not ours.
    pub fn sql(&self, database: &str, statements: &str) {
        self.client(database).batch_execute(statements).unwrap();
    }

    pub fn client(&self, database: &str) -> ::postgres::Client {
        use ::postgres::error::SqlState;
        let begun = Instant::now();
        loop {
            match ::postgres::Client::connect(&self.url(database), ::postgres::NoTls) {
                Ok(client) => return client,
                // It listens before it lets anybody in.
                Err(e) if e.code() == Some(&SqlState::CANNOT_CONNECT_NOW) => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "{e}");
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(e) => panic!("{e}: {:?}", e.as_db_error()),
            }
        }
    }

    /// Writes a file of the server's own, which only it may read, into its folder of data.
    pub fn configure(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join("data").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = user() {
            std::os::unix::fs::chown(&path, Some(user), Some(group)).unwrap();
        }
    }

    /// What a program of PostgreSQL's prints, as in `pg_dump`.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> String {
        let out = command(&self.programs, program)
            .args(args)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown, which does not wait for clients.
        self.stop(Signal::INT);
    }
}
