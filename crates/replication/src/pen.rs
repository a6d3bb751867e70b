//! What writes a journal that has no thread.

use std::sync::Arc;

use crate::Journal;
use crate::writer::Writer;

/// Writes a journal whenever it is told to, for whoever has the time in hand: a simulation. Nothing is written without it.
pub struct Pen {
    journal: Arc<Journal>,
    writer: Writer,
}

impl Pen {
    pub(crate) fn new(journal: Arc<Journal>, writer: Writer) -> Self {
        Self { journal, writer }
    }

    /// Does what the thread of a journal does when it is called, if there is anything to do.
    pub fn write(&mut self) {
        while self.journal.is_called() {
            self.writer.step(&self.journal);
        }
    }
}

/// Nobody waits in vain for what is not written any more.
impl Drop for Pen {
    fn drop(&mut self) {
        self.journal.end();
    }
}
