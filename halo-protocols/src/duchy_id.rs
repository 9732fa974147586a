//! [`DuchyId`]: the name of a duchy.

use std::fmt;

/// The external id of a duchy, such as `worker1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuchyId(String);

impl DuchyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for DuchyId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for DuchyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
