//! Upstream's flags for a PostgreSQL database, as an address.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use percent_encoding::utf8_percent_encode;
use zeroize::Zeroizing;

use super::CliError;
use crate::config::parse_duration;
use crate::store::{RESERVED, RESERVED_IN_VALUES};

const SECRET_NAME: &str = "--postgres-credential-secret-name";

/// Upstream's way to name a PostgreSQL database.
#[derive(Args, Clone, Debug)]
pub(super) struct PostgresOptions {
    /// Name of the duchy's PostgreSQL database: upstream's way to say what --store says.
    #[arg(long, value_name = "DATABASE", requires = "postgres_host")]
    postgres_database: Option<String>,
    /// Host of its server. Another machine must have a certificate for this name (TLS, verify-full).
    #[arg(long, value_name = "HOST", requires = "postgres_database")]
    postgres_host: Option<String>,
    /// Port of its server. Default: 5432.
    #[arg(long, value_name = "PORT", requires = "postgres_database",
        value_parser = clap::value_parser!(u16).range(1..))]
    postgres_port: Option<u16>,
    /// The user there.
    #[arg(
        long,
        value_name = "USER",
        requires = "postgres_database",
        conflicts_with = "postgres_credential_secret_name"
    )]
    postgres_user: Option<String>,
    /// The user's password, which everybody on this machine can read in the list of processes: put it into a file.
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "postgres_user",
        conflicts_with = "postgres_password_file"
    )]
    postgres_password: Option<Hidden>,
    /// File of the user's password. It is read again for every connection.
    #[arg(long, value_name = "FILE", requires = "postgres_user")]
    postgres_password_file: Option<PathBuf>,
    /// Secret in AWS Secrets Manager with the user and the password: a JSON object with username and password, as
    /// Amazon RDS makes it. The user is read at the start, the password for every connection.
    #[arg(long, value_name = "NAME", requires_all = ["postgres_database", "postgres_region"])]
    postgres_credential_secret_name: Option<String>,
    /// Its region.
    #[arg(long, value_name = "REGION", requires = "postgres_credential_secret_name")]
    postgres_region: Option<String>,
    /// Certificates of the authorities by one of which the server's certificate must be, in PEM, such as those of Amazon
    /// RDS. Default: this machine's.
    #[arg(long, value_name = "FILE", requires = "postgres_database")]
    postgres_root_certificates: Option<PathBuf>,
    /// How long the server works on one statement. Default, and 0s: 30 seconds.
    #[arg(long, value_name = "DURATION", requires = "postgres_database", value_parser = parse_duration)]
    statement_timeout: Option<Duration>,
}

/// Text that is not shown.
#[derive(Clone)]
struct Hidden(Zeroizing<String>);

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hidden").finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// The address of the database; `None` if these flags name none.
    pub(super) async fn address(&self) -> Result<Option<Zeroizing<String>>, CliError> {
        let (Some(host), Some(database)) = (&self.postgres_host, &self.postgres_database) else {
            return Ok(None);
        };
        let encoded = |name: &str| Zeroizing::new(utf8_percent_encode(name, RESERVED).to_string());
        let user = self.user().await?;
        let password = self.postgres_password.as_ref().map(|password| format!(":{}", *encoded(&password.0)));
        let password = Zeroizing::new(password.unwrap_or_default());
        let region = self.postgres_region.as_deref().unwrap_or_default();
        // An IPv6 address has brackets in an address.
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
        let port = self.postgres_port.unwrap_or(5432);
        let parameters = [
            ("password_file", self.postgres_password_file.as_ref().map(|path| path.display().to_string())),
            (
                "password_secret",
                self.postgres_credential_secret_name.as_ref().map(|name| format!("{region}/{name}")),
            ),
            ("sslrootcert", self.postgres_root_certificates.as_ref().map(|path| path.display().to_string())),
            (
                "statement_timeout",
                self.statement_timeout
                    .filter(|timeout| !timeout.is_zero())
                    .map(|timeout| format!("{}ms", timeout.as_millis())),
            ),
        ];
        let parameters: Vec<_> = parameters
            .into_iter()
            .filter_map(|(name, value)| {
                Some(format!("{name}={}", utf8_percent_encode(&value?, RESERVED_IN_VALUES)))
            })
            .collect();
        let separator = if parameters.is_empty() { "" } else { "?" };
        Ok(Some(Zeroizing::new(format!(
            "postgres://{}{}@{host}:{port}/{}{separator}{}",
            *encoded(&user),
            *password,
            *encoded(database),
            parameters.join("&"),
        ))))
    }

    /// Who the process is there.
    async fn user(&self) -> Result<String, CliError> {
        match (&self.postgres_credential_secret_name, &self.postgres_user) {
            (Some(secret), _) => {
                user_of_secret(self.postgres_region.as_deref().unwrap_or_default(), secret).await
            }
            (None, Some(user)) => Ok(user.clone()),
            (None, None) => {
                let why = format!("who is it? {SECRET_NAME} would say so too");
                Err(CliError::flag("--postgres-user", why))
            }
        }
    }
}

