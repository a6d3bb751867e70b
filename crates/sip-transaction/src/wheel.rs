//! A hashed timer wheel: one per stripe of state.

use std::time::Instant;

/// Keys that become due. Insertion is O(1); nothing is cancelled: the owner ignores a key that is no longer meant.
#[derive(Debug)]
pub struct Wheel<K> {
    _keys: Vec<K>,
}

impl<K> Wheel<K> {
    /// An empty wheel that begins at `now`. Keys come due at most one tick (10 ms) late, never early.
    pub fn new(_now: Instant) -> Self {
        todo!()
    }
    /// Adds a key.
    pub fn insert(&mut self, _due: Instant, _key: K) {
        todo!()
    }
    /// Takes out all that is due, in order of time then insertion.
    pub fn advance(&mut self, _now: Instant, _due: impl FnMut(K)) {
        todo!()
    }
    /// The earliest time at which `advance` may find something; `None` if empty.
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// How many keys wait.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
