//! On a real terminal: questions are asked, and progress is one redrawn block.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tenantry_tests::{Fleet, Home, fleet::Kind, home::finish, wait};

use crate::state;

/// `tenantry` on a terminal of 100 columns. Its standard output is a pipe, as it is in `RUN=$(tenantry enqueue --all)`.
struct Terminal {
    child: Option<Child>,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn start(home: &Home, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("a path");
        let size = rustix::termios::Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).expect("its size");
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).expect("the terminal"));
        let mut command: Command = home.command("tenantry", args);
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        let child = command.stdin(side()).stderr(side()).stdout(Stdio::piped()).spawn().expect("tenantry");
        drop(command); // its hold on the terminal, so that the end of the program is the end of the screen
        let keyboard = File::from(master);
        let mut source = keyboard.try_clone().expect("the terminal");
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Linux ends a terminal whose program is gone with an error, others with nothing more to read.
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                shown.lock().expect("a screen").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { child: Some(child), keyboard, screen, reader: Some(reader) }
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("a screen").clone()
    }

    async fn shows(&self, text: &str) {
        wait::until(&format!("the screen shows {text}"), || async { self.screen().contains(text) }).await;
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a keyboard");
    }

    fn interrupt(&self) {
        let pid = self.child.as_ref().expect("a child").id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    }

    /// Waits for its end: exit code, standard output, and all that was on the screen.
    fn ends(mut self) -> (i32, String, String) {
        let ran = finish(self.child.take().expect("a child"));
        self.reader.take().expect("a reader").join().expect("the screen");
        (ran.code, ran.stdout, self.screen())
    }
}

async fn home() -> Home {
    let home = Home::new();
    home.migration("1_users.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY);");
    let _ = home.run(&["registry", "init"]).exits(0);
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 2, home.path()).await;
    fleet.register(&home);
    home
}

const QUESTION: &str = "Start a run of 2 tenants (all)? [y/N] ";

#[tokio::test]
async fn a_run_starts_after_a_yes() {
    let home = home().await;
    for (at, answer) in ["y\n", "Yes\n"].iter().enumerate() {
        let mut terminal = Terminal::start(&home, &["enqueue", "--all", "--overlap"], &[]);
        terminal.shows(QUESTION).await;
        terminal.types(answer);
        let (code, stdout, screen) = terminal.ends();
        assert_eq!((code, stdout), (0, format!("{}\n", at + 1)), "{screen}");
    }
}