#[cfg(feature = "aws-secrets")]
async fn user_of_secret(region: &str, secret: &str) -> Result<String, CliError> {
    Ok(crate::aws_secrets::database_user(region, secret).await?.username)
}

#[cfg(not(feature = "aws-secrets"))]
async fn user_of_secret(_: &str, _: &str) -> Result<String, CliError> {
    let why = "this program was built without AWS Secrets Manager: build it with the feature aws-secrets";
    Err(CliError::flag(SECRET_NAME, why))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        postgres: PostgresOptions,
    }

    fn parsed(flags: &[&str]) -> Result<PostgresOptions, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"test").chain(flags)).map(|cli| cli.postgres)
    }

    async fn address(flags: &[&str]) -> Option<String> {
        let options = parsed(flags).expect("flags");
        options.address().await.expect("an address").map(|address| address.to_string())
    }

    const PLACE: [&str; 2] = ["--postgres-host=db.example.com", "--postgres-database=duchy"];

    #[tokio::test]
    async fn upstreams_flags_are_an_address() {
        assert_eq!(address(&[]).await, None);
        let plain =
            [&PLACE[..], &["--postgres-user=me", "--postgres-port=6543", "--statement-timeout=0s"]].concat();
        assert_eq!(address(&plain).await.as_deref(), Some("postgres://me@db.example.com:6543/duchy"));
        let odd = [
            "--postgres-host=::1",
            "--postgres-database=a b",
            "--postgres-user=o'me@x",
            "--postgres-password=p:@/?&=%",
            "--postgres-root-certificates=/etc/rds.pem",
            "--statement-timeout=1m30s",
        ];
        let expected = "postgres://o%27me%40x:p%3A%40%2F%3F%26%3D%25@[::1]:5432/a%20b\
            ?sslrootcert=/etc/rds.pem&statement_timeout=90000ms";
        assert_eq!(address(&odd).await.as_deref(), Some(expected));
        #[cfg(feature = "postgres")]
        assert!(
            expected.parse::<crate::store::StoreAddress>().is_ok(),
            "a slash in a password is none of the address's"
        );
        let file =
            [&PLACE[..], &["--postgres-user=me", "--postgres-password-file=/run/db password"]].concat();
        let expected = "postgres://me@db.example.com:5432/duchy?password_file=/run/db%20password";
        assert_eq!(address(&file).await.as_deref(), Some(expected));
    }

    #[test]
    fn a_password_is_not_shown() {
        let options = parsed(&[&PLACE[..], &["--postgres-user=me", "--postgres-password=hunter2"]].concat());
        assert!(!format!("{:?}", options.expect("flags")).contains("hunter2"));
    }

    #[tokio::test]
    async fn flags_that_contradict_one_another_are_named() {
        for (flags, named) in [
            (&["--postgres-host=h"][..], "--postgres-database"),
            (&["--postgres-database=d"], "--postgres-host"),
            (&["--postgres-user=u"], "--postgres-database"),
            (&["--postgres-password=p"], "--postgres-user"),
            (&["--postgres-region=r"], "--postgres-credential-secret-name"),
            (&["--statement-timeout=1s"], "--postgres-database"),
            (&[PLACE[0], PLACE[1], "--postgres-credential-secret-name=s"], "--postgres-region"),
            (
                &[PLACE[0], PLACE[1], "--postgres-user=u", "--postgres-credential-secret-name=s"],
                "--postgres-user",
            ),
            (
                &[
                    PLACE[0],
                    PLACE[1],
                    "--postgres-user=u",
                    "--postgres-password=p",
                    "--postgres-password-file=f",
                ],
                "--postgres-password-file",
            ),
        ] {
            let error = parsed(flags).expect_err("refused").to_string();
            assert!(error.contains(named), "{flags:?}: {error}");
        }
        let error = parsed(&PLACE).expect("flags").address().await.expect_err("nobody");
        assert!(error.report().starts_with("--postgres-user: "), "{}", error.report());
    }
}
