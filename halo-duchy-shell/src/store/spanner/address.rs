//! Where a database is.

use std::fmt;
use std::str::FromStr;

/// A Cloud Spanner database, written `spanner://projects/PROJECT/instances/INSTANCE/databases/DATABASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpannerAddress {
    project: String,
    instance: String,
    database: String,
}

/// Text that names no Spanner database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It has another form.
    #[error("not of the form spanner://projects/PROJECT/instances/INSTANCE/databases/DATABASE: {0}")]
    Form(String),
    /// A name has characters or a length that Spanner does not allow.
    #[error("{what} {name:?}: {rule}")]
    Name {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
        /// What a name must be.
        rule: &'static str,
    },
}

impl SpannerAddress {
    /// From the three names.
    ///
    /// # Errors
    /// [`AddressError::Name`].
    pub fn new(project: &str, instance: &str, database: &str) -> Result<Self, AddressError> {
        // A project may have its domain before it: `example.com:project`.
        let rule = "1 to 100 lower-case letters, digits, and . : -";
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".:-".contains(c);
        check("project", project, rule, 1..=100, allowed)?;
        let rule = "2 to 64 lower-case letters, digits, and -";
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        check("instance", instance, rule, 2..=64, allowed)?;
        let rule = "2 to 30 lower-case letters, digits, and _ -";
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        check("database", database, rule, 2..=30, allowed)?;
        Ok(Self { project: project.into(), instance: instance.into(), database: database.into() })
    }

    /// The name by which Google's interface knows the database: the address without its scheme.
    pub fn resource_name(&self) -> String {
        format!("{}/databases/{}", self.instance_name(), self.database)
    }

    /// The name by which Google's interface knows the instance.
    pub(super) fn instance_name(&self) -> String {
        format!("{}/instances/{}", self.project_name(), self.instance)
    }

    /// The name by which Google's interface knows the project.
    pub(super) fn project_name(&self) -> String {
        format!("projects/{}", self.project)
    }

    /// The instance within its project.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// The database within its instance.
    pub(super) fn database(&self) -> &str {
        &self.database
    }
}

fn check(
    what: &'static str,
    name: &str,
    rule: &'static str,
    length: std::ops::RangeInclusive<usize>,
    allowed: impl Fn(char) -> bool,
) -> Result<(), AddressError> {
    if length.contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(AddressError::Name { what, name: name.into(), rule })
}

impl FromStr for SpannerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts: Vec<_> = text.strip_prefix("spanner://").unwrap_or_default().split('/').collect();
        match parts[..] {
            ["projects", project, "instances", instance, "databases", database] => {
                Self::new(project, instance, database)
            }
            _ => Err(AddressError::Form(text.to_owned())),
        }
    }
}

impl fmt::Display for SpannerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spanner://{}", self.resource_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in [
            "spanner://projects/p/instances/i1/databases/d1",
            "spanner://projects/example.com:halo-duchy/instances/duchy-1/databases/duchy_1-x",
        ] {
            let address: SpannerAddress = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
            assert_eq!(format!("spanner://{}", address.resource_name()), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let form = |text: &str| matches!(text.parse::<SpannerAddress>(), Err(AddressError::Form(_)));
        assert!(form(""));
        assert!(form("projects/p/instances/i1/databases/d1"));
        assert!(form("spanner://projects/p/instances/i1"));
        assert!(form("spanner://projects/p/instances/i1/databases/d1/"));
        let wrong = |text: &str| match text.parse::<SpannerAddress>() {
            Err(AddressError::Name { what, .. }) => what,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(wrong("spanner://projects//instances/i1/databases/d1"), "project");
        assert_eq!(wrong("spanner://projects/p/instances/I1/databases/d1"), "instance");
        assert_eq!(wrong("spanner://projects/p/instances/i1/databases/d"), "database");
        assert_eq!(wrong("spanner://projects/p/instances/i1/databases/d?x=1"), "database");
    }
}
