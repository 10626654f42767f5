//! Jobs through the full ledger, whose handler does nothing: `fleet-queue` takes them all, and what it did is counted.

use std::time::Duration;

use crate::{
    Args, bundle,
    home::Home,
    meter::{self, Took},
    places::Kind,
    registry::{Kept, Registries},
    report::{Cell, Line, Report},
};

const JOBS: usize = 50_000;

/// Measures it with each registry, in a new one each round.
pub async fn measure(args: &Args, registries: &mut Registries, report: &mut Report) {
    report.say("Queue alone: jobs that do nothing, claimed and recorded one by one in the ledger.");
    let jobs = args.tenants(JOBS);
    for kept in Kept::ALL {
        let slots = best(args, kept, jobs, registries).await;
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(round(args, kept, jobs, slots, registries).await);
        }
        report.line(cells(kept, jobs, slots, &rounds));
    }
}

/// The best of the concurrencies: one round of each is enough to see, and of one alone nothing.
async fn best(args: &Args, kept: Kept, jobs: usize, registries: &mut Registries) -> usize {
    if let [only] = args.concurrency[..] {
        return only;
    }
    let mut tried = Vec::new();
    for slots in &args.concurrency {
        tried.push((round(args, kept, jobs, *slots, registries).await.wall, *slots));
    }
    tried.into_iter().min().expect("a concurrency").1
}

async fn round(args: &Args, kept: Kept, jobs: usize, slots: usize, registries: &mut Registries) -> Took {
    let address = registries.another(kept).await;
    let server = registries.server(&address);
    let home = Home::new(&args.program, address);
    home.write(&bundle::one(Kind::Databases));
    home.add(jobs, super::nowhere);
    home.run(&["enqueue", "--all"], b"");
    registries.settle().await;
    let words = [jobs.to_string(), slots.to_string()];
    let worker = std::env::current_exe().expect("this program").with_file_name("fleet-queue");
    let mut command = home.command(&worker);
    let ((took, _), server) = meter::server_during(server, || crate::program::run(command.args(words), b""));
    let done = home.number("SELECT count(*) FROM targets WHERE state = 'current' AND attempt = 1").await;
    let attempts = home.number("SELECT count(*) FROM attempts").await;
    assert_eq!([usize::try_from(done), usize::try_from(attempts)], [Ok(jobs), Ok(jobs)], "targets, attempts");
    Took { server, ..took }
}

fn cells(kept: Kept, jobs: usize, slots: usize, rounds: &[Took]) -> Line {
    let rate = |wall: Duration| Cell::Number(jobs as f64 / wall.as_secs_f64(), 0);
    vec![
        ("case", Cell::text("queue")),
        ("registry, queue", Cell::text(kept.word())),
        ("jobs", Cell::count(jobs)),
        ("slots", Cell::count(slots)),
        ("jobs/s", rate(meter::median(rounds.iter().map(|took| took.wall)))),
        ("best", rate(rounds.iter().map(|took| took.wall).min().unwrap_or_default())),
        ("our cpu", Cell::ms(meter::median(rounds.iter().map(|took| took.processor)))),
        ("our server", Cell::ms(meter::median(rounds.iter().map(|took| took.server)))),
        ("MiB peak", Cell::mib(rounds.iter().map(|took| took.memory).max().unwrap_or_default())),
    ]
}
