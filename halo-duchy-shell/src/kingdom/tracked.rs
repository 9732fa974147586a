//! A map that knows what changed since it was last saved, and can go back to it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Deref;

/// A map of `V` by `K`. It is read as the [`BTreeMap`] inside; every way to change it remembers what was there before.
#[derive(Debug)]
pub struct Tracked<K, V> {
    entries: BTreeMap<K, V>,
    /// What was there when it was last saved, of the keys touched since.
    saved: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), saved: BTreeMap::new() }
    }
}

impl<K, V> Deref for Tracked<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.entries
    }
}

impl<K: Ord + Clone, V: Clone> Tracked<K, V> {
    /// A map that was saved as it is.
    pub fn saved(entries: BTreeMap<K, V>) -> Self {
        Self { entries, saved: BTreeMap::new() }
    }

    /// The value of `key`, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (known, value) = self.entries.get_key_value(key)?;
        if !self.saved.contains_key(key) {
            self.saved.insert(known.clone(), Some(value.clone()));
        }
        self.entries.get_mut(key)
    }

    /// Puts `value` in the place of what `key` has.
    pub fn insert(&mut self, key: K, value: V) {
        let before = self.entries.insert(key.clone(), value);
        self.saved.entry(key).or_insert(before);
    }

    /// Takes out what `key` has.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) = self.entries.remove_entry(key)?;
        self.saved.entry(key).or_insert_with(|| Some(value.clone()));
        Some(value)
    }

    /// Takes out what `unwanted` says.
    pub fn remove_if(&mut self, unwanted: impl Fn(&K, &V) -> bool) {
        let found = self.entries.iter().filter(|(key, value)| unwanted(key, value));
        for key in found.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.remove(&key);
        }
    }

    /// The keys touched since the last time, each with what it has now.
    pub fn changes(&self) -> impl Iterator<Item = (&K, Option<&V>)> {
        self.saved.keys().map(|key| (key, self.entries.get(key)))
    }

    /// What is there now counts as saved.
    pub fn commit(&mut self) {
        self.saved.clear();
    }

    /// Goes back to what was saved.
    pub fn roll_back(&mut self) {
        for (key, before) in std::mem::take(&mut self.saved) {
            match before {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }
}

impl<V: Clone> Tracked<u64, V> {
    /// Adds `value` behind the others; its key, from 1.
    pub fn push(&mut self, value: V) -> u64 {
        let key = self.entries.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
        self.insert(key, value);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Tracked<u64, &'static str> {
        Tracked::saved(BTreeMap::from([(1, "one"), (2, "two"), (3, "three")]))
    }

    #[test]
    fn changes_are_those_since_the_last_commit() {
        let mut map = map();
        assert_eq!(map.changes().count(), 0);
        *map.get_mut(&1).expect("present") = "uno";
        map.remove(&2);
        assert_eq!(map.push("four"), 4);
        let changes: Vec<_> = map.changes().collect();
        assert_eq!(changes, [(&1, Some(&"uno")), (&2, None), (&4, Some(&"four"))]);
        map.commit();
        assert_eq!(map.changes().count(), 0);
    }

    #[test]
    fn rolling_back_undoes_everything_since_the_last_commit() {
        let mut map = map();
        for value in ["uno", "un"] {
            *map.get_mut(&1).expect("present") = value;
        }
        map.remove(&2);
        map.insert(2, "deux");
        map.push("four");
        map.remove_if(|key, _| *key == 3);
        map.roll_back();
        assert_eq!(*map, BTreeMap::from([(1, "one"), (2, "two"), (3, "three")]));
        assert_eq!(map.changes().count(), 0);
    }
}
