//! What a URL says about a server, and encryption when it asks for that.

use std::sync::Arc;
use std::time::Duration;

use ::postgres::config::{Host, SslMode};
use ::postgres::{Config, Error};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::{DbError, redacted};

pub(super) struct Address {
    pub config: Config,
    /// How to encrypt, when `sslmode=require` asks for it.
    pub encryption: Option<MakeRustlsConnect>,
}

impl Address {
    pub fn read(url: &str) -> Result<Address, DbError> {
        let wrong = |what: String| DbError::Url {
            url: redacted(url),
            what,
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("it does not begin with `postgres://`".to_owned()));
        }
        // Read as written, a part of such a password would count as the host or the database, and be shown.
        let login = url
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'));
        if login.is_some_and(|(login, _)| login.contains(['@', '/', '?', '#'])) {
            let what = "its user or password holds a sign that must be escaped: `%40` for `@`, `%2F` for `/`, `%3F` for \
                        `?`, `%23` for `#`";
            return Err(wrong(what.to_owned()));
        }
        let (plain, mode, authority) = without_encryption(url);
        let mut config: Config = plain.parse().map_err(|e: Error| {
            use std::error::Error as _;
            // The source names a setting, never its value.
            let source = e.source().map(ToString::to_string);
            wrong(source.unwrap_or_else(|| "it is not of this form".to_owned()))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("it names no host".to_owned()));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(wrong("it names no database".to_owned()));
        }
        let encryption = match mode {
            None | Some("disable" | "allow" | "prefer") => {
                config.ssl_mode(SslMode::Disable);
                None
            }
            // What libpq tells apart: here a certificate is always checked.
            Some("require" | "verify-ca" | "verify-full") => {
                config.ssl_mode(SslMode::Require);
                Some(encryption(authority).map_err(wrong)?)
            }
            Some(other) => {
                return Err(wrong(format!(
                    "`sslmode` is `{other}`, and not `disable` or `require`"
                )));
            }
        };
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        // A machine that vanished without a word is noticed after about a minute, not after the two hours of TCP.
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(60));
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_idle(Duration::from_secs(30));
            config.keepalives_interval(Duration::from_secs(10));
            config.keepalives_retries(3);
        }
        if config.get_application_name().is_none() {
            config.application_name("automl");
        }
        Ok(Address { config, encryption })
    }

    /// The URL without password and settings.
    pub fn shown(&self) -> String {
        let mut out = "postgres://".to_owned();
        if let Some(user) = self.config.get_user() {
            out.push_str(user);
            out.push('@');
        }
        let ports = self.config.get_ports();
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(i, host)| {
                let host = match host {
                    Host::Tcp(name) => name.clone(),
                    #[cfg(unix)]
                    Host::Unix(folder) => folder.display().to_string().replace('/', "%2F"),
                };
                match ports.get(i).or(ports.first()) {
                    Some(port) if *port != 5432 => format!("{host}:{port}"),
                    _ => host,
                }
            })
            .collect();
        out.push_str(&hosts.join(","));
        out.push('/');
        out.push_str(self.config.get_dbname().unwrap_or_default());
        out
    }
}

/// The URL without the settings of encryption, which the crate does not know all of; and the two that matter here.
fn without_encryption(url: &str) -> (String, Option<&str>, Option<&str>) {
    let Some((plain, settings)) = url.split_once('?') else {
        return (url.to_owned(), None, None);
    };
    let (mut mode, mut authority) = (None, None);
    let mut kept = Vec::new();
    for setting in settings.split('&') {
        match setting.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => authority = Some(value),
            _ => kept.push(setting),
        }
    }
    if kept.is_empty() {
        (plain.to_owned(), mode, authority)
    } else {
        (format!("{plain}?{}", kept.join("&")), mode, authority)
    }
}

/// TLS that trusts the authorities in a file of PEM, else those that browsers trust.
fn encryption(authority: Option<&str>) -> Result<MakeRustlsConnect, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let bad = |what: &dyn std::fmt::Display| {
                format!("the file `{file}` of `sslrootcert`: {what}")
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|e| bad(&e))? {
                roots
                    .add(certificate.map_err(|e| bad(&e))?)
                    .map_err(|e| bad(&e))?;
            }
            if roots.is_empty() {
                return Err(bad(&"no certificate in it"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_encryption_are_taken_out() {
        for (url, expected) in [
            ("postgres://h/d", ("postgres://h/d", None, None)),
            ("postgres://h/d?a=b", ("postgres://h/d?a=b", None, None)),
            (
                "postgres://h/d?sslmode=verify-full&a=b&sslrootcert=/x.pem",
                ("postgres://h/d?a=b", Some("verify-full"), Some("/x.pem")),
            ),
            (
                "postgres://h/d?sslmode=require",
                ("postgres://h/d", Some("require"), None),
            ),
        ] {
            let (plain, mode, authority) = without_encryption(url);
            assert_eq!((plain.as_str(), mode, authority), expected);
        }
    }

    #[test]
    fn passwords_that_are_not_escaped_are_refused_and_not_shown() {
        for url in [
            "postgres://me:s3@cr3t@h/d",
            "postgres://me:12/cr3t@h/d",
            "postgres://me:12?a=cr3t@h/d",
            "postgres://me:12#cr3t@h/d",
            "postgres://me:12/cr3t@h/d?password=cr3t@x",
        ] {
            let error = Address::read(url).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("`%40`"), "{error}");
            assert!(!format!("{error} {error:?}").contains("cr3t"), "{error:?}");
        }
    }

    #[test]
    fn a_url_is_shown_without_password_and_settings() {
        for (url, shown) in [
            (
                "postgresql://me:pw@h:5432/d?connect_timeout=3",
                "postgres://me@h/d",
            ),
            (
                "postgres://me:pw@h:6000,i:6001/d",
                "postgres://me@h:6000,i:6001/d",
            ),
            (
                "postgres://me@%2Ftmp/d?sslmode=require",
                "postgres://me@%2Ftmp/d",
            ),
        ] {
            assert_eq!(Address::read(url).unwrap().shown(), shown);
        }
    }
}
