//! A tenant migrated by a program: its process group, its environment, its output, and its end.
//!
//! Nothing of it outlives the attempt: the whole group is ended at its time limit, and when the attempt is given up.

mod options;

use std::{
    collections::VecDeque,
    io::PipeReader,
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tenantry_shared::{
    clock::Stopwatch,
    command::{CommandSpec, Meaning, filled},
    config::environment,
    failure::{Class, Failure},
    place::{DatabaseUrl, Engine},
    pooling,
    registry::Access,
    secret::redact,
};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, process::Command};

/// How much of the end of its output is kept, in bytes.
const TAIL_BYTES: usize = 16 * 1024;

/// How long a program may take to end itself once it was told to.
const GRACE: Duration = Duration::from_secs(10);

/// How long the rest of the output is waited for once the program has ended.
const DRAIN: Duration = Duration::from_secs(1);

/// Variables of the worker that a program gets, too. Others may hold secrets of the fleet.
const INHERITED: [&str; 12] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "USER",
    "SHELL",
    "VIRTUAL_ENV",
    "NODE_PATH",
    "GEM_HOME",
    "GEM_PATH",
];

/// Runs a command for one tenant. The end of its output is put where it outlives a failure.
///
/// # Errors
/// When it cannot be started, runs too long, or ends with a code that means a failure.
pub(crate) async fn run(spec: &CommandSpec, access: &Access, output: &mut String) -> Result<(), Failure> {
    let (mut command, reader) = prepared(spec, access)?;
    let child = command.spawn().map_err(|e| {
        let missing = format!("{} cannot be started: {e}", spec.run[0]);
        let directory = spec.directory.as_deref().unwrap_or("the worker's working directory");
        let hint = format!("is it installed where the worker runs, and is {directory} the right place?");
        Failure::new(Class::Permanent, "command", missing).with_hint(hint)
    })?;
    // Ours are the last ends of the pipe for writing.
    drop(command);
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let mut tail = Tail::default();
    let ended = watch(child, reader, spec, &group, &mut tail).await;
    group.end(Signal::KILL);
    let secret = access.url.password();
    *output = redact(&tail.text().replace(access.url.expose(), "***"), secret.as_deref());
    verdict(spec, ended?, output)
}

fn prepared(spec: &CommandSpec, access: &Access) -> Result<(Command, pipe::Receiver), Failure> {
    let broken = |e: std::io::Error| Failure::new(Class::Transient, "command", format!("no pipe: {e}"));
    let (reader, writer): (PipeReader, _) = std::io::pipe().map_err(broken)?;
    let parts = Parts::of(access);
    let fill = |text: &str| {
        filled(text, |name| parts.public(name))
            .map_err(|e| Failure::new(Class::Permanent, "command", e.to_string()))
    };
    let arguments = spec.run.iter().map(|word| fill(word)).collect::<Result<Vec<_>, _>>()?;
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.stdout(writer.try_clone().map_err(broken)?).stderr(writer);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    command.env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, environment(name)?))));
    command.envs(parts.variables(access));
    for (name, value) in &spec.env {
        command.env(name, fill(value)?);
    }
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(broken)?;
    Ok((command, reader))
}

