//! A network between two programs that a test can slow, stop and cut.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What the network does with what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// It carries everything at once.
    Fair,
    /// Every piece is late by this.
    Slow(Duration),
    /// Nothing arrives, and nobody is told. What was sent arrives when it is over.
    Still,
    /// What is sent to the server arrives, and no answer comes back until this is over.
    Deaf,
    /// Every connection is reset, and so is every new one.
    Cut,
}

/// A port of its own that leads to a server.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Opens a port that leads to the server of this URL.
    ///
    /// # Panics
    /// When the URL names no host and port, or no port is to be had.
    pub async fn to(url: &str) -> Self {
        let server = server_of(url);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (weather, seen) = watch::channel(Weather::Fair);
        Self { address, weather, accepting: tokio::spawn(accept(listener, server, seen)) }
    }

    /// The same URL by way of this port.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        url.replacen(&server_of(url), &self.address.to_string(), 1)
    }

    /// Changes what happens to all that is sent from now on, and to open connections.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Weather::Cut);
    }
}

/// Host and port.
fn server_of(url: &str) -> String {
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    rest.split('/').next().expect("a host").to_owned()
}

async fn accept(listener: TcpListener, server: String, weather: watch::Receiver<Weather>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server.clone(), weather.clone()));
    }
}

/// Carries one connection until either end closes it, or the network is cut.
async fn carry(mut client: TcpStream, server: String, mut weather: watch::Receiver<Weather>) {
    let cut = *weather.borrow() == Weather::Cut;
    if let Some(mut server) = if cut { None } else { TcpStream::connect(server).await.ok() } {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let (up, down) = (weather.clone(), weather.clone());
        let was_cut = tokio::select! {
            () = pump(from_client, to_server, up, &[Weather::Still]) => false,
            () = pump(from_server, to_client, down, &[Weather::Still, Weather::Deaf]) => false,
            _ = weather.wait_for(|weather| *weather == Weather::Cut) => true,
        };
        if !was_cut {
            return;
        }
        let _ = server.set_zero_linger();
    }
    // A reset, as from a machine that knows nothing of the connection.
    let _ = client.set_zero_linger();
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    holds: &[Weather],
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let _ = weather.wait_for(|weather| !holds.contains(weather)).await;
        let now = *weather.borrow();
        if let Weather::Slow(late) = now {
            tokio::time::sleep(late).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
}
