//! How long a command takes that has nearly nothing to do.

use crate::{
    Args, bundle,
    fleet::Fleet,
    home::Home,
    meter,
    places::Kind,
    registry::Address,
    report::{Cell, Report},
};

const TIMES: usize = 20;

/// Measures three commands in a home with one tenant, an SQLite file that is current.
pub async fn measure(args: &Args, report: &mut Report) {
    report.say("Start-up: one tenant, an SQLite file that is current; medians of 20, in milliseconds.");
    let fleet = Fleet::with_server(Kind::Sqlite, 1);
    fleet.empty().await;
    let home = Home::new(&args.program, Address::default());
    home.write(&bundle::one(Kind::Sqlite));
    home.import(&fleet, 1, None);
    home.migrate("applied", 1);
    let commands: [(&str, &[&str]); 3] = [
        ("tenantry --version", &["--version"]),
        ("tenantry status", &["status"]),
        ("tenantry migrate", &["migrate", "--tenant", "tenant-0000000", "--progress", "none"]),
    ];
    for (name, words) in commands {
        let rounds: Vec<_> = (0..TIMES).map(|_| home.run(words, b"").0).collect();
        report.line(vec![
            ("case", Cell::text("start")),
            ("command           ", Cell::text(name)),
            ("ms", Cell::tenths(meter::median(rounds.iter().map(|took| took.wall)))),
            ("least", Cell::tenths(rounds.iter().map(|took| took.wall).min().unwrap_or_default())),
            ("MiB peak", Cell::mib(rounds.iter().map(|took| took.memory).max().unwrap_or_default())),
        ]);
    }
}