/// Reads what it says until it ends; at its time limit it is told to end, and then made to.
async fn watch(
    mut child: tokio::process::Child,
    mut reader: pipe::Receiver,
    spec: &CommandSpec,
    group: &Group,
    tail: &mut Tail,
) -> Result<ExitStatus, Failure> {
    let limit = Duration::from_millis(spec.timeout_ms);
    let (mut patience, mut signal, mut late, mut open) = (limit, Signal::TERM, false, true);
    let mut waited = Stopwatch::start();
    let ended = loop {
        let left = patience.saturating_sub(waited.elapsed());
        tokio::select! {
            ended = child.wait() => break ended,
            more = tail.read(&mut reader), if open => open = more,
            () = tokio::time::sleep(left), if !limit.is_zero() => {
                group.end(signal);
                (patience, signal, late, waited) = (GRACE, Signal::KILL, true, Stopwatch::start());
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN, async { while tail.read(&mut reader).await {} }).await;
    if late {
        let late = format!("{} ran for more than {limit:?} and was ended", spec.run[0]);
        let failure = Failure::new(Class::Transient, "command-timeout", late);
        return Err(
            failure.with_hint("what it said is in: tenantry logs; more time is `timeout` of the command")
        );
    }
    ended.map_err(|e| Failure::new(Class::Transient, "command", format!("its end was not seen: {e}")))
}

fn verdict(spec: &CommandSpec, status: ExitStatus, output: &str) -> Result<(), Failure> {
    let Some(code) = status.code() else {
        let killed = format!("{} was ended by a signal ({status})", spec.run[0]);
        return Err(Failure::new(Class::Transient, "command-killed", killed));
    };
    let class = match spec.meaning(code) {
        Meaning::Success => return Ok(()),
        Meaning::Retry => Class::Transient,
        Meaning::Fail => Class::Permanent,
    };
    let last = output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
    let failure = Failure::new(class, format!("exit-{code}"), format!("{}: {last}", spec.run[0]));
    Err(failure.with_hint("all it said is in: tenantry logs"))
}

/// The parts of a tenant's URL.
struct Parts {
    url: Option<url::Url>,
    tenant: String,
    database: String,
    schema: Option<String>,
}

impl Parts {
    fn of(access: &Access) -> Self {
        Self {
            url: url::Url::parse(access.url.expose()).ok(),
            tenant: access.slug.to_string(),
            database: access.place.database.clone(),
            schema: access.place.schema.clone(),
        }
    }

    fn public(&self, name: &str) -> Option<String> {
        let url = self.url.as_ref();
        Some(match name {
            "tenant" => self.tenant.clone(),
            "database" => self.database.clone(),
            "schema" => self.schema.clone().unwrap_or_default(),
            "host" => url.and_then(|url| url.host_str()).unwrap_or_default().to_owned(),
            "port" => {
                url.and_then(url::Url::port_or_known_default).map(|p| p.to_string()).unwrap_or_default()
            }
            "user" => url.map(|url| decoded(url.username())).unwrap_or_default(),
            _ => return None,
        })
    }

    /// The names that frameworks look for, all of them.
    fn variables(&self, access: &Access) -> Vec<(String, String)> {
        let part = |name: &str| self.public(name).unwrap_or_default();
        let (engine, default_port) = match access.place.engine {
            Engine::Postgres => ("pgsql", "5432"),
            Engine::MySql => ("mysql", "3306"),
            Engine::Sqlite => ("sqlite", ""),
        };
        let port =
            Some(part("port")).filter(|port| !port.is_empty()).unwrap_or_else(|| default_port.to_owned());
        let password = access.url.password().unwrap_or_default();
        let mut variables = vec![
            ("TENANTRY_TENANT", part("tenant")),
            ("DATABASE_URL", for_programs(&access.url, self.schema.as_deref())),
            ("DB_CONNECTION", engine.to_owned()),
            ("DB_HOST", part("host")),
            ("DB_PORT", port.clone()),
            ("DB_DATABASE", part("database")),
            ("DB_NAME", part("database")),
            ("DB_USERNAME", part("user")),
            ("DB_USER", part("user")),
            ("DB_PASSWORD", password.clone()),
            ("DB_SCHEMA", part("schema")),
        ];
        if access.place.engine == Engine::Postgres {
            variables.extend([
                ("PGHOST", part("host")),
                ("PGPORT", port),
                ("PGDATABASE", part("database")),
                ("PGUSER", part("user")),
                ("PGPASSWORD", password),
            ]);
            if let Some(schema) = &self.schema {
                variables.push(("PGOPTIONS", options::in_schema(access.url.expose(), schema)));
            }
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The URL in the form that most libraries read: `postgresql://`, and the schema as Prisma and others take it.
fn for_programs(url: &DatabaseUrl, schema: Option<&str>) -> String {
    let text = pooling::without_ours(url.expose()).replacen("postgres:", "postgresql:", 1);
    match schema {
        None => text,
        Some(schema) => {
            let text = options::replaced(&text, schema);
            let joint = if text.contains('?') { '&' } else { '?' };
            format!(
                "{text}{joint}schema={}",
                url::form_urlencoded::byte_serialize(schema.as_bytes()).collect::<String>()
            )
        }
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A process group, ended with this value.
struct Group(Option<Pid>);

impl Group {
    fn end(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // That it has ended already is fine.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

/// The last bytes of an output.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    /// Reads some more. `false` at the end.
    async fn read(&mut self, reader: &mut pipe::Receiver) -> bool {
        let mut buffer = [0; 4096];
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.bytes.extend(&buffer[..read]);
                let over = self.bytes.len().saturating_sub(TAIL_BYTES);
                self.bytes.drain(..over);
                self.cut |= over > 0;
                true
            }
        }
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        match (self.cut, text.split_once('\n')) {
            (true, Some((_, whole_lines))) => format!("…\n{whole_lines}"),
            _ => text.into_owned(),
        }
    }
}
