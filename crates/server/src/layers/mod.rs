//! The layers of the stack that are about no feature: counting, admission, errors as responses.

mod admission;
mod count;
mod limiter;
mod rescue;

pub use admission::AdmissionError;
pub(crate) use admission::{Admission, Gate};
pub(crate) use count::Count;
pub(crate) use limiter::SourceLimiter;
pub(crate) use rescue::RescueErrors;
