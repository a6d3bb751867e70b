//! A server in the place of one half of a pair of repros, over their own wire: with a scripted repro, and with another
//! server. No repro is needed, and none is started: what it writes stands here as it was observed.

mod clusters;
mod heard;
mod keys;
mod pair;
mod scripted;
mod told;
