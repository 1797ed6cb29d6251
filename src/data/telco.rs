//! The `telco` source: customers of a telephone company and whether they left, as published by IBM.
//!
//! The real file is used where it can be found; otherwise a generated one of the same shape ([`super::synthetic`]), under
//! another name, so that no record can confuse the two. [`fetch`] downloads the real one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fsio::{self, FileError};

use super::csv::{ReadOptions, read_dataset, read_dataset_bytes};
use super::error::DataError;
use super::synthetic;
use super::table::Dataset;

/// The environment variable that names a folder with `telco.csv`.
pub const FOLDER_VARIABLE: &str = "AUTOML_DATA_DIR";
/// Where the public file is.
pub const URL: &str = "https://raw.githubusercontent.com/IBM/telco-customer-churn-on-icp4d/master/data/Telco-Customer-Churn.csv";
/// sha256 of the public file.
pub const SHA256: &str = "16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91";
/// Where [`fetch`] puts the file unless told otherwise, and where [`resolve`] looks last.
pub const DEFAULT_PATH: &str = "data/telco.csv";
/// The public file has less than 1 MB; more is another file.
const MAX_BYTES: u64 = 8 << 20;

/// Where the data comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The generator.
    Synthetic,
}

/// Why the public file could not be downloaded. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server could not be reached, or answered something else than the file.
    #[error(
        "cannot download {url}: {source}; when offline, download it elsewhere and save it as `{}`", to.display()
    )]
    Download {
        /// The address.
        url: String,
        /// Where the file was to go.
        to: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes are not those of the public file.
    #[error(
        "{url} sent {bytes} bytes with sha256 {found}, not the expected {expected}; try again, or download it by hand \
         and name it with `--data PATH`"
    )]
    Hash {
        /// The address.
        url: String,
        /// How many bytes came.
        bytes: usize,
        /// Their hash.
        found: String,
        /// The hash of the public file.
        expected: String,
    },
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// How the file is read: `Churn` is the target, `Yes` is positive, `customerID` is dropped.
pub fn options() -> ReadOptions {
    ReadOptions {
        target: Some("Churn".to_owned()),
        positive: Some("Yes".to_owned()),
        drop: vec!["customerID".to_owned()],
        ..ReadOptions::default()
    }
}

/// Finds the file: `data` if given, else `telco.csv` in `folder` (from [`FOLDER_VARIABLE`]), else [`DEFAULT_PATH`] below
/// the working folder, else the generator.
///
/// # Errors
/// [`DataError::NoFile`] when `data` is given and does not exist.
pub fn resolve(data: Option<&Path>, folder: Option<&Path>) -> Result<Source, DataError> {
    resolve_below(Path::new(""), data, folder)
}

fn resolve_below(
    working: &Path,
    data: Option<&Path>,
    folder: Option<&Path>,
) -> Result<Source, DataError> {
    if let Some(path) = data {
        if !path.is_file() {
            return Err(DataError::NoFile {
                path: path.to_owned(),
                hint: format!(
                    "name the Telco file with `--data PATH`, download it with `automl data fetch telco`, \
                     or leave `--data` out to look in `${FOLDER_VARIABLE}` and `{DEFAULT_PATH}`"
                ),
            });
        }
        return Ok(Source::File(path.to_owned()));
    }
    let candidates = [
        folder.map(|f| f.join("telco.csv")),
        Some(working.join(DEFAULT_PATH)),
    ];
    let found = candidates.into_iter().flatten().find(|p| p.is_file());
    Ok(found.map_or(Source::Synthetic, Source::File))
}

/// Reads the source; the dataset is called `telco`, or `telco-synthetic` when generated.
///
/// # Errors
/// Whatever [`DataError`] names.
pub fn load(source: &Source, options: &ReadOptions) -> Result<Dataset, DataError> {
    match source {
        Source::File(path) => read_dataset(path, "telco", options),
        Source::Synthetic => read_dataset_bytes(
            &synthetic::telco(),
            "telco-synthetic",
            "telco-synthetic",
            options,
        ),
    }
}

/// Downloads the public file to `to`, creating its folder, and returns how many bytes it has. The file appears complete
/// and checked, or not at all.
///
/// # Errors
/// [`FetchError`]; nothing is written then.
pub fn fetch(to: &Path) -> Result<usize, FetchError> {
    fetch_from(URL, SHA256, to, Duration::from_secs(60))
}

