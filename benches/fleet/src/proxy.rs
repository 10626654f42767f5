//! A proxy that counts: how often a client waits for its server, and how many bytes go over the line.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What went through.
#[derive(Default)]
pub struct Counts {
    round_trips: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    /// Answers that a client waited for, and bytes in both directions.
    pub fn take(&self) -> (u64, u64) {
        (self.round_trips.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }
}

/// Listens on a port of its own and passes everything on; gives the port.
pub async fn start(server: u16) -> (u16, Arc<Counts>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server, shared.clone()));
        }
    });
    (port, counts)
}

/// A round trip is a change of direction: the client spoke, and the server answers.
async fn pass(mut client: TcpStream, server: u16, counts: Arc<Counts>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let mut client_spoke = false;
    loop {
        let done = tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(length) if length > 0 => {
                    client_spoke = true;
                    counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
                    server.write_all(&up[..length]).await.is_err()
                }
                _ => true,
            },
            read = server.read(&mut down) => match read {
                Ok(length) if length > 0 => {
                    counts.round_trips.fetch_add(u64::from(std::mem::take(&mut client_spoke)), Ordering::Relaxed);
                    counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
                    client.write_all(&down[..length]).await.is_err()
                }
                _ => true,
            },
        };
        if done {
            return;
        }
    }
}
