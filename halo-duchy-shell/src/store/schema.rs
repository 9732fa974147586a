//! Which schema a database has.

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

impl Schema {
    /// Of a database of version `found`, by the names of all steps.
    pub(super) fn of(found: i64, steps: impl IntoIterator<Item = &'static str>) -> Self {
        let steps: Vec<_> = (1..).zip(steps).collect();
        let known = steps.len() as i64;
        let missing = steps.into_iter().filter(|(version, _)| *version > found).map(|(_, name)| name);
        Self { found, known, missing: missing.collect() }
    }
}
