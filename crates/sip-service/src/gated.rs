//! The future of a layer that may answer itself.

use std::pin::Pin;
use std::task::{Context, Poll};

/// The inner service's future, or an answer that the layer has at once. Neither is boxed.
#[derive(Debug)]
pub enum Gated<F, N> {
    /// Let through.
    Inner(F),
    /// Answered or refused here.
    Now(N),
}

impl<F: Future + Unpin, N: Future<Output = F::Output> + Unpin> Future for Gated<F, N> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.get_mut() {
            Self::Inner(future) => Pin::new(future).poll(cx),
            Self::Now(answer) => Pin::new(answer).poll(cx),
        }
    }
}
