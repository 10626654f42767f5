//! A way to a database server that counts the statements of one program, and kills the program at one of them.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

/// When the program dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The statement does not reach the server.
    Before,
    /// The server has done it, and its answer does not reach the program.
    After,
}

/// It listens until it is dropped.
pub struct Teller {
    /// The server's URL, by this way.
    pub url: String,
    here: SocketAddr,
    order: Arc<Order>,
}

struct Order {
    server: SocketAddr,
    is_mysql: bool,
    at: u64,
    moment: Moment,
    told: AtomicU64,
    program: OnceLock<Pid>,
    over: AtomicBool,
}

impl Teller {
    /// A way to this server, at whose statement number `at`, counted from 1, the program dies.
    ///
    /// # Panics
    /// When the URL is of no such server.
    #[must_use]
    pub fn start(url: &str, at: u64, moment: Moment) -> Self {
        let (start, rest) = url.split_once('@').expect("a URL with a user");
        let (server, database) = rest.split_once('/').expect("a URL with a database");
        let is_mysql = start.starts_with("mysql:");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = listener.local_addr().expect("an address");
        let tls = if is_mysql { "ssl-mode=DISABLED" } else { "sslmode=disable" };
        let order = Arc::new(Order {
            server: server.to_socket_addrs().expect("an address").next().expect("an address"),
            is_mysql,
            at,
            moment,
            told: AtomicU64::new(0),
            program: OnceLock::new(),
            over: AtomicBool::new(false),
        });
        let shared = order.clone();
        thread::spawn(move || listen(&listener, &shared));
        Self { url: format!("{start}@{here}/{database}?{tls}"), here, order }
    }

    /// Says which program it is. Nothing that it sends is passed on before.
    ///
    /// # Panics
    /// When it was said before.
    pub fn program(&self, pid: u32) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
        self.order.program.set(pid).expect("one program");
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.order.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.here); // wakes it up
    }
}

fn listen(listener: &TcpListener, order: &Arc<Order>) {
    for client in listener.incoming().flatten() {
        if order.over.load(Ordering::SeqCst) {
            return;
        }
        let order = order.clone();
        thread::spawn(move || order.pass(client));
    }
}

impl Order {
    /// Passes on what goes both ways, until either is gone.
    fn pass(self: Arc<Self>, client: TcpStream) {
        let pid = *self.program.wait();
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let is_last = Arc::new(AtomicBool::new(false));
        let (answers, waits) = (self.clone(), is_last.clone());
        let both = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let (Some(there), Some(back)) = (both(), both()) else { return };
        thread::spawn(move || {
            let _ = answers.answers(&back.1, &back.0, &waits, pid);
            end(&back.0, &back.1);
        });
        let _ = self.statements(&there.0, &there.1, &is_last, pid);
        end(&client, &server);
    }

    fn statements(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        last: &AtomicBool,
        pid: Pid,
    ) -> io::Result<()> {
        let (mut batch, mut is_first) = (Vec::new(), true);
        loop {
            batch.extend(self.frame(&mut from, is_first)?);
            match self.kind(&batch, is_first) {
                Kind::Part => continue,
                Kind::Other => {}
                Kind::Statement => {
                    let number = self.told.fetch_add(1, Ordering::SeqCst) + 1;
                    if number > self.at || (number == self.at && self.moment == Moment::Before) {
                        return Ok(kill_process(pid, Signal::KILL)?);
                    }
                    last.store(number == self.at, Ordering::SeqCst);
                }
            }
            to.write_all(&batch)?;
            batch.clear();
            is_first = false;
        }
    }

    fn answers(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        last: &AtomicBool,
        pid: Pid,
    ) -> io::Result<()> {
        let mut buffer = [0; 16_384];
        loop {
            let read = from.read(&mut buffer)?;
            if last.load(Ordering::SeqCst) {
                return Ok(kill_process(pid, Signal::KILL)?);
            }
            if read == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..read])?;
        }
    }

    /// The next message of a client, whole. The first one of PostgreSQL has no type.
    fn frame(&self, from: &mut impl Read, is_first: bool) -> io::Result<Vec<u8>> {
        let head = if self.is_mysql || is_first { 4 } else { 5 };
        let mut frame = vec![0; head];
        from.read_exact(&mut frame)?;
        let length = if self.is_mysql {
            u32::from_le_bytes([frame[0], frame[1], frame[2], 0])
        } else {
            u32::from_be_bytes([frame[head - 4], frame[head - 3], frame[head - 2], frame[head - 1]]) - 4
        };
        frame.resize(head + length as usize, 0);
        from.read_exact(&mut frame[head..])?;
        Ok(frame)
    }

    /// What a batch is up to its last message.
    fn kind(&self, batch: &[u8], is_first: bool) -> Kind {
        if self.is_mysql {
            // COM_QUERY and COM_STMT_EXECUTE; what has another number goes on with something.
            let asks = batch[3] == 0 && matches!(batch.get(4), Some(0x03 | 0x17));
            return if asks { Kind::Statement } else { Kind::Other };
        }
        if is_first {
            return Kind::Other;
        }
        let messages = messages(batch);
        match messages.last() {
            Some(b'P' | b'B' | b'D' | b'E' | b'C') => Kind::Part,
            Some(b'Q') => Kind::Statement,
            Some(b'S') if messages.contains(&b'E') => Kind::Statement,
            _ => Kind::Other,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of what goes on: PostgreSQL answers when it is whole.
    Part,
    /// It is done when it has arrived. One that is only prepared changes nothing.
    Statement,
    Other,
}

/// The types of some whole messages of PostgreSQL.
fn messages(batch: &[u8]) -> Vec<u8> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&[kind, a, b, c, d]) = batch.get(at..at + 5) {
        found.push(kind);
        at += 1 + u32::from_be_bytes([a, b, c, d]) as usize;
    }
    found
}

fn end(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}
