//! What becomes of memory and of time per tenant when there are many: simulated tenants, which are rows of the registry
//! that share a few real schemas, all of them current.

use crate::{
    Args, bundle,
    fleet::Fleet,
    floor,
    home::Home,
    meter::Took,
    places::{Kind, Places},
    registry::Registries,
    report::{Cell, Line, Report},
};

const TENANTS: usize = 1_000_000;

/// How many schemas there are. Two tenants of one schema are never worked at once: they are far from each other.
const SCHEMAS: usize = 1_000;

const SLOTS: usize = 8;

/// Enqueues and works 1,000 tenants, ten times as many, and so on.
pub async fn measure(args: &Args, registries: &mut Registries, report: &mut Report) {
    let tenants = args.tenants(TENANTS);
    let real = SCHEMAS.min(tenants);
    report
        .say(&format!("Growth: simulated tenants, rows of the registry that share {real} current schemas."));
    let fleet = Fleet::with_server(Kind::Schemas, real);
    fleet.empty().await;
    let migrations = bundle::one(Kind::Schemas);
    let places = fleet.places.clone();
    floor::Task { places, migrations: migrations.clone(), concurrency: SLOTS }.run();
    let mut sizes: Vec<usize> =
        std::iter::successors(Some(tenants), |size| Some(size / 10)).take(4).collect();
    sizes.retain(|size| *size >= 10);
    for size in sizes.into_iter().rev() {
        let home = Home::new(&args.program, registries.another(args.registry).await);
        home.write(&migrations);
        home.add(size, |at| (fleet.places.url(at % real), Some(Places::name(at % real))));
        registries.settle().await;
        let (enqueue, _) = home.run(&["enqueue", "--all"], b"");
        let worker = work(&home);
        let current = home.number("SELECT count(*) FROM targets WHERE state = 'current'").await;
        assert_eq!(usize::try_from(current), Ok(size), "current targets");
        report.line(cells(args.registry.word(), size, &enqueue, &worker));
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

fn cells(registry: &str, size: usize, enqueue: &Took, worker: &Took) -> Line {
    let each = |took: &Took| Cell::Number(took.wall.as_secs_f64() * 1e6 / size as f64, 1);
    let cpu = |took: &Took| Cell::Number(took.processor.as_secs_f64() * 1e6 / size as f64, 1);
    vec![
        ("case", Cell::text("million")),
        ("registry", Cell::text(registry)),
        ("tenants", Cell::count(size)),
        ("enqueue µs/t", each(enqueue)),
        ("enqueue cpu µs/t", cpu(enqueue)),
        ("enqueue MiB", Cell::mib(enqueue.memory)),
        ("worker µs/t", each(worker)),
        ("worker cpu µs/t", cpu(worker)),
        ("worker MiB", Cell::mib(worker.memory)),
    ]
}
