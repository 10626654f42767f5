//! `tenantry enqueue --all` over many tenants, and nobody works them.

use crate::{
    Args, bundle,
    home::Home,
    meter::{self, Took},
    places::Kind,
    registry::{Kept, Registries},
    report::{Cell, Line, Report},
};

const TENANTS: usize = 100_000;

/// Measures it with each registry. Every round is a run of its own over the same tenants.
pub async fn measure(args: &Args, registries: &mut Registries, report: &mut Report) {
    report.say("Enqueue alone: `tenantry enqueue --all`, seconds of one run.");
    let tenants = args.tenants(TENANTS);
    for kept in Kept::ALL {
        let address = registries.another(kept).await;
        let server = registries.server(&address);
        let home = Home::new(&args.program, address);
        home.write(&bundle::one(Kind::Databases));
        home.add(tenants, super::nowhere);
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            registries.settle().await;
            let ((took, _), server) =
                meter::server_during(server, || home.run(&["enqueue", "--all", "--overlap"], b""));
            rounds.push(Took { server, ..took });
            let rows = home.number("SELECT count(*) FROM targets").await;
            assert_eq!(usize::try_from(rows), Ok(round * tenants), "targets");
        }
        report.line(cells(kept, tenants, &rounds));
    }
}

fn cells(kept: Kept, tenants: usize, rounds: &[Took]) -> Line {
    let wall = meter::median(rounds.iter().map(|took| took.wall));
    let least = rounds.iter().map(|took| took.wall).min().unwrap_or_default();
    vec![
        ("case", Cell::text("enqueue")),
        ("registry, queue", Cell::text(kept.word())),
        ("tenants", Cell::count(tenants)),
        ("seconds", Cell::Number(wall.as_secs_f64(), 2)),
        ("least", Cell::Number(least.as_secs_f64(), 2)),
        ("our cpu", Cell::ms(meter::median(rounds.iter().map(|took| took.processor)))),
        ("our server", Cell::ms(meter::median(rounds.iter().map(|took| took.server)))),
        ("MiB peak", Cell::mib(rounds.iter().map(|took| took.memory).max().unwrap_or_default())),
    ]
}
