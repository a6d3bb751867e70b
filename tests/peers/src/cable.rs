//! A TCP connection that can be cut.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// Carries connections to an address, until it is cut and after it is mended. It ends with the test.
pub struct Cable {
    here: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    streams: Vec<TcpStream>,
}

impl Cable {
    /// Carries from `here`, a port of 127.0.0.1, to `there`.
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn new(here: u16, there: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, here))?;
        let here = listener.local_addr()?;
        let state = Arc::<Mutex<State>>::default();
        let carrying = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Nobody may be there, or it was cut meanwhile: then it is closed.
                let _ = carry(&carrying, stream, there);
            }
        });
        Ok(Self { here, state })
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.here
    }

    /// Closes all connections; new ones are closed at once.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cut = true;
        for stream in state.streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Carries connections again.
    pub fn mend(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_cut = false;
    }
}

fn carry(state: &Mutex<State>, near: TcpStream, there: SocketAddr) -> io::Result<()> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.is_cut {
        return Ok(());
    }
    let far = TcpStream::connect(there)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far.try_clone()?, near.try_clone()?)] {
        thread::spawn(move || copy(from, to));
    }
    state.streams.extend([near, far]);
    Ok(())
}

/// Copies until one side is closed, and closes both.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
