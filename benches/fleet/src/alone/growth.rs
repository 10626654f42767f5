//! What becomes of memory and of time per tenant when there are many: simulated tenants, which are rows of the registry
//! that share a few real schemas, all of them current.

use crate::{
    Args, bundle,
    fleet::{Fleet, Kind},
    floor,
    home::Home,
    meter::Took,
    registry::Registries,
    report::{Cell, Report},
};

const TENANTS: usize = 1_000_000;

/// How many schemas there are. Two tenants of one schema are never worked at once: they are far from each other.
const SCHEMAS: usize = 1_000;

const SLOTS: usize = 8;

/// Enqueues and works 1,000 tenants, ten times as many, and so on.
pub async fn measure(args: &Args, registries: &mut Registries, report: &mut Report) {
    let tenants = args.tenants.unwrap_or(TENANTS);
    let real = SCHEMAS.min(tenants);
    report
        .say(&format!("Growth: simulated tenants, rows of the registry that share {real} current schemas."));
    let fleet = Fleet::with_server(Kind::Schemas, real);
    fleet.empty().await;
    let migrations = bundle::one(Kind::Schemas);
    floor::apply(&fleet, &migrations, SLOTS).await;
    let mut sizes: Vec<usize> =
        std::iter::successors(Some(tenants), |size| Some(size / 10)).take(4).collect();
    sizes.retain(|size| *size >= 10);
    for size in sizes.into_iter().rev() {
        let home = Home::new(&args.program, registries.another(args.registry).await);
        home.write(&migrations);
        home.add(size, |at| (fleet.url(at % real), Some(Fleet::name(at % real))));
        fleet.settle().await;
        let (enqueue, _) = home.run(&["enqueue", "--all"], b"");
        let worker = work(&home);
        let current = home.number("SELECT count(*) FROM targets WHERE state = 'current'").await;
        assert_eq!(usize::try_from(current), Ok(size), "current targets");
        report.line(&cells(size, &enqueue, &worker));
    }
}

/// A worker that begins when all are there; timed until the run has ended.
fn work(home: &Home) -> Took {
    let slots = SLOTS.to_string();
    let worker = home.start("tenantry-worker", &["run", "--concurrency", &slots]);
    home.run(&["wait", "--interval", "20ms", "--progress", "none"], b"");
    let took = worker.so_far();
    worker.terminate();
    took
}

fn cells(size: usize, enqueue: &Took, worker: &Took) -> Vec<(&'static str, Cell)> {
    let each = |took: &Took| Cell::Number(took.wall.as_secs_f64() * 1e6 / size as f64, 1);
    let cpu = |took: &Took| Cell::Number(took.processor.as_secs_f64() * 1e6 / size as f64, 1);
    vec![
        ("case", Cell::text("million")),
        ("tenants", Cell::count(size)),
        ("enqueue µs/t", each(enqueue)),
        ("its cpu µs/t", cpu(enqueue)),
        ("its MiB peak", Cell::mib(enqueue.memory)),
        ("worker µs/t", each(worker)),
        ("its cpu µs/t ", cpu(worker)),
        ("its MiB peak ", Cell::mib(worker.memory)),
    ]
}
