//! The password of a database, and where it comes from.

use std::fmt;
use std::path::PathBuf;

use subtle::ConstantTimeEq;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

/// More than any password has.
const LONGEST: u64 = 4096;

/// A password. It is wiped when dropped; the copy that the client library takes is not.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

/// Where a password comes from. It is looked up for each connection, so that it can be changed while processes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// There is none: the server knows the user otherwise.
    None,
    /// From the address itself.
    Given(Password),
    /// A file, whose last line break does not count.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A secret in AWS Secrets Manager, as [`aws_secrets`](crate::aws_secrets) reads it.
    #[cfg(feature = "aws-secrets")]
    Secret {
        /// The region that it is in.
        region: String,
        /// Its name or ARN.
        name: String,
    },
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("cannot read the password in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing in the file, or too much.
    #[error("{path} does not hold a password: 1 to {LONGEST} bytes")]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// The variable is not set, or empty.
    #[error("the variable {0} holds no password")]
    Unset(String),
    /// The secret cannot be read.
    #[cfg(feature = "aws-secrets")]
    #[error("cannot read the password in the secret {name}")]
    Secret {
        /// Its name or ARN.
        name: String,
        /// Why not.
        #[source]
        source: crate::aws_secrets::SecretError,
    },
}

impl Password {
    /// From its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PasswordSource {
    /// The password as it is now.
    pub(super) async fn read(&self) -> Result<Option<Password>, PasswordError> {
        match self {
            Self::None => Ok(None),
            Self::Given(password) => Ok(Some(password.clone())),
            Self::File(path) => {
                let bytes =
                    read(path).await.map_err(|source| PasswordError::Read { path: path.clone(), source })?;
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                if text.is_empty() || bytes.len() as u64 > LONGEST {
                    return Err(PasswordError::Length { path: path.clone() });
                }
                Ok(Some(Password::new(text)))
            }
            Self::Variable(name) => match std::env::var_os(name).filter(|value| !value.is_empty()) {
                Some(value) => Ok(Some(Password::new(value.into_encoded_bytes()))),
                None => Err(PasswordError::Unset(name.clone())),
            },
            #[cfg(feature = "aws-secrets")]
            Self::Secret { region, name } => match crate::aws_secrets::database_user(region, name).await {
                Ok(user) => Ok(Some(Password::new(user.password.as_bytes()))),
                Err(source) => Err(PasswordError::Secret { name: name.clone(), source }),
            },
        }
    }
}

/// The file, or one byte more than a password may have.
async fn read(path: &PathBuf) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    tokio::fs::File::open(path).await?.take(LONGEST + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

#[cfg(test)]
mod tests {
    use super::*;

    async fn in_file(bytes: &[u8]) -> Result<Option<Password>, PasswordError> {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("password");
        std::fs::write(&path, bytes).expect("a file");
        PasswordSource::File(path).read().await
    }

    #[tokio::test]
    async fn a_file_is_read_without_its_last_line_break() {
        for text in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(in_file(text.as_bytes()).await.expect("a password"), Some(Password::new("secret")));
        }
        let kept = in_file(b" a\nb \n").await.expect("a password");
        assert_eq!(kept, Some(Password::new(" a\nb ")));
    }

    #[tokio::test]
    async fn a_file_without_a_password_is_refused() {
        for bytes in [&b""[..], b"\n", b"\r\n", &[b'x'; LONGEST as usize + 1]] {
            let refused = in_file(bytes).await;
            assert!(matches!(refused, Err(PasswordError::Length { .. })), "{refused:?}");
        }
        let missing = PasswordSource::File("/nonexistent/password".into()).read().await;
        assert!(matches!(missing, Err(PasswordError::Read { .. })), "{missing:?}");
    }

    #[tokio::test]
    async fn a_variable_holds_it_or_is_refused() {
        // Cargo sets this one for its tests.
        let name = "CARGO_MANIFEST_DIR";
        let found = PasswordSource::Variable(name.into()).read().await.expect("a password");
        assert_eq!(found, Some(Password::new(env!("CARGO_MANIFEST_DIR"))));
        let unset = PasswordSource::Variable("HALO_NO_SUCH_VARIABLE".into()).read().await;
        assert!(matches!(unset, Err(PasswordError::Unset(_))), "{unset:?}");
    }

    #[test]
    fn it_is_not_shown() {
        assert!(!format!("{:?}", PasswordSource::Given(Password::new("secret"))).contains("secret"));
    }
}
