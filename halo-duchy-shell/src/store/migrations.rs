//! What all databases have in common about their schemas: numbered steps that are never edited once released, and the
//! number of the last one taken, in the table `SchemaMigrations`.

use std::error::Error;

/// Name and text of each step, in order; the number is the position, from 1.
pub(super) type Steps = [(&'static str, &'static str)];

/// Why a database does not have the schema of this program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A newer program has migrated the database.
    #[error("the database has schema version {found}, this program knows {known}")]
    Newer {
        /// The version of the database.
        found: i64,
        /// The last version known.
        known: i64,
    },
    /// The database has to be migrated first.
    #[error("the database has schema version {found}, this program needs {known}: migrate it first")]
    Older {
        /// The version of the database.
        found: i64,
        /// The last version known.
        known: i64,
    },
    /// An import into the database has not ended, or never will.
    #[error(
        "an import into the database is under way or broke off: if none is under way, make the database anew"
    )]
    Unfinished,
    /// A step failed. The database is as it was before it, but for Spanner, which keeps the statements that succeeded:
    /// they can be run again.
    #[error("schema version {version} ({name}) failed")]
    Step {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The version could not be read.
    #[error("cannot read the schema version")]
    Version(#[source] Box<dyn Error + Send + Sync>),
}

/// The schema of a database beside that of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The version of the database; 0 if this program has never seen it.
    pub found: i64,
    /// The version that this program needs.
    pub known: i64,
    /// The names of the steps that the database lacks, in order.
    pub missing: Vec<&'static str>,
}

/// The schema of a database of version `found`, which may be newer.
pub(super) fn schema(steps: &Steps, found: i64) -> Schema {
    let taken = usize::try_from(found).unwrap_or_default();
    Schema { found, known: known(steps), missing: steps.iter().skip(taken).map(|(name, _)| *name).collect() }
}

/// A step of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The version of a database that has taken it, from 1.
    pub(super) version: i64,
    /// What it does, in a word.
    pub(super) name: &'static str,
    /// Its statements.
    pub(super) sql: &'static str,
}

impl Step {
    /// Why it was not taken.
    pub(super) fn failed(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> MigrationError {
        MigrationError::Step { version: self.version, name: self.name, source: source.into() }
    }
}

/// Refuses a database of another version than the last one of `steps`.
pub(super) fn check(steps: &Steps, found: i64) -> Result<(), MigrationError> {
    match missing(steps, found)?.next() {
        None => Ok(()),
        Some(_) => Err(MigrationError::Older { found, known: known(steps) }),
    }
}

/// The steps that a database of the version `found` has not taken; a newer database is refused.
pub(super) fn missing(steps: &Steps, found: i64) -> Result<impl Iterator<Item = Step>, MigrationError> {
    let known = known(steps);
    if found > known {
        return Err(MigrationError::Newer { found, known });
    }
    let all = (1..).zip(steps).map(|(version, &(name, sql))| Step { version, name, sql });
    Ok(all.filter(move |step| step.version > found))
}

/// The number of the last step.
const fn known(steps: &Steps) -> i64 {
    steps.len() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [(&str, &str); 3] = [("one", "1"), ("two", "2"), ("three", "3")];

    #[test]
    fn the_steps_that_a_database_lacks_are_taken_in_order() {
        let names = |found| missing(&STEPS, found).expect("not newer").map(|step| (step.version, step.name));
        assert_eq!(names(0).collect::<Vec<_>>(), [(1, "one"), (2, "two"), (3, "three")]);
        assert_eq!(names(2).collect::<Vec<_>>(), [(3, "three")]);
        assert_eq!(names(3).count(), 0);
    }

    #[test]
    fn a_schema_is_shown_beside_the_program_s() {
        assert_eq!(schema(&STEPS, 1), Schema { found: 1, known: 3, missing: vec!["two", "three"] });
        assert_eq!(schema(&STEPS, 4), Schema { found: 4, known: 3, missing: Vec::new() });
    }

    #[test]
    fn only_the_version_of_the_program_is_accepted() {
        assert!(check(&STEPS, 3).is_ok());
        assert!(matches!(check(&STEPS, 2), Err(MigrationError::Older { found: 2, known: 3 })));
        assert!(matches!(check(&STEPS, 4), Err(MigrationError::Newer { found: 4, known: 3 })));
        assert!(matches!(missing(&STEPS, 4).err(), Some(MigrationError::Newer { found: 4, known: 3 })));
    }
}
