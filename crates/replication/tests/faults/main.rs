//! The journal over a disk that fails, fills up, and loses what was not synced when power goes.

mod compaction;
mod crash;
mod failed_sync;
mod full_disk;
mod memory;
mod model;
mod table;
mod wait;