#[tokio::test]
async fn nothing_is_written_after_a_no_an_empty_answer_and_an_end_of_input() {
    let home = home().await;
    let before = state::of(&home).await;
    for answer in ["n\n", "\n", "yep\n", "\u{4}"] {
        let mut terminal = Terminal::start(&home, &["enqueue", "--all"], &[]);
        terminal.shows(QUESTION).await;
        terminal.types(answer);
        let (code, stdout, screen) = terminal.ends();
        assert_eq!((code, stdout.as_str()), (2, ""), "{answer:?}: {screen}");
        assert!(screen.contains("not started"), "{screen}");
        assert_eq!(state::of(&home).await, before, "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_is_foretold_of_a_run_in_which_nothing_has_ended() {
    let home = home().await;
    let _ = home.run(&["enqueue", "--all", "--yes"]).exits(0);
    let terminal = Terminal::start(&home, &["wait"], &[]);
    terminal.shows(" 0/2 0% ").await;
    terminal.shows("waiting 2").await;
    terminal.interrupt();
    let (code, _, screen) = terminal.ends();
    assert!(code == 130 && screen.contains(" eta -") && !screen.contains(" eta 0s"), "{screen}");
}

#[tokio::test]
async fn a_sync_shows_what_would_change_and_waits_for_a_yes() {
    let home = home().await;
    std::fs::write(home.path().join("tenantry.toml"), "[source]\nfile = 'list.csv'\n").expect("a file");
    std::fs::write(home.path().join("list.csv"), "id,url\nacme,sqlite:acme.db\n").expect("a file");
    let before = state::of(&home).await;
    for args in [&["tenants", "sync"][..], &["enqueue", "--all", "--sync"], &["migrate", "--all", "--sync"]] {
        let mut terminal = Terminal::start(&home, args, &[]);
        terminal
            .shows(
                "Change the registry (1 added, 0 changed, 0 suspended, 0 reactivated, 0 unchanged)? [y/N] ",
            )
            .await;
        terminal.types("n\n");
        let (code, stdout, screen) = terminal.ends();
        assert!(code == 2 && screen.contains("not synced"), "{args:?}: {screen}");
        assert!(format!("{stdout}{screen}").contains("  + acme "), "{args:?}: {stdout}{screen}");
        assert_eq!(state::of(&home).await, before, "{args:?}");
    }
    let mut terminal = Terminal::start(&home, &["tenants", "sync"], &[]);
    terminal
        .shows("Change the registry (1 added, 0 changed, 0 suspended, 0 reactivated, 0 unchanged)? [y/N] ")
        .await;
    terminal.types("y\n");
    let (code, stdout, screen) = terminal.ends();
    assert_eq!(code, 0, "{stdout}{screen}");
    let _ = home.run(&["tenants", "show", "acme"]).exits(0);
}

#[tokio::test]
async fn yes_as_a_flag_is_not_asked_and_without_input_the_flag_is_named() {
    let home = home().await;
    let (code, stdout, screen) = Terminal::start(&home, &["enqueue", "--all", "--yes"], &[]).ends();
    assert_eq!((code, stdout.as_str()), (0, "1\n"));
    assert!(!screen.contains("[y/N]"), "{screen}");

    let before = state::of(&home).await;
    let no_input = [&[][..], &[("TENANTRY_NO_INPUT", "1")]];
    for (args, variables) in
        [&["enqueue", "--all", "--no-input"][..], &["enqueue", "--all"]].iter().zip(no_input)
    {
        let (code, stdout, screen) = Terminal::start(&home, args, variables).ends();
        assert_eq!((code, stdout.as_str()), (2, ""), "{screen}");
        assert!(screen.contains("cannot be asked with --no-input") && screen.contains("--yes"), "{screen}");
    }
    assert_eq!(state::of(&home).await, before);
}

#[tokio::test]
async fn a_retry_asks_too() {
    let home = home().await;
    home.migration("2_bad.sql", "SELECT * FROM nowhere;");
    let _ = home.run(&["migrate", "--all"]).exits(100);
    let before = state::of(&home).await;
    let mut terminal = Terminal::start(&home, &["retry"], &[]);
    terminal.shows("Try 2 tenants of run #1 again? [y/N] ").await;
    terminal.types("n\n");
    assert_eq!(terminal.ends().0, 2);
    assert_eq!(state::of(&home).await, before);
}

async fn answered(home: &Home, args: &[&str], question: &str, answer: &str) -> (i32, String) {
    let mut terminal = Terminal::start(home, args, &[]);
    terminal.shows(question).await;
    terminal.types(answer);
    let (code, _, screen) = terminal.ends();
    (code, screen)
}

#[tokio::test]
async fn what_goes_back_and_what_is_mended_asks_and_a_reset_wants_a_number() {
    let home = home().await;
    std::fs::rename(
        home.path().join("migrations/1_users.sql"),
        home.path().join("migrations/1_users.up.sql"),
    )
    .expect("another name");
    home.migration("1_users.down.sql", "DROP TABLE users;");
    let _ = home.run(&["migrate", "--all"]).exits(0);
    let before = state::of(&home).await;
    for (args, question, answer) in [
        (&["rollback", "--all"][..], "Revert the newest migration of 2 tenants (all)? [y/N] ", "n\n"),
        (
            &["rollback", "--all", "--run", "1"],
            "Revert what run #1 applied (1_users.up.sql) in 2 tenants (all)?",
            "\n",
        ),
        (&["rollback", "--all", "--to", "0"], "Revert everything in 2 tenants (all)?", "n\n"),
        (&["baseline", "--all", "--to", "1"], "Record all up to 1 as applied in 2 tenants (all)", "n\n"),
        (&["repair", "--all", "--forget", "1"], "Write this into the history of 2 tenants? [y/N] ", "n\n"),
        (&["reset", "--all"], "Type 2 to go on: ", "yes\n"),
    ] {
        let (code, screen) = answered(&home, args, question, answer).await;
        assert_eq!(code, 2, "{screen}");
        assert_eq!(state::of(&home).await, before, "{args:?}");
    }
    let (code, screen) = answered(&home, &["reset", "--all", "--work"], "Type 2 to go on: ", "2\n").await;
    assert_eq!(code, 0, "{screen}");
    let (code, screen) = answered(
        &home,
        &["repair", "--all", "--mark-applied", "1"],
        "record 1_users.up.sql as applied",
        "y\n",
    )
    .await;
    assert_eq!(code, 0, "{screen}");
}

#[tokio::test]
async fn many_tenants_are_not_reset_by_a_number_that_is_typed() {
    let home = home().await;
    let mut fleet = Fleet::default();
    fleet.add(Kind::Sqlite, 19, home.path()).await;
    fleet.register(&home);
    let (code, _, screen) = Terminal::start(&home, &["reset", "--all"], &[]).ends();
    assert_eq!(code, 2, "{screen}");
    assert!(
        screen.contains("everything in 21 tenants would be reverted") && screen.contains("--yes-really"),
        "{screen}"
    );
}

#[tokio::test]
async fn progress_is_a_bar_that_is_redrawn_and_taken_away_at_the_end() {
    let home = home().await;
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let terminal = Terminal::start(&home, &["wait"], &[]);
    terminal.shows("0/2 0%").await;
    terminal.shows("waiting 2").await;
    let worker = home.worker(&[]);
    let (code, stdout, screen) = terminal.ends();
    drop(worker);
    assert_eq!(code, 0, "{screen}");
    assert!(stdout.contains("2 tenants: 2 applied") && !stdout.contains('\u{1b}'), "{stdout}");
    assert!(screen.contains('─') && screen.contains("\u{1b}["), "not a bar: {screen:?}");
    let (_, last) = screen.rsplit_once("\u{1b}[2K").expect("a line is cleared");
    assert!(last.trim_end().lines().all(|line| !line.contains("0/2")), "the bar is still there: {screen:?}");
}

#[tokio::test]
async fn an_interrupted_bar_says_that_the_run_goes_on() {
    let home = home().await;
    let _ = home.run(&["enqueue", "--all"]).exits(0);
    let terminal = Terminal::start(&home, &["wait"], &[]);
    terminal.shows("waiting 2").await;
    terminal.interrupt();
    let (code, _, screen) = terminal.ends();
    assert_eq!(code, 130);
    let (_, last) = screen.rsplit_once("\u{1b}[2K").expect("the bar is taken away");
    assert!(last.contains("interrupted; the run goes on") && !last.contains("waiting 2"), "{screen:?}");
}

#[tokio::test]
async fn color_follows_the_terminal_and_no_color() {
    let home = home().await;
    let red = "\u{1b}[1m\u{1b}[31merror:";
    let (code, _, screen) = Terminal::start(&home, &["wait", "99"], &[]).ends();
    assert_eq!(code, 2);
    assert!(screen.contains(red), "{screen:?}");
    for (args, variables) in
        [(&["wait", "99"][..], &[("NO_COLOR", "1")][..]), (&["wait", "99", "--color", "never"], &[])]
    {
        let (_, _, screen) = Terminal::start(&home, args, variables).ends();
        assert!(screen.contains("error: there is no run 99") && !screen.contains('\u{1b}'), "{screen:?}");
    }
}
