//! Small damage to messages.

use proptest::prelude::*;
use proptest::sample::Index;

/// An edit of a message: a byte replaced, a piece cut out, or a piece repeated.
#[derive(Clone, Debug)]
pub enum Edit {
    Replace(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index),
}

impl Edit {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let range = |from: &Index, to: &Index, length: usize| {
            let (from, to) = (from.index(length), to.index(length));
            from.min(to)..from.max(to)
        };
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Replace(at, value) => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Self::Cut(from, to) => drop(bytes.drain(range(from, to, bytes.len()))),
            Self::Repeat(from, to) => {
                let range = range(from, to, bytes.len());
                let piece = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, piece);
            }
        }
    }
}

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        8 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Edit::Replace(at, value)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Edit::Cut(from, to)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Edit::Repeat(from, to)),
    ];
    proptest::collection::vec(edit, 1..4)
}
