//! A TCP connection that can be cut, or held.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;

/// Carries connections to an address, until it is cut or held and after it is mended. It ends with the test.
pub struct Cable {
    here: SocketAddr,
    wires: Arc<Wires>,
}

/// Which octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those of who connected.
    Forth,
    /// Those to who connected.
    Back,
}

#[derive(Default)]
struct Wires {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_forth_held: bool,
    is_back_held: bool,
    streams: Vec<TcpStream>,
}

impl Cable {
    /// Carries from a port of 127.0.0.1 to `there`.
    ///
    /// # Errors
    /// No port can be had.
    pub fn new(there: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let here = listener.local_addr()?;
        let wires = Arc::<Wires>::default();
        let carrying = Arc::clone(&wires);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A handshake needs both ways.
                carrying.wait(|state| state.is_forth_held || state.is_back_held);
                // Nobody may be there, or it was cut meanwhile: then it is closed.
                let _ = carry(&carrying, stream, there);
            }
        });
        Ok(Self { here, wires })
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.here
    }

    /// Closes all connections; new ones are closed at once.
    pub fn cut(&self) {
        let mut state = self.wires.lock();
        state.is_cut = true;
        for stream in state.streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Carries no octets of that way, as a filter that drops them: connections stay open, and what is sent waits.
    pub fn hold(&self, way: Way) {
        let mut state = self.wires.lock();
        match way {
            Way::Forth => state.is_forth_held = true,
            Way::Back => state.is_back_held = true,
        }
    }

    /// Carries again, what waited too.
    pub fn mend(&self) {
        let mut state = self.wires.lock();
        (state.is_cut, state.is_forth_held, state.is_back_held) = (false, false, false);
        drop(state);
        self.wires.changed.notify_all();
    }
}

impl Wires {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when something is not held.
    fn wait(&self, is_held: impl Fn(&State) -> bool) {
        drop(self.changed.wait_while(self.lock(), |state| is_held(state)));
    }
}

fn carry(wires: &Arc<Wires>, near: TcpStream, there: SocketAddr) -> io::Result<()> {
    let mut state = wires.lock();
    if state.is_cut {
        return Ok(());
    }
    let far = TcpStream::connect(there)?;
    let ways =
        [(near.try_clone()?, far.try_clone()?, Way::Forth), (far.try_clone()?, near.try_clone()?, Way::Back)];
    for (from, to, way) in ways {
        let wires = Arc::clone(wires);
        thread::spawn(move || copy(&wires, way, from, to));
    }
    state.streams.extend([near, far]);
    Ok(())
}

/// Copies until one side is closed, and closes both.
fn copy(wires: &Wires, way: Way, mut from: TcpStream, mut to: TcpStream) {
    let is_held = |state: &State| match way {
        Way::Forth => state.is_forth_held,
        Way::Back => state.is_back_held,
    };
    let mut buffer = [0; 16_384];
    loop {
        let read = from.read(&mut buffer);
        // That one side closed is held, too.
        wires.wait(is_held);
        match read {
            Ok(length @ 1..) if to.write_all(&buffer[..length]).is_ok() => {}
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
