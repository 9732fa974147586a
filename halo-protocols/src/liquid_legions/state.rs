//! What a computation knows at one duchy, stage by stage.

use std::collections::BTreeSet;

use super::Setting;
use super::key_set::{CombinedKeys, Ring};
use crate::duchy_id::DuchyId;
use crate::proto::duchy::ElGamalKeyPair;

/// A computation that has just been created.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// What is fixed.
    pub setting: Setting,
    /// The key pair, if an earlier attempt made one: it is published again instead of another.
    pub local_key: Option<ElGamalKeyPair>,
}

/// A computation with a key pair of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// What is fixed.
    pub setting: Setting,
    /// This duchy's key pair, fresh for this computation.
    pub local_key: ElGamalKeyPair,
}

/// A computation that knows who takes part, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// What is fixed, and the key pair.
    pub keyed: Keyed,
    /// The participants in ring order.
    pub ring: Ring,
}

/// A computation whose participants and keys are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmed {
    /// What is fixed, the key pair and the participants.
    pub gathered: Gathered,
    /// The sums of the keys.
    pub keys: CombinedKeys,
    /// The reach, once the aggregator has estimated it.
    pub reach: Option<i64>,
}

/// An aggregator collecting the other duchies' registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Collecting {
    /// The computation so far.
    pub confirmed: Confirmed,
    /// Who has sent.
    pub received: BTreeSet<DuchyId>,
}

impl Confirmed {
    /// What is fixed.
    pub fn setting(&self) -> &Setting {
        &self.gathered.keyed.setting
    }
}

/// What is known, whatever the stage.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) setting: &'a Setting,
    pub(crate) local_key: Option<&'a ElGamalKeyPair>,
    pub(crate) ring: Option<&'a Ring>,
    pub(crate) keys: Option<&'a CombinedKeys>,
    pub(crate) reach: Option<i64>,
}

impl<'a> Known<'a> {
    /// Nothing but the setting is known.
    pub(crate) fn of(setting: &'a Setting) -> Self {
        Self { setting, local_key: None, ring: None, keys: None, reach: None }
    }
}

impl Created {
    pub(crate) fn known(&self) -> Known<'_> {
        Known { local_key: self.local_key.as_ref(), ..Known::of(&self.setting) }
    }
}

impl Keyed {
    pub(crate) fn known(&self) -> Known<'_> {
        Known { local_key: Some(&self.local_key), ..Known::of(&self.setting) }
    }
}

impl Gathered {
    pub(crate) fn known(&self) -> Known<'_> {
        Known { ring: Some(&self.ring), ..self.keyed.known() }
    }
}

impl Confirmed {
    pub(crate) fn known(&self) -> Known<'_> {
        Known { keys: Some(&self.keys), reach: self.reach, ..self.gathered.known() }
    }
}
