//! An exact proxy in front of a server: it lets so many bytes, or so many messages and a part of the next one, of one
//! direction of the first connection through, and then does something unkind. Later connections pass unharmed.

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

/// Where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind so many bytes.
    Byte(u64),
    /// Behind so many whole messages of the protocol, and so much of the next one.
    Message(u64, Share),
}

/// How much of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    Nothing,
    FirstByte,
    Half,
    AllButLastByte,
}

impl Share {
    /// Of a message of so many bytes.
    fn of(self, length: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::FirstByte => 1,
            Self::Half => length / 2,
            Self::AllButLastByte => length - 1,
        }
    }
}

/// The proxy. It ends with the value.
pub struct Proxy {
    port: u16,
    counters: Arc<Counters>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Counters {
    bytes: [AtomicU64; 2],
    messages: [AtomicU64; 2],
    harmed: AtomicBool,
}

/// Where and how the first connection is harmed; `None` only counts.
pub type Plan = Option<(Side, Place, Harm)>;

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
        self.counters.bytes[side as usize].load(Ordering::SeqCst)
    }

    /// Messages of the first connection that began so far.
    pub fn messages(&self, side: Side) -> u64 {
        self.counters.messages[side as usize].load(Ordering::SeqCst)
    }

    /// Whether the place was reached.
    pub fn harmed(&self) -> bool {
        self.counters.harmed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn relay(client: TcpStream, server: UnixStream, plan: Plan, counters: &Arc<Counters>) {
    client.set_nodelay(true).ok();
    let ends = Arc::new(Ends { client, server, reset: AtomicBool::new(false) });
    for side in [Side::Up, Side::Down] {
        let plan = plan.filter(|(planned, ..)| *planned == side).map(|(_, place, harm)| (place, harm));
        let (ends, counters) = (Arc::clone(&ends), Arc::clone(counters));
        std::thread::spawn(move || match side {
            Side::Up => ends.pump(&ends.client, &ends.server, &counters, plan, side),
            Side::Down => ends.pump(&ends.server, &ends.client, &counters, plan, side),
        });
    }
}

/// Follows the protocol's messages in a stream. The first one of a client has no letter before its length.
struct Messages {
    letters: usize,
    /// Bytes that are still to come of the message under way.
    rest: usize,
    begun: u64,
}

impl Messages {
    fn new(side: Side) -> Self {
        Self { letters: usize::from(side == Side::Down), rest: 0, begun: 0 }
    }

    /// Takes bytes in: how many of them may pass, and where the place is, if it lies among them. A header that comes in
    /// pieces is held back until it is whole, and stands at the beginning of `bytes` the next time.
    fn find(&mut self, bytes: &[u8], place: Option<(u64, Share)>) -> (usize, Option<usize>) {
        let mut at = 0;
        loop {
            let passed = self.rest.min(bytes.len() - at);
            (at, self.rest) = (at + passed, self.rest - passed);
            let head = self.letters + 4;
            let Some(header) = bytes.get(at..at + head).filter(|_| self.rest == 0) else { return (at, None) };
            let length = header[self.letters..].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let whole = self.letters + length;
            if let Some((_, share)) = place.filter(|(before, _)| *before == self.begun) {
                let part = share.of(whole);
                // A part that has not come yet is waited for.
                return if at + part <= bytes.len() { (at, Some(at + part)) } else { (at, None) };
            }
            (self.begun, self.rest, self.letters) = (self.begun + 1, whole, 1);
        }
    }
}

/// Both ends of a relayed connection.
struct Ends {
    client: TcpStream,
    server: UnixStream,
    /// The client is to see a reset, so nothing may end its connection in order.
    reset: AtomicBool,
}

impl Ends {
    fn pump(
        &self,
        mut from: impl Read,
        mut to: impl Write,
        counters: &Counters,
        mut plan: Option<(Place, Harm)>,
        side: Side,
    ) {
        let mut buffer = [0; 16 * 1024];
        let mut held: Vec<u8> = Vec::new();
        // Only where messages count: nothing may be held back after the harm, or where bytes count.
        let mut messages = match plan {
            Some((Place::Byte(_), _)) => None,
            Some((Place::Message(..), _)) | None => Some(Messages::new(side)),
        };
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            held.extend_from_slice(&buffer[..count]);
            counters.bytes[side as usize].fetch_add(count as u64, Ordering::SeqCst);
            let (mut whole, mut here) = (held.len(), None);
            match (plan, &mut messages) {
                (Some((Place::Byte(limit), _)), _) => {
                    here = usize::try_from(limit - passed).ok().filter(|here| *here < held.len());
                }
                (plan, Some(messages)) => {
                    let wanted = plan.and_then(|(place, _)| match place {
                        Place::Message(before, share) => Some((before, share)),
                        Place::Byte(_) => None,
                    });
                    (whole, here) = messages.find(&held, wanted);
                    counters.messages[side as usize].store(messages.begun, Ordering::SeqCst);
                }
                (_, None) => {}
            }
            if let (Some(here), Some((_, harm))) = (here, plan) {
                counters.harmed.store(true, Ordering::SeqCst);
                if to.write_all(&held[..here]).is_err() || !self.harm(harm, side) {
                    break;
                }
                held.drain(..here);
                (plan, messages, whole) = (None, None, held.len());
            }
            if to.write_all(&held[..whole]).is_err() {
                break;
            }
            held.drain(..whole);
            passed += whole as u64;
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
