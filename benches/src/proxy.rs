//! A line with a delay: a TCP proxy on the loopback address that hands every byte on after half a round trip.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a client said something after it had been answered, which is how often it waited for the line; the making of
/// the connection is not counted.
#[derive(Debug, Clone, Default)]
pub struct Trips(Arc<AtomicU64>);

impl Trips {
    /// So far, over all connections.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whose turn it is on one connection.
#[derive(Clone)]
struct Turn {
    trips: Trips,
    answered: Arc<AtomicBool>,
}

/// Listens on a free port and connects to a server. Lives as long as the runtime.
///
/// # Errors
/// No port could be had.
pub async fn start(server: SocketAddr, round_trip: Duration, trips: Trips) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let turn = Turn { trips: trips.clone(), answered: Arc::new(AtomicBool::new(true)) };
            tokio::spawn(join(client, server, round_trip / 2, turn));
        }
    });
    Ok(address)
}

async fn join(client: TcpStream, server: SocketAddr, delay: Duration, turn: Turn) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let asked = || {
        if turn.answered.swap(false, Ordering::Relaxed) {
            turn.trips.0.fetch_add(1, Ordering::Relaxed);
        }
    };
    let answered = || turn.answered.store(true, Ordering::Relaxed);
    tokio::join!(carry(client_read, server_write, delay, asked), carry(server_read, client_write, delay, answered));
}

/// Reads at once, writes when the delay is over: throughput is not limited, only latency.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration, seen: impl Fn()) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
            seen();
            if sender.send((Instant::now() + delay, bytes.to_vec())).is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(read, write);
}
