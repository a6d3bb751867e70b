//! The future of a feature: its answer, now or when what it depends on is on the disk.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::Answered;

/// An answer that is there, which nearly all are, or one that is waited for.
pub enum Answer<E> {
    /// There; `None` once it was taken.
    Now(Option<Result<Answered, E>>),
    /// Waited for.
    Later(Pin<Box<dyn Future<Output = Result<Answered, E>> + Send>>),
}

impl<E> Answer<E> {
    /// An answer that is there.
    pub const fn now(answer: Result<Answered, E>) -> Self {
        Self::Now(Some(answer))
    }

    /// An answer that is waited for.
    pub fn later(answer: impl Future<Output = Result<Answered, E>> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }

    /// The answer, if it is there.
    pub fn into_now(self) -> Option<Result<Answered, E>> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(_) => None,
        }
    }

    /// The same with the error as one of the caller's.
    pub fn map_err<F: From<E>>(self) -> Answer<F>
    where
        E: 'static,
    {
        match self {
            Self::Now(answer) => Answer::Now(answer.map(|answer| answer.map_err(F::from))),
            Self::Later(answer) => Answer::later(async move { answer.await.map_err(F::from) }),
        }
    }
}

impl<E: Unpin> Future for Answer<E> {
    type Output = Result<Answered, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(answer) => match answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending, // polled again after it was ready
            },
            Self::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

impl<E> std::fmt::Debug for Answer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(_) => f.write_str("Now"),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}
