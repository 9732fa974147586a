//! The random choices, and the comparison.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_duchy_shell::clock::{Clock, ManualClock, Timestamp};
use halo_duchy_shell::continuation_token::ContinuationToken;
use halo_duchy_shell::proto::internal::computation_details::CompletedReason;
use halo_duchy_shell::proto::internal::{ExternalRequisitionKey, RequisitionDetails, RequisitionEntry};
use halo_duchy_shell::proto::system::StreamActiveComputationsContinuationToken;
use halo_duchy_shell::protocol_stages::{Protocol, ProtocolStage};
use halo_duchy_shell::store::{
    Advance, Claim, Computation, Expired, Fulfillment, GivenBack, Guard, Lease, NewComputation, Stat, Store,
    StoreError,
};
use halo_protocols::proto::duchy::config::RoleInComputation;
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::expected::Model;
use super::stores;
use crate::fixture::{PARTS, details_of, step};

/// Names with what may be hard to store.
const WORDS: [&str; 6] = ["mill", "a b", "O'Brien", "\"quoted\"\n", "ключ", "🦀/%\\"];
/// Computations at once, about.
const COMPUTATIONS: usize = 12;

/// One task: what it has done, and what should have come of it.
pub struct Walk {
    protocol: Protocol,
    seed: u64,
    rng: ChaCha20Rng,
    clock: Arc<ManualClock>,
    stores: [Arc<dyn Store>; 2],
    model: Model,
    token: Option<i64>,
    steps: u32,
    /// How often an operation did what it was asked, and how many stages were entered.
    done: u32,
    entered: BTreeSet<ProtocolStageNumber>,
}

type ProtocolStageNumber = i32;

impl Walk {
    pub fn new(protocol: Protocol, seed: u64, clock: Arc<ManualClock>, stores: [Arc<dyn Store>; 2]) -> Self {
        let stream = seed.wrapping_mul(3).wrapping_add(protocol.number() as u64);
        Self {
            protocol,
            seed,
            rng: ChaCha20Rng::seed_from_u64(stream),
            clock,
            stores,
            model: Model::default(),
            token: None,
            steps: 0,
            done: 0,
            entered: BTreeSet::new(),
        }
    }

    /// Goes on in another database, which should have the same rows.
    pub async fn move_to(&mut self, address: &halo_duchy_shell::store::StoreAddress) {
        self.stores = stores(address, &self.clock).await;
    }