fn fetch_from(url: &str, sha256: &str, to: &Path, limit: Duration) -> Result<usize, FetchError> {
    let bytes = download(url, limit).map_err(|source| FetchError::Download {
        url: url.to_owned(),
        to: to.to_owned(),
        source: Box::new(source),
    })?;
    let found = fsio::sha256(&bytes);
    if found != sha256 {
        return Err(FetchError::Hash {
            url: url.to_owned(),
            bytes: bytes.len(),
            found,
            expected: sha256.to_owned(),
        });
    }
    if let Some(folder) = to.parent().filter(|f| !f.as_os_str().is_empty()) {
        fsio::create_dir(folder)?;
    }
    fsio::replace(to, |out| out.write_all(&bytes))?;
    Ok(bytes.len())
}

/// The bytes at `url`; `limit` is for everything together.
fn download(url: &str, limit: Duration) -> Result<Vec<u8>, ureq::Error> {
    // Plain HTTP is only ever the loopback of the tests, where no proxy reaches.
    let secure = url.starts_with("https:");
    let agent = ureq::Agent::config_builder()
        .proxy(secure.then(ureq::Proxy::try_from_env).flatten())
        .timeout_global(Some(limit))
        .timeout_connect(Some(limit.min(Duration::from_secs(10))))
        .user_agent(concat!("automl/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let mut response = agent.get(url).call()?;
    response
        .body_mut()
        .with_config()
        .limit(MAX_BYTES)
        .read_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one request on loopback and returns the address.
    fn serve(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/telco.csv", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            // A client that has seen enough may have gone.
            let _ = stream.write_all(&answer);
        });
        url
    }

    fn ok(body: &[u8], length: usize) -> Vec<u8> {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn a_good_file_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("new/telco.csv");
        let url = serve(ok(b"a,b\n1,2\n", 8));
        let hash = fsio::sha256(b"a,b\n1,2\n");
        assert_eq!(fetch_from(&url, &hash, &to, LIMIT).unwrap(), 8);
        assert_eq!(fs::read(&to).unwrap(), b"a,b\n1,2\n");
    }

    #[test]
    fn a_bad_file_leaves_the_old_one_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("telco.csv");
        fs::write(&to, "old").unwrap();
        let hash = fsio::sha256(b"a,b\n1,2\n");
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/", listener.local_addr().unwrap())
        };
        let url = serve(ok(b"a,b\n1,3\n", 8));
        let message = fetch_from(&url, &hash, &to, LIMIT).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "{url} sent 8 bytes with sha256 {}, not the expected {hash}; try again, or download it by hand \
                 and name it with `--data PATH`",
                fsio::sha256(b"a,b\n1,3\n")
            )
        );
        for url in [
            serve(ok(b"a,b\n", 8)),
            serve(ok(b"a", MAX_BYTES as usize + 1)),
            serve(ok(
                &vec![b'a'; MAX_BYTES as usize + 1],
                MAX_BYTES as usize + 1,
            )),
            serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
            closed,
        ] {
            let error = fetch_from(&url, &hash, &to, LIMIT).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, FetchError::Download { .. }), "{message}");
            assert!(message.contains(&url), "{message}");
            assert!(
                message.contains("when offline, download it elsewhere and save it as"),
                "{message}"
            );
            assert!(message.contains("telco.csv`"), "{message}");
        }
        assert_eq!(fs::read(&to).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("telco.csv");
        let error = fetch_from(&url, SHA256, &to, Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, FetchError::Download { .. }));
        assert!(!to.exists());
    }

    #[test]
    fn the_order_of_places() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path();
        let (given, folder) = (here.join("mine.csv"), here.join("shared"));
        assert_eq!(
            resolve_below(here, None, Some(&folder)).unwrap(),
            Source::Synthetic
        );
        fs::create_dir_all(here.join("data")).unwrap();
        fs::write(here.join("data/telco.csv"), "").unwrap();
        assert_eq!(
            resolve_below(here, None, Some(&folder)).unwrap(),
            Source::File(here.join("data/telco.csv"))
        );
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("telco.csv"), "").unwrap();
        assert_eq!(
            resolve_below(here, None, Some(&folder)).unwrap(),
            Source::File(folder.join("telco.csv"))
        );
        let message = resolve_below(here, Some(&given), Some(&folder))
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(&format!(
            "there is no file `{}`; name the Telco file",
            given.display()
        )));
        fs::write(&given, "").unwrap();
        assert_eq!(
            resolve_below(here, Some(&given), Some(&folder)).unwrap(),
            Source::File(given)
        );
    }
}
