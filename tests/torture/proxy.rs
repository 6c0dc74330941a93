//! A byte-exact proxy in front of a server: it lets so many bytes of one direction of the first connection through, and
//! then does something unkind. Later connections pass unharmed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Which bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the program to the server.
    Up,
    /// From the server to the program.
    Down,
}

/// What happens after the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Both connections are closed.
    Cut,
    /// The program's connection is reset, the server's closed.
    Reset,
    /// No more bytes in this direction; the other one goes on.
    HalfClose,
    /// Nothing for this long, then on.
    Stall(Duration),
}

/// The proxy. It ends with the value.
pub struct Proxy {
    port: u16,
    counters: Arc<Counters>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
}

/// Where and how the first connection is harmed; `None` only counts.
pub type Plan = Option<(Side, u64, Harm)>;

impl Proxy {
    /// In front of a server's Unix socket.
    pub fn start(socket: PathBuf, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (counters, over) = (Arc::new(Counters::default()), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (Arc::clone(&counters), Arc::clone(&over));
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let Ok(client) = client else { continue };
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let plan = plan.filter(|_| number == 0);
                let counters = if number == 0 { Arc::clone(&counted) } else { Arc::default() };
                if let Ok(server) = UnixStream::connect(&socket) {
                    relay(client, server, plan, &counters);
                }
            }
        });
        Self { port, counters, over }
    }

    /// The URL of a database through the proxy.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Bytes of the first connection so far.
    pub fn bytes(&self, side: Side) -> u64 {
        match side {
            Side::Up => self.counters.up.load(Ordering::SeqCst),
            Side::Down => self.counters.down.load(Ordering::SeqCst),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// Both ends of a relayed connection.
struct Ends {
    client: TcpStream,
    server: UnixStream,
    /// The client is to see a reset, so nothing may end its connection in order.
    reset: AtomicBool,
}

fn relay(client: TcpStream, server: UnixStream, plan: Plan, counters: &Arc<Counters>) {
    client.set_nodelay(true).ok();
    let ends = Arc::new(Ends { client, server, reset: AtomicBool::new(false) });
    for side in [Side::Up, Side::Down] {
        let limit = plan.filter(|(planned, ..)| *planned == side).map(|(_, bytes, harm)| (bytes, harm));
        let (ends, counters) = (Arc::clone(&ends), Arc::clone(counters));
        std::thread::spawn(move || match side {
            Side::Up => ends.pump(&ends.client, &ends.server, &counters.up, limit, side),
            Side::Down => ends.pump(&ends.server, &ends.client, &counters.down, limit, side),
        });
    }
}

impl Ends {
    fn pump(
        &self,
        mut from: impl Read,
        mut to: impl Write,
        counter: &AtomicU64,
        mut plan: Option<(u64, Harm)>,
        side: Side,
    ) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut bytes = &buffer[..count];
            let before = counter.fetch_add(count as u64, Ordering::SeqCst);
            if let Some((limit, harm)) = plan.filter(|(limit, _)| before + count as u64 > *limit) {
                let (passing, rest) = bytes.split_at(usize::try_from(limit.saturating_sub(before)).unwrap());
                if to.write_all(passing).is_err() || !self.harm(harm, side) {
                    break;
                }
                (plan, bytes) = (None, rest);
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        if !self.reset.load(Ordering::SeqCst) {
            self.client.shutdown(Shutdown::Both).ok();
        }
        self.server.shutdown(Shutdown::Both).ok();
    }

    /// Whether the relay goes on.
    fn harm(&self, harm: Harm, side: Side) -> bool {
        match harm {
            Harm::Cut => false,
            Harm::Stall(time) => {
                std::thread::sleep(time);
                true
            }
            // Nobody closes the other direction: the program, or the server, must notice by itself.
            Harm::HalfClose => {
                let ended = match side {
                    Side::Up => self.server.shutdown(Shutdown::Write),
                    Side::Down => self.client.shutdown(Shutdown::Write),
                };
                ended.ok();
                while !matches!((&self.server).read(&mut [0; 1024]), Ok(0) | Err(_)) {}
                false
            }
            Harm::Reset => {
                self.reset.store(true, Ordering::SeqCst);
                linger_zero(&self.client);
                // Wakes the other thread without sending anything; the last to let go sends the reset.
                self.client.shutdown(Shutdown::Read).ok();
                false
            }
        }
    }
}

/// Closing sends a reset from now on. The option belongs to the connection, not to the handle.
#[allow(deprecated)]
fn linger_zero(stream: &TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let Ok(clone) = stream.try_clone() else { return };
    clone.set_nonblocking(true).ok();
    if let Ok(clone) = tokio::net::TcpStream::from_std(clone) {
        clone.set_linger(Some(Duration::ZERO)).ok();
        if let Ok(clone) = clone.into_std() {
            clone.set_nonblocking(false).ok();
        }
    }
}
