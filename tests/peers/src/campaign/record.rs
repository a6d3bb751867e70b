//! What an agent knows of one thing that it writes.

/// A value on the servers: what was acknowledged, and what may have become of requests without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Record<S> {
    acknowledged: S,
    /// What the request under way would make of it.
    under_way: Option<S>,
    /// What requests that were given up would have made of it since.
    doubtful: Vec<S>,
}

impl<S: Copy + PartialEq> Record<S> {
    pub(crate) fn new(acknowledged: S) -> Self {
        Self { acknowledged, under_way: None, doubtful: Vec::new() }
    }

    /// A request is sent.
    pub(crate) fn begin(&mut self, value: S) {
        self.under_way = Some(value);
    }

    /// It was acknowledged: what came before no longer matters.
    pub(crate) fn acknowledge(&mut self, value: S) {
        *self = Self::new(value);
    }

    /// It was given up: nobody knows whether it was done.
    pub(crate) fn give_up(&mut self) {
        self.doubtful.extend(self.under_way.take());
    }

    /// It was refused: it was not done.
    pub(crate) fn refuse(&mut self) {
        self.under_way = None;
    }

    /// A request that was given up was done after all, and after those that were acknowledged since.
    pub(crate) fn doubt(&mut self, value: S) {
        self.doubtful.push(value);
    }

    /// What was acknowledged last.
    pub(crate) fn acknowledged(&self) -> S {
        self.acknowledged
    }

    /// What it has to be, if that can be told.
    pub(crate) fn certain(&self) -> Option<S> {
        let is_certain = self.under_way.is_none() && self.doubtful.is_empty();
        is_certain.then_some(self.acknowledged)
    }

    /// Whether it may be that.
    pub(crate) fn may_be(&self, value: S) -> bool {
        self.acknowledged == value || self.under_way == Some(value) || self.doubtful.contains(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain() {
        let mut record = Record::new(0);
        record.begin(1);
        assert!(record.certain().is_none() && record.may_be(0) && record.may_be(1));
        record.give_up();
        record.begin(2);
        assert!(record.may_be(0) && record.may_be(1) && record.may_be(2));
        record.acknowledge(2);
        assert_eq!((record.certain(), record.may_be(1)), (Some(2), false));
        record.doubt(1);
        assert!(record.certain().is_none() && record.may_be(1));
        record.begin(3);
        record.refuse();
        assert!(!record.may_be(3));
    }
}