    /// The walk has been worth it: it came through several stages, and many operations were legal.
    pub fn assert_far(&self) {
        let Self { protocol, entered, done, steps, seed, .. } = self;
        assert!(entered.len() >= 3, "STORE_MODEL_SEED={seed}: {protocol:?} entered {entered:?} only");
        assert!(done * 4 > *steps, "STORE_MODEL_SEED={seed}: {protocol:?} did {done} of {steps} only");
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.rng.next_u64() % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn word(&mut self) -> String {
        let word = self.below(WORDS.len());
        WORDS[word].to_owned()
    }

    fn millis(&mut self, limit: usize) -> Duration {
        Duration::from_millis(self.below(limit) as u64)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// One of the two handles.
    fn store(&mut self) -> Arc<dyn Store> {
        let index = self.below(2);
        Arc::clone(&self.stores[index])
    }

    fn global_id(&mut self, number: usize) -> String {
        // Global ids have no other characters.
        format!("c-{}-{number}", self.protocol.number())
    }

    fn key(&mut self, number: usize) -> ExternalRequisitionKey {
        let id = format!("r-{}-{}", self.protocol.number(), number / 2);
        ExternalRequisitionKey {
            external_requisition_id: id,
            requisition_fingerprint: vec![number as u8 % 2; 32],
        }
    }

    /// A computation of the model.
    fn any(&mut self) -> Option<Computation> {
        let index = self.below(self.model.kept.len());
        self.model.kept.get(index).map(|kept| kept.computation.clone())
    }

    /// Mostly the one that the store will accept.
    fn guard(&mut self, computation: &Computation) -> Guard {
        let mut guard = computation.guard();
        match self.below(16) {
            0 => guard.version -= 1,
            1 => guard.owner = Some(self.word()),
            2 => guard.local_id ^= 1,
            _ => {}
        }
        guard
    }

    /// A key of the computation, of another one, or of none.
    fn any_key(&mut self, computation: &Computation) -> ExternalRequisitionKey {
        let index = self.below(computation.requisitions.len());
        match computation.requisitions.get(index).and_then(|own| own.external_key.clone()) {
            Some(key) if !self.one_in(6) => key,
            _ => {
                let number = self.below(60);
                self.key(number)
            }
        }
    }

    fn agree<T: PartialEq + Debug>(
        &mut self,
        operation: &dyn Debug,
        found: Result<T, StoreError>,
        expected: Result<T, StoreError>,
    ) -> Option<T> {
        let agreed = match (&found, &expected) {
            (Ok(found), Ok(expected)) => found == expected,
            (Err(found), Err(expected)) => found.to_string() == expected.to_string(),
            _ => false,
        };
        let Self { seed, steps, protocol, .. } = self;
        assert!(
            agreed,
            "STORE_MODEL_SEED={seed}: {protocol:?}, step {steps}: {operation:?}\n the store: {found:?}\n the model: {expected:?}"
        );
        let found = found.ok();
        self.done += u32::from(found.is_some());
        found
    }

    /// Takes one step.
    pub async fn step(&mut self) {
        self.steps += 1;
        match self.below(20) {
            0 => self.clock.set(Timestamp::from_millis(self.now().millis() - 3)),
            1..5 => {
                let time = self.millis(20_000);
                self.clock.advance(time);
            }
            _ => self.clock.advance(Duration::from_millis(1)),
        }
        if self.model.kept.len() < 3 {
            return self.create().await;
        }
        match self.below(100) {
            0..8 if self.model.kept.len() < COMPUTATIONS => self.create().await,
            0..10 => self.read().await,
            10..28 => self.claim().await,
            28..34 => self.extend().await,
            34..39 => self.update_details().await,
            39..59 => self.record_output().await,
            59..66 => self.record_fulfillment().await,
            66..84 => self.advance().await,
            84..87 => self.finish().await,
            87..91 => self.enqueue().await,
            91..95 => self.record_stat().await,
            95..97 => self.continuation_token().await,
            97..98 => self.delete().await,
            _ => self.list().await,
        }
    }

    /// Compares everything.
    pub async fn check(&mut self) {
        let all: Vec<_> = self.protocol.stages().collect();
        let ids = self.store().ids_in_stages(&all).await;
        let expected = Ok(self.model.ids_in_stages(&all));
        self.agree(&"all ids", ids, expected);
        for kept in self.model.kept.clone() {
            let Computation { local_id, global_id, .. } = kept.computation;
            let found = self.store().get(&global_id).await;
            self.agree(&global_id, found, self.model.get(&global_id));
            let paths = self.store().blob_paths(local_id).await.map(BTreeSet::from_iter);
            let expected = Ok(self.model.blob_paths(local_id));
            self.agree(&"blob paths", paths, expected);
        }
    }

    async fn create(&mut self) {
        let parts: Vec<_> = PARTS.into_iter().filter(|(protocol, _)| *protocol == self.protocol).collect();
        let (protocol, role): (Protocol, RoleInComputation) = parts[self.below(parts.len())];
        let number = self.below(200);
        let mut requisitions = Vec::new();
        for _ in 0..self.below(4) {
            let number = self.below(60);
            let nonce_hash = self.word().into_bytes();
            let value = RequisitionDetails { nonce_hash, ..Default::default() };
            requisitions.push(RequisitionEntry { key: Some(self.key(number)), value: Some(value) });
        }
        // Of several that exist, the store may name any.
        let taken = |entry: &&RequisitionEntry| {
            let key = entry.key.clone().unwrap_or_default();
            self.model.kept.iter().any(|kept| {
                kept.computation.requisitions.iter().any(|own| own.external_key.as_ref() == Some(&key))
            })
        };
        let repeats = requisitions.iter().map(|entry| &entry.key).collect::<Vec<_>>();
        let distinct = (1..repeats.len()).all(|n| !repeats[..n].contains(&repeats[n]));
        let known = requisitions.iter().filter(taken).count();
        if known + usize::from(!distinct) > 1 || (known > 0 && !self.one_in(4)) {
            requisitions.clear();
        }
        let global_id = self.global_id(number);
        let details = details_of(protocol, role);
        let new = NewComputation { protocol, global_id, details, requisitions };
        let found = self.store().create(new.clone()).await;
        let now = self.now();
        let expected = self.model.create(new.clone(), now);
        let local_id = found.as_ref().map_or(0, |created| created.local_id);
        let known = self.model.kept.iter().any(|kept| kept.computation.local_id == local_id);
        assert!(local_id >= 0 && !known || found.is_err(), "{local_id} is a new id");
        let expected = expected.map(|created| Computation { local_id, ..created });
        if let (Ok(_), Some(created)) = (&expected, self.model.kept.last_mut()) {
            created.computation.local_id = local_id;
        }
        self.agree(&new, found, expected);
    }

    async fn read(&mut self) {
        let number = self.below(200);
        let global_id = match self.any() {
            Some(known) if !self.one_in(4) => known.global_id,
            _ => self.global_id(number),
        };
        let found = self.store().get(&global_id).await;
        self.agree(&global_id, found, self.model.get(&global_id));
        let key = self.key(number % 60);
        let found = self.store().get_by_requisition(&key).await;
        let expected = self.model.get_by_requisition(&key);
        self.agree(&key, found, expected);
    }

    async fn claim(&mut self) {
        let stages: Vec<_> = self.protocol.stages().collect();
        let prioritized = (0..self.below(3)).map(|_| stages[self.below(stages.len())]).collect();
        let (owner, duration) = (self.word(), self.millis(60_000));
        let claim = Claim { protocol: self.protocol, owner, duration, prioritized };
        let found = self.store().claim(claim.clone()).await;
        let now = self.now();
        let expected = Ok(self.model.claim(&claim, now));
        self.agree(&claim, found, expected);
    }

    async fn extend(&mut self) {
        let Some(Computation { local_id, stage, attempt, lock_owner, .. }) = self.any() else { return };
        let owner = match lock_owner {
            Some(owner) if !self.one_in(6) => owner,
            _ => self.word(),
        };
        let attempt = attempt - i32::from(self.one_in(8));
        let lease = Lease { local_id, stage, attempt, owner };
        let duration = self.millis(60_000);
        let found = self.store().extend(&lease, duration).await;
        let now = self.now();
        let expected = self.model.extend(&lease, duration, now);
        self.agree(&lease, found, expected);
    }

    async fn update_details(&mut self) {
        let Some(computation) = self.any() else { return };
        let guard = self.guard(&computation);
        let mut details = computation.details.clone();
        details.kingdom_computation.get_or_insert_default().public_api_version = self.word();
        let mut updates = Vec::<RequisitionEntry>::new();
        for _ in 0..self.below(3) {
            let key = Some(self.any_key(&computation));
            if updates.iter().all(|update| update.key != key) {
                let value = RequisitionDetails { nonce: self.rng.next_u64(), ..Default::default() };
                updates.push(RequisitionEntry { key, value: Some(value) });
            }
        }
        let found = self.store().update_details(&guard, details.clone(), updates.clone()).await;
        let now = self.now();
        let expected = self.model.update_details(&guard, details, updates.clone(), now);
        self.agree(&(guard, updates), found, expected);
    }

    async fn record_output(&mut self) {
        let Some(computation) = self.any() else { return };
        let guard = self.guard(&computation);
        let beyond = usize::from(self.one_in(8));
        let blob_id = self.below(computation.blobs.len() + beyond) as i64;
        let again = self.one_in(8);
        let path = match again {
            true => "again".to_owned(),
            false => format!("{}/{}", computation.stage.name(), self.word()),
        };
        let found = self.store().record_output(&guard, blob_id, &path).await;
        let now = self.now();
        let expected = self.model.record_output(&guard, blob_id, &path, now);
        self.agree(&(guard, blob_id, path), found, expected);
    }

    async fn record_fulfillment(&mut self) {
        let Some(computation) = self.any() else { return };
        let key = self.any_key(&computation);
        let local_id = computation.local_id ^ i64::from(self.one_in(10));
        let path = format!("{}/{}", key.external_requisition_id, self.word());
        let fulfillment = Fulfillment { path, public_api_version: self.word(), protocol: None };
        let found = self.store().record_fulfillment(local_id, &key, fulfillment.clone()).await;
        let expected = self.model.record_fulfillment(local_id, &key, fulfillment.clone());
        self.agree(&(local_id, key, fulfillment), found, expected);
    }

    async fn advance(&mut self) {
        let Some(computation) = self.any() else { return };
        let guard = self.guard(&computation);
        let right = computation.stage.next(&computation.details).expect("matching details");
        let stages: Vec<ProtocolStage> = self.protocol.stages().collect();
        let next = match right {
            Some(next) if !self.one_in(10) => next,
            _ => stages[self.below(stages.len())],
        };
        // A stage of another role, and the last one, have no slots.
        if next.output_slots(&computation.details).is_err() || next.details(&computation.details).is_err() {
            return;
        }
        let mut advance: Advance = step(&computation, next);
        advance.outputs += usize::from(self.one_in(20));
        if self.one_in(6) {
            advance.pass_through.push(self.word());
        }
        let found = self.store().advance(&guard, advance.clone()).await;
        let now = self.now();
        let expected = self.model.advance(&guard, &advance, now);
        if let Some(entered) = self.agree(&(guard, advance), found, expected) {
            self.entered.insert(entered.stage.number());
        }
    }

    async fn finish(&mut self) {
        let Some(computation) = self.any() else { return };
        let guard = self.guard(&computation);
        let reasons = [CompletedReason::Succeeded, CompletedReason::Failed, CompletedReason::Canceled];
        let reason = reasons[self.below(reasons.len())];
        let found = self.store().finish(&guard, reason, "").await;
        let now = self.now();
        let expected = self.model.finish(&guard, reason, now);
        self.agree(&(guard, reason), found, expected);
    }

    async fn enqueue(&mut self) {
        let Some(computation) = self.any() else { return };
        let guard = self.guard(&computation);
        let owner = match &computation.lock_owner {
            Some(owner) if !self.one_in(6) => owner.clone(),
            _ => self.word(),
        };
        let delay = self.millis(30_000);
        let found = self.store().enqueue(&guard, &owner, delay, GivenBack::Failed("")).await;
        let now = self.now();
        let expected = self.model.enqueue(&guard, &owner, delay, now);
        self.agree(&(guard, owner, delay), found, expected);
    }

    async fn record_stat(&mut self) {
        let Some(Computation { local_id, stage, attempt, .. }) = self.any() else { return };
        let attempt = attempt + i32::from(self.one_in(6));
        let value = self.rng.next_u64().cast_signed();
        let stat = Stat { local_id, stage, attempt, name: self.word(), value };
        let found = self.store().record_stat(stat.clone()).await;
        let expected = self.model.record_stat(&stat);
        self.agree(&stat, found, expected);
    }

    /// There is one token in a store: the task of one protocol has it.
    async fn continuation_token(&mut self) {
        if self.protocol != Protocol::LiquidLegionsV2 {
            return;
        }
        let seconds = self.token.unwrap_or(100) + self.below(8) as i64 - 3;
        let token = |seconds: i64| {
            let message = StreamActiveComputationsContinuationToken {
                last_seen_update_time: Some(prost_types::Timestamp { seconds, nanos: 5 }),
                last_seen_external_computation_id: 7,
            };
            ContinuationToken::parse(&URL_SAFE_NO_PAD.encode(message.encode_to_vec())).expect("a token")
        };
        let older = self.token.is_some_and(|kept| seconds < kept);
        let found = self.store().set_continuation_token(&token(seconds)).await;
        let expected = if older { Err(StoreError::ContinuationTokenOutdated) } else { Ok(()) };
        if self.agree(&seconds, found, expected).is_some() {
            self.token = Some(seconds);
        }
        let found = self.store().continuation_token().await;
        let expected = Ok(self.token.map(token));
        self.agree(&"the token", found, expected);
    }

    async fn delete(&mut self) {
        let Some(computation) = self.any() else { return };
        let local_id = computation.local_id ^ i64::from(self.one_in(4));
        let found = self.store().delete(local_id).await;
        let expected = Ok(self.model.delete(local_id));
        self.agree(&local_id, found, expected);
    }

    async fn list(&mut self) {
        let stages: Vec<_> =
            self.protocol.stages().filter(|_| self.rng.next_u64().is_multiple_of(2)).collect();
        let found = self.store().ids_in_stages(&stages).await;
        let expected = Ok(self.model.ids_in_stages(&stages));
        self.agree(&stages, found, expected);
        let Some(computation) = self.any() else { return };
        let expired = Expired {
            stages: vec![self.protocol.terminal_stage()],
            updated_before: Timestamp::from_millis(self.now().millis() - self.below(30_000) as i64),
            after: if self.one_in(2) { computation.local_id } else { 0 },
            limit: self.below(4) as u32 + 1,
        };
        let found = self.store().expired(&expired).await;
        let expected = Ok(self.model.expired(&expired));
        self.agree(&expired, found, expected);
        let paths = self.store().blob_paths(computation.local_id).await.map(BTreeSet::from_iter);
        let expected = Ok(self.model.blob_paths(computation.local_id));
        self.agree(&computation.local_id, paths, expected);
    }
}
