//! The routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};

/// Refreshes gauges that are read when scraped.
pub type Probe = Box<dyn Fn() + Send + Sync>;

/// The state behind the routes. Cloning copies a pointer.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    probes: Vec<Probe>,
    ready: AtomicBool,
}

impl Admin {
    /// Not ready yet.
    pub fn new(registry: Registry, probes: Vec<Probe>) -> Self {
        Self { inner: Arc::new(Inner { registry, probes, ready: AtomicBool::new(false) }) }
    }

    /// Says whether the server takes SIP requests.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Release);
    }

    /// Whether the server takes SIP requests.
    pub fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire)
    }

    /// The routes: `/metrics`, `/healthz`, `/readyz`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
    }

    /// Serves the routes until `shutdown` resolves.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        axum::serve(listener, self.router()).with_graceful_shutdown(shutdown).await
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    for probe in &admin.inner.probes {
        probe();
    }
    let mut families = admin.inner.registry.gather();
    families.extend(prometheus::gather());
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn fetch(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        text
    }

    #[tokio::test]
    async fn a_scrape_refreshes_probes_and_readiness_follows_the_server() {
        let registry = Registry::new();
        let gauge = prometheus::IntGauge::new("rollcall_test", "A gauge.").expect("valid");
        registry.register(Box::new(gauge.clone())).expect("registered");
        let admin = Admin::new(registry, vec![Box::new(move || gauge.set(7))]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let serving = admin.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });

        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        admin.set_ready(true);
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let text = fetch(address, "/metrics").await;
        assert!(text.contains("rollcall_test 7"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
